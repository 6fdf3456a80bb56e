//! An ICE transport made of two queues, for the unit tests of the layers above (feature `test-util`). Owned by
//! a test, never by the network task. Answers to libwebrtc's `p2p/test/fake_ice_transport.h`.
//!
//! What is sent lands in the [`TransmitQueue`] that production uses too; [`FakeIceTransport::take_sent`] reads
//! it out. [`FakeIceLink`] carries datagrams between two of them and drops, duplicates, delays or changes
//! them as a script says.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::{
    Counter, Ecn, EventReceiver, EventSource, IoRequest, PacketClass, PacketOptions, ReceiveMeta, ResolveId,
    SendError, SocketId, TransmitQueue,
};

use crate::{
    Candidate, CandidatePair, IceGatheringState, IceMode, IceParameters, IceRole, IceTransport,
    IceTransportEvent, IceTransportState, NetworkRoute,
};

/// An ICE transport whose readiness the test sets.
#[derive(Debug)]
pub struct FakeIceTransport {
    /// Remote candidates that were added and not removed, in order.
    pub remote_candidates: Vec<Candidate>,
    /// Our parameters as last set.
    pub ice_parameters: Option<IceParameters>,
    /// The peer's parameters as last set.
    pub remote_ice_parameters: Option<IceParameters>,
    /// Whether the peer was said to be a lite agent.
    pub remote_ice_mode: IceMode,
    /// The tie-breaker as last set.
    pub tiebreaker: Option<u64>,
    /// How often gathering was asked for.
    pub gathering_requests: usize,
    /// How often the end of the peer's candidates was told.
    pub end_of_remote_candidates: usize,
    /// Answers to look-ups, in order.
    pub resolved: Vec<(ResolveId, Vec<IpAddr>)>,
    /// Sockets for which a send error was told.
    pub send_errors: Vec<SocketId>,
    /// What rides on connectivity checks.
    pub piggyback: Option<Vec<u8>>,
    /// The pair that getters show.
    pub selected_pair: Option<CandidatePair>,
    /// What passed upwards.
    pub received: Counter,
    /// What was consumed as STUN or did not come from the peer.
    pub not_passed_up: Counter,
    socket: SocketId,
    local: SocketAddr,
    remote: SocketAddr,
    transmits: TransmitQueue,
    options: VecDeque<PacketOptions>,
    events: EventSource<IceTransportEvent>,
    io_requests: VecDeque<IoRequest>,
    writable: bool,
    receiving: bool,
    blocked: bool,
    send_error: Option<SendError>,
    state: IceTransportState,
    gathering_state: IceGatheringState,
    rtt: Option<Duration>,
    route: Option<NetworkRoute>,
    role: IceRole,
    timeout: Option<Instant>,
    handled_timeouts: usize,
}

impl Default for FakeIceTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeIceTransport {
    /// One that is neither writable nor receiving, controlling, in state `New`.
    pub fn new() -> Self {
        Self::with_addresses(
            SocketAddr::from(([192, 0, 2, 1], 50_000)),
            SocketAddr::from(([198, 51, 100, 1], 50_000)),
        )
    }

    /// As [`new`](Self::new), with addresses of its own.
    pub fn with_addresses(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            remote_candidates: Vec::new(),
            ice_parameters: None,
            remote_ice_parameters: None,
            remote_ice_mode: IceMode::Full,
            tiebreaker: None,
            gathering_requests: 0,
            end_of_remote_candidates: 0,
            resolved: Vec::new(),
            send_errors: Vec::new(),
            piggyback: None,
            selected_pair: None,
            received: Counter::default(),
            not_passed_up: Counter::default(),
            socket: SocketId::unique(),
            local,
            remote,
            transmits: TransmitQueue::default(),
            options: VecDeque::new(),
            events: EventSource::new("fake ice"),
            io_requests: VecDeque::new(),
            writable: false,
            receiving: false,
            blocked: false,
            send_error: None,
            state: IceTransportState::New,
            gathering_state: IceGatheringState::New,
            rtt: None,
            route: None,
            role: IceRole::Controlling,
            timeout: None,
            handled_timeouts: 0,
        }
    }

    /// Two that are each other's peer.
    pub fn pair() -> (Self, Self) {
        let (one, other) =
            (SocketAddr::from(([192, 0, 2, 1], 50_000)), SocketAddr::from(([198, 51, 100, 1], 50_000)));
        (Self::with_addresses(one, other), Self::with_addresses(other, one))
    }

    /// Makes it writable or not; tells `WritableState` on a change, and `ReadyToSend` when it became writable.
    pub fn set_writable(&mut self, writable: bool) {
        if self.writable == writable {
            return;
        }
        self.writable = writable;
        self.events.emit(IceTransportEvent::WritableState(writable));
        if writable {
            self.events.emit(IceTransportEvent::ReadyToSend);
        }
    }

    /// Makes it receiving or not; tells `ReceivingState` on a change.
    pub fn set_receiving(&mut self, receiving: bool) {
        if self.receiving != receiving {
            self.receiving = receiving;
            self.events.emit(IceTransportEvent::ReceivingState(receiving));
        }
    }

    /// Sets what [`IceTransport::rtt`] says.
    pub fn set_rtt(&mut self, rtt: Option<Duration>) {
        self.rtt = rtt;
    }

    /// Sets the state; tells `StateChange` on a change.
    pub fn set_state(&mut self, state: IceTransportState) {
        if self.state != state {
            self.state = state;
            self.events.emit(IceTransportEvent::StateChange(state));
        }
    }

    /// Sets the gathering state; tells `GatheringStateChange` on a change.
    pub fn set_gathering_state(&mut self, state: IceGatheringState) {
        if self.gathering_state != state {
            self.gathering_state = state;
            self.events.emit(IceTransportEvent::GatheringStateChange(state));
        }
    }

    /// Sets the route; tells `NetworkRouteChange` on a change.
    pub fn set_network_route(&mut self, route: Option<NetworkRoute>) {
        if self.route != route {
            self.route = route;
            self.events.emit(IceTransportEvent::NetworkRouteChange(route));
        }
    }

    /// While blocked, sending says `WouldBlock`; the end of it tells `ReadyToSend`.
    pub fn set_blocked(&mut self, blocked: bool) {
        if self.blocked && !blocked {
            self.events.emit(IceTransportEvent::ReadyToSend);
        }
        self.blocked = blocked;
    }

    /// The next packet, and only that, fails with this error.
    pub fn fail_next_send(&mut self, error: SendError) {
        self.send_error = Some(error);
    }

    /// Sets when this transport wants `handle_timeout`; handling it clears it.
    pub fn set_timeout(&mut self, at: Option<Instant>) {
        self.timeout = at;
    }

    /// How often a timeout set by [`set_timeout`](Self::set_timeout) was handled.
    pub fn handled_timeouts(&self) -> usize {
        self.handled_timeouts
    }

    /// Tells any event, for example a gathered candidate.
    pub fn emit(&mut self, event: IceTransportEvent) {
        self.events.emit(event);
    }

    /// Queues a request for the network task.
    pub fn push_io_request(&mut self, request: IoRequest) {
        self.io_requests.push_back(request);
    }

    /// What a datagram from the peer comes with.
    pub fn meta(&self) -> ReceiveMeta {
        ReceiveMeta {
            socket: self.socket,
            remote: self.remote,
            local_ip: Some(self.local.ip()),
            ecn: Ecn::NotEct,
        }
    }

    /// Takes the datagrams sent since the last call, in order, together with the options each was sent with.
    pub fn take_sent_with_options(&mut self) -> Vec<(Vec<u8>, PacketOptions)> {
        let mut sent = Vec::new();
        while let Some((_, transmit)) = self.transmits.peek(|_| 1) {
            let datagram = transmit.contents.to_vec();
            self.transmits.pop(datagram.len());
            sent.push((datagram, self.options.pop_front().unwrap_or_default()));
        }
        sent
    }

    /// Takes the datagrams sent since the last call, in order.
    pub fn take_sent(&mut self) -> Vec<Vec<u8>> {
        self.take_sent_with_options().into_iter().map(|(datagram, _)| datagram).collect()
    }
}

impl IceTransport for FakeIceTransport {
    fn receive<'d>(
        &mut self,
        _now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Option<&'d mut [u8]> {
        let known = meta.socket == self.socket && meta.remote == self.remote;
        if !known || PacketClass::of(datagram) == PacketClass::Stun || self.state == IceTransportState::Closed
        {
            self.not_passed_up.add(datagram.len());
            return None;
        }
        self.received.add(datagram.len());
        Some(datagram)
    }

    fn send_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        _now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        if self.state == IceTransportState::Closed {
            return Err(SendError::Closed);
        }
        if !self.writable {
            return Err(SendError::NotWritable);
        }
        if self.blocked {
            return Err(SendError::WouldBlock);
        }
        if let Some(error) = self.send_error.take() {
            return Err(error);
        }
        let written = self.transmits.push_with(self.socket, self.remote, options.ecn, len, write)?;
        if written > 0 {
            self.options.push_back(*options);
        }
        Ok(written)
    }

    fn transmits(&mut self) -> &mut TransmitQueue {
        &mut self.transmits
    }

    fn poll_io_request(&mut self) -> Option<IoRequest> {
        self.io_requests.pop_front()
    }

    fn handle_resolved(&mut self, _now: Instant, id: ResolveId, addresses: &[IpAddr]) {
        self.resolved.push((id, addresses.to_vec()));
    }

    fn handle_send_error(&mut self, _now: Instant, socket: SocketId, _error: &std::io::Error) {
        self.send_errors.push(socket);
    }

    fn handle_unblocked(&mut self, _now: Instant) {
        self.events.emit(IceTransportEvent::ReadyToSend);
    }

    fn owns_socket(&self, socket: SocketId) -> bool {
        socket == self.socket
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.timeout.is_some_and(|at| at <= now) {
            self.timeout = None;
            self.handled_timeouts += 1;
        }
    }

    fn process(&mut self, _now: Instant) {}

    fn subscribe(&mut self) -> EventReceiver<IceTransportEvent> {
        self.events.subscribe()
    }

    fn writable(&self) -> bool {
        self.writable
    }

    fn receiving(&self) -> bool {
        self.receiving
    }

    fn state(&self) -> IceTransportState {
        self.state
    }

    fn gathering_state(&self) -> IceGatheringState {
        self.gathering_state
    }

    fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    fn selected_candidate_pair(&self) -> Option<CandidatePair> {
        self.selected_pair.clone()
    }

    fn network_route(&self) -> Option<NetworkRoute> {
        self.route
    }

    fn ice_role(&self) -> IceRole {
        self.role
    }

    fn set_ice_role(&mut self, role: IceRole) {
        self.role = role;
    }

    fn set_ice_tiebreaker(&mut self, tiebreaker: u64) {
        self.tiebreaker = Some(tiebreaker);
    }

    fn set_ice_parameters(&mut self, parameters: IceParameters) {
        self.ice_parameters = Some(parameters);
    }

    fn set_remote_ice_parameters(&mut self, _now: Instant, parameters: IceParameters) {
        self.remote_ice_parameters = Some(parameters);
    }

    fn set_remote_ice_mode(&mut self, mode: IceMode) {
        self.remote_ice_mode = mode;
    }

    fn maybe_start_gathering(&mut self, _now: Instant) {
        self.gathering_requests += 1;
        if self.gathering_state == IceGatheringState::New {
            self.set_gathering_state(IceGatheringState::Gathering);
        }
    }

    fn add_remote_candidate(&mut self, _now: Instant, candidate: Candidate) {
        if !self.remote_candidates.contains(&candidate) {
            self.remote_candidates.push(candidate);
        }
    }

    fn remove_remote_candidate(&mut self, candidate: &Candidate) {
        self.remote_candidates.retain(|known| known != candidate);
    }

    fn end_of_remote_candidates(&mut self, _now: Instant) {
        self.end_of_remote_candidates += 1;
    }

    fn set_piggyback(&mut self, bytes: Option<&[u8]>) -> bool {
        self.piggyback = bytes.map(<[u8]>::to_vec);
        true
    }

    fn close(&mut self, _now: Instant) {
        if self.state == IceTransportState::Closed {
            return;
        }
        self.set_writable(false);
        self.set_receiving(false);
        self.set_state(IceTransportState::Closed);
        self.io_requests.push_back(IoRequest::CloseSocket { id: self.socket });
        self.events.emit(IceTransportEvent::Closed);
    }
}

/// One end of a [`FakeIceLink`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FakeIceSide {
    /// The first.
    A,
    /// The second.
    B,
}

impl FakeIceSide {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What becomes of a datagram.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FakeIceFate {
    /// It arrives after the link's latency.
    #[default]
    Deliver,
    /// It is lost.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// It arrives later than the others by this much, so behind those that follow.
    Delay(Duration),
    /// These arrive instead of it, in this order.
    Replace(Vec<Vec<u8>>),
}

type Script = Box<dyn FnMut(usize, &[u8]) -> FakeIceFate + Send>;

/// Carries datagrams between two [`FakeIceTransport`]s. Equal scripts give equal deliveries.
///
/// ```
/// use peerstack_base::PacketOptions;
/// use peerstack_p2p::{FakeIceFate, FakeIceLink, FakeIceSide, FakeIceTransport, IceTransport};
/// # #[expect(clippy::disallowed_methods)]
/// let now = std::time::Instant::now();
/// let (mut a, _b) = FakeIceTransport::pair();
/// a.set_writable(true);
/// let mut link = FakeIceLink::new(std::time::Duration::ZERO);
/// // The first datagram from A is lost.
/// link.set_script(FakeIceSide::A, |index, _| if index == 0 { FakeIceFate::Drop } else { FakeIceFate::Deliver });
/// for byte in [200, 201] {
///     a.send_with(now, &PacketOptions::default(), 1, |slot| { slot[0] = byte; 1 })?;
/// }
/// link.collect(now, FakeIceSide::A, &mut a);
/// assert_eq!(link.pop_due(now), Some((FakeIceSide::B, vec![201])));
/// assert_eq!(link.pop_due(now), None);
/// # Ok::<(), peerstack_base::SendError>(())
/// ```
pub struct FakeIceLink {
    latency: Duration,
    scripts: [Option<Script>; 2],
    sent: [usize; 2],
    flying: Vec<Flying>,
    order: u64,
}

#[derive(Debug)]
struct Flying {
    at: Instant,
    order: u64,
    to: FakeIceSide,
    datagram: Vec<u8>,
}

impl fmt::Debug for FakeIceLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeIceLink")
            .field("latency", &self.latency)
            .field("sent", &self.sent)
            .field("flying", &self.flying.len())
            .finish_non_exhaustive()
    }
}

impl FakeIceLink {
    /// A link that takes `latency` one way and loses nothing.
    pub fn new(latency: Duration) -> Self {
        Self { latency, scripts: [None, None], sent: [0; 2], flying: Vec::new(), order: 0 }
    }

    /// Decides about the datagrams that `from` sends: the script is told how many came before and the bytes.
    pub fn set_script(
        &mut self,
        from: FakeIceSide,
        script: impl FnMut(usize, &[u8]) -> FakeIceFate + Send + 'static,
    ) {
        self.scripts[from as usize] = Some(Box::new(script));
    }

    /// How many datagrams `from` sent so far, lost ones included.
    pub fn sent(&self, from: FakeIceSide) -> usize {
        self.sent[from as usize]
    }

    /// Takes what `from` sent and lets it fly.
    pub fn collect(&mut self, now: Instant, from: FakeIceSide, ice: &mut FakeIceTransport) {
        for datagram in ice.take_sent() {
            let index = self.sent[from as usize];
            self.sent[from as usize] += 1;
            let fate = match &mut self.scripts[from as usize] {
                Some(script) => script(index, &datagram),
                None => FakeIceFate::Deliver,
            };
            let (to, at) = (from.other(), now + self.latency);
            match fate {
                FakeIceFate::Deliver => self.fly(at, to, datagram),
                FakeIceFate::Drop => {}
                FakeIceFate::Duplicate => {
                    self.fly(at, to, datagram.clone());
                    self.fly(at, to, datagram);
                }
                FakeIceFate::Delay(delay) => self.fly(at + delay, to, datagram),
                FakeIceFate::Replace(datagrams) => {
                    for datagram in datagrams {
                        self.fly(at, to, datagram);
                    }
                }
            }
        }
    }

    /// Puts a datagram on the way to `to` that nobody sent.
    pub fn inject(&mut self, now: Instant, to: FakeIceSide, datagram: Vec<u8>) {
        self.fly(now + self.latency, to, datagram);
    }

    fn fly(&mut self, at: Instant, to: FakeIceSide, datagram: Vec<u8>) {
        self.flying.push(Flying { at, order: self.order, to, datagram });
        self.order += 1;
    }

    /// When the next datagram arrives.
    pub fn next_delivery(&self) -> Option<Instant> {
        self.flying.iter().map(|flying| flying.at).min()
    }

    /// The next datagram that has arrived by `now`, and at which end.
    pub fn pop_due(&mut self, now: Instant) -> Option<(FakeIceSide, Vec<u8>)> {
        let (index, _) = self
            .flying
            .iter()
            .enumerate()
            .filter(|(_, flying)| flying.at <= now)
            .min_by_key(|(_, flying)| (flying.at, flying.order))?;
        let flying = self.flying.remove(index);
        Some((flying.to, flying.datagram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the one instant all others are reckoned from")]
    fn start() -> Instant {
        Instant::now()
    }

    fn send(ice: &mut FakeIceTransport, now: Instant, byte: u8) -> Result<usize, SendError> {
        ice.send_with(now, &PacketOptions::default(), 1, |slot| {
            slot.fill(byte);
            1
        })
    }

    #[test]
    fn readiness_is_told_once_a_change() {
        let (now, mut ice) = (start(), FakeIceTransport::new());
        let mut events = ice.subscribe();
        assert_eq!(send(&mut ice, now, 1), Err(SendError::NotWritable));
        ice.set_writable(true);
        ice.set_writable(true);
        ice.set_receiving(true);
        assert_eq!(events.try_next(), Some(IceTransportEvent::WritableState(true)));
        assert_eq!(events.try_next(), Some(IceTransportEvent::ReadyToSend));
        assert_eq!(events.try_next(), Some(IceTransportEvent::ReceivingState(true)));
        assert_eq!(events.try_next(), None);
        ice.set_blocked(true);
        assert_eq!(send(&mut ice, now, 1), Err(SendError::WouldBlock));
        ice.set_blocked(false);
        assert_eq!(events.try_next(), Some(IceTransportEvent::ReadyToSend));
        ice.fail_next_send(SendError::Malformed("test"));
        assert_eq!(send(&mut ice, now, 1), Err(SendError::Malformed("test")));
        assert_eq!(send(&mut ice, now, 2), Ok(1));
        assert_eq!(ice.take_sent(), vec![vec![2]]);
        ice.close(now);
        assert_eq!(send(&mut ice, now, 1), Err(SendError::Closed));
    }

    #[test]
    fn only_the_peer_s_datagrams_pass_up_and_stun_does_not() {
        let (now, mut ice) = (start(), FakeIceTransport::new());
        let meta = ice.meta();
        assert!(ice.receive(now, &mut [22, 1], &meta).is_some());
        assert!(ice.receive(now, &mut [0, 1], &meta).is_none());
        let stranger = ReceiveMeta { remote: SocketAddr::from(([203, 0, 113, 9], 1)), ..meta };
        assert!(ice.receive(now, &mut [22, 1], &stranger).is_none());
        assert_eq!((ice.received.packets, ice.not_passed_up.packets), (1, 2));
    }

    #[test]
    fn a_script_drops_duplicates_delays_and_replaces() {
        let (now, mut link) = (start(), FakeIceLink::new(Duration::from_millis(10)));
        let mut ice = FakeIceTransport::new();
        ice.set_writable(true);
        link.set_script(FakeIceSide::A, |index, _| match index {
            0 => FakeIceFate::Drop,
            1 => FakeIceFate::Duplicate,
            2 => FakeIceFate::Delay(Duration::from_millis(5)),
            3 => FakeIceFate::Replace(vec![vec![9], vec![8]]),
            _ => FakeIceFate::Deliver,
        });
        for byte in 0..5 {
            send(&mut ice, now, byte).unwrap();
        }
        link.collect(now, FakeIceSide::A, &mut ice);
        assert_eq!(link.pop_due(now), None);
        let mut arrived = Vec::new();
        while let Some(at) = link.next_delivery() {
            while let Some((side, datagram)) = link.pop_due(at) {
                assert_eq!(side, FakeIceSide::B);
                arrived.extend(datagram);
            }
        }
        assert_eq!(arrived, vec![1, 1, 9, 8, 4, 2]);
        assert_eq!(link.sent(FakeIceSide::A), 5);
    }
}
