//! Which description may be set in which signalling state, and where that leads (webrtc-pc section 4.3.1's
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

#[cfg(test)]
mod tests {
    use super::*;
    use SignalingState::*;

    /// O13: every pair of state and description.
    #[test]
    fn the_table_is_the_specifications() {
        use SdpType::{Answer, Offer, Pranswer, Rollback};
        let none = [None; 4];
        let table = [
            (Stable, [Some(HaveLocalOffer), None, None, None], [Some(HaveRemoteOffer), None, None, None]),
            (
                HaveLocalOffer,
                [Some(HaveLocalOffer), None, None, None],
                [None, Some(HaveRemotePranswer), Some(Stable), None],
            ),
            (
                HaveRemoteOffer,
                [None, Some(HaveLocalPranswer), Some(Stable), None],
                [Some(HaveRemoteOffer), None, None, None],
            ),
            (HaveLocalPranswer, [None, Some(HaveLocalPranswer), Some(Stable), None], none),
            (HaveRemotePranswer, none, [None, Some(HaveRemotePranswer), Some(Stable), None]),
            (Closed, none, none),
        ];
        for (state, local, remote) in table {
            for (index, sdp_type) in [Offer, Pranswer, Answer, Rollback].into_iter().enumerate() {
                assert_eq!(after_local(state, sdp_type), local[index], "local {sdp_type:?} in {state:?}");
                assert_eq!(after_remote(state, sdp_type), remote[index], "remote {sdp_type:?} in {state:?}");
            }
        }
    }
}
