//! The boundary between ICE and what stands on it. Answers to libwebrtc's `p2p/base/ice_transport_internal.h`
//! and `packet_transport_internal.h`; owned by the network task.
//!
//! `P2PTransportChannel` implements it, and so does `FakeIceTransport` (feature `test-util`), over which the
//! layers above are unit-tested.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use peerstack_base::{
    AdapterType, EventReceiver, IoRequest, PacketOptions, ReceiveMeta, ResolveId, SendError, SocketEvent,
    SocketId, TransmitQueue,
};

use crate::{Candidate, IceMode, IceParameters, IceRole};

/// libwebrtc's `IceTransportStateInternal` and W3C's `RTCIceTransportState` share these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IceTransportState {
    /// No remote candidate, or nothing to check yet.
    #[default]
    New,
    /// Checking, no usable pair yet.
    Checking,
    /// A usable pair, others still being checked.
    Connected,
    /// One pair a network is left.
    Completed,
    /// Had a usable pair and lost it; may recover by itself.
    Disconnected,
    /// No pair is left, or consent expired on all.
    Failed,
    /// Closed.
    Closed,
}

/// Gathering state of one transport (W3C `RTCIceGathererState`, webrtc-pc section 5.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IceGatheringState {
    /// Not started.
    #[default]
    New,
    /// Under way.
    Gathering,
    /// Done for this generation.
    Complete,
}

/// A pair of candidates (W3C `RTCIceCandidatePair`, webrtc-pc section 5.6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidatePair {
    /// Ours.
    pub local: Candidate,
    /// The peer's.
    pub remote: Candidate,
}

/// Why the selected pair changed (libwebrtc `IceSwitchReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceSwitchReason {
    /// None was selected, or the reason is not known.
    Unknown,
    /// A remote candidate's generation changed.
    RemoteCandidateGenerationChange,
    /// The network's preference changed.
    NetworkPreferenceChange,
    /// A new connection came from a local candidate.
    NewConnectionFromLocalCandidate,
    /// A new connection came from a remote candidate.
    NewConnectionFromRemoteCandidate,
    /// A new connection came from an unknown remote address.
    NewConnectionFromUnknownRemoteAddress,
    /// The controlling side nominated.
    NominationOnControlledSide,
    /// Data came in on another pair.
    DataReceived,
    /// The state of a connection changed.
    ConnectStateChange,
    /// The selected connection is gone.
    SelectedConnectionDestroyed,
    /// The controller asked for another look.
    IceControllerRecheck,
    /// The application asked.
    ApplicationRequested,
}

/// The selected pair changed (libwebrtc `CandidatePairChangeEvent`).
#[derive(Debug, Clone, PartialEq)]
pub struct CandidatePairChange {
    /// The pair now, if one is selected.
    pub pair: Option<CandidatePair>,
    /// Why.
    pub reason: IceSwitchReason,
    /// When data last came in on the new pair.
    pub last_data_received: Option<Instant>,
    /// How long nothing came in before the switch; zero at the first selection.
    pub estimated_disconnected_time: Duration,
}

/// What is known of the way packets take (libwebrtc `rtc::NetworkRoute`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkRoute {
    /// Whether packets pass.
    pub connected: bool,
    /// Our network.
    pub local_network_id: u16,
    /// The peer's network.
    pub remote_network_id: u16,
    /// Our adapter.
    pub adapter_type: AdapterType,
    /// Bytes of IP, UDP and TURN headers a packet.
    pub packet_overhead: usize,
    /// Whether a TURN server relays.
    pub relayed: bool,
    /// Our address.
    pub local_ip: Option<IpAddr>,
}

/// Gathering with one server or address failed (W3C `RTCPeerConnectionIceErrorEvent`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateErrorEvent {
    /// Local address, empty if it must not be shown.
    pub address: String,
    /// Local port.
    pub port: Option<u16>,
    /// URL of the server.
    pub url: String,
    /// STUN error code, or 701 if the server was not reached.
    pub error_code: u16,
    /// What happened.
    pub error_text: String,
}

/// What an ICE transport tells upward.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum IceTransportEvent {
    /// [`IceTransport::writable`] changed.
    WritableState(bool),
    /// [`IceTransport::receiving`] changed.
    ReceivingState(bool),
    /// After `WouldBlock` or a change of the selected pair: sending may be tried again.
    ReadyToSend,
    /// [`IceTransport::state`] changed.
    StateChange(IceTransportState),
    /// [`IceTransport::gathering_state`] changed.
    GatheringStateChange(IceGatheringState),
    /// A local candidate is there.
    CandidateGathered(Candidate),
    /// A server or address gave none.
    CandidateError(CandidateErrorEvent),
    /// Local candidates are gone.
    CandidatesRemoved(Vec<Candidate>),
    /// Another pair carries packets now.
    SelectedCandidatePairChange(CandidatePairChange),
    /// The way packets take changed; `None` if there is none.
    NetworkRouteChange(Option<NetworkRoute>),
    /// The peer has our role and a better claim (RFC 8445 section 7.3.1.1): the controller switches roles.
    RoleConflict,
    /// Closed; nothing comes after this.
    Closed,
}
peerstack_base::layer_event!(IceTransportEvent, "peerstack::ice");

/// An ICE transport: packets to and from the peer over the best pair there is.
pub trait IceTransport {
    /// Takes a datagram of a socket of this transport. STUN is consumed; what else comes from a known
    /// connection passes through, unwrapped from ChannelData where a relay wrapped it. Anything else is
    /// dropped and counted.
    fn receive<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Option<&'d mut [u8]>;

    /// Sends one packet of at most `len` bytes over the selected pair: `write` fills the slot and returns how
    /// many bytes count (0 takes it back). Returns that number.
    ///
    /// # Errors
    /// [`SendError::NotWritable`] without a usable pair or after consent expired (RFC 7675 section 5.1),
    /// [`SendError::WouldBlock`] when too much waits already.
    fn send_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError>;

    /// What waits to be sent; the network task drains it after each turn.
    fn transmits(&mut self) -> &mut TransmitQueue;

    /// What the network task is asked to do; drained after each turn.
    fn poll_io_request(&mut self) -> Option<IoRequest>;

    /// The answer to [`IoRequest::Resolve`]; an empty list if there is none.
    fn handle_resolved(&mut self, now: Instant, id: ResolveId, addresses: &[IpAddr]);

    /// What became of a stream or listener of this transport ([`IoRequest::AddStream`],
    /// [`IoRequest::AddListener`]).
    fn handle_socket_event(&mut self, now: Instant, event: &SocketEvent) {
        let _ = (now, event);
    }

    /// The network task could not send by this socket, for a reason other than `WouldBlock`.
    fn handle_send_error(&mut self, now: Instant, socket: SocketId, error: &std::io::Error);

    /// The network task wrote out enough after `WouldBlock` ([`TransmitQueue::pop`] said so): emits
    /// [`IceTransportEvent::ReadyToSend`].
    fn handle_unblocked(&mut self, now: Instant);

    /// Whether a socket is one of this transport's.
    fn owns_socket(&self, socket: SocketId) -> bool;

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn next_timeout(&self) -> Option<Instant>;

    /// Runs what is due.
    fn handle_timeout(&mut self, now: Instant);

    /// Drains the events of ports and connections and reacts.
    fn process(&mut self, now: Instant);

    /// A channel of this transport's events from now on.
    fn subscribe(&mut self) -> EventReceiver<IceTransportEvent>;

    /// Whether a packet may be sent.
    fn writable(&self) -> bool;

    /// Whether packets came in lately (T05: 2.5 s).
    fn receiving(&self) -> bool;

    /// State as W3C names it.
    fn state(&self) -> IceTransportState;

    /// State as the original design of libwebrtc computes it (`cricket::IceTransportState`, the second seed's
    /// text): `New`, `Checking`, `Completed`, `Failed` only.
    fn legacy_state(&self) -> IceTransportState {
        self.state()
    }

    /// Gathering state.
    fn gathering_state(&self) -> IceGatheringState;

    /// Smoothed round-trip time of the selected pair.
    fn rtt(&self) -> Option<Duration>;

    /// The pair that carries packets.
    fn selected_candidate_pair(&self) -> Option<CandidatePair>;

    /// The way packets take now.
    fn network_route(&self) -> Option<NetworkRoute>;

    /// Our role.
    fn ice_role(&self) -> IceRole;

    /// Sets our role, also on connections that exist.
    fn set_ice_role(&mut self, role: IceRole);

    /// Sets the tie-breaker of role conflicts, one for all transports of a PeerConnection.
    fn set_ice_tiebreaker(&mut self, tiebreaker: u64);

    /// Our ufrag and password; new ones mean an ICE restart at the next
    /// [`maybe_start_gathering`](Self::maybe_start_gathering).
    fn set_ice_parameters(&mut self, parameters: IceParameters);

    /// The peer's ufrag and password; new ones start a new remote generation.
    fn set_remote_ice_parameters(&mut self, now: Instant, parameters: IceParameters);

    /// The parameters of what was gathered ahead of any description, until that is taken by
    /// [`maybe_start_gathering`](Self::maybe_start_gathering): the first description says these.
    fn pooled_ice_parameters(&self) -> Option<IceParameters> {
        None
    }

    /// Whether the peer is a lite agent.
    fn set_remote_ice_mode(&mut self, mode: IceMode);

    /// Starts gathering for the current parameters unless that was done already.
    fn maybe_start_gathering(&mut self, now: Instant);

    /// Adds a candidate of the peer. Duplicates and what cannot be paired are ignored.
    fn add_remote_candidate(&mut self, now: Instant, candidate: Candidate);

    /// The peer took a candidate back.
    fn remove_remote_candidate(&mut self, candidate: &Candidate);

    /// The peer has no more candidates in this generation (RFC 8838 section 14).
    fn end_of_remote_candidates(&mut self, now: Instant);

    /// Bytes for the peer that ride on connectivity checks (DTLS in STUN); `None` to stop. Returns whether
    /// the transport does that.
    fn set_piggyback(&mut self, bytes: Option<&[u8]>) -> bool {
        let _ = bytes;
        false
    }

    /// Whether, after [`close`](Self::close), an answer of a server to the release of an allocation is waited for: a
    /// second at most, and until then it takes datagrams and has timers.
    fn is_releasing(&self) -> bool {
        false
    }

    /// Closes: releases allocations, asks for its sockets to be closed, emits `Closed`.
    fn close(&mut self, now: Instant);
}
