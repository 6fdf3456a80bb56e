//! The requests of a `TurnPort` and what their responses mean: allocation, refresh, retries. RFC 8656 sections
//! 7 and 8, RFC 8489 sections 9.2.5 and 10; answers to `TurnAllocateRequest`, `TurnRefreshRequest`,
//! `TurnCreatePermissionRequest` and `TurnChannelBindRequest` of libwebrtc's `p2p/base/turn_port.cc`; runs on
//! the network task.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerstack_stun::{
    AddressFamily, Class, Message, MessageBuilder, Method, ResponseResult, StunRequest, TransactionId,
    error_code,
};

use super::{TurnPort, TurnPortState, is_allowed_turn_port};
use crate::CandidateType;
use crate::port::{NewAddress, PortEvent, PortIo};
use crate::udp_port::SERVER_NOT_REACHABLE_ERROR;

/// The protocol number of UDP, which is what peers are reached by.
const TRANSPORT_UDP: u8 = 17;
/// How often another socket is tried when the server knows an allocation of ours that we do not (U04).
const MAX_ALLOCATE_MISMATCH_RETRIES: u32 = 2;
/// How often one request is sent again with a new nonce.
const MAX_STALE_NONCE_RETRIES: u8 = 3;
/// Servers that are gone to, one after another (U05).
const MAX_SERVERS: usize = 5;
/// Allocations are refreshed this long before they end, or half-way for short ones (T13).
const REFRESH_MARGIN: Duration = Duration::from_secs(60);
/// How long an answer to a release is waited for.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// A lifetime beyond this counts as this (T13).
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnRequestKind {
    Allocate,
    Refresh,
    Release,
    CreatePermission(SocketAddr),
    ChannelBind(SocketAddr, u16),
}

/// What is remembered of a request until its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TurnRequest {
    pub(super) kind: TurnRequestKind,
    /// Whether it carried credentials.
    signed: bool,
    stale_nonces: u8,
}

impl TurnRequest {
    fn new(kind: TurnRequestKind) -> Self {
        Self { kind, signed: false, stale_nonces: 0 }
    }

    pub(super) fn allocate() -> Self {
        Self::new(TurnRequestKind::Allocate)
    }

    pub(super) fn refresh() -> Self {
        Self::new(TurnRequestKind::Refresh)
    }

    pub(super) fn release() -> Self {
        Self::new(TurnRequestKind::Release)
    }

    pub(super) fn create_permission(peer: SocketAddr) -> Self {
        Self::new(TurnRequestKind::CreatePermission(peer))
    }

    pub(super) fn channel_bind(peer: SocketAddr, number: u16) -> Self {
        Self::new(TurnRequestKind::ChannelBind(peer, number))
    }

    fn method(self) -> Method {
        match self.kind {
            TurnRequestKind::Allocate => Method::ALLOCATE,
            TurnRequestKind::Refresh | TurnRequestKind::Release => Method::REFRESH,
            TurnRequestKind::CreatePermission(_) => Method::CREATE_PERMISSION,
            TurnRequestKind::ChannelBind(..) => Method::CHANNEL_BIND,
        }
    }
}

impl TurnPort {
    pub(super) fn send_request(&mut self, now: Instant, mut request: TurnRequest, io: &mut PortIo<'_>) {
        let id = TransactionId::new(io.random);
        let mut builder = MessageBuilder::new(Class::Request, request.method(), id);
        match request.kind {
            TurnRequestKind::Allocate => {
                builder.add_requested_transport(TRANSPORT_UDP);
                match self.requested_family {
                    Some(family) => {
                        builder.add_requested_address_family(family);
                    }
                    // Both families where the server has both (RFC 8656 section 7.1); others ignore it.
                    None if self.local.is_ipv6() => {
                        builder.add_additional_address_family(AddressFamily::Ipv6);
                    }
                    None => {}
                }
            }
            TurnRequestKind::Refresh => {}
            TurnRequestKind::Release => {
                builder.add_lifetime(0);
            }
            TurnRequestKind::CreatePermission(peer) => {
                builder.add_xor_peer_address(peer);
            }
            TurnRequestKind::ChannelBind(peer, number) => {
                builder.add_channel_number(number).add_xor_peer_address(peer);
            }
        }
        self.credentials.sign(&mut builder);
        request.signed = self.credentials.key().is_some();
        let message = match builder.try_finish() {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(target: "peerstack::ice::turn", %error, "a request cannot be written");
                return self.on_request_failed(
                    now,
                    request,
                    SERVER_NOT_REACHABLE_ERROR,
                    &error.to_string(),
                    io,
                );
            }
        };
        let Ok(mut stun) = StunRequest::new(message, request) else { return };
        if request.kind == TurnRequestKind::Release {
            // The socket waits for it: not long, and an allocation that is not given back ends by itself.
            stun = stun.once(RELEASE_TIMEOUT);
        }
        let stun = match self.credentials.key() {
            Some(key) => stun.with_key(key),
            None => stun,
        };
        if self.requests.send(now, stun).is_err() {
            let text = "too many TURN requests wait for an answer";
            return self.on_request_failed(now, request, SERVER_NOT_REACHABLE_ERROR, text, io);
        }
        self.flush(io);
    }

    /// Takes a response; `false` if it answers no request of this port.
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        io: &mut PortIo<'_>,
    ) -> bool {
        let Some(response) = self.requests.check_response(now, message) else { return false };
        let request = response.context;
        match response.result {
            ResponseResult::Success if request.signed && !response.authenticated => {}
            ResponseResult::Success => self.on_success(now, request, message, io),
            ResponseResult::Error(Some(code)) => self.on_error(now, request, code, message, io),
            ResponseResult::Error(None) => {
                let text = "the server's error response holds no error code";
                self.on_request_failed(now, request, SERVER_NOT_REACHABLE_ERROR, text, io);
            }
            _ => {
                let text = "the server's response holds unknown attributes";
                self.on_request_failed(now, request, error_code::UNKNOWN_ATTRIBUTE, text, io);
            }
        }
        true
    }

    fn on_success(&mut self, now: Instant, request: TurnRequest, message: &Message<'_>, io: &mut PortIo<'_>) {
        match request.kind {
            TurnRequestKind::Allocate => self.on_allocate_success(now, message, io),
            TurnRequestKind::Refresh => match message.lifetime() {
                Some(lifetime) => {
                    self.refreshing = false;
                    self.schedule_refresh(now, lifetime);
                }
                None => self.on_refresh_error(io),
            },
            TurnRequestKind::Release => {}
            TurnRequestKind::CreatePermission(peer) => self.on_create_permission_success(now, peer.ip()),
            TurnRequestKind::ChannelBind(peer, number) => self.on_channel_bind_success(now, peer, number, io),
        }
    }

    fn on_allocate_success(&mut self, now: Instant, message: &Message<'_>, io: &mut PortIo<'_>) {
        let mapped = message.xor_mapped_address();
        let relayed: Vec<SocketAddr> = message.xor_relayed_addresses().take(2).collect();
        let (Some(mapped), Some(lifetime), false) = (mapped, message.lifetime(), relayed.is_empty()) else {
            let text = "the server's response holds no relayed address, mapped address or lifetime";
            return self.on_allocate_error(SERVER_NOT_REACHABLE_ERROR, text, io);
        };
        let usable = |address: &&SocketAddr| {
            address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
        };
        self.state = TurnPortState::Ready;
        if self.stopped {
            // Nobody waits for it any more.
            return self.release(now, io);
        }
        let renewed = std::mem::take(&mut self.renewing);
        if renewed {
            let gone = std::mem::take(&mut self.base.candidates);
            io.events.emit(PortEvent::CandidatesRemoved(self.base.id, gone));
        }
        for relayed in relayed.iter().filter(usable) {
            if self.base.candidate_of_family(relayed.is_ipv4()).is_some() {
                continue;
            }
            self.base.add_address(
                NewAddress {
                    related: Some(mapped),
                    url: Some(self.shown.clone()),
                    relay_protocol: Some(self.server.protocol.as_str()),
                    relay_preference: self.server.preference,
                    ..NewAddress::udp(CandidateType::Relay, *relayed, *relayed)
                },
                io.events,
            );
        }
        self.schedule_refresh(now, lifetime);
        self.base.complete(io.events);
        if renewed {
            self.reconnects = 0;
            self.renew_entries(now, io);
        }
    }

    fn schedule_refresh(&mut self, now: Instant, lifetime: u32) {
        let lifetime = Duration::from_secs(lifetime.into()).min(MAX_LIFETIME);
        let delay = if lifetime < 2 * REFRESH_MARGIN { lifetime / 2 } else { lifetime - REFRESH_MARGIN };
        // A server that grants nothing is not asked without end.
        self.refresh_at = Some(now + delay.max(Duration::from_secs(1)));
    }

    fn on_error(
        &mut self,
        now: Instant,
        request: TurnRequest,
        code: u16,
        message: &Message<'_>,
        io: &mut PortIo<'_>,
    ) {
        let text = message.error_code().map_or("", |error| error.reason);
        match code {
            error_code::UNAUTHENTICATED if !request.signed => match self.credentials.challenge(message) {
                Ok(()) => self.send_request(now, request, io),
                Err(why) => self.on_request_failed(now, request, code, why, io),
            },
            error_code::STALE_NONCE if request.stale_nonces < MAX_STALE_NONCE_RETRIES => {
                if self.credentials.renew_nonce(message) {
                    let stale_nonces = request.stale_nonces + 1;
                    self.send_request(now, TurnRequest { stale_nonces, ..request }, io);
                } else {
                    self.on_request_failed(now, request, code, "a stale nonce without a new one", io);
                }
            }
            error_code::TRY_ALTERNATE if request.kind == TurnRequestKind::Allocate => {
                self.on_try_alternate(now, message, io);
            }
            // Unasked a server relays by IPv4: this one cannot (RFC 8656 section 7.2).
            error_code::ADDRESS_FAMILY_NOT_SUPPORTED
                if request.kind == TurnRequestKind::Allocate && self.requested_family.is_none() =>
            {
                self.requested_family = Some(AddressFamily::Ipv6);
                self.send_request(now, TurnRequest::allocate(), io);
            }
            error_code::ALLOCATION_MISMATCH if request.kind == TurnRequestKind::Allocate => {
                self.on_allocate_mismatch(now, io);
            }
            error_code::ALLOCATION_MISMATCH if request.kind != TurnRequestKind::Release => {
                self.on_allocation_lost(now, io);
            }
            _ => self.on_request_failed(now, request, code, text, io),
        }
    }

    /// The server sends us to another one (RFC 8489 section 10; U05).
    fn on_try_alternate(&mut self, now: Instant, message: &Message<'_>, io: &mut PortIo<'_>) {
        let fail = |port: &mut Self, text: &str, io: &mut PortIo<'_>| {
            port.on_allocate_error(error_code::TRY_ALTERNATE, text, io);
        };
        let Some(alternate) = message.alternate_server() else {
            return fail(self, "Missing ALTERNATE-SERVER attribute.", io);
        };
        let refused = self.attempted.contains(&alternate)
            || self.attempted.len() >= MAX_SERVERS
            || !self.can_reach(alternate)
            || alternate.ip().is_loopback()
            || alternate.ip().is_unspecified()
            || alternate.ip().is_multicast()
            || !is_allowed_turn_port(alternate.port());
        if refused {
            return fail(self, "Failed to set alternate server.", io);
        }
        tracing::debug!(target: "peerstack::ice::turn", url = %self.shown, %alternate, "alternate server");
        self.requests.clear();
        // Its realm may be another, and a nonce is good where it was made.
        self.credentials.reset();
        self.connect(now, alternate, io);
    }

    /// The server knows an allocation of our address: that of one that went without saying so (U04).
    fn on_allocate_mismatch(&mut self, now: Instant, io: &mut PortIo<'_>) {
        if self.mismatches >= MAX_ALLOCATE_MISMATCH_RETRIES {
            let text = "Maximum retries reached for allocation mismatch.";
            return self.on_allocate_error(error_code::ALLOCATION_MISMATCH, text, io);
        }
        self.mismatches += 1;
        self.requests.clear();
        self.credentials.reset();
        let Some(server) = self.server_address else { return };
        if self.server.protocol.is_stream() || self.open_own_socket(io) {
            self.attempted.retain(|attempted| *attempted != server);
            self.connect(now, server, io);
        }
    }

    /// Nothing comes by the allocation any more: is it still there? A server that was restarted drops what is
    /// sent by one that it has forgotten, but answers requests.
    pub(crate) fn verify_allocation(&mut self, now: Instant, io: &mut PortIo<'_>) {
        if self.state == TurnPortState::Ready && !self.refreshing {
            self.refresh_at = None;
            self.refreshing = true;
            self.send_request(now, TurnRequest::refresh(), io);
        }
    }

    /// The server knows of no allocation of ours (RFC 8656 section 7.3): another one takes its place, with the
    /// pairs this one had. libwebrtc gives them up (U10), and leaves the rest to an ICE restart.
    fn on_allocation_lost(&mut self, now: Instant, io: &mut PortIo<'_>) {
        if self.state != TurnPortState::Ready {
            return;
        }
        tracing::debug!(target: "peerstack::ice::turn", url = %self.shown, "the allocation is lost");
        self.requests.clear();
        (self.refresh_at, self.refreshing) = (None, false);
        self.mismatches = 0;
        self.renewing = true;
        self.state = TurnPortState::Connected;
        self.forget_entries(io);
        self.send_request(now, TurnRequest::allocate(), io);
    }

    fn on_request_failed(
        &mut self,
        now: Instant,
        request: TurnRequest,
        code: u16,
        text: &str,
        io: &mut PortIo<'_>,
    ) {
        let _ = now;
        match request.kind {
            TurnRequestKind::Allocate => self.on_allocate_error(code, text, io),
            TurnRequestKind::Refresh => self.on_refresh_error(io),
            TurnRequestKind::Release => {}
            TurnRequestKind::CreatePermission(peer) => self.on_create_permission_error(peer.ip(), io),
            TurnRequestKind::ChannelBind(peer, _) => self.on_channel_bind_error(peer, io),
        }
    }

    pub(super) fn on_request_timed_out(&mut self, now: Instant, request: TurnRequest, io: &mut PortIo<'_>) {
        let text = "TURN allocate request timed out.";
        self.on_request_failed(now, request, SERVER_NOT_REACHABLE_ERROR, text, io);
    }

    /// The allocation is lost: all its pairs have failed (U10).
    fn on_refresh_error(&mut self, io: &mut PortIo<'_>) {
        tracing::debug!(target: "peerstack::ice::turn", url = %self.shown, "the allocation could not be refreshed");
        self.requests.clear();
        (self.refresh_at, self.refreshing) = (None, false);
        self.permissions.clear();
        self.state = TurnPortState::ReceiveOnly;
        self.fail_connections(io);
    }

    /// Nothing gets through by this port any more.
    pub(super) fn fail_connections(&mut self, io: &mut PortIo<'_>) {
        for peer in self.base.connections.keys() {
            io.events.emit(PortEvent::PeerUnreachable(self.base.id, *peer));
        }
    }
}
