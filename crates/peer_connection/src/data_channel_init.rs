//! `RTCDataChannelInit` (webrtc-pc section 6.1), and what its members may be.

use crate::RtcError;

/// `RTCPriorityType` (webrtc-priority section 3.1): how much of the path a channel gets while others have something to
/// send too. Each step is twice the one before (RFC 8831 section 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
#[doc(alias = "RTCPriorityType")]
pub enum PriorityType {
    /// Below normal, 128 on the wire.
    VeryLow,
    /// Normal, 256 on the wire.
    #[default]
    Low,
    /// High, 512 on the wire.
    Medium,
    /// Extra high, 1024 on the wire.
    High,
}

impl PriorityType {
    /// The W3C string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The value of DATA_CHANNEL_OPEN (RFC 8832 section 5.1).
    pub(crate) fn to_wire(self) -> u16 {
        match self {
            Self::VeryLow => 128,
            Self::Low => 256,
            Self::Medium => 512,
            Self::High => 1024,
        }
    }

    /// Of what a peer says; values between count as the step below (RFC 8831 section 6.4).
    pub(crate) fn from_wire(value: u16) -> Self {
        match value {
            0..=128 => Self::VeryLow,
            129..=256 => Self::Low,
            257..=512 => Self::Medium,
            513.. => Self::High,
        }
    }
}

/// How a channel is made (`RTCDataChannelInit`, webrtc-pc section 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataChannelInit {
    /// Whether messages arrive in order. Default: yes.
    pub ordered: bool,
    /// Milliseconds after which a message is given up; not together with `max_retransmits`.
    pub max_packet_life_time: Option<u16>,
    /// Retransmissions after which a message is given up; not together with `max_packet_life_time`.
    pub max_retransmits: Option<u16>,
    /// Sub-protocol, at most 65,535 bytes.
    pub protocol: String,
    /// Both sides make the channel with the same `id`; nothing is announced.
    pub negotiated: bool,
    /// Stream id, 0 to 65,534: needed for a negotiated channel, of no meaning for others, whose id is chosen once the
    /// DTLS role is known (RFC 8832 section 6).
    pub id: Option<u16>,
    /// How much of the path it gets.
    pub priority: PriorityType,
}

impl Default for DataChannelInit {
    fn default() -> Self {
        Self {
            ordered: true,
            max_packet_life_time: None,
            max_retransmits: None,
            protocol: String::new(),
            negotiated: false,
            id: None,
            priority: PriorityType::default(),
        }
    }
}

impl DataChannelInit {
    /// W3C's checks (webrtc-pc section 6.1, createDataChannel, steps 5 to 14).
    pub(crate) fn validate(&self, label: &str) -> Result<(), RtcError> {
        if label.len() > 65_535 {
            return Err(RtcError::type_error(format!(
                "the label has {} bytes, 65535 are allowed",
                label.len()
            )));
        }
        if self.protocol.len() > 65_535 {
            let len = self.protocol.len();
            return Err(RtcError::type_error(format!("the protocol has {len} bytes, 65535 are allowed")));
        }
        if self.max_packet_life_time.is_some() && self.max_retransmits.is_some() {
            return Err(RtcError::type_error("max_packet_life_time and max_retransmits exclude each other"));
        }
        match (self.negotiated, self.id) {
            (true, None) => Err(RtcError::type_error("a negotiated channel needs an id")),
            (true, Some(65_535)) => Err(RtcError::type_error("id 65535 is reserved (RFC 8832 section 5.1)")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RtcErrorKind;

    /// RFC 8831 section 6.4.
    #[test]
    fn priorities_have_numbers() {
        use PriorityType::{High, Low, Medium, VeryLow};
        for (priority, wire) in [(VeryLow, 128), (Low, 256), (Medium, 512), (High, 1024)] {
            assert_eq!((priority.to_wire(), PriorityType::from_wire(wire)), (wire, priority));
        }
        assert_eq!([0, 129, 600, 65_535].map(PriorityType::from_wire), [VeryLow, Low, High, High]);
    }

    /// K01: what W3C's createDataChannel refuses, and what it takes at the edge.
    #[test]
    fn w3c_checks_what_a_channel_is_made_from() {
        let ok = DataChannelInit::default();
        assert_eq!(ok.validate("label"), Ok(()));
        let both = DataChannelInit { max_packet_life_time: Some(1), max_retransmits: Some(1), ..ok.clone() };
        let no_id = DataChannelInit { negotiated: true, ..ok.clone() };
        let reserved = DataChannelInit { negotiated: true, id: Some(65_535), ..ok.clone() };
        // Of a channel that is not negotiated the id says nothing.
        assert_eq!(DataChannelInit { id: Some(65_535), ..ok.clone() }.validate(""), Ok(()));
        let most = DataChannelInit {
            protocol: "p".repeat(65_535),
            negotiated: true,
            id: Some(65_534),
            ..ok.clone()
        };
        assert_eq!(most.validate(&"l".repeat(65_535)), Ok(()));
        let long = DataChannelInit { protocol: "p".repeat(65_536), ..ok.clone() };
        for bad in [both, no_id, reserved, long] {
            assert_eq!(bad.validate("label").map_err(|error| error.kind), Err(RtcErrorKind::TypeError));
        }
        assert!(ok.validate(&"l".repeat(65_536)).is_err());
    }
}
