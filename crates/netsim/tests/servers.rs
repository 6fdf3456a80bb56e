//! STUN and TURN servers of the lab, spoken to by messages of the `stun` crate.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::start;
use peerstack_base::Random;
use peerstack_netsim::{Datagram, HostSocket, Lab, Nat, StunServer, TraceKind, TurnServer, addr, ip};
use peerstack_stun::{
    AddressFamily, AttributeType, ChangeRequest, ChannelData, Class, IntegrityStatus, Message,
    MessageBuilder, Method, TransactionId, long_term_key_md5,
};

const SERVER: &str = "198.51.100.1:3478";

fn id(seed: u64) -> TransactionId {
    TransactionId::new(&mut Random::from_seed(seed))
}

/// Sends and returns the answer, if one comes at once.
fn ask(lab: &Lab, socket: &HostSocket, to: &str, request: Vec<u8>) -> Option<Datagram> {
    socket.send_to(&request, addr(to)).unwrap();
    lab.advance(lab.now());
    socket.try_recv()
}

fn binding() -> MessageBuilder {
    MessageBuilder::new(Class::Request, Method::BINDING, id(1))
}

#[test]
fn a_stun_server_tells_the_mapped_address() {
    let lab = Lab::new(1, start());
    let nat = Nat::full_cone("home", &lab.internet(), ip("203.0.113.1"));
    let client = lab.host_at("client", &nat, ip("192.168.0.2")).bind(addr("192.168.0.2:5000")).unwrap();
    let server = StunServer::new(&lab.host_at("stun", &lab.internet(), ip("198.51.100.1")), addr(SERVER));
    let answer = ask(&lab, &client, SERVER, binding().finish()).unwrap();
    let message = Message::parse(&answer.payload).unwrap();
    assert_eq!((answer.source, server.address()), (addr(SERVER), addr(SERVER)));
    assert_eq!((message.class(), message.transaction_id()), (Class::SuccessResponse, id(1)));
    assert_eq!(message.xor_mapped_address(), Some(addr("203.0.113.1:5000")));
    assert_eq!(TraceKind::of(&answer.payload).to_string(), "STUN Binding success");

    // Garbage and indications are not answered.
    assert_eq!(ask(&lab, &client, SERVER, vec![0, 1, 0]), None);
    let indication = MessageBuilder::new(Class::Indication, Method::BINDING, id(2)).finish();
    assert_eq!(ask(&lab, &client, SERVER, indication), None);

    server.configure(|config| config.legacy = true);
    let answer = ask(&lab, &client, SERVER, binding().finish()).unwrap();
    let message = Message::parse(&answer.payload).unwrap();
    assert_eq!(
        (message.xor_mapped_address(), message.mapped_address()),
        (None, Some(addr("203.0.113.1:5000")))
    );
    server.configure(|config| config.error = Some(500));
    let answer = ask(&lab, &client, SERVER, binding().finish()).unwrap();
    assert_eq!(Message::parse(&answer.payload).unwrap().error_code().unwrap().code, 500);
    server.configure(|config| config.answers = false);
    assert_eq!(ask(&lab, &client, SERVER, binding().finish()), None);
    assert_eq!(server.requests(), 4);
    server.stop();
    assert_eq!(ask(&lab, &client, SERVER, binding().finish()), None);
    assert_eq!(server.requests(), 4);
}

#[test]
fn a_stun_server_refuses_what_it_must_understand_and_does_not() {
    let lab = Lab::new(1, start());
    let client =
        lab.host_at("client", &lab.internet(), ip("203.0.113.1")).bind(addr("203.0.113.1:1")).unwrap();
    let _server = StunServer::new(&lab.host_at("stun", &lab.internet(), ip("198.51.100.1")), addr(SERVER));
    let mut request = binding();
    request.add_attribute(AttributeType(0x7fff), &[]);
    let answer = ask(&lab, &client, SERVER, request.finish()).unwrap();
    let message = Message::parse(&answer.payload).unwrap();
    assert_eq!(message.error_code().unwrap().code, 420);
    assert_eq!(message.unknown_attributes().collect::<Vec<_>>(), [AttributeType(0x7fff)]);
}

#[test]
fn a_stun_server_with_two_addresses_answers_from_the_other_one() {
    let lab = Lab::new(1, start());
    let client =
        lab.host_at("client", &lab.internet(), ip("203.0.113.1")).bind(addr("203.0.113.1:1")).unwrap();
    let host = lab.host("stun");
    let ips = [ip("198.51.100.1"), ip("198.51.100.2")];
    host.add_interface("eth0", peerstack_base::AdapterType::Ethernet, &lab.internet(), &ips);
    let _server = StunServer::with_other_address(&host, addr(SERVER), addr("198.51.100.2:3479"));
    for (change_ip, change_port, from) in [
        (false, false, "198.51.100.1:3478"),
        (true, false, "198.51.100.2:3478"),
        (false, true, "198.51.100.1:3479"),
        (true, true, "198.51.100.2:3479"),
    ] {
        let mut request = binding();
        request.add_change_request(ChangeRequest { change_ip, change_port });
        let answer = ask(&lab, &client, SERVER, request.finish()).unwrap();
        let message = Message::parse(&answer.payload).unwrap();
        assert_eq!((answer.source, message.response_origin()), (addr(from), Some(addr(from))));
        assert_eq!(message.other_address(), Some(addr("198.51.100.2:3479")));
    }
}

/// A TURN server, a client and a peer.
struct Turn {
    lab: Lab,
    server: TurnServer,
    client: HostSocket,
    peer: HostSocket,
    nonce: String,
    requests: u64,
}

const RELAY: &str = "198.51.100.9";
const PEER: &str = "192.0.2.2:2000";

impl Turn {
    fn new() -> Self {
        let lab = Lab::new(1, start());
        let host = lab.host("turn");
        let ips = [ip("198.51.100.1"), ip(RELAY)];
        host.add_interface("eth0", peerstack_base::AdapterType::Ethernet, &lab.internet(), &ips);
        let server = TurnServer::new(&host, addr(SERVER), &[ip(RELAY)], &[("user", "secret")]);
        let client =
            lab.host_at("client", &lab.internet(), ip("192.0.2.1")).bind(addr("192.0.2.1:1000")).unwrap();
        let peer = lab.host_at("peer", &lab.internet(), ip("192.0.2.2")).bind(addr(PEER)).unwrap();
        Self { lab, server, client, peer, nonce: String::new(), requests: 0 }
    }

    /// One request with credentials; the answer's bytes.
    fn request(&mut self, method: Method, add: impl FnOnce(&mut MessageBuilder)) -> Vec<u8> {
        self.requests += 1;
        let mut builder = MessageBuilder::new(Class::Request, method, id(self.requests));
        add(&mut builder);
        builder.add_username("user").add_realm("example.org").add_nonce(&self.nonce);
        builder.integrity(&long_term_key_md5("user", "example.org", "secret"));
        ask(&self.lab, &self.client, SERVER, builder.finish()).unwrap().payload
    }

    fn code(&mut self, method: Method, add: impl FnOnce(&mut MessageBuilder)) -> u16 {
        let answer = self.request(method, add);
        Message::parse(&answer).unwrap().error_code().map_or(0, |error| error.code)
    }

    /// Allocates as a client does: first without credentials.
    fn allocate(&mut self) -> SocketAddr {
        let mut first = MessageBuilder::new(Class::Request, Method::ALLOCATE, id(99));
        first.add_requested_transport(17);
        let answer = ask(&self.lab, &self.client, SERVER, first.finish()).unwrap().payload;
        let message = Message::parse(&answer).unwrap();
        assert_eq!(message.error_code().unwrap().code, 401);
        assert_eq!(message.realm(), Some("example.org"));
        self.nonce = message.nonce().unwrap().to_owned();
        let answer = self.request(Method::ALLOCATE, |builder| {
            builder.add_requested_transport(17);
        });
        let message = Message::parse(&answer).unwrap();
        let key = long_term_key_md5("user", "example.org", "secret");
        assert_eq!(message.check_message_integrity(&key), IntegrityStatus::Valid);
        assert_eq!((message.class(), message.lifetime()), (Class::SuccessResponse, Some(600)));
        assert_eq!(message.xor_mapped_address(), Some(addr("192.0.2.1:1000")));
        message.xor_relayed_address().unwrap()
    }

    fn peer_sends(&self, relayed: SocketAddr) -> Option<Vec<u8>> {
        self.peer.send_to(b"from peer", relayed).unwrap();
        self.lab.advance(self.lab.now());
        self.client.try_recv().map(|datagram| datagram.payload)
    }
}

fn peer_address(builder: &mut MessageBuilder) {
    builder.add_xor_peer_address(addr(PEER));
}

#[test]
fn turn_relays_by_send_and_data_with_a_permission() {
    let mut turn = Turn::new();
    let relayed = turn.allocate();
    assert_eq!(relayed.ip(), ip(RELAY));
    assert_eq!(turn.server.allocations(), [(addr("192.0.2.1:1000"), relayed)]);
    assert_eq!(turn.lab.open_sockets(), 2);
    assert_eq!(turn.peer_sends(relayed), None, "no permission yet");
    assert_eq!(turn.code(Method::CREATE_PERMISSION, peer_address), 0);

    let mut send = MessageBuilder::new(Class::Indication, Method::SEND, id(7));
    send.add_xor_peer_address(addr(PEER)).add_data(b"from client");
    assert_eq!(ask(&turn.lab, &turn.client, SERVER, send.finish()), None);
    let datagram = turn.peer.try_recv().unwrap();
    assert_eq!((datagram.source, &datagram.payload[..]), (relayed, &b"from client"[..]));

    let data = turn.peer_sends(relayed).unwrap();
    let message = Message::parse(&data).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
    assert_eq!((message.xor_peer_address(), message.data()), (Some(addr(PEER)), Some(&b"from peer"[..])));
    assert_eq!(turn.server.relayed(), 2);
    // RFC 8656 section 9: a permission lasts five minutes.
    turn.lab.advance(turn.lab.now() + Duration::from_secs(300));
    assert_eq!(turn.peer_sends(relayed), None);
}

#[test]
fn turn_relays_by_channel() {
    let mut turn = Turn::new();
    let relayed = turn.allocate();
    let bind = |channel: u16, peer: &'static str| {
        move |builder: &mut MessageBuilder| {
            builder.add_channel_number(channel).add_xor_peer_address(addr(peer));
        }
    };
    assert_eq!(turn.code(Method::CHANNEL_BIND, bind(0x4001, PEER)), 0);
    assert_eq!(turn.code(Method::CHANNEL_BIND, bind(0x4001, PEER)), 0, "refreshed");
    assert_eq!(turn.code(Method::CHANNEL_BIND, bind(0x4002, PEER)), 400);
    assert_eq!(turn.code(Method::CHANNEL_BIND, bind(0x4001, "192.0.2.3:1")), 400);
    assert_eq!(turn.code(Method::CHANNEL_BIND, bind(0x5000, "192.0.2.3:1")), 400);

    let data = turn.peer_sends(relayed).unwrap();
    let channel = ChannelData::parse(&data).unwrap();
    assert_eq!((channel.channel, channel.data), (0x4001, &b"from peer"[..]));
    assert_eq!(ask(&turn.lab, &turn.client, SERVER, [&[0x40, 1, 0, 2][..], b"hi"].concat()), None);
    assert_eq!(turn.peer.try_recv().unwrap().payload, b"hi");
}

#[test]
fn turn_refreshes_expires_and_ends_allocations() {
    let mut turn = Turn::new();
    turn.allocate();
    let lifetime = |seconds: u32| {
        move |builder: &mut MessageBuilder| {
            builder.add_lifetime(seconds);
        }
    };
    turn.lab.advance(turn.lab.now() + Duration::from_secs(500));
    assert_eq!(turn.code(Method::REFRESH, lifetime(700)), 0);
    turn.lab.advance(turn.lab.now() + Duration::from_secs(699));
    assert_eq!(turn.server.allocations().len(), 1);
    turn.lab.advance(turn.lab.now() + Duration::from_secs(1));
    assert_eq!(turn.server.allocations().len(), 0);
    assert_eq!(turn.code(Method::REFRESH, lifetime(700)), 437);
    turn.allocate();
    assert_eq!(turn.code(Method::REFRESH, lifetime(0)), 0);
    assert_eq!(turn.server.allocations().len(), 0);
}

#[test]
fn turn_refuses_with_the_right_error() {
    let mut turn = Turn::new();
    let transport = |protocol: u8| {
        move |builder: &mut MessageBuilder| {
            builder.add_requested_transport(protocol);
        }
    };
    turn.nonce = "made up".into();
    assert_eq!(turn.code(Method::ALLOCATE, transport(17)), 438);
    turn.allocate();
    assert_eq!(turn.code(Method::ALLOCATE, transport(17)), 437);
    turn.server.forget_allocations();
    assert_eq!(turn.code(Method::ALLOCATE, |_| {}), 400);
    assert_eq!(turn.code(Method::ALLOCATE, transport(6)), 442);
    assert_eq!(turn.code(Method::CREATE_PERMISSION, peer_address), 437);
    let ipv6 = |builder: &mut MessageBuilder| {
        builder.add_requested_transport(17).add_requested_address_family(AddressFamily::Ipv6);
    };
    assert_eq!(turn.code(Method::ALLOCATE, ipv6), 440);
    turn.server.configure(|config| config.quota = 0);
    assert_eq!(turn.code(Method::ALLOCATE, transport(17)), 486);
    turn.server.configure(|config| {
        config.quota = 1;
        config.refuse.insert(Method::CREATE_PERMISSION, 403);
    });
    assert_eq!(turn.code(Method::ALLOCATE, transport(17)), 0);
    assert_eq!(turn.code(Method::CREATE_PERMISSION, peer_address), 403);
    turn.server.configure(|config| config.refuse.clear());
    assert_eq!(turn.code(Method::CREATE_PERMISSION, |_| {}), 400);
    let other_family = |builder: &mut MessageBuilder| {
        builder.add_xor_peer_address(addr("[2001:db8::1]:1"));
    };
    assert_eq!(turn.code(Method::CREATE_PERMISSION, other_family), 443);
    turn.server.expire_nonce();
    let stale = turn.request(Method::CREATE_PERMISSION, peer_address);
    let message = Message::parse(&stale).unwrap();
    assert_eq!(message.error_code().unwrap().code, 438);
    assert_ne!(message.nonce(), Some(&turn.nonce[..]));
    turn.nonce = message.nonce().unwrap().to_owned();
    assert_eq!(turn.code(Method::CREATE_PERMISSION, peer_address), 0);
    turn.server.configure(|config| {
        config.users.insert("user".into(), "changed".into());
    });
    assert_eq!(turn.code(Method::CREATE_PERMISSION, peer_address), 401);
    turn.server.stop();
    turn.client.send_to(&binding().finish(), addr(SERVER)).unwrap();
    turn.lab.advance(turn.lab.now());
    assert_eq!(turn.client.try_recv(), None);
}

#[test]
fn turn_answers_a_retransmitted_allocate_alike_and_names_an_alternate() {
    let mut turn = Turn::new();
    let relayed = turn.allocate();
    turn.requests -= 1;
    let again = turn.request(Method::ALLOCATE, |builder| {
        builder.add_requested_transport(17);
    });
    assert_eq!(Message::parse(&again).unwrap().xor_relayed_address(), Some(relayed));
    turn.server.forget_allocations();
    turn.server.configure(|config| config.alternate = Some(addr("198.51.100.77:3478")));
    let redirected = turn.request(Method::ALLOCATE, |builder| {
        builder.add_requested_transport(17);
    });
    let message = Message::parse(&redirected).unwrap();
    assert_eq!(message.error_code().unwrap().code, 300);
    assert_eq!(message.alternate_server(), Some(addr("198.51.100.77:3478")));
}
