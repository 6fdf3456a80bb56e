//! Messages, events and states of an `RTCDataChannel` (webrtc-pc section 6.2).

use bytes::Bytes;

use crate::RtcError;

/// Bytes that a waiting message takes beside its own.
const MESSAGE_OVERHEAD: usize = 256;

/// `RTCDataChannelState` (webrtc-pc section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum DataChannelState {
    /// Not yet open.
    #[default]
    Connecting,
    /// Messages pass.
    Open,
    /// Closing: what was sent before still goes out.
    Closing,
    /// Closed.
    Closed,
}

/// One message: a string or bytes, as the peer sent it (RFC 8831 section 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataChannelMessage {
    /// Text. What a peer sent as text but is no UTF-8 has its bad parts replaced.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl DataChannelMessage {
    /// Bytes of the message.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// What a waiting message counts for: a peer that sends nothing but empty ones is held back too.
    pub(crate) fn cost(&self) -> usize {
        self.len() + MESSAGE_OVERHEAD
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for DataChannelMessage {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for DataChannelMessage {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for DataChannelMessage {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for DataChannelMessage {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// What happens on a channel: the events of `RTCDataChannel` (webrtc-pc section 6.2), in order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataChannelEvent {
    /// Messages pass now.
    Open,
    /// A message came.
    Message(DataChannelMessage),
    /// `buffered_amount` fell to the low threshold.
    BufferedAmountLow,
    /// The channel broke, and why; `Closed` follows.
    Error(RtcError),
    /// The peer closes the channel.
    Closing,
    /// Closed; nothing comes after this.
    Closed,
}
