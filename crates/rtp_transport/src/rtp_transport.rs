//! RTP and RTCP in the clear, over one DTLS transport or two: the ground of the protected transports, and by
//! explicit configuration a transport of its own. Runs on the network task; answers to libwebrtc's
//! `pc/rtp_transport.h`.

use std::collections::HashSet;
use std::fmt::Debug;
use std::time::Instant;

use peerstack_base::{EventReceiver, EventSource, PacketClass, PacketOptions, ReceiveMeta, SendError};
use peerstack_dtls::{DtlsTransportEvent, DtlsTransportInternal, DtlsTransportState};
use peerstack_p2p::{IceTransport, IceTransportEvent, NetworkRoute};

use crate::header_extension_map::RtpHeaderExtensionMap;
use crate::rtp_demuxer::{Demuxed, MAX_SSRC_BINDINGS, RtpDemuxer};
use crate::rtp_packet::{RtpHeaderView, RtpPacket};
use crate::rtp_transport_internal::{
    Received, RtpTransportEvent, RtpTransportInternal, RtpTransportStats, SinkId, UnDemuxablePacket,
};
use crate::srtp_backend::SrtpError;

/// Which of the two transports below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    Rtp,
    Rtcp,
}

/// What the events of the transports below said since the last look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Below {
    /// RTP's DTLS transport was, for a moment at least, in a state other than connected.
    pub(crate) rtp_left_connected: bool,
    /// RTCP's was.
    pub(crate) rtcp_left_connected: bool,
}

/// One transport below with its events.
#[derive(Debug)]
struct Lower<D> {
    dtls: D,
    dtls_events: EventReceiver<DtlsTransportEvent>,
    ice_events: EventReceiver<IceTransportEvent>,
    blocked: bool,
}

impl<D: DtlsTransportInternal> Lower<D> {
    fn new(mut dtls: D) -> Self {
        let (dtls_events, ice_events) = (dtls.subscribe(), dtls.ice_mut().subscribe());
        Self { dtls, dtls_events, ice_events, blocked: false }
    }

    /// Drains events: whether the state was other than connected, and the route if it changed.
    fn drain(&mut self) -> (bool, Option<Option<NetworkRoute>>) {
        let (mut left_connected, mut route) = (false, None);
        while let Some(event) = self.dtls_events.try_next() {
            match event {
                DtlsTransportEvent::StateChange(state) => {
                    left_connected |= state != DtlsTransportState::Connected;
                }
                DtlsTransportEvent::ReadyToSend => self.blocked = false,
                _ => {}
            }
        }
        while let Some(event) = self.ice_events.try_next() {
            if let IceTransportEvent::NetworkRouteChange(new) = event {
                route = Some(new);
            }
        }
        (left_connected, route)
    }
}

/// RTP in the clear.
#[derive(Debug)]
pub struct RtpTransport<D, S = SinkId> {
    rtp: Lower<D>,
    rtcp: Option<Lower<D>>,
    rtcp_mux_enabled: bool,
    demuxer: RtpDemuxer<S>,
    extensions: RtpHeaderExtensionMap,
    events: EventSource<RtpTransportEvent>,
    /// SSRCs that were told as undemuxable.
    told: HashSet<u32>,
    pub(crate) stats: RtpTransportStats,
    was_writable: bool,
    was_ready: bool,
    was_srtp_active: bool,
}

impl<D: DtlsTransportInternal, S: Copy + Eq + Debug> RtpTransport<D, S> {
    /// Over `rtp`, and `rtcp` while RTCP is not multiplexed: without it RTCP takes RTP's transport. `scope` names
    /// the transport in traces.
    pub fn new(scope: &str, rtp: D, rtcp: Option<D>) -> Self {
        Self {
            rtp: Lower::new(rtp),
            rtcp_mux_enabled: rtcp.is_none(),
            rtcp: rtcp.map(Lower::new),
            demuxer: RtpDemuxer::default(),
            extensions: RtpHeaderExtensionMap::default(),
            events: EventSource::new(scope),
            told: HashSet::new(),
            stats: RtpTransportStats::default(),
            was_writable: false,
            was_ready: false,
            was_srtp_active: false,
        }
    }

    /// Replaces the transports below; returns those that were there.
    pub(crate) fn replace_dtls(&mut self, rtp: D, rtcp: Option<D>) -> (D, Option<D>) {
        let old_rtp = std::mem::replace(&mut self.rtp, Lower::new(rtp)).dtls;
        let old_rtcp = std::mem::replace(&mut self.rtcp, rtcp.map(Lower::new)).map(|lower| lower.dtls);
        (old_rtp, old_rtcp)
    }

    /// Whether RTCP has a transport of its own now.
    pub(crate) fn rtcp_apart(&self) -> bool {
        !self.rtcp_mux_enabled && self.rtcp.is_some()
    }

    /// By which transport a datagram came in.
    pub(crate) fn component_of(&self, meta: &ReceiveMeta) -> Component {
        match &self.rtcp {
            Some(rtcp) if rtcp.dtls.ice().owns_socket(meta.socket) => Component::Rtcp,
            _ => Component::Rtp,
        }
    }

    /// Through ICE and DTLS; what is RTP or RTCP by its first two bytes comes out.
    pub(crate) fn receive_lower<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Option<(Component, PacketClass, &'d mut [u8])> {
        let component = self.component_of(meta);
        let lower = match (component, &mut self.rtcp) {
            (Component::Rtcp, Some(rtcp)) => rtcp,
            _ => &mut self.rtp,
        };
        let packet = lower.dtls.receive(now, datagram, meta)?;
        match PacketClass::of(packet) {
            class @ (PacketClass::Rtp | PacketClass::Rtcp) => Some((component, class, packet)),
            _ => {
                self.stats.dropped.malformed += 1;
                None
            }
        }
    }

    /// An RTP packet in the clear: whose it is. `wire_len` is what the datagram had.
    pub(crate) fn deliver_rtp<'d>(&mut self, packet: &'d [u8], wire_len: usize) -> Received<'d, S> {
        let Ok(packet) = RtpPacket::parse(packet) else {
            self.stats.dropped.malformed += 1;
            return Received::None;
        };
        let sink = match self.demuxer.demux(packet.header(), &self.extensions) {
            Demuxed::Sink(sink) => Some(sink),
            Demuxed::UnknownMid(_) => {
                self.stats.dropped.unknown_mid += 1;
                return Received::None;
            }
            Demuxed::Unclaimed { mid, rsid } => {
                self.stats.unclaimed.add(wire_len);
                let header = packet.header();
                let (ssrc, payload_type) = (header.ssrc(), header.payload_type());
                if self.told.len() < MAX_SSRC_BINDINGS && self.told.insert(ssrc) {
                    let packet = UnDemuxablePacket { ssrc, payload_type, mid, rsid };
                    self.events.emit(RtpTransportEvent::UnDemuxable(packet));
                }
                None
            }
        };
        self.stats.rtp_received.add(wire_len);
        Received::Rtp { packet, sink }
    }

    /// A compound RTCP packet in the clear.
    pub(crate) fn deliver_rtcp<'d>(&mut self, packet: &'d [u8], wire_len: usize) -> Received<'d, S> {
        // Each packet's length is checked where it is read; here, that there is one (RFC 3550 section 6.1).
        if packet.len() < 4 || !packet.len().is_multiple_of(4) {
            self.stats.dropped.malformed += 1;
            return Received::None;
        }
        self.stats.rtcp_received.add(wire_len);
        Received::Rtcp(packet)
    }

    pub(crate) fn count_drop(&mut self, error: SrtpError) {
        let dropped = &mut self.stats.dropped;
        let counter = match error {
            SrtpError::NoKeys => &mut dropped.no_keys,
            SrtpError::Rtp(_) | SrtpError::Rtcp(_) | SrtpError::TooShort { .. } => &mut dropped.malformed,
            SrtpError::Authentication => &mut dropped.authentication,
            SrtpError::Replayed => &mut dropped.replayed,
            SrtpError::TooOld => &mut dropped.too_old,
            SrtpError::NotEncrypted => &mut dropped.not_encrypted,
            SrtpError::TooManySsrcs => &mut dropped.too_many_ssrcs,
            _ => &mut dropped.other,
        };
        *counter += 1;
    }

    /// Sends past DTLS. `seal` gets the slot of `len + overhead` bytes and how many of them were written; it
    /// returns how many are to go out. Returns how many were written.
    pub(crate) fn send_lower(
        &mut self,
        now: Instant,
        class: PacketClass,
        options: &PacketOptions,
        (len, overhead): (usize, usize),
        write: impl FnOnce(&mut [u8]) -> usize,
        seal: impl FnOnce(&mut [u8], usize) -> Result<usize, SendError>,
    ) -> Result<usize, SendError> {
        let apart = self.rtcp_apart();
        let lower = match (class, &mut self.rtcp) {
            (PacketClass::Rtcp, Some(rtcp)) if apart => rtcp,
            _ => &mut self.rtp,
        };
        let options = PacketOptions { srtp_bypass: true, ..*options };
        let (mut written, mut failure) = (0, None);
        let sent = lower.dtls.send_with(now, &options, len + overhead, |slot| {
            written = slot.get_mut(..len).map_or(0, write).min(len);
            if written == 0 {
                return 0;
            }
            // RFC 5761 section 4: what does not look like RTP or RTCP would be taken for something else.
            let well_formed = match PacketClass::of(slot.get(..written).unwrap_or_default()) {
                seen if seen != class => Err(SendError::Malformed("not the kind of packet it is sent as")),
                PacketClass::Rtp => RtpHeaderView::parse(slot.get(..written).unwrap_or_default())
                    .map(|_| ())
                    .map_err(|_| SendError::Malformed("not an RTP packet")),
                _ => Ok(()),
            };
            match well_formed.and_then(|()| seal(slot, written)) {
                Ok(sealed) => sealed,
                Err(error) => {
                    failure = Some(error);
                    0
                }
            }
        });
        let sent = match sent {
            Err(error) => {
                if error == SendError::WouldBlock {
                    lower.blocked = true;
                    self.emit_changes(self.was_srtp_active, self.was_writable);
                }
                return Err(error);
            }
            Ok(sent) => sent,
        };
        if let Some(error) = failure {
            if matches!(error, SendError::Protect(_)) {
                self.stats.protect_failures += 1;
            }
            return Err(error);
        }
        if sent > 0 {
            let counter =
                if class == PacketClass::Rtcp { &mut self.stats.rtcp_sent } else { &mut self.stats.rtp_sent };
            counter.add(sent);
        }
        Ok(written)
    }

    /// `process` of the transports below; [`drain_lower`](Self::drain_lower) comes next.
    pub(crate) fn process_lower(&mut self, now: Instant) {
        self.rtp.dtls.process(now);
        if let Some(rtcp) = &mut self.rtcp {
            rtcp.dtls.process(now);
        }
    }

    /// The events of the transports below, and the route if it changed.
    pub(crate) fn drain_lower(&mut self) -> (Below, Option<Option<NetworkRoute>>) {
        let (rtp_left_connected, route) = self.rtp.drain();
        let rtcp_left_connected = self.rtcp.as_mut().is_some_and(|rtcp| rtcp.drain().0);
        (Below { rtp_left_connected, rtcp_left_connected }, route)
    }

    /// Tells the route, with SRTP's bytes in its overhead.
    pub(crate) fn emit_route(&mut self, route: Option<NetworkRoute>, overhead: usize) {
        let route =
            route.map(|route| NetworkRoute { packet_overhead: route.packet_overhead + overhead, ..route });
        self.events.emit(RtpTransportEvent::NetworkRouteChange(route));
    }

    /// Tells what changed since the last call, each once (D20).
    pub(crate) fn emit_changes(&mut self, srtp_active: bool, writable: bool) {
        let ready = writable && !self.blocked();
        if self.was_srtp_active != srtp_active {
            self.was_srtp_active = srtp_active;
            self.events.emit(RtpTransportEvent::SrtpActive(srtp_active));
        }
        if self.was_writable != writable {
            self.was_writable = writable;
            self.events.emit(RtpTransportEvent::WritableState(writable));
        }
        if self.was_ready != ready {
            self.was_ready = ready;
            self.events.emit(RtpTransportEvent::ReadyToSend(ready));
        }
    }

    /// Whether the transports below are writable, both if RTCP has one of its own.
    pub(crate) fn lower_writable(&self) -> bool {
        let rtcp = match &self.rtcp {
            Some(rtcp) if !self.rtcp_mux_enabled => rtcp.dtls.writable(),
            _ => self.rtcp_mux_enabled,
        };
        self.rtp.dtls.writable() && rtcp
    }

    pub(crate) fn blocked(&self) -> bool {
        self.rtp.blocked || (self.rtcp_apart() && self.rtcp.as_ref().is_some_and(|rtcp| rtcp.blocked))
    }

    /// An SSRC is forgotten: when it comes again it is news.
    pub(crate) fn forget_told(&mut self, ssrc: u32) {
        self.told.remove(&ssrc);
    }
}

impl<D: DtlsTransportInternal, S: Copy + Eq + Debug> RtpTransportInternal for RtpTransport<D, S> {
    type Dtls = D;
    type Sink = S;

    fn receive<'d>(&mut self, now: Instant, datagram: &'d mut [u8], meta: &ReceiveMeta) -> Received<'d, S> {
        let wire_len = datagram.len();
        match self.receive_lower(now, datagram, meta) {
            Some((_, PacketClass::Rtcp, packet)) => self.deliver_rtcp(packet, wire_len),
            Some((_, _, packet)) => self.deliver_rtp(packet, wire_len),
            None => Received::None,
        }
    }

    fn send_rtp_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        self.send_lower(now, PacketClass::Rtp, options, (len, 0), write, |_, written| Ok(written))
    }

    fn send_rtcp_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        self.send_lower(now, PacketClass::Rtcp, options, (len, 0), write, |_, written| Ok(written))
    }

    fn next_timeout(&self) -> Option<Instant> {
        let rtcp = self.rtcp.as_ref().and_then(|rtcp| rtcp.dtls.next_timeout());
        [self.rtp.dtls.next_timeout(), rtcp].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.rtp.dtls.handle_timeout(now);
        if let Some(rtcp) = &mut self.rtcp {
            rtcp.dtls.handle_timeout(now);
        }
    }

    fn process(&mut self, now: Instant) {
        self.process_lower(now);
        let (_, route) = self.drain_lower();
        if let Some(route) = route {
            self.emit_route(route, 0);
        }
        self.emit_changes(false, self.lower_writable());
    }

    fn subscribe(&mut self) -> EventReceiver<RtpTransportEvent> {
        self.events.subscribe()
    }

    fn writable(&self) -> bool {
        self.lower_writable()
    }

    fn ready_to_send(&self) -> bool {
        self.lower_writable() && !self.blocked()
    }

    fn srtp_active(&self) -> bool {
        false
    }

    fn rtcp_mux_enabled(&self) -> bool {
        self.rtcp_mux_enabled
    }

    fn set_rtcp_mux_enabled(&mut self, enabled: bool) {
        self.rtcp_mux_enabled = enabled;
    }

    fn rtp_dtls(&self) -> &D {
        &self.rtp.dtls
    }

    fn rtp_dtls_mut(&mut self) -> &mut D {
        &mut self.rtp.dtls
    }

    fn rtcp_dtls(&self) -> Option<&D> {
        self.rtcp.as_ref().map(|rtcp| &rtcp.dtls)
    }

    fn rtcp_dtls_mut(&mut self) -> Option<&mut D> {
        self.rtcp.as_mut().map(|rtcp| &mut rtcp.dtls)
    }

    fn remove_rtcp_dtls(&mut self) -> Option<D> {
        self.rtcp_mux_enabled = true;
        self.rtcp.take().map(|rtcp| rtcp.dtls)
    }

    fn demuxer(&self) -> &RtpDemuxer<S> {
        &self.demuxer
    }

    fn demuxer_mut(&mut self) -> &mut RtpDemuxer<S> {
        &mut self.demuxer
    }

    fn extensions(&self) -> &RtpHeaderExtensionMap {
        &self.extensions
    }

    fn set_extensions(&mut self, extensions: RtpHeaderExtensionMap) {
        self.extensions = extensions;
    }

    fn stats(&self) -> RtpTransportStats {
        self.stats
    }
}

#[cfg(test)]
#[path = "rtp_transport_tests.rs"]
pub(crate) mod tests;
