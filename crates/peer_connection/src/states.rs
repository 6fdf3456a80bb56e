//! The state enums and small dictionaries of webrtc-pc that belong to no other object.

use std::fmt;

pub use peerstack_jsep::{IceConnectionState, IceGatheringState, PeerConnectionState, SdpType};

/// `RTCSignalingState` (webrtc-pc section 4.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum SignalingState {
    /// No exchange is under way.
    #[default]
    Stable,
    /// A local offer waits for its answer.
    HaveLocalOffer,
    /// A remote offer waits for its answer.
    HaveRemoteOffer,
    /// A provisional local answer was set.
    HaveLocalPranswer,
    /// A provisional remote answer was set.
    HaveRemotePranswer,
    /// Closed.
    Closed,
}

impl SignalingState {
    /// The W3C string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::HaveLocalOffer => "have-local-offer",
            Self::HaveRemoteOffer => "have-remote-offer",
            Self::HaveLocalPranswer => "have-local-pranswer",
            Self::HaveRemotePranswer => "have-remote-pranswer",
            Self::Closed => "closed",
        }
    }
}

/// A description as signalling carries it (`RTCSessionDescription`, webrtc-pc section 4.6.2). `Debug` shows its
/// length only: the text holds `ice-pwd`.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionDescription {
    /// What it is (webrtc-pc section 4.6.2, `type`).
    pub sdp_type: SdpType,
    /// The SDP; empty for a rollback.
    pub sdp: String,
}

impl fmt::Debug for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionDescription({:?}, {} bytes)", self.sdp_type, self.sdp.len())
    }
}

impl SessionDescription {
    /// An offer.
    pub fn offer(sdp: impl Into<String>) -> Self {
        Self { sdp_type: SdpType::Offer, sdp: sdp.into() }
    }

    /// An answer.
    pub fn answer(sdp: impl Into<String>) -> Self {
        Self { sdp_type: SdpType::Answer, sdp: sdp.into() }
    }

    /// A provisional answer.
    pub fn pranswer(sdp: impl Into<String>) -> Self {
        Self { sdp_type: SdpType::Pranswer, sdp: sdp.into() }
    }

    /// A rollback to the stable state.
    pub fn rollback() -> Self {
        Self { sdp_type: SdpType::Rollback, sdp: String::new() }
    }
}

/// A candidate as signalling carries it (`RTCIceCandidateInit`, webrtc-pc section 4.8.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IceCandidateInit {
    /// The candidate attribute, `candidate:...`; empty for the end of candidates.
    pub candidate: String,
    /// The media section it belongs to, by identification tag.
    pub sdp_mid: Option<String>,
    /// The media section, by position from 0; used if there is no `sdp_mid`.
    pub sdp_mline_index: Option<u16>,
    /// The ICE generation it belongs to.
    pub username_fragment: Option<String>,
}

/// Options of `create_offer` (`RTCOfferOptions`, webrtc-pc section 4.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OfferOptions {
    /// Offer new ICE credentials.
    pub ice_restart: bool,
}

impl OfferOptions {
    /// Options that ask for an ICE restart.
    pub fn ice_restart() -> Self {
        Self { ice_restart: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_printed_without_its_password() {
        let offer = SessionDescription::offer("v=0\r\na=ice-pwd:secret\r\n");
        assert_eq!(format!("{offer:?}"), "SessionDescription(Offer, 23 bytes)");
    }
}
