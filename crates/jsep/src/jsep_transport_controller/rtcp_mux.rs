//! rtcp-mux in offers and answers: who may do without, and what becomes of RTCP's own transport.
//!
//! RFC 5761 section 5.1.1, RFC 9143 section 9.3, RFC 9429 sections 4.1.1 and 5.11. Answers to `SetRtcpMux` and
//! `ActivateRtcpMux` of libwebrtc's `pc/jsep_transport.cc`, and to `ValidateBundleSettings` of its
//! `pc/sdp_offer_answer.cc`.

use std::time::Instant;

use super::factory::JsepTransportFactory;
use super::transport_map::PlannedMap;
use super::{JsepError, JsepTransportController, JsepTransportControllerEvent};
use crate::jsep_transport::RtpTransportKind;
use crate::rtcp_mux_filter::RtcpMuxFilter;
use crate::{
    ContentInfo, JsepTransport, RtcpMuxPolicy, RtpProtection, SdpType, SessionDescription, TransportId,
};

impl<F: JsepTransportFactory> JsepTransportController<F> {
    /// What an answer says of multiplexing, or an offer. Where it is required
    /// [`check_rtcp_mux`](Self::check_rtcp_mux) has seen to it that all say the same.
    pub(super) fn plan_rtcp_mux(
        &self,
        rolled_back: bool,
        sdp_type: SdpType,
        content: &ContentInfo,
        id: TransportId,
    ) -> Result<RtcpMuxFilter, JsepError> {
        let before = self.transports.get(id).map_or_else(RtcpMuxFilter::default, |transport| {
            if rolled_back { transport.stable_rtcp_mux() } else { transport.rtcp_mux() }
        });
        if self.config.rtcp_mux_policy == RtcpMuxPolicy::Require {
            return Ok(before);
        }
        let said = before.with_description(sdp_type, content.description.rtcp_mux());
        said.map_err(|problem| JsepError::RtcpMux { mid: content.mid.clone(), problem })
    }

    /// J14: without rtcp-mux a section is refused, but for the policy "negotiate" and a section in no BUNDLE group (RFC
    /// 9143 section 9.3). J13: what uses the transport of a tag says nothing of it.
    pub(super) fn check_rtcp_mux(
        &self,
        description: &SessionDescription,
        map: &PlannedMap,
    ) -> Result<(), JsepError> {
        let required = self.config.rtcp_mux_policy == RtcpMuxPolicy::Require;
        let mut owners = map.owners.iter().filter_map(|mid| description.content(mid));
        match owners.find(|content| {
            let required = required || description.bundle_group_of(&content.mid).is_some();
            required && !content.description.rtcp_mux()
        }) {
            Some(content) => Err(JsepError::RtcpMuxRequired { mid: content.mid.clone() }),
            None => Ok(()),
        }
    }

    /// D21: RTCP's own transports that an answer left without use are closed.
    pub(super) fn retire_rtcp(&mut self, now: Instant) {
        for id in self.transport_ids() {
            let Some(transport) = self.transports.get_mut(id) else { continue };
            let Some(retired) = transport.take_unused_rtcp() else { continue };
            tracing::debug!(target: "peerstack::jsep", %id, name = transport.name(), "RTCP is multiplexed");
            let name = format!("{} rtcp", transport.name());
            // It is driven until all it has to say is said.
            let (backend, protection) = (self.config.srtp_backend, &RtpProtection::None);
            let rtp = RtpTransportKind::new(&name, retired.dtls, None, backend, protection);
            let mut closing = JsepTransport::new(&name, rtp);
            closing.close(now);
            self.closing.push(closing);
            let Some((mid, mline_index)) = self.place_of(id) else { continue };
            let candidates = retired.candidates;
            if !candidates.is_empty() {
                let mid = mid.clone();
                self.events.emit(JsepTransportControllerEvent::CandidatesRemoved {
                    mid,
                    mline_index,
                    candidates,
                });
            }
            if retired.ends_candidates {
                self.events.emit(JsepTransportControllerEvent::EndOfCandidates { mid, mline_index });
            }
        }
    }
}
