//! Datagrams in, checks out. Answers to `OnUnknownAddress`, `PingConnection` and `CheckAndPing` of libwebrtc's
//! `p2p/base/p2p_transport_channel.cc`, and to `MaybeIceRoleConflict` and the error responses of its
//! `p2p/base/port.cc`; runs on the network task.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use peerstack_base::{AdapterType, IoRequest, PacketClass, ReceiveMeta};
use peerstack_stun::{Class, Message, MessageBuilder, Method, error_code, short_term_key};

use super::P2PTransportChannel;
use crate::basic_port_allocator::SessionIo;
use crate::connection::{ConnectionId, PingOptions, PingOutcome, announce_goog_ping, announces_goog_ping};
use crate::p2p_constants::{MAX_UNAUTHENTICATED_ERRORS_PER_SECOND, MAXIMUM_RTT, MINIMUM_RTT, PING_BURST};
use crate::packet_route::{PacketRoute, RouteFraming};
use crate::port::{NewAddress, PortId, StunVerdict, get_stun_message};
use crate::turn_port::TurnPacket;
use crate::{
    Candidate, CandidateAddress, CandidateType, IceControllerView, IceMode, IceProtocol, IceRole,
    IceSwitchReason, TcpCandidateType,
};

/// Where a request came in, and what signs the answer.
struct RequestFrom<'a> {
    port: PortId,
    route: PacketRoute,
    remote: SocketAddr,
    local_ufrag: &'a str,
    local_pwd: &'a str,
}

/// How a conflict of roles ended (RFC 8445 section 7.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoleConflict {
    /// There was none, or it is our own packet.
    None,
    /// We are to switch; the check counts.
    WeSwitch,
    /// The peer is to switch: 487.
    PeerSwitches,
}

impl P2PTransportChannel {
    /// Takes a datagram; where in it data for the layer above lies, if there is any.
    pub(super) fn receive_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
        meta: &ReceiveMeta,
    ) -> Option<Range<usize>> {
        match self.receive_from_turn_server(now, datagram, meta) {
            Some((_, TurnPacket::Consumed)) => {
                self.request_sort(IceSwitchReason::Unknown);
                return None;
            }
            Some((port, TurnPacket::Data(range, peer))) => {
                let inner = datagram.get(range.clone())?;
                return self.receive_on_port(now, inner, port, peer).then_some(range);
            }
            Some((_, TurnPacket::NotMine)) | None => {}
        }
        let found = self.sessions.iter().find_map(|session| session.session.port_of_socket(meta.socket));
        let Some(port) = found else {
            self.discarded.unknown += 1;
            return None;
        };
        if PacketClass::of(datagram) == PacketClass::Stun
            && self.receive_from_stun_server(now, datagram, port, meta.remote)
        {
            return None;
        }
        self.receive_on_port(now, datagram, port, meta.remote).then_some(0..datagram.len())
    }

    /// Takes a packet of a remote address, unwrapped where a relay wrapped it; `true` if it is data.
    fn receive_on_port(&mut self, now: Instant, packet: &[u8], port: PortId, remote: SocketAddr) -> bool {
        let known = self
            .session_of_port(port)
            .and_then(|session| session.port(port)?.base().connections.get(&remote))
            .copied();
        match PacketClass::of(packet) {
            PacketClass::Stun => {
                self.receive_stun(now, packet, port, known, remote);
                false
            }
            PacketClass::Unknown => {
                self.discarded.malformed += 1;
                false
            }
            _ => self.receive_data(now, packet.len(), known),
        }
    }

    fn receive_data(&mut self, now: Instant, len: usize, known: Option<ConnectionId>) -> bool {
        let Some(connection) = known.and_then(|id| self.connections.get_mut(&id)) else {
            self.discarded.unknown += 1;
            return false;
        };
        // An address that was only signalled proves nothing: data counts once a check went through either way.
        if !connection.authenticated() {
            self.discarded.unauthenticated += 1;
            return false;
        }
        connection.received_data(now, len, &self.config, &mut self.connection_events);
        let id = connection.id();
        if self.selected != Some(id) && self.role == IceRole::Controlled {
            // The peer sends here: so shall we (S01).
            self.consider_switch(now, id, IceSwitchReason::DataReceived);
        }
        self.heard_on(now, id);
        true
    }

    /// The peer's data, its authenticated check or its answer to ours came by a connection.
    fn heard_on(&mut self, now: Instant, id: ConnectionId) {
        if self.selected != Some(id) {
            self.heard_elsewhere = Some((now, id));
            self.question_selected(now);
        }
    }

    /// We choose the pair, and hear the peer, but by another one: if ours is silent meanwhile it is checked, and if for
    /// a while nothing is answered either the peer has lost it: it would follow us otherwise. Then ours counts as not
    /// receiving from now on, instead of once the receiving time-out is over, and is left by the usual rules (T10); and
    /// where the peer is heard is checked at once, since it may have been set aside, and would wait for its turn among
    /// all others that were.
    pub(super) fn question_selected(&mut self, now: Instant) {
        let Some((heard_at, heard)) = self.heard_elsewhere else { return };
        let Some((id, selected)) = self.selected.and_then(|id| Some((id, self.connections.get_mut(&id)?)))
        else {
            return;
        };
        let last = selected.last_received().filter(|last| *last < heard_at);
        let Some(last) = last.filter(|_| self.role == IceRole::Controlling && selected.receiving()) else {
            return;
        };
        let patience = (2 * selected.rtt()).clamp(MINIMUM_RTT, MAXIMUM_RTT);
        let silent_for = now.saturating_duration_since(last);
        if silent_for >= self.config.receiving_switching_delay && selected.unanswered_for(now) > patience {
            selected.shun(now, &self.config, &mut self.connection_events);
            self.ping_connection(now, id);
            self.ping_connection(now, heard);
            return;
        }
        let pause = self.config.check_receiving_interval().max(patience);
        let asked = selected.last_ping_sent().is_some_and(|sent| now < sent + pause);
        if silent_for >= pause && !asked {
            self.ping_connection(now, id);
        }
    }

    fn receive_stun(
        &mut self,
        now: Instant,
        datagram: &[u8],
        port_id: PortId,
        known: Option<ConnectionId>,
        remote: SocketAddr,
    ) {
        let Some((route, ufrag, pwd)) = self.session_of_port(port_id).and_then(|session| {
            // A port that the filter hides is not there for the peer.
            let port = session.port(port_id).filter(|port| port.base().ready)?;
            let base = port.base();
            Some((port.route_to(remote)?, base.username_fragment.clone(), base.password.clone()))
        }) else {
            self.discarded.unknown += 1;
            return;
        };
        let from = RequestFrom { port: port_id, route, remote, local_ufrag: &ufrag, local_pwd: &pwd };
        match get_stun_message(datagram, &ufrag, &pwd) {
            StunVerdict::Malformed => self.discarded.malformed += 1,
            StunVerdict::Refused(answer) => {
                self.discarded.unauthenticated += 1;
                if let Some((request, code, unknown)) = answer {
                    self.refuse(now, &request, &from, code, &unknown);
                }
            }
            StunVerdict::Request(request, remote_ufrag) => {
                self.receive_request(now, &request, remote_ufrag, &from, known);
            }
            StunVerdict::Response(response) => self.receive_response(now, &response, known),
            StunVerdict::GoogPing(request) => self.receive_goog_ping(now, &request, &from, known),
            StunVerdict::Indication => match known.and_then(|id| self.connections.get_mut(&id)) {
                Some(connection) => {
                    connection.received_indication(now, &self.config, &mut self.connection_events);
                }
                None => self.discarded.unknown += 1,
            },
        }
    }

    fn receive_from_turn_server(
        &mut self,
        now: Instant,
        datagram: &[u8],
        meta: &ReceiveMeta,
    ) -> Option<(PortId, TurnPacket)> {
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        self.sessions.iter_mut().find_map(|session| {
            session.session.handle_turn_packet(now, datagram, meta, &mut self.allocator, &mut io)
        })
    }

    fn receive_from_stun_server(
        &mut self,
        now: Instant,
        datagram: &[u8],
        port_id: PortId,
        remote: SocketAddr,
    ) -> bool {
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        let consumed = self.sessions.iter_mut().any(|session| {
            let session = &mut session.session;
            session.handle_server_packet(now, port_id, datagram, remote, &mut self.allocator, &mut io)
        });
        if consumed {
            self.request_sort(IceSwitchReason::Unknown);
        }
        consumed
    }

    /// The peer's authenticated check (RFC 8445 section 7.3.1).
    fn receive_request(
        &mut self,
        now: Instant,
        request: &Message<'_>,
        remote_ufrag: &str,
        from: &RequestFrom<'_>,
        known: Option<ConnectionId>,
    ) {
        match self.check_role_conflict(request, remote_ufrag, from) {
            RoleConflict::None => {}
            RoleConflict::WeSwitch => self.on_role_conflict(),
            RoleConflict::PeerSwitches => {
                self.send_error(request, from, error_code::ROLE_CONFLICT, &[]);
                return;
            }
        }
        let existing = known.and_then(|id| self.connections.get_mut(&id)).map(|connection| {
            if connection.remote.username_fragment.is_empty() {
                // A candidate that came without one, before the parameters.
                remote_ufrag.clone_into(&mut connection.remote.username_fragment);
            }
            let same = connection.remote.username_fragment == remote_ufrag;
            (connection.id(), same, connection.remote.generation)
        });
        let id = match existing {
            Some((id, true, _)) => Some(id),
            Some((_, false, generation)) => {
                self.replace_by_new_generation(now, request, remote_ufrag, from, generation)
            }
            None => self.create_from_unknown_address(now, request, remote_ufrag, from),
        };
        let Some(id) = id else { return };
        self.add_udp_mux_route(from.port, from.remote, false);
        self.send_binding_response(request, from);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stats.responses_sent += 1;
            connection.received_ping(now, request, self.role, &self.config, &mut self.connection_events);
        }
        self.request_ping(now, id);
        self.heard_on(now, id);
    }

    /// The peer's short check (C13). Only a pair that it has checked in full is known by it; for any other the
    /// error asks for a whole check.
    fn receive_goog_ping(
        &mut self,
        now: Instant,
        request: &Message<'_>,
        from: &RequestFrom<'_>,
        known: Option<ConnectionId>,
    ) {
        let connection = known.and_then(|id| self.connections.get_mut(&id));
        let announced = self.config.announce_goog_ping;
        let Some(connection) = connection.filter(|it| announced && it.last_ping_received().is_some()) else {
            return self.refuse(now, request, from, error_code::BAD_REQUEST, &[]);
        };
        connection.stats.responses_sent += 1;
        connection.received_ping(now, request, self.role, &self.config, &mut self.connection_events);
        let id = connection.id();
        let mut builder = MessageBuilder::response_to(request, Class::SuccessResponse);
        builder.goog_integrity_32(short_term_key(from.local_pwd));
        self.send_response(&builder.finish(), from);
        self.request_ping(now, id);
        self.heard_on(now, id);
    }

    /// The same address under another user fragment: a new pair if that is of a newer generation (C25),
    /// otherwise the right password with the wrong name.
    fn replace_by_new_generation(
        &mut self,
        now: Instant,
        request: &Message<'_>,
        remote_ufrag: &str,
        from: &RequestFrom<'_>,
        existing: u32,
    ) -> Option<ConnectionId> {
        let (_, generation) = self.find_remote_ice_from_ufrag(remote_ufrag);
        if generation <= existing {
            self.discarded.unauthenticated += 1;
            self.refuse(now, request, from, error_code::UNAUTHENTICATED, &[]);
            return None;
        }
        self.create_from_unknown_address(now, request, remote_ufrag, from)
    }

    /// A check from an address of which nothing was signalled: a peer-reflexive candidate (RFC 8445 section
    /// 7.3.1.3; C21).
    fn create_from_unknown_address(
        &mut self,
        now: Instant,
        request: &Message<'_>,
        remote_ufrag: &str,
        from: &RequestFrom<'_>,
    ) -> Option<ConnectionId> {
        let signalled = self.remote_candidates.iter().find(|known| {
            known.candidate.address.ip() == Some(from.remote)
                && known.candidate.username_fragment == remote_ufrag
        });
        let candidate = match signalled {
            Some(known) => known.candidate.clone(),
            None => {
                let Some(priority) = request.priority() else {
                    self.send_error(request, from, error_code::BAD_REQUEST, &[]);
                    return None;
                };
                let mut learned = self.peer_reflexive_candidate(request, priority, remote_ufrag, from.remote);
                if from.route.framing == RouteFraming::Rfc4571 {
                    // It connected to us.
                    learned.protocol = IceProtocol::Tcp;
                    learned.tcp_type = Some(TcpCandidateType::Active);
                }
                learned
            }
        };
        let id = self.create_connection(now, from.port, &candidate)?;
        self.request_sort(IceSwitchReason::NewConnectionFromUnknownRemoteAddress);
        Some(id)
    }

    fn peer_reflexive_candidate(
        &self,
        request: &Message<'_>,
        priority: u32,
        remote_ufrag: &str,
        remote: SocketAddr,
    ) -> Candidate {
        let (_, generation) = self.find_remote_ice_from_ufrag(remote_ufrag);
        let info = request.goog_network_info().unwrap_or_default();
        Candidate {
            // Told, while the address is not: who does not know the tie-breaker cannot try addresses against it.
            foundation: crc32fast::hash(format!("prflx|{}|{remote}", self.tiebreaker).as_bytes()).to_string(),
            component: self.component,
            protocol: IceProtocol::Udp,
            priority,
            address: CandidateAddress::Ip(remote),
            candidate_type: CandidateType::Prflx,
            related_address: None,
            tcp_type: None,
            username_fragment: remote_ufrag.to_owned(),
            generation,
            network_id: info.network_id,
            network_cost: info.network_cost.min(999),
            adapter_type: AdapterType::Unknown,
            url: None,
            relay_protocol: None,
            resolved_from: None,
        }
    }

    fn check_role_conflict(
        &self,
        request: &Message<'_>,
        remote_ufrag: &str,
        from: &RequestFrom<'_>,
    ) -> RoleConflict {
        let theirs = match self.role {
            IceRole::Controlling => request.ice_controlling(),
            IceRole::Controlled => request.ice_controlled(),
        };
        let Some(theirs) = theirs else { return RoleConflict::None };
        if theirs == self.tiebreaker && remote_ufrag == from.local_ufrag {
            // Our own packet, looped back.
            return RoleConflict::None;
        }
        if self.ice_mode == IceMode::Lite {
            // A full peer controls, whatever the tie-breakers say (RFC 8445 section 6.1.1).
            return RoleConflict::PeerSwitches;
        }
        let we_stay_controlling = self.tiebreaker > theirs;
        match (self.role, we_stay_controlling) {
            (IceRole::Controlling, true) | (IceRole::Controlled, false) => RoleConflict::PeerSwitches,
            (IceRole::Controlling, false) | (IceRole::Controlled, true) => RoleConflict::WeSwitch,
        }
    }

    /// On a socket of many transports, what comes from this address is ours from now on.
    fn add_udp_mux_route(&mut self, port: PortId, remote: SocketAddr, answered: bool) {
        let socket = self.session_of_port(port).and_then(|session| session.port(port)?.muxed_socket());
        if let Some(id) = socket {
            self.io_requests.push_back(IoRequest::AddUdpMuxRoute { id, remote, answered });
        }
    }

    fn receive_response(&mut self, now: Instant, response: &Message<'_>, known: Option<ConnectionId>) {
        let Some(connection) = known.and_then(|id| self.connections.get_mut(&id)) else {
            self.discarded.unknown += 1;
            return;
        };
        let (id, port, remote) = (connection.id(), connection.port, connection.remote_address);
        let outcome =
            connection.received_response(now, response, self.role, &self.config, &mut self.connection_events);
        match outcome {
            PingOutcome::Ignored => self.discarded.unauthenticated += 1,
            PingOutcome::Failed => {}
            PingOutcome::Success(mapped, priority) => {
                self.add_udp_mux_route(port, remote, true);
                self.heard_on(now, id);
                if let Some(mapped) = mapped {
                    self.maybe_update_local_candidate(id, mapped, priority);
                }
            }
        }
    }

    /// The peer saw us under another address than the local candidate's: that one's candidate, or a new
    /// peer-reflexive one, is what this pair is made of (RFC 8445 section 7.2.5.3.1).
    fn maybe_update_local_candidate(&mut self, id: ConnectionId, mapped: SocketAddr, priority: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.local.address.ip() == Some(mapped) || mapped.port() == 0 {
            return;
        }
        let Some(port) =
            self.sessions.iter_mut().find_map(|session| session.session.port_mut(connection.port))
        else {
            return;
        };
        let base = port.base_mut();
        let Some(host) = base.candidate_of_family(mapped.is_ipv4()).and_then(|host| host.address.ip()) else {
            return;
        };
        let found = base.candidates.iter().find(|candidate| candidate.address.ip() == Some(mapped));
        let candidate = match found {
            Some(candidate) => candidate.clone(),
            None => {
                let mut candidate = base.make_candidate(NewAddress {
                    related: Some(host),
                    protocol: connection.local.protocol,
                    tcp_type: connection.local.tcp_type,
                    ..NewAddress::udp(CandidateType::Prflx, mapped, host)
                });
                candidate.priority = priority;
                // Bounded: symmetric NATs give one address a peer, and the peer has signed for it.
                if base.candidates.len() < crate::p2p_constants::MAX_REMOTE_CANDIDATES {
                    base.candidates.push(candidate.clone());
                }
                candidate
            }
        };
        connection.local = candidate;
        self.request_sort(IceSwitchReason::ConnectStateChange);
    }

    fn send_binding_response(&mut self, request: &Message<'_>, from: &RequestFrom<'_>) {
        let mut builder = MessageBuilder::response_to(request, Class::SuccessResponse);
        builder.add_xor_mapped_address(from.remote);
        if self.config.announce_goog_ping && announces_goog_ping(request) {
            announce_goog_ping(&mut builder);
        }
        builder.integrity(short_term_key(from.local_pwd)).fingerprint();
        self.send_response(&builder.finish(), from);
    }

    fn send_response(&mut self, response: &[u8], from: &RequestFrom<'_>) {
        if from.route.push(&mut self.transmits, &mut self.random, response).is_err() {
            tracing::debug!(target: "peerstack::ice", "a response found no room in the transmit queue");
        }
    }

    /// Answers what did not authenticate, within bounds: whoever forges addresses gets little out of it.
    fn refuse(
        &mut self,
        now: Instant,
        request: &Message<'_>,
        from: &RequestFrom<'_>,
        code: u16,
        unknown: &[u16],
    ) {
        let since = self.error_tokens_at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        if since >= Duration::from_secs(1) {
            self.error_tokens = MAX_UNAUTHENTICATED_ERRORS_PER_SECOND;
            self.error_tokens_at = Some(now);
        }
        if self.error_tokens == 0 {
            self.discarded.over_limit += 1;
            return;
        }
        self.error_tokens -= 1;
        self.send_error(request, from, code, unknown);
    }

    fn send_error(&mut self, request: &Message<'_>, from: &RequestFrom<'_>, code: u16, unknown: &[u16]) {
        let mut builder = MessageBuilder::response_to(request, Class::ErrorResponse);
        builder.add_error_code(code, error_code::reason(code));
        if !unknown.is_empty() {
            builder.add_unknown_attributes(unknown);
        }
        let (short, key) = (request.method() == Method::GOOG_PING, short_term_key(from.local_pwd));
        // Who did not authenticate cannot check a signature either (RFC 8489 section 9.1.3).
        if !matches!(code, error_code::BAD_REQUEST | error_code::UNAUTHENTICATED) {
            if short {
                builder.goog_integrity_32(key)
            } else {
                builder.integrity(key)
            };
        }
        if !short {
            builder.fingerprint();
        }
        self.send_response(&builder.finish(), from);
    }

    // ---- checks out

    /// What a controller sees of this transport.
    pub fn ice_controller_view(&self, now: Instant) -> IceControllerView<'_> {
        IceControllerView { now, connections: &self.connections, role: self.role, state: self.legacy_state }
    }

    /// Begins the rhythm of checks with the first connection.
    pub(super) fn maybe_start_pinging(&mut self, now: Instant) {
        if self.ping_due.is_some() || self.connections.is_empty() {
            return;
        }
        if self.ice_mode == IceMode::Full
            && self.controller.has_pingable_connection(&self.ice_controller_view(now))
        {
            self.check_and_ping(now);
        } else {
            // States change with time even when nothing can be checked.
            self.ping_due = Some(now + self.config.check_receiving_interval());
        }
    }

    /// One turn of the rhythm: lets time pass for all connections, then checks one.
    pub(super) fn check_and_ping(&mut self, now: Instant) {
        for connection in self.connections.values_mut() {
            connection.update_state(now, &self.config, &mut self.connection_events);
        }
        self.question_selected(now);
        self.settle(now);
        if self.connections.is_empty() {
            self.ping_due = None;
            return;
        }
        if self.ice_mode == IceMode::Lite {
            self.ping_due = Some(now + self.config.check_receiving_interval());
            return;
        }
        let view = IceControllerView {
            now,
            connections: &self.connections,
            role: self.role,
            state: self.legacy_state,
        };
        let result = self.controller.select_connection_to_ping(&view, self.last_ping_sent);
        if let Some(id) = result.connection {
            self.ping_connection(now, id);
        }
        self.ping_due = Some(now + result.recheck_delay.max(Duration::from_millis(1)));
    }

    /// A check that cannot wait: of a pair that was never checked, or that the peer checked just now (the
    /// triggered check of RFC 8445 section 7.3.1.4; C26). A few at once, then paced.
    fn request_ping(&mut self, now: Instant, id: ConnectionId) {
        if self.ice_mode == IceMode::Lite {
            return;
        }
        let Some(connection) = self.connections.get(&id) else { return };
        let wanted = connection.num_pings_sent() == 0
            || (!connection.writable() && connection.last_ping_received() > connection.last_ping_sent());
        if !wanted
            || !self.controller.is_pingable(&self.ice_controller_view(now), id)
            || !self.take_ping_token(now)
        {
            return;
        }
        self.ping_connection(now, id);
    }

    pub(super) fn ping_what_is_new(&mut self, now: Instant) {
        let fresh: Vec<ConnectionId> = self
            .controller
            .connections()
            .iter()
            .copied()
            .filter(|id| self.connections.get(id).is_some_and(|connection| connection.num_pings_sent() == 0))
            .filter(|id| self.controller.is_pingable(&self.ice_controller_view(now), *id))
            .take(PING_BURST as usize)
            .collect();
        for id in fresh {
            self.request_ping(now, id);
        }
    }

    /// One token a weak interval, a handful saved up.
    fn take_ping_token(&mut self, now: Instant) -> bool {
        let interval = self.config.ice_check_interval_weak_connectivity.max(Duration::from_millis(1));
        let at = *self.ping_tokens_at.get_or_insert(now);
        let earned = now.saturating_duration_since(at).as_micros() / interval.as_micros();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(PING_BURST);
            self.ping_tokens = self.ping_tokens.saturating_add(earned).min(PING_BURST);
            self.ping_tokens_at = Some(now);
        }
        let granted = self.ping_tokens > 0;
        self.ping_tokens = self.ping_tokens.saturating_sub(1);
        granted
    }

    pub(super) fn ping_connection(&mut self, now: Instant, id: ConnectionId) {
        if self.ice_mode == IceMode::Lite {
            // It only answers (RFC 8445 section 2.5).
            return;
        }
        let renomination = self.ice_parameters.as_ref().is_some_and(|ours| ours.renomination)
            && self.remote_ice_parameters.last().is_some_and(|theirs| theirs.renomination);
        let (mut use_candidate, mut nomination) = (false, 0);
        if self.role == IceRole::Controlling {
            if renomination {
                nomination = if self.selected == Some(id) { self.nomination } else { 0 };
            } else {
                use_candidate = self.controller.get_use_candidate_attr(
                    &self.ice_controller_view(now),
                    id,
                    self.config.nomination_mode,
                    self.remote_ice_mode,
                );
            }
        }
        let options = PingOptions { role: self.role, tiebreaker: self.tiebreaker, use_candidate, nomination };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ping(now, &options, &self.config, &mut self.random, &mut self.transmits);
            self.last_ping_sent = Some(now);
            self.controller.mark_connection_pinged(id);
        }
    }
}
