//! What a transport asks of the network task when it shares its UDP socket with others.

use std::io;
use std::net::{IpAddr, SocketAddr};

use peerstack_base::{
    AsyncUdpSocket, Ecn, IoRequest, PacketSocketFactory, PortRange, Random, ReceiveMeta, SocketId,
};
use peerstack_netsim::{Lab, addr, ip};
use peerstack_stun::{Class, Message, MessageBuilder, Method, TransactionId, short_term_key};

use super::harness::*;
use crate::*;

const LOCAL: &str = "192.0.2.1:5000";
const REMOTE: &str = "198.51.100.1:4000";

/// Says that UDP sockets are shared, and binds those that are not.
#[derive(Debug)]
struct SharedPort(Box<dyn PacketSocketFactory>);

impl PacketSocketFactory for SharedPort {
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>> {
        self.0.create_udp_socket(local, ports)
    }

    fn shared_udp_socket(&mut self, _local: IpAddr) -> io::Result<Option<SocketAddr>> {
        Ok(Some(addr(LOCAL)))
    }
}

fn peer(configure: impl FnOnce(&mut P2PTransportChannelConfig)) -> (Lab, Peer) {
    let lab = Lab::new(1, origin());
    let host = lab.host_at("a", &lab.internet(), ip("192.0.2.1"));
    let sockets = host.packet_socket_factory();
    let mut peer = Peer::new(host, "a", 1, |config| {
        config.packet_socket_factory = Box::new(SharedPort(sockets));
        configure(config);
    });
    peer.channel.set_ice_role(IceRole::Controlled);
    peer.gather(lab.now());
    (lab, peer)
}

fn requests(peer: &mut Peer) -> Vec<IoRequest> {
    std::iter::from_fn(|| peer.channel.poll_io_request()).collect()
}

fn joined(requests: &[IoRequest]) -> SocketId {
    match requests {
        [IoRequest::JoinUdpMux { id, local, .. }, ..] => {
            assert_eq!(*local, addr(LOCAL));
            *id
        }
        other => panic!("{other:?}"),
    }
}

fn check(peer: &Peer, pwd: &str) -> Vec<u8> {
    let id = TransactionId::new(&mut Random::from_seed(3));
    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
    builder.add_username(&format!("{}:peer", peer.parameters.ufrag));
    builder.add_priority(1_845_501_695).add_ice_controlling(9);
    builder.integrity(short_term_key(pwd)).fingerprint();
    builder.finish()
}

fn receive(peer: &mut Peer, lab: &Lab, socket: SocketId, datagram: &[u8]) {
    let meta = ReceiveMeta { socket, remote: addr(REMOTE), local_ip: None, ecn: Ecn::NotEct };
    peer.channel.receive(lab.now(), &mut datagram.to_vec(), &meta);
}

/// It takes part under its user fragment, and its host candidate is the shared port.
#[test]
fn a_transport_joins_with_its_user_fragment() {
    let (lab, mut peer) = peer(|_| {});
    let ufrag = peer.parameters.ufrag.clone();
    let asked = requests(&mut peer);
    assert!(matches!(&asked[..], [IoRequest::JoinUdpMux { ufrag: joined, .. }] if *joined == ufrag));
    let socket = joined(&asked);
    assert!(peer.channel.owns_socket(socket));
    peer.channel.close(lab.now());
    assert!(matches!(&requests(&mut peer)[..], [IoRequest::CloseSocket { id }] if *id == socket));
}

/// An address is claimed by a check that authenticates, as answered once the peer answered ours there, and given
/// up with the connection.
#[test]
fn addresses_are_claimed_by_what_authenticates() {
    let (lab, mut peer) = peer(|_| {});
    let socket = joined(&requests(&mut peer));
    let pwd = peer.parameters.pwd.clone();
    let forged = check(&peer, "not the password at all");
    receive(&mut peer, &lab, socket, &forged);
    assert!(requests(&mut peer).is_empty());

    let remote_parameters =
        IceParameters { ufrag: "peer".into(), pwd: "password0123456789abcdef".into(), renomination: false };
    peer.channel.set_remote_ice_parameters(lab.now(), remote_parameters.clone());
    let good = check(&peer, &pwd);
    receive(&mut peer, &lab, socket, &good);
    let claims = |requests: Vec<IoRequest>| {
        requests
            .into_iter()
            .map(|request| match request {
                IoRequest::AddUdpMuxRoute { id, remote, answered } if id == socket => (remote, answered),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(claims(requests(&mut peer)), [(addr(REMOTE), false)]);

    // The triggered check, and its answer.
    let mut sent = Vec::new();
    while let Some((id, transmit)) = peer.channel.transmits().peek(|_| 1) {
        assert_eq!((id, transmit.destination), (socket, addr(REMOTE)));
        sent.push(transmit.contents.to_vec());
        let len = transmit.contents.len();
        peer.channel.transmits().pop(len);
    }
    let mut ours = sent.iter().filter_map(|sent| Message::parse(sent).ok());
    let ours = ours.rfind(|message| message.class() == Class::Request).unwrap();
    let mut builder = MessageBuilder::new(Class::SuccessResponse, Method::BINDING, ours.transaction_id());
    builder.add_xor_mapped_address(addr(LOCAL));
    builder.integrity(short_term_key(&remote_parameters.pwd)).fingerprint();
    receive(&mut peer, &lab, socket, &builder.finish());
    assert_eq!(claims(requests(&mut peer)), [(addr(REMOTE), true)]);

    // Nobody answers any more.
    let end = lab.now() + ms(60_000);
    let mut given_up = Vec::new();
    while let Some(now) = peer.channel.next_timeout().filter(|at| *at < end) {
        peer.channel.handle_timeout(now);
        while let Some((_, transmit)) = peer.channel.transmits().peek(|_| 1) {
            let len = transmit.contents.len();
            peer.channel.transmits().pop(len);
        }
        given_up.extend(requests(&mut peer));
    }
    let last = given_up.pop().unwrap();
    assert!(
        matches!(last, IoRequest::RemoveUdpMuxRoute { id, remote } if id == socket && remote == addr(REMOTE))
    );
}

/// A TURN server would see one client in all that share a socket, and give it one allocation.
#[test]
fn turn_servers_are_reached_from_a_socket_of_its_own() {
    let (lab, mut peer) = peer(|config| {
        config.port_allocator.ice_servers = vec![IceServer {
            urls: vec!["turn:192.0.2.9:3478".parse().unwrap()],
            username: "user".into(),
            password: "password".into(),
        }];
    });
    let shared = joined(&requests(&mut peer));
    let due = peer.channel.next_timeout().unwrap();
    assert!(due > lab.now());
    peer.channel.handle_timeout(due);
    let asked = requests(&mut peer);
    assert!(matches!(&asked[..], [IoRequest::AddUdpSocket { id, .. }] if *id != shared), "{asked:?}");
}
