//! A pair of candidates: checks, round-trip time, write state, receiving, nomination. Owned by the
//! `P2PTransportChannel` on the network task. RFC 8445 sections 6 and 7, RFC 7675; answers to libwebrtc's
//! `p2p/base/connection.h`.

mod ping;
mod stats;

pub(crate) use ping::{PingOptions, PingOutcome, announce_goog_ping, announces_goog_ping};
pub use stats::ConnectionStats;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerstack_base::EventSource;
use peerstack_stun::{Message, StunRequestManager, TransactionId};

use crate::candidate::candidate_pair_priority;
use crate::p2p_constants::{
    CONSENT_TIMEOUT, DEFAULT_RTT, MAX_OUTSTANDING_PINGS, MAXIMUM_RTT, MIN_CONNECTION_LIFETIME, MINIMUM_RTT,
    RTT_RATIO,
};
use crate::packet_route::PacketRoute;
use crate::port::PortId;
use crate::{Candidate, CandidateType, IceConfig, IceParameters, IceRole};

/// Names a connection within its transport; rises with each one made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u32);

/// Whether packets get through, best first (libwebrtc `Connection::WriteState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WriteState {
    /// A check was answered lately.
    Writable,
    /// Was writable, then several checks stayed unanswered (T06).
    WriteUnreliable,
    /// No check was answered yet.
    WriteInit,
    /// Nothing was answered for too long (T06, T07), or the pair was pruned.
    WriteTimeout,
}

/// State of a pair in the check list (RFC 8445 section 6.1.2.6; libwebrtc `IceCandidatePairState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceCandidatePairState {
    /// Not checked yet.
    Waiting,
    /// Checked, not answered yet.
    InProgress,
    /// A check was answered.
    Succeeded,
    /// Given up.
    Failed,
}

/// What a connection tells its transport.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Write state, receiving, candidates, cost: something that sorting looks at changed.
    StateChange(ConnectionId),
    /// The controlling side nominated it.
    Nominated(ConnectionId),
    /// It is dead and to be removed.
    Destroyed(ConnectionId),
    /// The peer says it has our role and the better claim.
    RoleConflict(ConnectionId),
}
peerstack_base::layer_event!(ConnectionEvent, "peerstack::ice::connection");

/// A check that was not answered since the last response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SentPing {
    pub(crate) id: TransactionId,
    pub(crate) sent: Instant,
}

/// A pair of a local and a remote candidate.
#[derive(Debug)]
pub struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) port: PortId,
    pub(crate) route: PacketRoute,
    pub(crate) remote_address: SocketAddr,
    pub(crate) local: Candidate,
    pub(crate) remote: Candidate,
    pub(crate) remote_password: RemotePassword,
    /// Bound to the "any" address, so its network is not known.
    pub(crate) any_network: bool,
    /// Its port or its remote candidate belongs to an earlier generation or a network that is gone.
    pub(crate) port_pruned: bool,
    pub(crate) connected: bool,
    /// Its network is not there now: nothing can be sent.
    network_gone: bool,
    write_state: WriteState,
    state: IceCandidatePairState,
    receiving: bool,
    receiving_unchanged_since: Instant,
    /// The peer was seen to send by another pair, and nothing came here since.
    shunned_since: Option<Instant>,
    pruned: bool,
    selected: bool,
    nomination: u32,
    acked_nomination: u32,
    remote_nomination: u32,
    last_nomination_received: Option<Instant>,
    time_created: Instant,
    num_pings_sent: u32,
    last_ping_sent: Option<Instant>,
    last_ping_received: Option<Instant>,
    last_ping_id_received: Option<TransactionId>,
    last_indication_received: Option<Instant>,
    last_ping_response_received: Option<Instant>,
    rtt: Duration,
    rtt_samples: u32,
    pings_since_last_response: Vec<SentPing>,
    requests: StunRequestManager<ping::PingContext>,
    /// Whether the peer said that it speaks GOOG_PING, once it was asked (C13).
    remote_support_goog_ping: Option<bool>,
    cached_stun_binding: Option<ping::PingContents>,
    /// Our side is a lite one: the peer's checks stand for ours (RFC 8445 section 2.5).
    pub(crate) lite: bool,
    /// Both sides are lite: nobody checks, and the pair is taken as it was signalled (RFC 8445 section 8.2).
    unchecked: bool,
    /// Spreads consent checks over 0.8 to 1.2 of their interval (RFC 7675 section 5.1), in thousandths.
    pub(crate) interval_thousandths: u32,
    pub(crate) stats: ConnectionStats,
}

/// A password that `Debug` does not show.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct RemotePassword(pub(crate) String);

impl std::fmt::Debug for RemotePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "unknown" } else { "known" })
    }
}

/// What a connection is made of.
pub(crate) struct NewConnection {
    pub(crate) id: ConnectionId,
    pub(crate) port: PortId,
    pub(crate) route: PacketRoute,
    pub(crate) remote_address: SocketAddr,
    pub(crate) local: Candidate,
    pub(crate) remote: Candidate,
    pub(crate) remote_password: String,
    pub(crate) any_network: bool,
}

impl Connection {
    pub(crate) fn new(now: Instant, new: NewConnection) -> Self {
        Self {
            id: new.id,
            port: new.port,
            route: new.route,
            remote_address: new.remote_address,
            local: new.local,
            remote: new.remote,
            remote_password: RemotePassword(new.remote_password),
            any_network: new.any_network,
            port_pruned: false,
            connected: true,
            network_gone: false,
            write_state: WriteState::WriteInit,
            state: IceCandidatePairState::Waiting,
            receiving: false,
            receiving_unchanged_since: now,
            shunned_since: None,
            pruned: false,
            selected: false,
            nomination: 0,
            acked_nomination: 0,
            remote_nomination: 0,
            last_nomination_received: None,
            time_created: now,
            num_pings_sent: 0,
            last_ping_sent: None,
            last_ping_received: None,
            last_ping_id_received: None,
            last_indication_received: None,
            last_ping_response_received: None,
            rtt: DEFAULT_RTT,
            rtt_samples: 0,
            pings_since_last_response: Vec::new(),
            requests: StunRequestManager::new(),
            remote_support_goog_ping: None,
            cached_stun_binding: None,
            lite: false,
            unchecked: false,
            interval_thousandths: 1000,
            stats: ConnectionStats::default(),
        }
    }

    /// Its name.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Our candidate.
    pub fn local_candidate(&self) -> &Candidate {
        &self.local
    }

    /// The peer's candidate.
    pub fn remote_candidate(&self) -> &Candidate {
        &self.remote
    }

    /// Whether packets get through.
    pub fn write_state(&self) -> WriteState {
        self.write_state
    }

    /// Whether a check was answered lately.
    pub fn writable(&self) -> bool {
        self.write_state == WriteState::Writable
    }

    /// Whether packets came in lately (T05).
    pub fn receiving(&self) -> bool {
        self.receiving
    }

    /// When [`receiving`](Self::receiving) last changed.
    pub fn receiving_unchanged_since(&self) -> Instant {
        self.receiving_unchanged_since
    }

    /// Whether the transport below is connected: always so with UDP while its network is there.
    pub fn connected(&self) -> bool {
        self.connected && !self.network_gone
    }

    /// Its network went, or came back.
    pub(crate) fn set_network_gone(&mut self, gone: bool, events: &mut EventSource<ConnectionEvent>) {
        if self.network_gone != gone {
            self.network_gone = gone;
            events.emit(ConnectionEvent::StateChange(self.id));
        }
    }

    /// The way packets take changed, or the stream they take is connected, or not any more.
    pub(crate) fn set_route(
        &mut self,
        route: PacketRoute,
        connected: bool,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        self.route = route;
        if self.connected != connected {
            self.connected = connected;
            events.emit(ConnectionEvent::StateChange(self.id));
        }
    }

    /// When the controlling side last said that it chose this pair.
    pub(crate) fn last_nomination_received(&self) -> Option<Instant> {
        self.last_nomination_received
    }

    /// The opposite of strong, which is writable, receiving and connected.
    pub fn weak(&self) -> bool {
        !(self.writable() && self.receiving && self.connected())
    }

    /// Not timed out.
    pub fn active(&self) -> bool {
        self.write_state != WriteState::WriteTimeout
    }

    /// Whether it was given up in favour of a better pair of its network.
    pub fn pruned(&self) -> bool {
        self.pruned
    }

    /// Whether it carries packets.
    pub fn selected(&self) -> bool {
        self.selected
    }

    /// State in the check list.
    pub fn state(&self) -> IceCandidatePairState {
        self.state
    }

    /// Smoothed round-trip time; 3 s until one was measured.
    pub fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Measurements in [`rtt`](Self::rtt).
    pub fn rtt_samples(&self) -> u32 {
        self.rtt_samples
    }

    /// Checks sent.
    pub fn num_pings_sent(&self) -> u32 {
        self.num_pings_sent
    }

    /// When the last check was sent.
    pub fn last_ping_sent(&self) -> Option<Instant> {
        self.last_ping_sent
    }

    /// When the peer's last check came in.
    pub fn last_ping_received(&self) -> Option<Instant> {
        self.last_ping_received
    }

    /// When the last response to a check came in.
    pub fn last_ping_response_received(&self) -> Option<Instant> {
        self.last_ping_response_received
    }

    /// When data last came in.
    pub fn last_data_received(&self) -> Option<Instant> {
        self.stats.last_packet_received
    }

    /// When anything last came in.
    pub fn last_received(&self) -> Option<Instant> {
        self.stats
            .last_packet_received
            .max(self.last_ping_received)
            .max(self.last_indication_received)
            .max(self.last_ping_response_received)
    }

    /// The highest nomination of the controlling peer; 0 for none.
    pub fn remote_nomination(&self) -> u32 {
        self.remote_nomination
    }

    /// Whether it is nominated, by us with the peer's acknowledgement or by the peer.
    pub fn nominated(&self) -> bool {
        self.acked_nomination > 0 || self.remote_nomination > 0
    }

    /// The cost of both networks.
    pub fn network_cost(&self) -> u32 {
        u32::from(self.local.network_cost) + u32::from(self.remote.network_cost)
    }

    /// Generations of both candidates, which rise with each restart.
    pub fn generations(&self) -> u64 {
        u64::from(self.local.generation) + u64::from(self.remote.generation)
    }

    /// The pair's priority (RFC 8445 section 6.1.2.3).
    pub fn priority(&self, role: IceRole) -> u64 {
        match role {
            IceRole::Controlling => candidate_pair_priority(self.local.priority, self.remote.priority),
            IceRole::Controlled => candidate_pair_priority(self.remote.priority, self.local.priority),
        }
    }

    /// Whether a check can be sent: the peer's ufrag and password are known.
    pub fn has_remote_credentials(&self) -> bool {
        !self.remote.username_fragment.is_empty() && !self.remote_password.0.is_empty()
    }

    /// Whether anything authenticated ever came in here.
    pub fn authenticated(&self) -> bool {
        self.unchecked || self.last_ping_received.is_some() || self.last_ping_response_received.is_some()
    }

    /// Enough round trips measured, and no check waiting for longer than two of them (T04).
    pub fn stable(&self, now: Instant) -> bool {
        let missing = self
            .pings_since_last_response
            .first()
            .is_some_and(|ping| now.saturating_duration_since(ping.sent) > 2 * self.rtt);
        self.rtt_samples > RTT_RATIO + 1 && !missing
    }

    /// For how long the first check since the last answer waits for its own.
    pub(crate) fn unanswered_for(&self, now: Instant) -> Duration {
        let first = self.pings_since_last_response.first();
        first.map_or(Duration::ZERO, |ping| now.saturating_duration_since(ping.sent))
    }

    /// Whether the peer's consent to be sent to has run out (RFC 7675 section 5.1).
    pub fn consent_expired(&self, now: Instant) -> bool {
        // A lite agent sends no checks: while the peer checks it consents.
        let consented = if self.lite { self.last_ping_received } else { self.last_ping_response_received };
        consented.is_some_and(|at| now >= at + CONSENT_TIMEOUT)
    }

    /// Relayed on both sides, or on ours with a peer seen through its packets: may be taken for writable
    /// before the first response (C29).
    pub fn presumed_writable(&self, config: &IceConfig) -> bool {
        config.presume_writable_when_fully_relayed
            && self.write_state == WriteState::WriteInit
            && self.local.candidate_type == CandidateType::Relay
            && matches!(self.remote.candidate_type, CandidateType::Relay | CandidateType::Prflx)
    }

    pub(crate) fn set_selected(&mut self, selected: bool) {
        self.selected = selected;
    }

    fn set_write_state(&mut self, state: WriteState, events: &mut EventSource<ConnectionEvent>) {
        if self.write_state != state {
            tracing::debug!(
                target: "peerstack::ice::connection",
                connection = self.id.0, from = ?self.write_state, to = ?state, "write state"
            );
            self.write_state = state;
            events.emit(ConnectionEvent::StateChange(self.id));
        }
    }

    fn update_receiving(
        &mut self,
        now: Instant,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        let answered = match (self.last_ping_sent, self.last_ping_response_received) {
            (Some(sent), Some(response)) => sent < response,
            _ => false,
        };
        // Checks of a peer that has connected are seconds apart, and a lite agent gets no answers in between.
        let timeout = if self.lite {
            config.receiving_timeout.max(config.ice_inactive_timeout)
        } else {
            config.receiving_timeout
        };
        let lately = self.last_received().is_some_and(|at| now <= at + timeout);
        if self.shunned_since.is_some_and(|since| self.last_received().is_some_and(|at| at > since)) {
            self.shunned_since = None;
        }
        let receiving = (answered || lately) && self.shunned_since.is_none();
        if receiving != self.receiving {
            self.receiving = receiving;
            self.receiving_unchanged_since = now;
            events.emit(ConnectionEvent::StateChange(self.id));
        }
    }

    /// The peer sends by another pair while nothing comes here: it does not receive until something does.
    pub(crate) fn shun(
        &mut self,
        now: Instant,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        self.shunned_since = Some(now);
        self.update_receiving(now, config, events);
    }

    /// Data came in. Emits only if the receiving state changed.
    pub(crate) fn received_data(
        &mut self,
        now: Instant,
        len: usize,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        self.stats.last_packet_received = Some(now);
        self.stats.received.add(len);
        if !self.receiving {
            self.update_receiving(now, config, events);
        }
    }

    /// A binding indication came in (C05).
    pub(crate) fn received_indication(
        &mut self,
        now: Instant,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        self.last_indication_received = Some(now);
        self.update_receiving(now, config, events);
    }

    /// The peer's authenticated check came in: receiving, nomination, cost (RFC 8445 section 7.3.1).
    pub(crate) fn received_ping(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        role: IceRole,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        self.last_ping_received = Some(now);
        self.last_ping_id_received = Some(message.transaction_id());
        self.stats.requests_received += 1;
        self.update_receiving(now, config, events);
        if !self.pruned && self.write_state == WriteState::WriteTimeout {
            // The peer is back: start again.
            self.set_write_state(WriteState::WriteInit, events);
        }
        if role == IceRole::Controlled {
            let nomination = message.nomination().unwrap_or(u32::from(message.use_candidate()));
            if nomination > 0 {
                self.last_nomination_received = Some(now);
                if self.pruned && self.state != IceCandidatePairState::Failed {
                    // What we gave up the peer has chosen: it is checked again (RFC 8445 section 7.3.1.4), so that its
                    // data can be followed.
                    self.pruned = false;
                    self.set_write_state(WriteState::WriteInit, events);
                }
            }
            if nomination > self.remote_nomination {
                self.remote_nomination = nomination;
                events.emit(ConnectionEvent::Nominated(self.id));
            }
        }
        if self.lite && self.remote_nomination > 0 {
            // The peer nominates what it has checked: that is our valid pair (RFC 8445 section 7.3.2).
            self.set_write_state(WriteState::Writable, events);
            self.state = IceCandidatePairState::Succeeded;
        }
        if let Some(info) = message.goog_network_info() {
            let cost = info.network_cost.min(999);
            self.remote.network_id = info.network_id;
            if self.remote.network_cost != cost {
                self.remote.network_cost = cost;
                events.emit(ConnectionEvent::StateChange(self.id));
            }
        }
        if config.piggyback_ice_check_acknowledgement
            && let Some(acked) = message.goog_last_ice_check_received()
            && let Some(ping) = self.pings_since_last_response.iter().find(|ping| ping.id == acked)
        {
            // C30: our check arrived although its response did not.
            let rtt = now.saturating_duration_since(ping.sent);
            let acked_nomination = self.requests.get(acked).map_or(0, |context| context.nomination);
            self.received_ping_response(now, rtt, acked_nomination, config, events);
        }
    }

    /// A check was answered: writable (the second seed, "Connection states").
    fn received_ping_response(
        &mut self,
        now: Instant,
        rtt: Duration,
        nomination: u32,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        self.stats.total_round_trip_time += rtt;
        self.stats.current_round_trip_time = Some(rtt);
        self.rtt = if self.rtt_samples == 0 { rtt } else { (self.rtt * RTT_RATIO + rtt) / (RTT_RATIO + 1) };
        self.rtt_samples = self.rtt_samples.saturating_add(1);
        if nomination > 0 {
            self.acked_nomination = self.acked_nomination.max(nomination);
        }
        self.pings_since_last_response.clear();
        self.last_ping_response_received = Some(now);
        self.stats.consent_answered();
        self.update_receiving(now, config, events);
        self.set_write_state(WriteState::Writable, events);
        self.state = IceCandidatePairState::Succeeded;
    }

    /// Takes the pair as it was signalled: neither side checks.
    pub(crate) fn take_unchecked(&mut self, events: &mut EventSource<ConnectionEvent>) {
        self.unchecked = true;
        self.set_write_state(WriteState::Writable, events);
        self.state = IceCandidatePairState::Succeeded;
    }

    /// Lets time pass for a pair of a lite agent, which the peer's checks alone keep alive.
    fn update_write_state_as_lite(
        &mut self,
        now: Instant,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        let silent = now.saturating_duration_since(self.last_ping_received.unwrap_or(self.time_created));
        match self.write_state {
            _ if self.unchecked => {}
            WriteState::Writable | WriteState::WriteUnreliable if silent >= CONSENT_TIMEOUT => {
                self.set_write_state(WriteState::WriteTimeout, events);
            }
            WriteState::Writable if silent > config.ice_inactive_timeout => {
                self.set_write_state(WriteState::WriteUnreliable, events);
            }
            WriteState::WriteInit if silent > config.ice_inactive_timeout => {
                self.set_write_state(WriteState::WriteTimeout, events);
            }
            _ => {}
        }
    }

    /// Lets time pass: write state, receiving, death (T05 to T08).
    pub(crate) fn update_state(
        &mut self,
        now: Instant,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        if self.lite {
            self.update_write_state_as_lite(now, config, events);
        }
        self.requests.handle_timeout(now);
        while self.requests.poll_timed_out().is_some() {}
        let rtt = (2 * self.rtt).clamp(MINIMUM_RTT, MAXIMUM_RTT);
        if self.write_state == WriteState::Writable
            && self.too_many_failures(now, config.ice_unwritable_min_checks, rtt)
            && self.too_long_without_response(now, config.ice_unwritable_timeout)
        {
            self.set_write_state(WriteState::WriteUnreliable, events);
        }
        if matches!(self.write_state, WriteState::WriteUnreliable | WriteState::WriteInit)
            && self.too_long_without_response(now, config.ice_inactive_timeout)
        {
            self.set_write_state(WriteState::WriteTimeout, events);
        }
        if self.active() && self.consent_expired(now) && !self.writable_again_possible() {
            self.set_write_state(WriteState::WriteTimeout, events);
        }
        self.update_receiving(now, config, events);
        if self.dead(now, config) {
            self.state = IceCandidatePairState::Failed;
            events.emit(ConnectionEvent::Destroyed(self.id));
        }
    }

    /// A reserve pair is checked more rarely than consent lasts: it is not timed out for that, only not sent
    /// to before its next response.
    fn writable_again_possible(&self) -> bool {
        !self.selected
    }

    fn too_many_failures(&self, now: Instant, checks: usize, rtt: Duration) -> bool {
        self.pings_since_last_response.get(checks.max(1) - 1).is_some_and(|ping| now > ping.sent + rtt)
    }

    fn too_long_without_response(&self, now: Instant, limit: Duration) -> bool {
        self.pings_since_last_response.first().is_some_and(|ping| now > ping.sent + limit)
    }

    /// Whether it is to be removed (T08).
    fn dead(&self, now: Instant, config: &IceConfig) -> bool {
        if self.unchecked {
            return false;
        }
        let timeout = config.dead_connection_timeout;
        if let Some(received) = self.last_received() {
            if now <= received + timeout {
                return false;
            }
            // An outstanding check extends the life until it has gone unanswered for as long.
            return match self.pings_since_last_response.first() {
                Some(ping) => now > ping.sent + timeout,
                None => true,
            };
        }
        !self.active() && now > self.time_created + MIN_CONNECTION_LIFETIME
    }

    /// Gives it up in favour of a better pair; it is not checked any more unless that gets weak (S05, S06).
    pub(crate) fn prune(&mut self, events: &mut EventSource<ConnectionEvent>) {
        if !self.pruned || self.active() {
            self.pruned = true;
            self.requests.clear();
            self.set_write_state(WriteState::WriteTimeout, events);
        }
    }

    /// Gives it up because its way is barred; it is removed when its time has come (libwebrtc
    /// `FailAndPrune`).
    pub(crate) fn fail_and_prune(&mut self, events: &mut EventSource<ConnectionEvent>) {
        self.state = IceCandidatePairState::Failed;
        self.prune(events);
    }

    /// Gives it up for good.
    pub(crate) fn fail_and_destroy(&mut self, events: &mut EventSource<ConnectionEvent>) {
        self.state = IceCandidatePairState::Failed;
        self.requests.clear();
        self.set_write_state(WriteState::WriteTimeout, events);
        events.emit(ConnectionEvent::Destroyed(self.id));
    }

    /// Fills in what was not known when the peer's check came first (C21, C24). Returns whether anything
    /// changed.
    pub(crate) fn maybe_set_remote_ice_parameters(
        &mut self,
        parameters: &IceParameters,
        generation: u32,
    ) -> bool {
        let learned = self.remote.username_fragment.is_empty() && self.remote.generation >= generation;
        if learned {
            self.remote.username_fragment.clone_from(&parameters.ufrag);
        }
        if self.remote.username_fragment != parameters.ufrag {
            return false;
        }
        let mut changed = learned;
        if self.remote_password.0.is_empty() {
            self.remote_password.0.clone_from(&parameters.pwd);
            changed = true;
        }
        if self.remote.generation > generation {
            self.remote.generation = generation;
            changed = true;
        }
        changed
    }

    /// The peer signalled what was learned from its check: the type becomes the signalled one (C21).
    pub(crate) fn maybe_update_peer_reflexive_candidate(&mut self, signalled: &Candidate) -> bool {
        let same = self.remote.candidate_type == CandidateType::Prflx
            && signalled.candidate_type != CandidateType::Prflx
            && self.remote.protocol == signalled.protocol
            && signalled.address.ip() == Some(self.remote_address)
            && self.remote.username_fragment == signalled.username_fragment;
        if same {
            let (id, cost) = (self.remote.network_id, self.remote.network_cost);
            self.remote = signalled.clone();
            // What the peer's checks said is newer than what it signalled.
            if self.last_ping_received.is_some() && self.remote.network_id == 0 {
                (self.remote.network_id, self.remote.network_cost) = (id, cost);
            }
        }
        same
    }

    pub(crate) fn remember_ping(&mut self, now: Instant, id: TransactionId) {
        if self.pings_since_last_response.len() < MAX_OUTSTANDING_PINGS {
            self.pings_since_last_response.push(SentPing { id, sent: now });
        }
        self.num_pings_sent = self.num_pings_sent.saturating_add(1);
        self.last_ping_sent = Some(now);
        if self.state == IceCandidatePairState::Waiting {
            self.state = IceCandidatePairState::InProgress;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
