//! One PeerConnection on the network task: its controller, its media, its data channels.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use peerstack_base::{
    EventReceiver, IoRequest, Network, PacketKind, PacketOptions, Random, ReceiveMeta, ResolveId,
    SocketEvent, SocketId, TransmitQueue, WallClock,
};
use peerstack_dtls::{Certificate, DtlsTransportInternal};
use peerstack_jsep::{
    JsepError, JsepTransportController, JsepTransportControllerConfig, JsepTransportControllerEvent,
    TransportId, TransportSink,
};
use peerstack_p2p::IceTransport;
use peerstack_rtp_transport::{RtpPacket as RtpPacketView, SinkId, UnDemuxablePacket};
use tokio::sync::mpsc;

use super::commands::{ConnectionCommand, ConnectionConfig, HandleShared, rtp_cost};
use super::data_channels::DataChannels;
use super::media::Media;
use super::network_event::NetworkEvent;
use super::rtcp::Rtcp;
use super::shared_socket_factory::SharedSocketFactory;
use super::transport_factory::TransportFactory;
use crate::configuration::Settings;
use crate::network_task::TransceiverId;
use crate::rtp_packet::{RtcpPacket, RtpPacket, RtpSource};
use crate::stats::{DataChannelStats, NetworkSnapshot, StatsClock, add_transport};
use crate::transport_views::IceChange;
use crate::{RtcError, SdpType};

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) controller: JsepTransportController<TransportFactory>,
    controller_events: EventReceiver<JsepTransportControllerEvent>,
    pub(super) media: Media,
    data: DataChannels,
    settings: Settings,
    certificate: Certificate,
    wall_clock: Arc<dyn WallClock>,
    handles: Arc<HandleShared>,
    events: mpsc::UnboundedSender<NetworkEvent>,
}

/// Takes what comes out of the transports while the controller is borrowed.
struct Sink<'a> {
    media: &'a mut Media,
    events: &'a mpsc::UnboundedSender<NetworkEvent>,
    /// RTCP that is not read here, and by which transport it came.
    raw_rtcp: &'a mut Vec<(TransportId, Bytes)>,
    track_queue: usize,
}

impl TransportSink for Sink<'_> {
    fn on_rtp_packet(
        &mut self,
        now: Instant,
        transport: TransportId,
        sink: SinkId,
        packet: &RtpPacketView<'_>,
    ) {
        self.media.receive(now, transport, sink, packet);
    }

    fn on_undemuxable_rtp_packet(
        &mut self,
        now: Instant,
        transport: TransportId,
        _what: &UnDemuxablePacket,
        packet: &RtpPacketView<'_>,
    ) {
        if let Some(found) = self.media.receive_unsignaled(now, transport, packet, self.track_queue) {
            let (ssrc, payload_type, track) = (found.ssrc, found.payload_type, found.track);
            let _ = self.events.send(NetworkEvent::UnsignaledTrack { ssrc, payload_type, track });
        }
    }

    fn on_rtcp_packet(&mut self, now: Instant, transport: TransportId, packet: &[u8]) {
        let Self { media, raw_rtcp, .. } = self;
        media.receive_rtcp(now, transport, packet, |packet| raw_rtcp.push((transport, packet)));
    }
}

impl Connection {
    pub(super) fn new(
        config: ConnectionConfig,
        handles: Arc<HandleShared>,
        mut random: Random,
        sockets: SharedSocketFactory,
        networks: Vec<Network>,
        wall_clock: Arc<dyn WallClock>,
    ) -> Self {
        let udp_mux = sockets.is_shared();
        let factory =
            TransportFactory::new(&config, random.fork(), sockets, networks, Arc::clone(&wall_clock));
        let mut controller_config =
            JsepTransportControllerConfig::with_bundle_policy(config.bundle_policy.to_jsep());
        controller_config.rtcp_mux_policy = config.rtcp_mux_policy.to_jsep();
        controller_config.srtp_backend = config.srtp_backend;
        controller_config.rtp_protection = config.settings.rtp_protection.to_jsep();
        controller_config.sctp = super::data_channels::sctp_config(&config.settings);
        controller_config.udp_mux = udp_mux;
        controller_config.ice_lite = config.settings.ice_lite;
        let rtcp = Rtcp::new(config.cname, Arc::clone(&wall_clock), random.fork());
        let mut controller = JsepTransportController::new(factory, &controller_config, random.fork(), "pc");
        let controller_events = controller.subscribe();
        Self {
            controller,
            controller_events,
            media: Media::new(rtcp),
            wall_clock,
            data: DataChannels::default(),
            settings: config.settings,
            certificate: config.certificate,
            handles,
            events: config.events,
        }
    }

    pub(super) fn tell(&self, event: NetworkEvent) {
        // Nobody listens only while the connection is being closed.
        let _ = self.events.send(event);
    }

    pub(super) fn handle_command(&mut self, now: Instant, command: ConnectionCommand) {
        match command {
            ConnectionCommand::OfferTransports { mids, ice_restart, reply } => {
                let _ = reply.send(self.controller.transports_for_offer(&mids, ice_restart));
            }
            ConnectionCommand::AnswerTransports { mids, reply } => {
                let _ = reply.send(self.controller.transports_for_answer(&mids));
            }
            ConnectionCommand::SetDescription { local, sdp_type, description, media, reply } => {
                let result = self.set_description(now, local, sdp_type, &description);
                if let (Ok(()), Some(sections)) = (&result, media) {
                    self.configure_media(now, sections);
                }
                // webrtc-pc section 4.4.1.4: with the role come the ids of channels, before the promise is resolved.
                self.open_data_channels(now);
                let _ = reply.send(result.map(|()| self.transports_view()));
            }
            ConnectionCommand::Rollback { media, reply } => {
                let result = self.controller.rollback_transports(now);
                if result.is_ok() {
                    self.configure_media(now, media);
                }
                let _ = reply.send(result.map(|()| self.transports_view()));
            }
            ConnectionCommand::SetConfiguration {
                ice_servers,
                ice_transport_policy,
                restart_ice,
                pool_size,
            } => {
                self.set_configuration(now, ice_servers, ice_transport_policy, restart_ice, pool_size);
            }
            ConnectionCommand::AddRemoteCandidate { mid, candidate } => {
                if let Err(error) = self.controller.add_remote_candidates(now, &mid, vec![*candidate]) {
                    tracing::debug!(target: "peerstack::network", %error, mid, "candidate left out");
                }
            }
            ConnectionCommand::RemoveRemoteCandidate { mid, candidate } => {
                // Its section may have gone by now, and the candidate with it.
                let _ = self.controller.remove_remote_candidates(&mid, &[*candidate]);
            }
            ConnectionCommand::EndOfCandidates { mid } => {
                let _ = self.controller.end_of_candidates(now, &mid);
            }
            ConnectionCommand::SendRtp { id, packet, again } => self.send_rtp(now, id, packet, again),
            ConnectionCommand::SendRtcp { mid, packet } => self.send_rtcp(now, &mid, &packet),
            ConnectionCommand::SendFeedback(id, feedback) => {
                self.media.rtcp.send_feedback(id, &feedback);
                self.flush_rtcp(now);
            }
            ConnectionCommand::StopSender(id) => self.media.rtcp.stop_sender(id),
            ConnectionCommand::OpenDataChannel { channel, events } => self.data.add(channel, events),
            ConnectionCommand::SendData { channel, message } => {
                let Self { controller, data, .. } = self;
                data.send(now, controller.sctp_mut(), channel, message);
            }
            ConnectionCommand::ResumeDataChannel(channel) => {
                let Self { controller, data, .. } = self;
                data.resume(now, controller.sctp_mut(), channel);
            }
            ConnectionCommand::CloseDataChannel(channel) => {
                let Self { controller, data, .. } = self;
                data.close(now, controller.sctp_mut(), channel);
            }
            ConnectionCommand::Stats { reply } => {
                let _ = reply.send(self.snapshot(now));
            }
            ConnectionCommand::Sources { id, contributing, reply } => {
                let clock = StatsClock::new(now, self.wall_clock.now());
                let heard = self.media.sources(now, id, contributing).into_iter();
                let told = heard.map(|(source, heard)| RtpSource {
                    source,
                    timestamp: clock.at(heard.at),
                    rtp_timestamp: heard.rtp_timestamp,
                    // RFC 6464: 127 is silence.
                    audio_level: heard.level.map(|level| match level {
                        127 => 0.0,
                        level => 10f64.powf(f64::from(level) / -20.0),
                    }),
                });
                let _ = reply.send(told.collect());
            }
            ConnectionCommand::SelectedPair { reply } => {
                let pair = self
                    .controller
                    .transports()
                    .find_map(|(_, transport)| transport.ice().selected_candidate_pair());
                let _ = reply.send(pair);
            }
            // The task's own.
            ConnectionCommand::Close { reply } => drop(reply.send(())),
        }
    }

    fn set_description(
        &mut self,
        now: Instant,
        local: bool,
        sdp_type: SdpType,
        description: &peerstack_jsep::SessionDescription,
    ) -> Result<(), JsepError> {
        if local {
            self.controller.set_local_description(now, sdp_type, description)?;
        } else {
            self.controller.set_remote_description(now, sdp_type, description)?;
        }
        if local {
            self.controller.maybe_start_gathering(now);
        }
        if sdp_type == SdpType::Answer {
            // No description will ask for the rest (libwebrtc `DiscardCandidatePool`).
            self.controller.factory_mut().pool.discard(now);
        }
        Ok(())
    }

    fn configure_media(&mut self, now: Instant, sections: Vec<super::MediaSection>) {
        let before = self.media.mids();
        let Self { controller, media, .. } = self;
        let alive = controller.transports().map(|(id, _)| id).collect();
        media.configure(now, sections, |mid| controller.transport_id(mid), &alive);
        let mut criteria = self.media.criteria();
        for mid in before {
            criteria.entry(mid).or_default();
        }
        for (mid, sinks) in criteria {
            if let Err(error) = self.controller.set_rtp_sinks(&mid, sinks) {
                tracing::warn!(target: "peerstack::rtp", %error, mid, "RTP of the section is not delivered");
            }
        }
    }

    fn send_rtp(&mut self, now: Instant, id: TransceiverId, packet: RtpPacket, again: bool) {
        self.handles.rtp_taken(rtp_cost(&packet));
        let Self { controller, media, .. } = self;
        let packet = if again { media.as_retransmission(id, packet) } else { packet };
        let Some(section) = media.section(id) else { return };
        let options = PacketOptions { kind: section.packet_kind(), ..PacketOptions::default() };
        let len = section.len_bound(&packet);
        let mut written = 0;
        let sent = controller.send_rtp_with(now, &section.config.mid, &options, len, |slot| {
            written = section.write(&packet, slot).unwrap_or_default();
            written
        });
        let header_len = sent.ok().and(written.checked_sub(packet.payload.len())).filter(|_| written > 0);
        media.note_sent(now, id, &packet, again, header_len);
    }

    /// Sends the reports and the feedback that are ready. What cannot be sent is lost, as RTCP may be.
    fn flush_rtcp(&mut self, now: Instant) {
        while let Some((transport, packet)) = self.media.rtcp.poll() {
            if let Some(mid) = self.controller.mid_of(transport).map(str::to_owned) {
                self.send_rtcp(now, &mid, &packet);
            }
        }
    }

    fn send_rtcp(&mut self, now: Instant, mid: &str, packet: &[u8]) {
        let options = PacketOptions { kind: PacketKind::Rtcp, ..PacketOptions::default() };
        let sent = self.controller.send_rtcp_with(now, mid, &options, packet.len(), |slot| {
            slot.get_mut(..packet.len()).map_or(0, |slot| {
                slot.copy_from_slice(packet);
                packet.len()
            })
        });
        if let Err(error) = sent {
            tracing::trace!(target: "peerstack::rtp", %error, "RTCP not sent");
        }
    }

    fn snapshot(&self, now: Instant) -> NetworkSnapshot {
        let date = self.wall_clock.now();
        let clock = StatsClock::new(now, date);
        let timestamp = clock.timestamp();
        let mut snapshot = NetworkSnapshot { timestamp: Some(date), ..NetworkSnapshot::default() };
        snapshot.peer_connection = self.data.stats(timestamp);
        let has_dtls = self.settings.rtp_protection.has_dtls();
        let certificate = has_dtls.then(|| self.certificate.der());
        for measured in self.controller.stats(now) {
            let mid = self.controller.mid_of(measured.id).unwrap_or_default();
            add_transport(&mut snapshot, &clock, mid, &measured, certificate);
        }
        self.media.add_stats(&mut snapshot, &clock);
        let channels = self.handles.channels();
        snapshot.data_channels =
            channels.iter().map(|channel| DataChannelStats::new(timestamp, channel)).collect();
        snapshot
    }

    pub(super) fn receive(&mut self, now: Instant, datagram: &mut [u8], meta: &ReceiveMeta) {
        let track_queue = self.settings.track_queue;
        let mut raw_rtcp = Vec::new();
        if self.controller.factory_mut().pool.receive(now, datagram, meta) {
            return;
        }
        let Self { media, events, .. } = self;
        let mut sink = Sink { media, events, raw_rtcp: &mut raw_rtcp, track_queue };
        self.controller.receive(now, datagram, meta, &mut sink);
        for (transport, packet) in raw_rtcp {
            let mid = self.controller.mid_of(transport).unwrap_or_default().to_owned();
            self.handles.rtcp.push(RtcpPacket { mid, packet });
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let rtcp = self.media.rtcp.next_timeout();
        let pool = self.controller.factory().pool.next_timeout();
        self.controller.next_timeout().into_iter().chain(rtcp).chain(pool).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.controller.handle_timeout(now);
        self.controller.factory_mut().pool.handle_timeout(now);
        self.media.rtcp.handle_timeout(now);
    }

    /// Drains the layers, then tells handles and the signaling task what they said.
    pub(super) fn process(&mut self, now: Instant) {
        self.controller.factory_mut().pool.process();
        self.controller.process(now);
        while let Some(event) = self.controller_events.try_next() {
            self.handle_event(event);
        }
        self.open_data_channels(now);
        let Self { controller, data, handles, events, .. } = self;
        if let Some(sctp) = controller.sctp_mut() {
            data.process(now, sctp, handles, events);
        }
        self.flush_rtcp(now);
        // What the channels were handed leaves in the same turn.
        self.controller.process(now);
    }

    /// Channels that wait for their transport or their id get them.
    fn open_data_channels(&mut self, now: Instant) {
        let Self { controller, data, handles, .. } = self;
        if controller.sctp_is_replaced() {
            return;
        }
        if let Some(sctp) = controller.sctp_mut() {
            handles.set_max_message_size(sctp.max_message_size());
            handles.set_id_rules(sctp.dtls_role(), sctp.max_channels());
            data.open_waiting(now, sctp);
        }
    }

    fn handle_event(&mut self, event: JsepTransportControllerEvent) {
        use JsepTransportControllerEvent as E;
        match event {
            E::IceConnectionState(state) => self.tell(NetworkEvent::IceConnectionState(state)),
            E::PeerConnectionState(state) => self.tell(NetworkEvent::ConnectionState(state)),
            E::IceGatheringState(state) => self.tell(NetworkEvent::GatheringState(state)),
            E::CandidatesGathered { mid, transport, candidates, .. } => {
                self.tell(NetworkEvent::Candidates { transport, mid, candidates });
            }
            E::CandidateError { error, .. } => self.tell(NetworkEvent::CandidateError(error)),
            E::CandidatesRemoved { mid, candidates, .. } => {
                self.tell(NetworkEvent::CandidatesRemoved { mid, candidates });
            }
            E::EndOfCandidates { mid, .. } => self.tell(NetworkEvent::EndOfCandidates(mid)),
            E::CandidatePairChange { transport, component, change, .. } => {
                self.tell_ice(transport, component, IceChange::SelectedPair(change.pair.map(Box::new)));
            }
            E::IceTransportStateChange { transport, component, state, .. } => {
                self.tell_ice(transport, component, IceChange::State(state));
            }
            E::IceTransportGatheringState { transport, component, state, .. } => {
                self.tell_ice(transport, component, IceChange::Gathering(state));
            }
            E::DtlsStateChange { transport, component, state, .. } => {
                let dtls = self.controller.transport_by_id(transport).and_then(|it| it.dtls_of(component));
                let certificate = dtls.and_then(|dtls| dtls.remote_certificate()).map(<[u8]>::to_vec);
                self.tell(NetworkEvent::DtlsTransport { transport, component, state, certificate });
            }
            E::SctpStateChange { transport, state } => self.tell_sctp(transport, state),
            E::DtlsHandshakeError { transport, component, error, .. } => {
                let error = RtcError::dtls(&error);
                self.tell(NetworkEvent::DtlsTransportError { transport, component, error });
            }
            _ => {}
        }
    }

    pub(super) fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.controller.poll_wake(cx)
    }

    /// The networks changed: transports that are there gather on new ones, later ones begin with them.
    pub(super) fn set_networks(&mut self, now: Instant, networks: &[Network]) {
        self.controller.factory_mut().networks = networks.to_vec();
        self.controller.factory_mut().pool.set_networks(now, networks);
        let ids: Vec<_> = self.controller.transports().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(transport) = self.controller.transport_by_id_mut(id) {
                transport.for_each_ice(|ice| ice.set_networks(now, networks.to_vec()));
            }
        }
    }

    pub(super) fn handle_socket_event(&mut self, now: Instant, event: &SocketEvent) {
        self.controller.handle_socket_event(now, event);
        self.controller.factory_mut().pool.handle_socket_event(now, event);
    }

    pub(super) fn handle_resolved(&mut self, now: Instant, id: ResolveId, addresses: &[IpAddr]) {
        self.controller.handle_resolved(now, id, addresses);
        self.controller.factory_mut().pool.handle_resolved(now, id, addresses);
    }

    pub(super) fn handle_send_error(&mut self, now: Instant, socket: SocketId, error: &std::io::Error) {
        self.controller.handle_send_error(now, socket, error);
    }

    pub(super) fn handle_unblocked(&mut self, now: Instant) {
        self.controller.handle_unblocked(now);
    }

    pub(super) fn for_each_transmit_queue(&mut self, mut visit: impl FnMut(&mut TransmitQueue)) {
        self.controller.factory_mut().pool.for_each_transmit_queue(&mut visit);
        self.controller.for_each_transmit_queue(visit);
    }

    pub(super) fn poll_io_request(&mut self) -> Option<IoRequest> {
        self.controller.poll_io_request().or_else(|| self.controller.factory_mut().pool.poll_io_request())
    }

    /// Begins to gather ahead.
    pub(super) fn set_candidate_pool_size(&mut self, now: Instant, size: u8) {
        self.controller.factory_mut().set_candidate_pool_size(now, size);
    }

    /// Whether, after [`close`](Self::close), all has left that was to be said.
    pub(super) fn is_drained(&mut self) -> bool {
        self.controller.is_drained() && self.controller.factory_mut().pool.is_drained()
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.handles.set_last_stats(self.snapshot(now));
        self.data.close_all();
        self.media.rtcp.close();
        self.flush_rtcp(now);
        self.media.end();
        self.handles.rtcp.close();
        self.controller.close(now);
        self.controller.factory_mut().pool.discard(now);
    }
}
