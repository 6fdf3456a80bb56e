//! Typed event channels: how readiness travels upward.
//!
//! An event is an edge; the getter of the layer that emitted it is the truth. Nobody rebuilds a state from
//! events, and no packet ever travels in one. A layer above drains its [`EventReceiver`]s in `process`, which
//! runs after every datagram that emitted anything.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    subscribers: Vec<Subscriber<E>>,
    emitted: u64,
}

#[derive(Debug)]
struct Subscriber<E> {
    sender: mpsc::UnboundedSender<E>,
    /// Events that were sent and not taken.
    waiting: Arc<AtomicUsize>,
}

impl<E> Subscriber<E> {
    /// Whether anybody still listens.
    fn send(&self, event: E) -> bool {
        // Before the event, so that whoever takes it never takes from zero.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.sender.send(event).is_ok()
    }

    fn is_full(&self, limit: usize) -> bool {
        self.waiting.load(Ordering::Relaxed) >= limit
    }
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
        let waiting = Arc::new(AtomicUsize::new(0));
        self.subscribers.push(Subscriber { sender, waiting: Arc::clone(&waiting) });
        EventReceiver { receiver, waiting }
    }

    /// Tells every subscriber, and writes one `tracing` line.
    pub fn emit(&mut self, event: E) {
        event.trace(&self.scope);
        self.emitted += 1;
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()));
    }

    /// As [`emit`](Self::emit), but tells only subscribers for whom fewer than `limit` events wait; whether any was
    /// told. For events of which a peer can bring about any number: a subscriber that does not read must not make them
    /// pile up, and must not cost one that reads anything.
    pub fn emit_within(&mut self, limit: usize, event: E) -> bool {
        event.trace(&self.scope);
        self.emitted += 1;
        let mut told = false;
        self.subscribers.retain(|subscriber| {
            if subscriber.is_full(limit) {
                return !subscriber.sender.is_closed();
            }
            let listens = subscriber.send(event.clone());
            told |= listens;
            listens
        });
        told
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
/// turn of the network task; packets never travel here. What is emitted to an application, which may not read, for no
/// more than that a peer wished it, goes by [`EventSource::emit_within`].
#[derive(Debug)]
pub struct EventReceiver<E> {
    receiver: mpsc::UnboundedReceiver<E>,
    waiting: Arc<AtomicUsize>,
}

impl<E> EventReceiver<E> {
    /// The next event, or `None` if there is none now (or the source is gone and all was read).
    pub fn try_next(&mut self) -> Option<E> {
        let event = self.receiver.try_recv().ok();
        self.taken(event)
    }

    /// Waits for the next event; `None` once the source is gone and all was read.
    pub async fn next(&mut self) -> Option<E> {
        let event = self.receiver.recv().await;
        self.taken(event)
    }

    /// The poll form of [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<E>> {
        self.receiver.poll_recv(cx).map(|event| self.taken(event))
    }

    fn taken(&self, event: Option<E>) -> Option<E> {
        if event.is_some() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        event
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

    #[test]
    fn whoever_does_not_read_is_told_no_more_and_costs_a_reader_nothing() {
        let mut source = EventSource::new("test");
        let (mut reader, mut sleeper) = (source.subscribe(), source.subscribe());
        for _ in 0..5 {
            assert!(source.emit_within(2, TestEvent::One));
            assert_eq!(reader.try_next(), Some(TestEvent::One));
        }
        // What is not bounded comes all the same.
        source.emit(TestEvent::Two);
        let all: Vec<_> = std::iter::from_fn(|| sleeper.try_next()).collect();
        assert_eq!(all, [TestEvent::One, TestEvent::One, TestEvent::Two]);
        assert!(source.emit_within(1, TestEvent::One));
        assert_eq!(sleeper.try_next(), Some(TestEvent::One));
        // The reader did not read the last two either.
        source.emit(TestEvent::Two);
        assert!(!source.emit_within(1, TestEvent::One));
        drop((reader, sleeper));
        assert!(!source.emit_within(1, TestEvent::One));
        assert!(source.subscribers.is_empty());
    }
}
