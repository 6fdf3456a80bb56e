//! STUN by hand: what a transport answers to each kind of message (RFC 8445 section 7.3, RFC 8489 section
//! 6.3), and hostile bytes at every stage.

use std::net::SocketAddr;

use peerstack_base::{Ecn, PacketClass, Random, ReceiveMeta, SocketId};
use peerstack_stun::{
    AttributeType, Class, FingerprintStatus, IntegrityStatus, Message, MessageBuilder, Method, TransactionId,
    short_term_key,
};

use super::harness::*;
use crate::*;

const REMOTE: &str = "192.0.2.2:4000";

/// One transport, spoken to by hand from `REMOTE`.
struct Wire {
    pair: Pair,
    socket: SocketId,
    random: Random,
}

impl Wire {
    fn new() -> Self {
        let mut pair = Pair::open(1);
        pair.trickle = false;
        pair.a.channel.set_ice_role(IceRole::Controlled);
        pair.a.gather(pair.now);
        pair.settle();
        pair.a.sent = Some(Vec::new());
        let socket = pair.a.socket_ids()[0];
        Self { pair, socket, random: Random::from_seed(8) }
    }

    fn username(&self) -> String {
        format!("{}:peer", self.pair.a.parameters.ufrag)
    }

    fn request(
        &mut self,
        username: Option<&str>,
        pwd: Option<&str>,
        build: impl FnOnce(&mut MessageBuilder),
    ) -> Vec<u8> {
        let id = TransactionId::new(&mut self.random);
        let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
        if let Some(username) = username {
            builder.add_username(username);
        }
        builder.add_priority(1_845_501_695);
        build(&mut builder);
        if let Some(pwd) = pwd {
            builder.integrity(short_term_key(pwd));
        }
        builder.fingerprint();
        builder.finish()
    }

    fn good(&mut self, build: impl FnOnce(&mut MessageBuilder)) -> Vec<u8> {
        let (username, pwd) = (self.username(), self.pair.a.parameters.pwd.clone());
        self.request(Some(&username), Some(&pwd), |builder| {
            builder.add_ice_controlling(9);
            build(builder);
        })
    }

    fn say_from(&mut self, remote: &str, datagram: &[u8]) -> Vec<Vec<u8>> {
        let remote: SocketAddr = remote.parse().unwrap();
        let meta = ReceiveMeta { socket: self.socket, remote, local_ip: None, ecn: Ecn::NotEct };
        let passed = self.pair.a.channel.receive(self.pair.now, &mut datagram.to_vec(), &meta).is_some();
        assert!(!passed);
        self.pair.settle();
        let sent = std::mem::take(self.pair.a.sent.as_mut().unwrap());
        sent.into_iter().filter(|(to, _)| *to == remote).map(|(_, datagram)| datagram).collect()
    }

    fn say(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.say_from(REMOTE, datagram)
    }

    fn connections(&self) -> usize {
        self.pair.a.channel.connections().count()
    }
}

fn error_of(answers: &[Vec<u8>]) -> u16 {
    assert_eq!(answers.len(), 1, "{answers:?}");
    let message = Message::parse(&answers[0]).unwrap();
    assert_eq!(message.class(), Class::ErrorResponse);
    assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
    message.error_code().unwrap().code
}

/// C01: the response to a check.
#[test]
fn a_check_is_answered() {
    let mut wire = Wire::new();
    let request = wire.good(|_| {});
    let answers = wire.say(&request);
    assert_eq!(answers.len(), 1);
    let response = Message::parse(&answers[0]).unwrap();
    assert_eq!(response.class(), Class::SuccessResponse);
    assert_eq!(response.transaction_id(), Message::parse(&request).unwrap().transaction_id());
    assert_eq!(response.xor_mapped_address(), Some(REMOTE.parse().unwrap()));
    let pwd = wire.pair.a.parameters.pwd.clone();
    assert_eq!(response.check_message_integrity(pwd.as_bytes()), IntegrityStatus::Valid);
    assert_eq!(response.check_fingerprint(), FingerprintStatus::Valid);
    assert!(!response.has(AttributeType::USERNAME) && !response.has(AttributeType::PRIORITY));
    assert_eq!(wire.connections(), 1);
    // The same again: answered again, no pair more.
    assert_eq!(wire.say(&request).len(), 1);
    assert_eq!(wire.connections(), 1);
}

/// C02, C03: missing or wrong user name, missing or wrong integrity; nothing else happens.
#[test]
fn what_does_not_authenticate_is_refused() {
    let mut wire = Wire::new();
    let ours = wire.username();
    let (ufrag, pwd) = (wire.pair.a.parameters.ufrag.clone(), wire.pair.a.parameters.pwd.clone());
    let reversed = format!("peer:{ufrag}");
    let short = format!("{}:peer", &ufrag[..3]);
    let no_remote = format!("{ufrag}:");
    for (username, pwd, code) in [
        (None, Some(pwd.as_str()), 400),
        (Some(ours.as_str()), None, 400),
        (Some(reversed.as_str()), Some(pwd.as_str()), 401),
        (Some(short.as_str()), Some(pwd.as_str()), 401),
        (Some(ufrag.as_str()), Some(pwd.as_str()), 401),
        (Some(no_remote.as_str()), Some(pwd.as_str()), 401),
        (Some(""), Some(pwd.as_str()), 401),
        (Some(ours.as_str()), Some("wrong password wrong pa"), 401),
    ] {
        let request = wire.request(username, pwd, |_| {});
        let answers = wire.say(&request);
        assert_eq!(error_of(&answers), code, "{username:?}");
        let integrity = Message::parse(&answers[0]).unwrap().has(AttributeType::MESSAGE_INTEGRITY);
        assert!(!integrity, "who did not authenticate gets no signature");
    }
    assert_eq!(wire.connections(), 0);
    assert_eq!(wire.pair.a.channel.stats(wire.pair.now).discarded.unauthenticated, 8);
}

/// C03: without a right fingerprint it is not STUN: no answer at all.
#[test]
fn a_wrong_fingerprint_is_not_answered() {
    let mut wire = Wire::new();
    let mut request = wire.good(|_| {});
    *request.last_mut().unwrap() ^= 1;
    assert!(wire.say(&request).is_empty());
    let id = TransactionId::new(&mut wire.random);
    let bare = MessageBuilder::new(Class::Request, Method::BINDING, id).finish();
    assert!(wire.say(&bare).is_empty());
    assert_eq!(wire.pair.a.channel.stats(wire.pair.now).discarded.malformed, 2);
    assert_eq!(wire.connections(), 0);
}

/// C04: 420 lists exactly the unknown comprehension-required attributes; optional ones are ignored, whatever
/// browsers add.
#[test]
fn unknown_attributes() {
    let mut wire = Wire::new();
    let request = wire.good(|builder| {
        builder.add_attribute(AttributeType(0x7777), &[1]).add_attribute(AttributeType(0x7001), &[]);
        builder.add_attribute(AttributeType(0xC777), &[1]);
    });
    let answers = wire.say(&request);
    assert_eq!(error_of(&answers), 420);
    let unknown: Vec<_> = Message::parse(&answers[0]).unwrap().unknown_attributes().collect();
    assert_eq!(unknown, [AttributeType(0x7777), AttributeType(0x7001)]);
    assert_eq!(wire.connections(), 0);

    let request = wire.good(|builder| {
        builder.add_attribute(AttributeType(0xC777), &[1; 40]).add_goog_misc_info(&[1]);
        builder.add_goog_delta(&[1, 2, 3]).add_meta_dtls_in_stun(&[22; 60]);
    });
    assert_eq!(wire.say(&request).len(), 1);
    assert_eq!(wire.connections(), 1);
}

/// C05: a binding indication keeps a pair receiving and is not answered.
#[test]
fn indications_are_not_answered() {
    let mut wire = Wire::new();
    let request = wire.good(|_| {});
    wire.say(&request);
    wire.pair.run_for(ms(3000));
    wire.pair.a.sent.as_mut().unwrap().clear();
    assert!(!wire.pair.a.channel.receiving());
    let id = TransactionId::new(&mut wire.random);
    let mut builder = MessageBuilder::new(Class::Indication, Method::BINDING, id);
    builder.fingerprint();
    let indication = builder.finish();
    assert!(wire.say(&indication).is_empty());
    assert!(wire.pair.a.channel.receiving(), "S10");
    assert!(wire.say_from("192.0.2.3:1", &indication).is_empty());
}

/// C09, C07: a conflict is answered with 487 even from an unknown address, signed; our own packet looped back
/// is none.
#[test]
fn role_conflicts_by_hand() {
    let mut wire = Wire::new();
    wire.pair.a.follow_roles = false;
    wire.pair.a.channel.set_ice_tiebreaker(100);
    let (username, pwd) = (wire.username(), wire.pair.a.parameters.pwd.clone());
    // Both controlled: the higher tie-breaker becomes controlling (RFC 8445 section 7.3.1.1).
    let conflict = wire.request(Some(&username), Some(&pwd), |builder| {
        builder.add_ice_controlled(100);
    });
    let answers = wire.say(&conflict);
    assert_eq!(error_of(&answers), 487, "the peer has at least as high a one: it switches");
    let integrity = Message::parse(&answers[0]).unwrap().check_message_integrity(pwd.as_bytes());
    assert_eq!(integrity, IntegrityStatus::Valid);
    assert_eq!(wire.connections(), 0);
    let conflict = wire.request(Some(&username), Some(&pwd), |builder| {
        builder.add_ice_controlled(99);
    });
    assert_eq!(wire.say(&conflict).len(), 1);
    assert_eq!(wire.pair.a.count(|event| *event == IceTransportEvent::RoleConflict), 1);
    assert_eq!(wire.connections(), 1, "the check counts");

    wire.pair.a.channel.set_ice_role(IceRole::Controlling);
    let own = format!("{0}:{0}", wire.pair.a.parameters.ufrag);
    let looped = wire.request(Some(&own), Some(&pwd), |builder| {
        builder.add_ice_controlling(100);
    });
    assert_eq!(wire.say_from("192.0.2.1:7", &looped).len(), 1);
    assert_eq!(wire.pair.a.count(|event| *event == IceTransportEvent::RoleConflict), 1);
}

/// C25: the right password under another ufrag from a known address is refused, until that ufrag is of a newer
/// generation. C16: the pair that was there is replaced.
#[test]
fn another_ufrag_from_the_same_address() {
    let mut wire = Wire::new();
    let parameters =
        |ufrag: &str| IceParameters { ufrag: ufrag.into(), pwd: "p".repeat(24), renomination: false };
    wire.pair.a.channel.set_remote_ice_parameters(wire.pair.now, parameters("peer"));
    let request = wire.good(|_| {});
    wire.say(&request);
    let (first, pwd) =
        (wire.pair.a.channel.connections().next().unwrap().id(), wire.pair.a.parameters.pwd.clone());
    let ufrag = wire.pair.a.parameters.ufrag.clone();
    wire.pair.a.channel.set_remote_ice_parameters(wire.pair.now, parameters("newer"));
    wire.say(&request);
    let old = wire.request(Some(&format!("{ufrag}:newer")), Some(&pwd), |builder| {
        builder.add_ice_controlling(9);
    });
    let answers = wire.say(&old);
    assert_eq!(Message::parse(&answers[0]).unwrap().class(), Class::SuccessResponse);
    assert_eq!(wire.connections(), 1, "C16: replaced, nothing leaks");
    assert_ne!(wire.pair.a.channel.connections().next().unwrap().id(), first);
    let answers = wire.say(&request);
    assert_eq!(error_of(&answers), 401, "of the older generation");
}

/// A check without PRIORITY from an unknown address: 400.
#[test]
fn a_check_without_priority_is_refused() {
    let mut wire = Wire::new();
    let id = TransactionId::new(&mut wire.random);
    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
    let pwd = wire.pair.a.parameters.pwd.clone();
    builder.add_username(&wire.username()).integrity(pwd.as_bytes()).fingerprint();
    let answers = wire.say(&builder.finish());
    assert_eq!(error_of(&answers), 400);
    assert_eq!(wire.connections(), 0);
}

/// Answers to what does not authenticate are bounded, whoever asks; authenticated checks are always answered
/// (consent).
#[test]
fn errors_are_bounded() {
    let mut wire = Wire::new();
    let bad = wire.request(Some("x:y"), Some("x"), |_| {});
    let answered: usize = (0..1000).map(|_| wire.say(&bad).len()).sum();
    assert_eq!(answered, 20);
    let good = wire.good(|_| {});
    assert_eq!(wire.say(&good).len(), 1);
    wire.pair.run_for(ms(1000));
    assert_eq!(wire.say(&bad).len(), 1);
    assert!(wire.pair.a.channel.stats(wire.pair.now).discarded.over_limit >= 980);
}

/// Pairs and candidates are bounded, even for a peer that knows the password.
#[test]
fn pairs_and_candidates_are_bounded() {
    let mut wire = Wire::new();
    let request = wire.good(|_| {});
    for port in 1..2000 {
        wire.say_from(&format!("192.0.2.9:{port}"), &request);
    }
    assert_eq!(wire.connections(), p2p_constants::MAX_CONNECTIONS);
    let mut pair = Pair::open(3);
    pair.start();
    for port in 1..1000 {
        pair.a.channel.add_remote_candidate(pair.now, candidate(&format!("192.0.2.9:{port}"), 5));
    }
    let known = pair.a.channel.stats(pair.now).remote_candidates.len();
    assert!(known <= 1000 && pair.a.channel.connections().count() <= p2p_constants::MAX_CONNECTIONS);
    let mut names = Pair::open(4);
    names.start();
    names.a.hold_resolutions = true;
    for port in 1..1000 {
        let mut hidden = candidate("192.0.2.9:1", 5);
        hidden.address = CandidateAddress::Name("x.local".into(), port);
        names.a.channel.add_remote_candidate(names.now, hidden);
    }
    names.settle();
    assert_eq!(names.a.resolutions.len(), p2p_constants::MAX_PENDING_RESOLUTIONS);
}

/// C12, C11: a lite peer never checks; we control, nominate only what works, and connect.
#[test]
fn a_lite_peer_is_checked_and_nominated() {
    let mut wire = Wire::new();
    wire.pair.a.channel.set_ice_role(IceRole::Controlling);
    wire.pair.a.channel.set_remote_ice_mode(IceMode::Lite);
    let mut config = IceConfig::default();
    config.nomination_mode = NominationMode::Aggressive;
    wire.pair.a.channel.set_ice_config(config);
    let pwd = "p".repeat(24);
    let parameters = IceParameters { ufrag: "lite".into(), pwd: pwd.clone(), renomination: false };
    wire.pair.a.channel.set_remote_ice_parameters(wire.pair.now, parameters);
    wire.pair.a.channel.add_remote_candidate(wire.pair.now, candidate(REMOTE, 5));
    wire.pair.settle();
    let (mut nominated, mut first) = (false, true);
    for _ in 0..3 {
        let sent = std::mem::take(wire.pair.a.sent.as_mut().unwrap());
        for (_, request) in sent {
            let request = Message::parse(&request).unwrap();
            assert!(!(first && request.use_candidate()), "C11: not before the check succeeded");
            first = false;
            nominated |= request.use_candidate();
            let mut builder =
                MessageBuilder::new(Class::SuccessResponse, Method::BINDING, request.transaction_id());
            builder.add_xor_mapped_address("192.0.2.1:9".parse().unwrap());
            builder.integrity(pwd.as_bytes()).fingerprint();
            let response = builder.finish();
            let meta = ReceiveMeta {
                socket: wire.socket,
                remote: REMOTE.parse().unwrap(),
                local_ip: None,
                ecn: Ecn::NotEct,
            };
            wire.pair.a.channel.receive(wire.pair.now, &mut response.clone(), &meta);
        }
        wire.pair.run_for(ms(50));
    }
    assert!(nominated && wire.pair.a.channel.writable());
}

/// Random bytes, and mutations of real messages and of one's own, at every stage: nothing panics, nothing
/// passes as data that is not, and the connection goes on.
#[test]
fn hostile_bytes_at_every_stage() {
    let mut random = Random::from_seed(12);
    let mut seeds: Vec<Vec<u8>> = {
        let mut wire = Wire::new();
        let good = wire.good(|builder| {
            builder.add_use_candidate().add_nomination(7).add_goog_misc_info(&[1]);
        });
        let mut seeds = wire.say(&good);
        seeds.push(good);
        seeds
    };
    let mut pair = Pair::open(12);
    for stage in 0..6 {
        match stage {
            1 => pair.a.gather(pair.now),
            2 => pair.start(),
            3 => pair.run_for(ms(30)),
            4 => pair.run_for(ms(2000)),
            5 => pair.exchange_data(),
            _ => {}
        }
        pair.settle();
        let socket = pair.a.socket_ids().first().copied().unwrap_or_else(SocketId::unique);
        let known: Vec<SocketAddr> =
            pair.a.channel.connections().filter_map(|c| c.remote_candidate().address.ip()).collect();
        let connections = pair.a.channel.connections().count();
        for round in 0..20_000u64 {
            let mut datagram = if random.chance(0.3) {
                let mut bytes = vec![0; random.below(200) as usize];
                random.fill(&mut bytes);
                bytes
            } else {
                seeds[random.below(seeds.len() as u64) as usize].clone()
            };
            for _ in 0..random.below(5) {
                let at = random.below(datagram.len().max(1) as u64) as usize;
                match random.below(3) {
                    0 => datagram.truncate(at),
                    _ => {
                        if let Some(byte) = datagram.get_mut(at) {
                            *byte = random.u32() as u8;
                        }
                    }
                }
            }
            let remote = match known.first() {
                Some(known) if round % 2 == 0 => *known,
                _ => REMOTE.parse().unwrap(),
            };
            let meta = ReceiveMeta { socket, remote, local_ip: None, ecn: Ecn::NotEct };
            let class = PacketClass::of(&datagram);
            let passed = pair.a.channel.receive(pair.now, &mut datagram, &meta).is_some();
            assert!(!passed || !matches!(class, PacketClass::Stun | PacketClass::Unknown));
        }
        assert_eq!(pair.a.channel.connections().count(), connections, "stage {stage}");
        while let Some((_, transmit)) = pair.a.channel.transmits().peek(|_| 1) {
            let len = transmit.contents.len();
            if seeds.len() < 50 {
                seeds.push(transmit.contents.to_vec());
            }
            pair.a.channel.transmits().pop(len);
        }
    }
    pair.run_for(ms(3000));
    assert!(pair.both_connected());
    pair.a.data.clear();
    pair.exchange_data();
}
