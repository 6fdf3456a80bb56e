//! Whether RTP and RTCP share a transport, as offers and answers agree on it.
//!
//! Owned by each JsepTransport, on the network task. RFC 5761 section 5.1.1, RFC 9429 sections 4.1.1 and 5.11. Answers
//! to libwebrtc's `pc/rtcp_mux_filter.h` and to `PeerConnectionInterface::RtcpMuxPolicy`.

use crate::SdpType;

/// W3C `RTCRtcpMuxPolicy`: what becomes of a peer that does not multiplex RTP and RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RtcpMuxPolicy {
    /// It is refused.
    #[default]
    Require,
    /// RTCP has a transport of its own until both sides agreed to multiplex, and after they did not. `negotiate` stood in
    /// webrtc-pc until RFC 8834 section 4.5 made multiplexing the only way of browsers.
    Negotiate,
}

/// Which packets a transport carries (W3C `RTCIceComponent`; RFC 8445 section 13, RFC 8839 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum IceComponent {
    /// RTP, and RTCP with it where they are multiplexed; data channels, too.
    #[default]
    Rtp,
    /// RTCP, where it is not multiplexed.
    Rtcp,
}

impl IceComponent {
    /// The W3C word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rtp => "rtp",
            Self::Rtcp => "rtcp",
        }
    }

    /// The component that candidates with this id are of.
    pub fn of_candidate(id: u8) -> Option<Self> {
        [Self::Rtp, Self::Rtcp].into_iter().find(|component| component.id() == id)
    }

    /// The component id of candidates.
    pub fn id(self) -> u8 {
        match self {
            Self::Rtp => 1,
            Self::Rtcp => 2,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nothing is offered; RTCP has a transport of its own.
    #[default]
    Init,
    /// Offered with or without it, answered by nobody yet, or by a provisional answer without it.
    Offered { enabled: bool },
    /// A provisional answer took it; the final one may not.
    Provisional,
    /// Agreed on, for good.
    Active,
}

/// The states an exchange leads through (libwebrtc `RtcpMuxFilter`). Whose turn it is to say something is checked by the
/// controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RtcpMuxFilter {
    state: State,
}

impl RtcpMuxFilter {
    /// Whether RTCP takes RTP's transport now.
    pub(crate) fn is_active(self) -> bool {
        matches!(self.state, State::Provisional | State::Active)
    }

    /// Whether it does so for good: no description can change it any more.
    pub(crate) fn is_fully_active(self) -> bool {
        self.state == State::Active
    }

    /// A description says `enabled`. What follows, or what is wrong with it.
    pub(crate) fn with_description(self, sdp_type: SdpType, enabled: bool) -> Result<Self, &'static str> {
        let state = match (self.state, sdp_type) {
            (state, SdpType::Rollback) => state,
            (State::Active, _) if enabled => State::Active,
            (State::Active, _) => return Err("once agreed on it cannot be given up"),
            (_, SdpType::Offer) => State::Offered { enabled },
            (State::Init, _) | (State::Offered { enabled: false }, _) if enabled => {
                return Err("it is answered, but it was not offered");
            }
            (_, SdpType::Answer) if enabled => State::Active,
            (_, SdpType::Answer) => State::Init,
            (State::Init, SdpType::Pranswer) => State::Init,
            (_, SdpType::Pranswer) if enabled => State::Provisional,
            (State::Offered { enabled }, SdpType::Pranswer) => State::Offered { enabled },
            // The next answer may take what was offered again.
            (State::Provisional, SdpType::Pranswer) => State::Offered { enabled: true },
        };
        Ok(Self { state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each exchange leads to: `o`ffer, `p`rovisional answer, `a`nswer; upper case with rtcp-mux. `None` is an error,
    /// otherwise whether RTCP takes RTP's transport, and whether for good.
    fn after(exchange: &str) -> Option<(bool, bool)> {
        let mut filter = RtcpMuxFilter::default();
        for step in exchange.chars() {
            let sdp_type = match step.to_ascii_lowercase() {
                'o' => SdpType::Offer,
                'p' => SdpType::Pranswer,
                _ => SdpType::Answer,
            };
            filter = filter.with_description(sdp_type, step.is_ascii_uppercase()).ok()?;
        }
        Some((filter.is_active(), filter.is_fully_active()))
    }

    /// D21, J14: libwebrtc's `RtcpMuxFilter`, as a table.
    #[test]
    fn exchanges_lead_where_libwebrtc_s_filter_leads() {
        let (apart, provisional, active) = (Some((false, false)), Some((true, false)), Some((true, true)));
        for (exchange, expected) in [
            ("", apart),
            ("O", apart),
            ("o", apart),
            // What was offered may be taken, what was not may not.
            ("OA", active),
            ("Oa", apart),
            ("oa", apart),
            ("oA", None),
            ("oP", None),
            ("A", None),
            ("P", None),
            // Provisional answers may take it and give it back.
            ("OP", provisional),
            ("Op", apart),
            ("OpP", provisional),
            ("OPp", apart),
            ("OPpA", active),
            ("OPA", active),
            ("OPa", apart),
            ("opa", apart),
            // An offer may replace one that was not answered.
            ("oOA", active),
            ("OoA", None),
            // Without it once, with it later.
            ("OaOA", active),
            ("oaOA", active),
            // Never back.
            ("OAo", None),
            ("OAOA", active),
            ("OAOa", None),
            ("OAOP", active),
            ("OAOp", None),
        ] {
            assert_eq!(after(exchange), expected, "{exchange:?}");
        }
    }

    #[test]
    fn a_rollback_leaves_it_to_its_owner() {
        let offered = RtcpMuxFilter::default().with_description(SdpType::Offer, true).unwrap();
        assert_eq!(offered.with_description(SdpType::Rollback, false), Ok(offered));
    }

    #[test]
    fn words_and_numbers_of_components() {
        let said = |component: IceComponent| (component.as_str(), component.id());
        assert_eq!((said(IceComponent::Rtp), said(IceComponent::Rtcp)), (("rtp", 1), ("rtcp", 2)));
        let known = [0, 1, 2, 3].map(IceComponent::of_candidate);
        assert_eq!(known, [None, Some(IceComponent::Rtp), Some(IceComponent::Rtcp), None]);
    }
}
