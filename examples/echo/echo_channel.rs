//! Sends back what a data channel brings: in order, text as text, bytes as bytes, nothing dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use peerstack::{DataChannel, DataChannelEvent, DataChannelMessage, RtcError};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::counters::Counters;

/// More than this in the channel's own queue, and messages wait here.
const HIGH_WATER: usize = 1 << 20;
/// At this much they go on.
const LOW_WATER: usize = 256 << 10;
/// More than this waiting here, and no more are read: the peer is held back.
const MAX_WAITING: usize = 8 << 20;
/// While no events are read the low event cannot be seen, so the amount is looked at now and then.
const POLL: Duration = Duration::from_millis(10);

/// Runs until the channel is closed.
pub(crate) async fn echo_channel(channel: DataChannel, counters: Arc<Counters>) {
    channel.set_buffered_amount_low_threshold(LOW_WATER);
    info!(label = channel.label(), id = channel.id(), "data channel");
    let mut waiting = Waiting::default();
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            biased;
            event = channel.next_event(), if waiting.bytes < MAX_WAITING => event,
            _ = poll.tick(), if waiting.bytes >= MAX_WAITING => Some(DataChannelEvent::BufferedAmountLow),
        };
        match event {
            Some(DataChannelEvent::Message(message)) => {
                counters.message_in(message.len());
                waiting.push(message);
            }
            Some(DataChannelEvent::BufferedAmountLow) => {}
            // A browser that leaves aborts the association: an end like another.
            Some(DataChannelEvent::Error(error)) => {
                info!(label = channel.label(), %error, "data channel broke")
            }
            Some(DataChannelEvent::Closed) | None => break,
            Some(_) => continue,
        }
        if let Err(error) = waiting.flush(&channel, &counters) {
            // Nothing is ever left out: a channel that cannot echo a message is closed, and says so.
            warn!(label = channel.label(), %error, "cannot echo, the channel is closed");
            channel.close();
            break;
        }
    }
    info!(label = channel.label(), id = channel.id(), "data channel closed");
}

/// Messages read that the channel has no room for yet.
#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<DataChannelMessage>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, message: DataChannelMessage) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// Sends as long as the channel's queue is below the high-water mark.
    fn flush(&mut self, channel: &DataChannel, counters: &Counters) -> Result<(), RtcError> {
        while channel.buffered_amount() < HIGH_WATER {
            let Some(message) = self.messages.pop_front() else { return Ok(()) };
            let len = message.len();
            channel.send(message)?;
            self.bytes -= len;
            counters.message_out(len);
        }
        Ok(())
    }
}
