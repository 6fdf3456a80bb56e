//! Transitions of one connection: write state, receiving, death, round-trip time, nomination.

use peerstack_base::{EventReceiver, Random, TransmitQueue};
use peerstack_stun::{Class, IntegrityStatus, MessageBuilder, Method, short_term_key};

use super::*;

impl Connection {
    /// Puts a connection of a controller's test into a state.
    pub(crate) fn set_for_test(&mut self, write_state: WriteState, receiving: bool, since: Instant) {
        self.write_state = write_state;
        self.receiving = receiving;
        self.receiving_unchanged_since = since;
    }

    pub(crate) fn set_times_for_test(
        &mut self,
        ping_sent: Option<Instant>,
        ping_received: Option<Instant>,
        data_received: Option<Instant>,
    ) {
        self.last_ping_sent = ping_sent;
        self.last_ping_received = ping_received;
        self.stats.last_packet_received = data_received;
    }

    pub(crate) fn set_nomination_for_test(&mut self, remote_nomination: u32) {
        self.remote_nomination = remote_nomination;
    }

    pub(crate) fn set_rtt_for_test(&mut self, rtt: Duration, samples: u32) {
        self.rtt = rtt;
        self.rtt_samples = samples;
    }

    pub(crate) fn set_response_for_test(&mut self, at: Option<Instant>) {
        self.last_ping_response_received = at;
    }

    pub(crate) fn set_pings_sent_for_test(&mut self, pings: u32) {
        self.num_pings_sent = pings;
    }
}

pub(crate) const REMOTE_PWD: &str = "remotepasswordremotepassw";

pub(crate) fn candidate(address: &str, candidate_type: &str, priority: u32, ufrag: &str) -> Candidate {
    let address: SocketAddr = address.parse().unwrap();
    Candidate::parse(&format!(
        "candidate:1 1 udp {priority} {} {} typ {candidate_type} generation 0 ufrag {ufrag}",
        address.ip(),
        address.port()
    ))
    .unwrap()
}

#[expect(clippy::disallowed_methods, reason = "tests count from an arbitrary origin")]
pub(crate) fn origin() -> Instant {
    Instant::now()
}

pub(crate) fn connection(now: Instant, id: u32) -> Connection {
    Connection::new(
        now,
        NewConnection {
            id: ConnectionId(id),
            port: PortId(0),
            route: PacketRoute::plain(peerstack_base::SocketId::unique(), "192.0.2.2:2000".parse().unwrap()),
            remote_address: "192.0.2.2:2000".parse().unwrap(),
            local: candidate("192.0.2.1:1000", "host", 2_122_260_223, "ours"),
            remote: candidate("192.0.2.2:2000", "host", 2_122_260_223, "peer"),
            remote_password: REMOTE_PWD.into(),
            any_network: false,
        },
    )
}

struct Bench {
    now: Instant,
    connection: Connection,
    config: IceConfig,
    events: EventSource<ConnectionEvent>,
    receiver: EventReceiver<ConnectionEvent>,
    transmits: TransmitQueue,
    random: Random,
    options: PingOptions,
}

impl Bench {
    fn new() -> Self {
        let now = origin();
        let mut events = EventSource::new("test");
        Self {
            now,
            connection: connection(now, 0),
            config: IceConfig::default(),
            receiver: events.subscribe(),
            events,
            transmits: TransmitQueue::default(),
            random: Random::from_seed(3),
            options: PingOptions {
                role: IceRole::Controlling,
                tiebreaker: 7,
                use_candidate: false,
                nomination: 0,
            },
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.connection.update_state(self.now, &self.config, &mut self.events);
    }

    /// Sends a check and returns it.
    fn ping(&mut self) -> Vec<u8> {
        let options = self.options;
        self.connection.ping(self.now, &options, &self.config, &mut self.random, &mut self.transmits);
        let (_, transmit) = self.transmits.peek(|_| 1).unwrap();
        let datagram = transmit.contents.to_vec();
        self.transmits.pop(datagram.len());
        datagram
    }

    fn respond(
        &mut self,
        ping: &[u8],
        class: Class,
        pwd: &str,
        build: impl FnOnce(&mut MessageBuilder),
    ) -> PingOutcome {
        let id = Message::parse(ping).unwrap().transaction_id();
        let mut builder = MessageBuilder::new(class, Method::BINDING, id);
        build(&mut builder);
        builder.integrity(short_term_key(pwd)).fingerprint();
        let response = builder.finish();
        let role = self.options.role;
        self.connection.received_response(
            self.now,
            &Message::parse(&response).unwrap(),
            role,
            &self.config,
            &mut self.events,
        )
    }

    fn succeed(&mut self, ping: &[u8]) -> PingOutcome {
        self.respond(ping, Class::SuccessResponse, REMOTE_PWD, |builder| {
            builder.add_xor_mapped_address("192.0.2.1:1000".parse().unwrap());
        })
    }

    fn receive(&mut self, role: IceRole, build: impl FnOnce(&mut MessageBuilder)) {
        let id = TransactionId::new(&mut self.random);
        let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
        build(&mut builder);
        let request = builder.finish();
        self.connection.received_ping(
            self.now,
            &Message::parse(&request).unwrap(),
            role,
            &self.config,
            &mut self.events,
        );
    }

    fn events(&mut self) -> Vec<ConnectionEvent> {
        std::iter::from_fn(|| self.receiver.try_next()).collect()
    }
}

/// C01, C11: what a check holds, and that USE-CANDIDATE is there only when nominating.
#[test]
fn a_check_says_who_we_are() {
    let mut bench = Bench::new();
    let ping = bench.ping();
    let message = Message::parse(&ping).unwrap();
    assert_eq!(message.username(), Some("peer:ours"));
    assert_eq!(message.check_message_integrity(REMOTE_PWD.as_bytes()), IntegrityStatus::Valid);
    assert_eq!(message.check_fingerprint(), peerstack_stun::FingerprintStatus::Valid);
    assert_eq!(message.priority(), Some((110 << 24) | (2_122_260_223 & 0x00ff_ffff)));
    assert_eq!(message.ice_controlling(), Some(7));
    assert_eq!(message.ice_controlled(), None);
    assert!(!message.use_candidate());
    assert!(message.goog_network_info().is_some());

    bench.options.use_candidate = true;
    let ping = bench.ping();
    assert!(Message::parse(&ping).unwrap().use_candidate());
    bench.options.role = IceRole::Controlled;
    let ping = bench.ping();
    let message = Message::parse(&ping).unwrap();
    assert!(!message.use_candidate());
    assert_eq!((message.ice_controlled(), message.ice_controlling()), (Some(7), None));
}

/// T06, C15: the whole life of a write state.
#[test]
fn write_state_transitions() {
    let mut bench = Bench::new();
    assert_eq!(bench.connection.write_state(), WriteState::WriteInit);
    let ping = bench.ping();
    bench.pass(30);
    assert!(matches!(bench.succeed(&ping), PingOutcome::Success(Some(_), _)));
    assert_eq!(bench.connection.write_state(), WriteState::Writable);
    assert_eq!(bench.connection.state(), IceCandidatePairState::Succeeded);

    // Four unanswered checks are not enough, however long.
    for _ in 0..4 {
        bench.ping();
        bench.pass(2000);
    }
    assert_eq!(bench.connection.write_state(), WriteState::Writable);
    // Five and 5 s since the first are.
    bench.ping();
    bench.pass(150);
    assert_eq!(bench.connection.write_state(), WriteState::WriteUnreliable);
    // Unreliable recovers on a response.
    let ping = bench.ping();
    bench.succeed(&ping);
    assert_eq!(bench.connection.write_state(), WriteState::Writable);

    for _ in 0..6 {
        bench.ping();
    }
    bench.pass(5000);
    assert_eq!(bench.connection.write_state(), WriteState::Writable, "5 s are not yet over");
    bench.pass(1);
    assert_eq!(bench.connection.write_state(), WriteState::WriteUnreliable);
    bench.pass(9999);
    assert_eq!(bench.connection.write_state(), WriteState::WriteUnreliable);
    bench.pass(1);
    assert_eq!(bench.connection.write_state(), WriteState::WriteTimeout);
    assert!(!bench.connection.active());
}

/// T07: a pair that was never writable times out 15 s after its first check; one that was never checked does
/// not.
#[test]
fn a_never_writable_pair_times_out() {
    let mut bench = Bench::new();
    bench.pass(20_000);
    assert_eq!(bench.connection.write_state(), WriteState::WriteInit);
    bench.ping();
    bench.pass(15_000);
    assert_eq!(bench.connection.write_state(), WriteState::WriteInit);
    bench.pass(1);
    assert_eq!(bench.connection.write_state(), WriteState::WriteTimeout);
}

/// A check of the peer brings a timed-out pair back to the start, unless it was pruned.
#[test]
fn the_peers_check_revives_a_timed_out_pair() {
    for pruned in [false, true] {
        let mut bench = Bench::new();
        if pruned {
            bench.connection.prune(&mut bench.events);
        } else {
            bench.ping();
            bench.pass(15_001);
        }
        assert_eq!(bench.connection.write_state(), WriteState::WriteTimeout);
        bench.receive(IceRole::Controlled, |_| {});
        let expected = if pruned { WriteState::WriteTimeout } else { WriteState::WriteInit };
        assert_eq!(bench.connection.write_state(), expected);
    }
}

/// T05, S10: receiving after any packet, no more 2.5 s after the last.
#[test]
fn receiving_lasts_2500_ms() {
    let mut bench = Bench::new();
    bench.connection.received_data(bench.now, 10, &bench.config, &mut bench.events);
    assert!(bench.connection.receiving());
    assert_eq!(bench.events(), [ConnectionEvent::StateChange(ConnectionId(0))]);
    bench.pass(2500);
    assert!(bench.connection.receiving());
    bench.pass(1);
    assert!(!bench.connection.receiving());
    assert_eq!(bench.events(), [ConnectionEvent::StateChange(ConnectionId(0))]);
    bench.connection.received_indication(bench.now, &bench.config, &mut bench.events);
    assert!(bench.connection.receiving(), "C05: an indication counts");
}

/// T08: dead 30 s after the last packet, later while a check is outstanding; never received and timed out:
/// after 10 s.
#[test]
fn death_comes_when_nothing_does() {
    let mut bench = Bench::new();
    bench.receive(IceRole::Controlled, |_| {});
    bench.pass(30_000);
    assert!(!bench.events().contains(&ConnectionEvent::Destroyed(ConnectionId(0))));
    bench.ping();
    bench.pass(30_000);
    assert!(!bench.events().contains(&ConnectionEvent::Destroyed(ConnectionId(0))), "outstanding check");
    bench.pass(1);
    assert!(bench.events().contains(&ConnectionEvent::Destroyed(ConnectionId(0))));

    let mut bench = Bench::new();
    bench.connection.prune(&mut bench.events);
    bench.pass(10_000);
    assert!(!bench.events().contains(&ConnectionEvent::Destroyed(ConnectionId(0))));
    bench.pass(1);
    assert!(bench.events().contains(&ConnectionEvent::Destroyed(ConnectionId(0))));
}

/// The second seed's RTT: three parts of the past, one of the new; and stable after six samples (T04).
#[test]
fn round_trip_time_is_smoothed() {
    let mut bench = Bench::new();
    assert_eq!(bench.connection.rtt(), Duration::from_millis(3000));
    for (rtt, expected) in [(100, 100), (200, 125), (25, 100)] {
        let ping = bench.ping();
        bench.pass(rtt);
        bench.succeed(&ping);
        assert_eq!(bench.connection.rtt(), Duration::from_millis(expected));
    }
    assert!(!bench.connection.stable(bench.now));
    for _ in 0..2 {
        let ping = bench.ping();
        bench.succeed(&ping);
    }
    assert!(bench.connection.stable(bench.now), "T04: enough samples");
    bench.ping();
    bench.pass(2 * bench.connection.rtt().as_millis() as u64 + 1);
    assert!(!bench.connection.stable(bench.now), "T04: a check is missing its response");
    assert_eq!(bench.connection.stats.requests_sent_before_first_response, 1);
    assert_eq!(bench.connection.stats.consent_requests_sent, 5);
}

/// C06, C03: a response of another transaction, or signed with another password, is ignored.
#[test]
fn forged_responses_are_ignored() {
    let mut bench = Bench::new();
    let ping = bench.ping();
    let mut other = ping.clone();
    other[10] ^= 1;
    assert_eq!(bench.succeed(&other), PingOutcome::Ignored);
    let forged = bench.respond(&ping, Class::SuccessResponse, "wrong password wrong pass", |_| {});
    assert_eq!(forged, PingOutcome::Ignored);
    assert_eq!(bench.connection.write_state(), WriteState::WriteInit);
    assert!(matches!(bench.succeed(&ping), PingOutcome::Success(..)));
    assert_eq!(bench.succeed(&ping), PingOutcome::Ignored, "once");
}

/// C04: a response with an unknown comprehension-required attribute leaves the pair unwritable.
#[test]
fn unknown_attributes_in_a_response_fail_the_check() {
    let mut bench = Bench::new();
    let ping = bench.ping();
    let outcome = bench.respond(&ping, Class::SuccessResponse, REMOTE_PWD, |builder| {
        builder.add_attribute(peerstack_stun::AttributeType(0x7777), &[1]);
    });
    assert_eq!(outcome, PingOutcome::Failed);
    assert_eq!(bench.connection.write_state(), WriteState::WriteInit);
}

/// C07: 487 tells of a conflict, unless we switched since; 401 is retried; others end the pair.
#[test]
fn error_responses() {
    for (code, switched, expected) in [
        (487, false, Some(ConnectionEvent::RoleConflict(ConnectionId(0)))),
        (487, true, None),
        (401, false, None),
        (420, false, None),
        (500, false, None),
        (400, false, Some(ConnectionEvent::Destroyed(ConnectionId(0)))),
    ] {
        let mut bench = Bench::new();
        let ping = bench.ping();
        if switched {
            bench.options.role = IceRole::Controlled;
        }
        bench.respond(&ping, Class::ErrorResponse, REMOTE_PWD, |builder| {
            builder.add_error_code(code, "");
        });
        assert_eq!(bench.events().last().cloned(), expected, "{code}");
    }
}

/// C10: the highest nomination counts, smaller ones change nothing; checks without one do not take it back.
#[test]
fn nominations_only_rise() {
    let mut bench = Bench::new();
    for (nomination, expected) in [(0, 0), (3, 3), (2, 3), (0, 3), (4, 4)] {
        bench.receive(IceRole::Controlled, |builder| {
            if nomination > 0 {
                builder.add_nomination(nomination);
            }
        });
        assert_eq!(bench.connection.remote_nomination(), expected);
    }
    let nominated = ConnectionEvent::Nominated(ConnectionId(0));
    assert_eq!(bench.events().iter().filter(|event| **event == nominated).count(), 2);

    let mut bench = Bench::new();
    bench.receive(IceRole::Controlling, |builder| {
        builder.add_use_candidate();
    });
    assert!(!bench.connection.nominated(), "the controlling side is not nominated to");
    bench.receive(IceRole::Controlled, |builder| {
        builder.add_use_candidate();
    });
    assert!(bench.connection.nominated());
}

/// C10: our nomination counts once its response is there.
#[test]
fn our_nomination_is_acknowledged_by_the_response() {
    let mut bench = Bench::new();
    bench.options.nomination = 5;
    let ping = bench.ping();
    assert_eq!(Message::parse(&ping).unwrap().nomination(), Some(5));
    assert!(!bench.connection.nominated());
    bench.succeed(&ping);
    assert!(bench.connection.nominated());
    let ping = bench.ping();
    assert_eq!(Message::parse(&ping).unwrap().nomination(), None, "acknowledged already");
}

/// C14: the peer's network cost follows its checks.
#[test]
fn remote_network_cost_follows_checks() {
    let mut bench = Bench::new();
    bench.receive(IceRole::Controlled, |builder| {
        let info = peerstack_stun::GoogNetworkInfo { network_id: 4, network_cost: 60_000 };
        builder.add_goog_network_info(info);
    });
    assert_eq!(bench.connection.network_cost(), 999);
    assert_eq!(bench.connection.remote_candidate().network_id, 4);
}

/// C30: an acknowledgement inside a check of the peer stands in for a lost response.
#[test]
fn piggybacked_acknowledgement_restores_writability() {
    let mut bench = Bench::new();
    bench.config.piggyback_ice_check_acknowledgement = true;
    let ping = bench.ping();
    let id = Message::parse(&ping).unwrap().transaction_id();
    bench.pass(40);
    bench.receive(IceRole::Controlled, |builder| {
        builder.add_goog_last_ice_check_received(id);
    });
    assert!(bench.connection.writable());
    assert_eq!(bench.connection.rtt(), Duration::from_millis(40));
    let ping = bench.ping();
    assert!(Message::parse(&ping).unwrap().goog_last_ice_check_received().is_some());
}

/// RFC 7675 section 5.1: consent ends 30 s after the last response.
#[test]
fn consent_ends_after_30_s() {
    let mut bench = Bench::new();
    assert!(!bench.connection.consent_expired(bench.now), "nothing was ever consented to");
    let ping = bench.ping();
    bench.succeed(&ping);
    let at = bench.now;
    assert!(!bench.connection.consent_expired(at + Duration::from_millis(29_999)));
    assert!(bench.connection.consent_expired(at + Duration::from_secs(30)));
}

/// C21: password, ufrag and generation are filled in; what belongs to other parameters is left alone.
#[test]
fn remote_parameters_are_filled_in() {
    let mut bench = Bench::new();
    let remote = &mut bench.connection;
    remote.remote_password.0.clear();
    remote.remote.generation = 1;
    assert!(!remote.has_remote_credentials());
    let mut parameters = IceParameters { ufrag: "else".into(), pwd: "x".repeat(24), renomination: false };
    assert!(!remote.maybe_set_remote_ice_parameters(&parameters, 0));
    parameters.ufrag = "peer".into();
    assert!(remote.maybe_set_remote_ice_parameters(&parameters, 0));
    assert_eq!((remote.remote.generation, remote.has_remote_credentials()), (0, true));
    assert!(!format!("{remote:?}").contains(&parameters.pwd), "a secret is never shown");
}
