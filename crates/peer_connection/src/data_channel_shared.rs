//! What the two ends of a data channel share: the application's handle and the network task.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peerstack_base::Counter;

use crate::data_channel_event::DataChannelState;
use crate::data_channel_init::DataChannelInit;
use crate::held_bytes::Held;
use crate::network_task::ChannelKey;
use crate::unread_gate::UnreadGate;

/// Bytes that may wait to be sent on one channel; beyond it [`DataChannel::send`](crate::DataChannel::send) fails
/// (libwebrtc `kMaxQueuedSendDataBytes`).
pub(crate) const MAX_QUEUED_SEND_BYTES: usize = 16 << 20;

/// Bytes that may wait for the application on one channel before the peer is held back.
const MAX_UNREAD: usize = 8 << 20;

/// What both ends of a channel share.
#[derive(Debug)]
pub(crate) struct DataChannelShared {
    pub(crate) key: ChannelKey,
    pub(crate) label: String,
    pub(crate) init: DataChannelInit,
    dynamic: Mutex<Dynamic>,
    buffered_amount: AtomicUsize,
    low_threshold: AtomicUsize,
    /// What the messages in the application's queue cost, see [`DataChannelMessage::cost`].
    pub(crate) unread: UnreadGate,
    /// The same of all channels of the connection.
    unread_of_all: Arc<UnreadGate>,
    /// Label and protocol, where the peer chose them.
    _names: Option<Held>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Dynamic {
    state: DataChannelState,
    id: Option<u16>,
    counters: DataChannelCounters,
}

/// Messages, and bytes in them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DataChannelCounters {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

impl DataChannelShared {
    pub(crate) fn new(
        key: ChannelKey,
        label: String,
        init: DataChannelInit,
        unread_of_all: Arc<UnreadGate>,
        names: Option<Held>,
    ) -> Self {
        let dynamic = Dynamic { id: init.id, ..Dynamic::default() };
        Self {
            key,
            label,
            init,
            dynamic: Mutex::new(dynamic),
            buffered_amount: AtomicUsize::new(0),
            low_threshold: AtomicUsize::new(0),
            unread: UnreadGate::new(MAX_UNREAD),
            unread_of_all,
            _names: names,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Dynamic> {
        self.dynamic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> DataChannelState {
        self.lock().state
    }

    pub(crate) fn set_state(&self, state: DataChannelState) {
        self.lock().state = state;
    }

    pub(crate) fn id(&self) -> Option<u16> {
        self.lock().id
    }

    pub(crate) fn set_id(&self, id: u16) {
        self.lock().id = Some(id);
    }

    pub(crate) fn counters(&self) -> DataChannelCounters {
        self.lock().counters
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.lock().counters.received.add(bytes);
    }

    pub(crate) fn buffered_amount(&self) -> usize {
        self.buffered_amount.load(Ordering::Acquire)
    }

    pub(crate) fn low_threshold(&self) -> usize {
        self.low_threshold.load(Ordering::Acquire)
    }

    pub(crate) fn set_low_threshold(&self, bytes: usize) {
        self.low_threshold.store(bytes, Ordering::Release);
    }

    /// A message of the application's is to be sent; fails, and changes nothing, with the bytes that wait already where it
    /// would be too many.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<(), usize> {
        let waiting = self.buffered_amount.fetch_add(bytes, Ordering::AcqRel);
        if waiting + bytes > MAX_QUEUED_SEND_BYTES {
            self.buffered_amount.fetch_sub(bytes, Ordering::AcqRel);
            return Err(waiting);
        }
        self.lock().counters.sent.add(bytes);
        Ok(())
    }

    /// Counts bytes as sent. Returns whether the amount crossed the low threshold from above.
    pub(crate) fn release(&self, bytes: usize) -> bool {
        let before = self.buffered_amount.fetch_sub(bytes, Ordering::AcqRel);
        let threshold = self.low_threshold();
        before > threshold && before.saturating_sub(bytes) <= threshold
    }

    /// A message of this cost goes into the application's queue.
    pub(crate) fn add_unread(&self, cost: usize) {
        self.unread.add(cost);
        self.unread_of_all.add(cost);
    }

    /// It was taken out of it. Whether the network task is to be told.
    pub(crate) fn take_unread(&self, cost: usize) -> bool {
        let (this, all) = (self.unread.take(cost), self.unread_of_all.take(cost));
        this || all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_threshold_is_told_only_when_crossed_from_above() {
        let all = Arc::new(UnreadGate::new(1));
        let shared =
            DataChannelShared::new(ChannelKey(1), String::new(), DataChannelInit::default(), all, None);
        shared.low_threshold.store(10, Ordering::Release);
        shared.buffered_amount.store(30, Ordering::Release);
        assert!(!shared.release(10));
        assert!(shared.release(10));
        assert!(!shared.release(10));
    }
}
