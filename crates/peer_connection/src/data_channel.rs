//! `RTCDataChannel` (webrtc-pc section 6.2). Answers to libwebrtc's `pc/sctp_data_channel.cc`; the handle is
//! the application's, the other end is the network task's.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::data_channel_event::{DataChannelEvent, DataChannelMessage, DataChannelState};
use crate::data_channel_init::PriorityType;
use crate::data_channel_shared::{DataChannelShared, MAX_QUEUED_SEND_BYTES};
use crate::network_task::{ConnectionCommand, NetworkHandle};
use crate::{RtcError, RtcErrorKind};

/// A data channel (`RTCDataChannel`, webrtc-pc section 6.2). Cheap to clone; when the last clone is dropped the channel
/// is closed.
#[derive(Debug, Clone)]
#[doc(alias = "RTCDataChannel")]
pub struct DataChannel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<DataChannelShared>,
    network: NetworkHandle,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<DataChannelEvent>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody will read what waits: it counts no longer. What comes from here on is refused to its sender.
        let events = self.events.get_mut();
        events.close();
        let mut resume = false;
        while let Ok(event) = events.try_recv() {
            if let DataChannelEvent::Message(message) = event {
                resume |= self.shared.take_unread(message.cost());
            }
        }
        if resume {
            self.network.send(ConnectionCommand::ResumeDataChannel(self.shared.key));
        }
        if self.shared.state() != DataChannelState::Closed {
            self.network.send(ConnectionCommand::CloseDataChannel(self.shared.key));
        }
    }
}

impl DataChannel {
    pub(crate) fn new(
        shared: Arc<DataChannelShared>,
        network: NetworkHandle,
        events: mpsc::UnboundedReceiver<DataChannelEvent>,
    ) -> Self {
        Self { inner: Arc::new(Inner { shared, network, events: tokio::sync::Mutex::new(events) }) }
    }

    /// The label.
    pub fn label(&self) -> &str {
        &self.inner.shared.label
    }

    /// The sub-protocol.
    pub fn protocol(&self) -> &str {
        &self.inner.shared.init.protocol
    }

    /// Whether messages arrive in order.
    pub fn ordered(&self) -> bool {
        self.inner.shared.init.ordered
    }

    /// Milliseconds after which a message is given up.
    pub fn max_packet_life_time(&self) -> Option<u16> {
        self.inner.shared.init.max_packet_life_time
    }

    /// Retransmissions after which a message is given up.
    pub fn max_retransmits(&self) -> Option<u16> {
        self.inner.shared.init.max_retransmits
    }

    /// Whether both sides made the channel by agreement.
    pub fn negotiated(&self) -> bool {
        self.inner.shared.init.negotiated
    }

    /// How much of the path it gets.
    pub fn priority(&self) -> PriorityType {
        self.inner.shared.init.priority
    }

    /// The stream id: given at once if the channel is negotiated or the DTLS role is known, else with the answer that
    /// tells the role.
    pub fn id(&self) -> Option<u16> {
        self.inner.shared.id()
    }

    /// The state.
    pub fn ready_state(&self) -> DataChannelState {
        self.inner.shared.state()
    }

    /// Bytes handed to [`send`](Self::send) that did not go out yet.
    pub fn buffered_amount(&self) -> usize {
        self.inner.shared.buffered_amount()
    }

    /// The amount at which [`DataChannelEvent::BufferedAmountLow`] is told, in bytes; 0 at first.
    pub fn buffered_amount_low_threshold(&self) -> usize {
        self.inner.shared.low_threshold()
    }

    /// Sets the amount at which [`DataChannelEvent::BufferedAmountLow`] is told, in bytes.
    pub fn set_buffered_amount_low_threshold(&self, bytes: usize) {
        self.inner.shared.set_low_threshold(bytes);
    }

    /// Sends one message.
    ///
    /// # Errors
    /// `InvalidStateError` unless the channel is open, `TypeError` for a message larger than the peer takes,
    /// `OperationError` when 16 MiB wait already: go on at [`DataChannelEvent::BufferedAmountLow`]. In each
    /// case nothing was sent.
    pub fn send(&self, message: impl Into<DataChannelMessage>) -> Result<(), RtcError> {
        let message = message.into();
        let (shared, len) = (&self.inner.shared, message.len());
        if shared.state() != DataChannelState::Open {
            let state = shared.state();
            let label = &shared.label;
            return Err(RtcError::invalid_state(format!(
                "the data channel {label:?} is {state:?}, not Open"
            )));
        }
        let limit = self.inner.network.max_message_size();
        if len > limit {
            return Err(RtcError::type_error(format!("the message has {len} bytes, the peer takes {limit}")));
        }
        if let Err(waiting) = shared.reserve(len) {
            let text = format!("{waiting} bytes wait already, {MAX_QUEUED_SEND_BYTES} may");
            return Err(RtcError::new(RtcErrorKind::OperationError, text));
        }
        self.inner.network.send(ConnectionCommand::SendData { channel: shared.key, message });
        Ok(())
    }

    /// Sends a text message; see [`send`](Self::send), which webrtc-pc section 6.2 overloads.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: impl Into<String>) -> Result<(), RtcError> {
        self.send(DataChannelMessage::Text(text.into()))
    }

    /// The next event (webrtc-pc section 6.2, the handlers); `None` once the channel is closed and all was read.
    /// Messages that are not taken hold the peer back once 8 MiB wait on the channel, or 32 MiB on all channels of
    /// the connection; none is dropped.
    pub async fn next_event(&self) -> Option<DataChannelEvent> {
        let event = self.inner.events.lock().await.recv().await;
        if let Some(DataChannelEvent::Message(message)) = &event {
            let shared = &self.inner.shared;
            if shared.take_unread(message.cost()) {
                self.inner.network.send(ConnectionCommand::ResumeDataChannel(shared.key));
            }
        }
        event
    }

    /// Closes the channel: what was sent before still goes out. Does nothing on a closed one.
    pub fn close(&self) {
        let shared = &self.inner.shared;
        if matches!(shared.state(), DataChannelState::Connecting | DataChannelState::Open) {
            shared.set_state(DataChannelState::Closing);
            self.inner.network.send(ConnectionCommand::CloseDataChannel(shared.key));
        }
    }
}
