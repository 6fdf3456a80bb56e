//! Which operation is allowed in which signalling state, and where a description leads (webrtc-pc section 4.3.1's
//! figure, RFC 9429 section 3.2).

use crate::{SdpType, SignalingState};

/// The state after a local description; `None` if it is not allowed.
pub(super) fn after_local(state: SignalingState, sdp_type: SdpType) -> Option<SignalingState> {
    use SignalingState as S;
    match (state, sdp_type) {
        (S::Stable | S::HaveLocalOffer, SdpType::Offer) => Some(S::HaveLocalOffer),
        (S::HaveRemoteOffer | S::HaveLocalPranswer, SdpType::Pranswer) => Some(S::HaveLocalPranswer),
        (S::HaveRemoteOffer | S::HaveLocalPranswer, SdpType::Answer) => Some(S::Stable),
        _ => None,
    }
}

/// The state after a remote description; `None` if it is not allowed. The implicit rollback of glare is the
/// caller's.
pub(super) fn after_remote(state: SignalingState, sdp_type: SdpType) -> Option<SignalingState> {
    use SignalingState as S;
    match (state, sdp_type) {
        (S::Stable | S::HaveRemoteOffer, SdpType::Offer) => Some(S::HaveRemoteOffer),
        (S::HaveLocalOffer | S::HaveRemotePranswer, SdpType::Pranswer) => Some(S::HaveRemotePranswer),
        (S::HaveLocalOffer | S::HaveRemotePranswer, SdpType::Answer) => Some(S::Stable),
        _ => None,
    }
}

/// Whether a side may take back what it offered. A provisional answer cannot be taken back.
pub(super) fn may_roll_back(state: SignalingState, local: bool) -> bool {
    match state {
        SignalingState::HaveLocalOffer => local,
        SignalingState::HaveRemoteOffer => !local,
        _ => false,
    }
}

/// Whether an offer may be made (webrtc-pc section 4.4.2, `createOffer`).
pub(super) fn may_create_offer(state: SignalingState) -> bool {
    matches!(state, SignalingState::Stable | SignalingState::HaveLocalOffer)
}

/// Whether an answer may be made (webrtc-pc section 4.4.2, `createAnswer`).
pub(super) fn may_create_answer(state: SignalingState) -> bool {
    matches!(state, SignalingState::HaveRemoteOffer | SignalingState::HaveLocalPranswer)
}

/// What `setLocalDescription()` without a type sets (webrtc-pc section 4.4.2).
pub(super) fn implied_local(state: SignalingState) -> SdpType {
    use SignalingState as S;
    match state {
        S::Stable | S::HaveLocalOffer | S::HaveRemotePranswer => SdpType::Offer,
        _ => SdpType::Answer,
    }
}
