//! Statistics of data channels, and of the connection itself.

use serde::Serialize;

use super::as_word;
use crate::data_channel_event::DataChannelState;
use crate::data_channel_shared::DataChannelShared;

/// webrtc-stats, `RTCDataChannelStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DataChannelStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// Label.
    pub label: String,
    /// Sub-protocol.
    pub protocol: String,
    /// Stream id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_channel_identifier: Option<u16>,
    /// State.
    #[serde(serialize_with = "as_word")]
    pub state: DataChannelState,
    /// Messages sent.
    pub messages_sent: u64,
    /// Bytes of messages sent.
    pub bytes_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Bytes of messages received.
    pub bytes_received: u64,
}

impl DataChannelStats {
    pub(crate) fn new(timestamp: f64, channel: &DataChannelShared) -> Self {
        let counters = channel.counters();
        Self {
            id: format!("D{}", channel.key.0),
            timestamp,
            label: channel.label.clone(),
            protocol: channel.init.protocol.clone(),
            data_channel_identifier: channel.id(),
            state: channel.state(),
            messages_sent: counters.sent.packets,
            bytes_sent: counters.sent.bytes,
            messages_received: counters.received.packets,
            bytes_received: counters.received.bytes,
        }
    }
}

/// webrtc-stats, `RTCPeerConnectionStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PeerConnectionStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// Data channels that opened.
    pub data_channels_opened: u32,
    /// Data channels that opened and closed again.
    pub data_channels_closed: u32,
}
