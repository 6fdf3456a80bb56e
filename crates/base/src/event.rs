//! Typed event channels: how readiness travels upward.
//!
//! An event is an edge; the getter of the layer that emitted it is the truth. Nobody rebuilds a state from
//! events, and no packet ever travels in one. A layer above drains its [`EventReceiver`]s in `process`, which
//! runs after every datagram that emitted anything.

use std::fmt::Debug;

use tokio::sync::mpsc;

/// An event enum of one layer. Implement it with [`layer_event!`](crate::layer_event), which fixes the
/// `tracing` target of the layer.
pub trait LayerEvent: Clone + Debug + Send + 'static {
    /// Writes one structured `tracing` line for this event; `scope` names the emitter, for example
    /// `"transport 0"`.
    fn trace(&self, scope: &str);
}

/// Implements [`LayerEvent`](crate::LayerEvent) for an enum, with a `tracing` target of its own.
///
/// ```
/// #[derive(Debug, Clone)]
/// enum PingEvent { Pong }
/// peerstack_base::layer_event!(PingEvent, "peerstack::ping");
/// ```
#[macro_export]
macro_rules! layer_event {
    ($event:ty, $target:literal) => {
        impl $crate::LayerEvent for $event {
            fn trace(&self, scope: &str) {
                $crate::__tracing::debug!(target: $target, scope, event = ?self);
            }
        }
    };
}

/// Where a layer emits its events. Any number of subscribers may exist; one that is dropped is forgotten.
#[derive(Debug)]
pub struct EventSource<E> {
    scope: String,
    subscribers: Vec<mpsc::UnboundedSender<E>>,
    emitted: u64,
}

impl<E: LayerEvent> EventSource<E> {
    /// A source whose events are traced under `scope`.
    pub fn new(scope: impl Into<String>) -> Self {
        Self { scope: scope.into(), subscribers: Vec::new(), emitted: 0 }
    }

    /// Another name in traces, for what was made before its place was known.
    pub fn set_scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// A new channel that receives every event emitted from now on, in order.
    pub fn subscribe(&mut self) -> EventReceiver<E> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.push(sender);
        EventReceiver { receiver }
    }

    /// Tells every subscriber, and writes one `tracing` line.
    pub fn emit(&mut self, event: E) {
        event.trace(&self.scope);
        self.emitted += 1;
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// How many events were emitted so far: whether `process` of the layer above has work is seen by
    /// comparing two readings.
    pub fn emitted(&self) -> u64 {
        self.emitted
    }
}

/// One subscriber's end of an [`EventSource`].
///
/// The channel is unbounded because an event is emitted only on a change of state and is drained in the same
/// turn of the network task; packets never travel here.
#[derive(Debug)]
pub struct EventReceiver<E> {
    receiver: mpsc::UnboundedReceiver<E>,
}

impl<E> EventReceiver<E> {
    /// The next event, or `None` if there is none now (or the source is gone and all was read).
    pub fn try_next(&mut self) -> Option<E> {
        self.receiver.try_recv().ok()
    }

    /// Waits for the next event; `None` once the source is gone and all was read.
    pub async fn next(&mut self) -> Option<E> {
        self.receiver.recv().await
    }

    /// The poll form of [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<E>> {
        self.receiver.poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    enum TestEvent {
        One,
        Two,
    }
    crate::layer_event!(TestEvent, "peerstack::test");

    #[test]
    fn every_subscriber_sees_every_event_once_and_in_order() {
        let mut source = EventSource::new("test");
        let mut first = source.subscribe();
        source.emit(TestEvent::One);
        let mut second = source.subscribe();
        source.emit(TestEvent::Two);
        assert_eq!(first.try_next(), Some(TestEvent::One));
        assert_eq!(first.try_next(), Some(TestEvent::Two));
        assert_eq!(first.try_next(), None);
        assert_eq!(second.try_next(), Some(TestEvent::Two));
        assert_eq!(second.try_next(), None);
        assert_eq!(source.emitted(), 2);
    }

    #[test]
    fn a_dropped_subscriber_is_forgotten() {
        let mut source = EventSource::new("test");
        drop(source.subscribe());
        source.emit(TestEvent::One);
        assert!(source.subscribers.is_empty());
    }
}
