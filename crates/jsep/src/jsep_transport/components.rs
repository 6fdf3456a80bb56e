//! The one or two transports below a JsepTransport: that of RTP, and that of RTCP while the two are not multiplexed.
//!
//! Owned by the JsepTransportController, on the network task. RFC 5761 section 5.1 (when RTCP gives its transport up),
//! RFC 8445 section 13 (components), RFC 5764 section 4.1 (a handshake each). Answers to `rtp_dtls_transport`,
//! `rtcp_dtls_transport`, `SetRtcpMux` and `ActivateRtcpMux` of libwebrtc's `pc/jsep_transport.h`.

use std::iter;

use peerstack_base::{EventReceiver, SocketId};
use peerstack_dtls::{DtlsTransportEvent, DtlsTransportInternal};
use peerstack_p2p::{Candidate, IceGatheringState, IceTransport, IceTransportEvent};
use peerstack_rtp_transport::RtpTransportInternal;

use super::JsepTransport;
use crate::IceComponent;
use crate::rtcp_mux_filter::RtcpMuxFilter;

/// What one of them tells.
#[derive(Debug)]
pub(super) struct ComponentEvents {
    ice: EventReceiver<IceTransportEvent>,
    dtls: EventReceiver<DtlsTransportEvent>,
    /// It told that all candidates of the generation in force are gathered.
    gathered: bool,
}

impl ComponentEvents {
    pub(super) fn of<D: DtlsTransportInternal>(dtls: &mut D) -> Self {
        Self { ice: dtls.ice_mut().subscribe(), dtls: dtls.subscribe(), gathered: false }
    }
}

/// What is left of RTCP's own transport when RTP's carries RTCP.
#[derive(Debug)]
pub(crate) struct RetiredRtcp<D> {
    /// To be closed.
    pub(crate) dtls: D,
    /// Its candidates, which are no one's any more.
    pub(crate) candidates: Vec<Candidate>,
    /// The end of candidates waited for it alone.
    pub(crate) ends_candidates: bool,
}

impl<D: DtlsTransportInternal> JsepTransport<D> {
    /// The DTLS transport of a component, if there is one.
    pub fn dtls_of(&self, component: IceComponent) -> Option<&D> {
        match component {
            IceComponent::Rtp => Some(self.rtp.rtp_dtls()),
            IceComponent::Rtcp => self.rtp.rtcp_dtls(),
        }
    }

    /// The DTLS transport of a component, if there is one.
    pub fn dtls_of_mut(&mut self, component: IceComponent) -> Option<&mut D> {
        match component {
            IceComponent::Rtp => Some(self.rtp.rtp_dtls_mut()),
            IceComponent::Rtcp => self.rtp.rtcp_dtls_mut(),
        }
    }

    /// The transports there are: RTP's first.
    pub fn components(&self) -> impl Iterator<Item = (IceComponent, &D)> {
        let rtp = iter::once((IceComponent::Rtp, self.rtp.rtp_dtls()));
        rtp.chain(self.rtp.rtcp_dtls().map(|rtcp| (IceComponent::Rtcp, rtcp)))
    }

    /// Calls `visit` with each transport: RTP's first.
    pub fn for_each_dtls(&mut self, mut visit: impl FnMut(&mut D)) {
        visit(self.rtp.rtp_dtls_mut());
        if let Some(rtcp) = self.rtp.rtcp_dtls_mut() {
            visit(rtcp);
        }
    }

    /// Calls `visit` with the ICE transport of each.
    pub fn for_each_ice(&mut self, mut visit: impl FnMut(&mut D::Ice)) {
        self.for_each_dtls(|dtls| visit(dtls.ice_mut()));
    }

    /// Calls `visit` with the ICE transport of a candidate's component. What is of RTCP that shares RTP's transport, or of no
    /// component there is, comes to RTP's, which ignores it (RFC 5761 section 5.1.1: who offers rtcp-mux may signal both
    /// until the answer).
    pub(crate) fn with_ice_of(&mut self, component: u8, visit: impl FnOnce(&mut D::Ice)) {
        let rtcp = component == IceComponent::Rtcp.id();
        match self.rtp.rtcp_dtls_mut().filter(|_| rtcp) {
            Some(dtls) => visit(dtls.ice_mut()),
            None => visit(self.rtp.rtp_dtls_mut().ice_mut()),
        }
    }

    /// Whether a socket is one of theirs.
    pub(crate) fn owns_socket(&self, socket: SocketId) -> bool {
        self.components().any(|(_, dtls)| dtls.ice().owns_socket(socket))
    }

    fn events_of(&mut self, component: IceComponent) -> Option<&mut ComponentEvents> {
        match component {
            IceComponent::Rtp => Some(&mut self.rtp_component),
            IceComponent::Rtcp => self.rtcp_component.as_mut(),
        }
    }

    /// What ICE told, RTP's first.
    pub(crate) fn next_ice_event(&mut self) -> Option<(IceComponent, IceTransportEvent)> {
        let next = |component, events: &mut ComponentEvents| Some((component, events.ice.try_next()?));
        next(IceComponent::Rtp, &mut self.rtp_component)
            .or_else(|| next(IceComponent::Rtcp, self.rtcp_component.as_mut()?))
    }

    /// What DTLS told, RTP's first.
    pub(crate) fn next_dtls_event(&mut self) -> Option<(IceComponent, DtlsTransportEvent)> {
        let next = |component, events: &mut ComponentEvents| Some((component, events.dtls.try_next()?));
        next(IceComponent::Rtp, &mut self.rtp_component)
            .or_else(|| next(IceComponent::Rtcp, self.rtcp_component.as_mut()?))
    }

    /// A new generation begins: nothing of it is gathered.
    pub(super) fn gather_anew(&mut self) {
        self.local_candidates.clear();
        for component in iter::once(&mut self.rtp_component).chain(&mut self.rtcp_component) {
            component.gathered = false;
        }
    }

    /// A component tells its gathering state: whether with it all have gathered all (RFC 8838 section 13).
    pub(crate) fn note_gathering(&mut self, component: IceComponent, state: IceGatheringState) -> bool {
        let complete = state == IceGatheringState::Complete;
        if let Some(events) = self.events_of(component) {
            events.gathered = complete;
        }
        let rtcp = self.rtcp_component.as_ref().is_none_or(|rtcp| rtcp.gathered);
        complete && self.rtp_component.gathered && rtcp
    }

    /// What offers and answers said of multiplexing.
    pub(crate) fn rtcp_mux(&self) -> RtcpMuxFilter {
        self.now.rtcp_mux
    }

    /// What they said in the last stable state.
    pub(crate) fn stable_rtcp_mux(&self) -> RtcpMuxFilter {
        self.stable.rtcp_mux
    }

    /// Puts in force what a description says of multiplexing.
    pub(crate) fn set_rtcp_mux(&mut self, filter: RtcpMuxFilter) {
        self.now.rtcp_mux = filter;
        if self.rtcp_component.is_some() {
            self.rtp.set_rtcp_mux_enabled(filter.is_active());
        }
    }

    /// RTCP's own transport, once a final answer agreed to do without (libwebrtc `ActivateRtcpMux`; D21).
    pub(crate) fn take_unused_rtcp(&mut self) -> Option<RetiredRtcp<D>> {
        let events = self.rtcp_component.take_if(|_| self.now.rtcp_mux.is_fully_active())?;
        let dtls = self.rtp.remove_rtcp_dtls()?;
        let is_rtcp = |candidate: &Candidate| candidate.component == IceComponent::Rtcp.id();
        let (candidates, kept) = std::mem::take(&mut self.local_candidates).into_iter().partition(is_rtcp);
        self.local_candidates = kept;
        let ends_candidates = self.rtp_component.gathered && !events.gathered;
        Some(RetiredRtcp { dtls, candidates, ends_candidates })
    }
}
