//! Many connections on one UDP port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerstack_netsim::{Direction, Host, Lab, LinkConfig, Packet, StunServer, addr, ip};
use peerstack_peer_connection::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, IceServer,
    PeerConnection, PeerConnectionEvent, PeerConnectionFactory, PeerConnectionState, UdpMux,
};

use crate::harness::{Peer, dependencies, joined, ms, negotiate, pass, two_hosts};

const PORT: u16 = 5_000;

/// A host whose connections share a port.
fn server(lab: &Lab) -> (Host, PeerConnectionFactory) {
    let host = lab.host_at("server", &lab.internet(), ip("192.0.2.250"));
    host.interfaces()[0].link().configure(LinkConfig::latency(ms(5)));
    let mut dependencies = dependencies(lab, &host, 1);
    dependencies.udp_mux = Some(UdpMux::new(PORT));
    (host, PeerConnectionFactory::with_dependencies(dependencies).unwrap())
}

fn client(lab: &Lab, number: u64) -> (PeerConnection, Host) {
    let host = lab.host_at(&format!("client{number}"), &lab.internet(), ip(&format!("198.51.100.{number}")));
    host.interfaces()[0].link().configure(LinkConfig::latency(ms(5)));
    let dependencies = dependencies(lab, &host, 100 + number);
    (PeerConnection::with_dependencies(Configuration::new(), dependencies).unwrap(), host)
}

/// A client and its connection of the server.
async fn connect(
    lab: &Lab,
    host: &Host,
    factory: &PeerConnectionFactory,
    number: u64,
) -> (Peer, Peer, Channels) {
    let pc = factory.create_peer_connection(Configuration::new()).unwrap();
    let (a, mut b) = joined(client(lab, number), (pc, host.clone()));
    let ours = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    negotiate(&a, &b).await;
    let theirs = b.channels.recv().await.unwrap();
    while ours.next_event().await.unwrap() != DataChannelEvent::Open {}
    (a, b, Channels { ours, theirs })
}

struct Channels {
    ours: DataChannel,
    theirs: DataChannel,
}

impl Channels {
    /// A message each way arrives.
    async fn talk(&self, number: u64) {
        let next = async |channel: &DataChannel| loop {
            if let DataChannelEvent::Message(message) = channel.next_event().await.unwrap() {
                return message;
            }
        };
        let (question, answer) = (format!("question {number}"), format!("answer {number}"));
        self.ours.send(question.as_str()).unwrap();
        assert_eq!(next(&self.theirs).await, DataChannelMessage::from(question.as_str()));
        self.theirs.send(answer.as_str()).unwrap();
        assert_eq!(next(&self.ours).await, DataChannelMessage::from(answer.as_str()));
    }
}

/// Fifty peers on one port each hear what is for them alone; who closes leaves the others be.
#[tokio::test(start_paused = true)]
async fn fifty_peers_share_a_port() {
    const COUNT: u64 = 50;
    let lab = Lab::start(51);
    let (host, factory) = server(&lab);
    assert_eq!(factory.udp_mux_addresses(), [addr("192.0.2.250:5000")]);
    let mut connected = Vec::new();
    for number in 1..=COUNT {
        connected.push(connect(&lab, &host, &factory, number).await);
    }
    assert_eq!(lab.open_sockets(), COUNT as usize + 1);
    for (number, (_, _, channels)) in connected.iter().enumerate() {
        channels.talk(number as u64).await;
    }
    for (_, server, _) in connected.iter().step_by(2) {
        server.pc.close();
        server.pc.closed().await;
    }
    pass(ms(60_000)).await;
    for (number, (_, _, channels)) in connected.iter().enumerate().skip(1).step_by(2) {
        channels.talk(number as u64).await;
    }
    let pair = connected[1].1.pc.selected_candidate_pair().await.unwrap().unwrap();
    assert_eq!(pair.local.address.to_string(), "192.0.2.250:5000");
    for (client, server, _) in &connected {
        client.pc.close();
        server.pc.close();
        client.pc.closed().await;
        server.pc.closed().await;
    }
    // The port stays with the factory.
    pass(ms(10)).await;
    assert_eq!(lab.open_sockets(), 1);
    let (_, _, channels) = connect(&lab, &host, &factory, COUNT + 1).await;
    channels.talk(COUNT + 1).await;
    drop(factory);
}

/// Everything about a connection on a shared port works as on its own: an ICE restart, and server-reflexive
/// candidates, whose answers all come from one address.
#[tokio::test(start_paused = true)]
async fn restarts_and_stun_servers_work_on_a_shared_port() {
    let lab = Lab::start(52);
    let stun = lab.host_at("stun", &lab.internet(), ip("203.0.113.9"));
    let _stun = StunServer::new(&stun, addr("203.0.113.9:3478"));
    let nat = peerstack_netsim::Nat::full_cone("nat", &lab.internet(), ip("203.0.113.1"));
    let host = lab.host_at("server", &nat, ip("10.0.0.2"));
    let mut dependencies = dependencies(&lab, &host, 1);
    dependencies.udp_mux = Some(UdpMux::new(PORT));
    let factory = PeerConnectionFactory::with_dependencies(dependencies).unwrap();
    let configuration = || Configuration::new().with_ice_servers([IceServer::new("stun:203.0.113.9:3478")]);
    let mut connected = Vec::new();
    for number in 1..=10 {
        let pc = factory.create_peer_connection(configuration()).unwrap();
        let mut events = pc.events();
        let (a, mut b) = joined(client(&lab, number), (pc, host.clone()));
        let ours = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        negotiate(&a, &b).await;
        let theirs = b.channels.recv().await.unwrap();
        while ours.next_event().await.unwrap() != DataChannelEvent::Open {}
        let told: Vec<String> = std::iter::from_fn(|| events.try_next())
            .filter_map(|event| match event {
                PeerConnectionEvent::IceCandidate(candidate) => Some(candidate.candidate),
                _ => None,
            })
            .collect();
        assert!(told.iter().any(|line| line.contains("203.0.113.1 5000 typ srflx")), "{told:?}");
        connected.push((a, b, Channels { ours, theirs }));
    }
    for (a, b, channels) in &connected {
        let ufrag = |peer: &Peer| {
            let sdp = peer.pc.local_description().unwrap().sdp;
            sdp.lines().find(|line| line.starts_with("a=ice-ufrag:")).unwrap().to_owned()
        };
        let before = ufrag(b);
        a.pc.restart_ice();
        negotiate(a, b).await;
        channels.talk(1).await;
        pass(ms(3_000)).await;
        assert_ne!(ufrag(b), before);
        channels.talk(2).await;
    }
    pass(ms(60_000)).await;
    for (_, b, channels) in &connected {
        channels.talk(3).await;
        assert_eq!(b.pc.connection_state(), PeerConnectionState::Connected);
    }
}

/// What is gathered ahead joins under a user fragment of its own and takes the description's when that is made.
#[tokio::test(start_paused = true)]
async fn a_pooled_transport_joins_under_the_name_it_is_given() {
    let lab = Lab::start(58);
    let (host, factory) = server(&lab);
    let mut configuration = Configuration::new();
    configuration.ice_candidate_pool_size = 1;
    for number in 1..=2 {
        let pc = factory.create_peer_connection(configuration.clone()).unwrap();
        pass(ms(500)).await;
        let (a, mut b) = joined((pc, host.clone()), client(&lab, number));
        let ours = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        negotiate(&a, &b).await;
        let theirs = b.channels.recv().await.unwrap();
        while ours.next_event().await.unwrap() != DataChannelEvent::Open {}
        Channels { ours, theirs }.talk(number).await;
        let pair = a.pc.selected_candidate_pair().await.unwrap().unwrap();
        assert_eq!(pair.local.address.to_string(), "192.0.2.250:5000");
    }
}

/// A peer with a connection of its own sends its checks as if they came from another peer: that one's packets
/// stay where they belong.
#[tokio::test(start_paused = true)]
async fn a_forged_source_steals_no_connection() {
    let lab = Lab::start(53);
    let (host, factory) = server(&lab);
    let (victim_peer, _, channels) = connect(&lab, &host, &factory, 1).await;
    let (thief, thief_server, thief_channels) = connect(&lab, &host, &factory, 2).await;
    let victim = Arc::new(Mutex::new(None::<SocketAddr>));
    let port = victim_peer.pc.selected_candidate_pair().await.unwrap().unwrap().local.address.port();
    *victim.lock().unwrap() = Some(SocketAddr::new(ip("198.51.100.1"), port));
    // From now on every check of the thief leaves twice, once with the victim's address.
    let link = thief.host.interfaces()[0].link();
    link.set_filter(Direction::Outbound, move |packet: &mut Packet| {
        let forged = *victim.lock().unwrap();
        match (packet.payload.first(), forged) {
            (Some(0), Some(source)) => {
                let copy = Packet { source, ..packet.clone() };
                peerstack_netsim::Verdict::Replace(vec![packet.clone(), copy])
            }
            _ => peerstack_netsim::Verdict::Pass,
        }
    });
    for round in 0..20 {
        pass(ms(1_000)).await;
        channels.talk(round).await;
        thief_channels.talk(round).await;
    }
    assert!(factory.udp_mux_stats().refused_routes > 0, "the checks did not come through");
    assert_eq!(thief_server.pc.connection_state(), PeerConnectionState::Connected);
}

/// Packets of strangers cost nothing but being counted.
#[tokio::test(start_paused = true)]
async fn strangers_are_counted_and_forgotten() {
    let lab = Lab::start(54);
    let (host, factory) = server(&lab);
    let (_a, _b, channels) = connect(&lab, &host, &factory, 1).await;
    let to = addr("192.0.2.250:5000");
    lab.set_tracing(false);
    for number in 0..10_000_u32 {
        let from = SocketAddr::from(([100, 64, (number >> 8) as u8, number as u8], 1_024));
        let payload = match number % 3 {
            0 => vec![128, 96, 0, 0],
            1 => vec![22, 254, 253, 0],
            _ => vec![0, 1, 0, 0],
        };
        lab.inject(Packet::udp(from, to, payload));
        if number % 100 == 0 {
            pass(ms(1)).await;
        }
    }
    channels.talk(1).await;
    let stats = factory.udp_mux_stats();
    assert_eq!((stats.unknown_address, stats.malformed), (6_667, 3_333));
}

/// Two connections of one peer's single port cannot be told apart: the first one stays whole.
#[tokio::test(start_paused = true)]
async fn between_two_shared_ports_the_first_connection_stays() {
    let lab = Lab::start(55);
    let (host, factory) = server(&lab);
    let other = lab.host_at("other", &lab.internet(), ip("198.51.100.1"));
    let mut dependencies = dependencies(&lab, &other, 7);
    dependencies.udp_mux = Some(UdpMux::new(PORT));
    let other_factory = PeerConnectionFactory::with_dependencies(dependencies).unwrap();
    let mut peers = Vec::new();
    for _ in 0..2 {
        let ours = factory.create_peer_connection(Configuration::new()).unwrap();
        let theirs = other_factory.create_peer_connection(Configuration::new()).unwrap();
        let (a, b) = joined((theirs, other.clone()), (ours, host.clone()));
        let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        negotiate(&a, &b).await;
        peers.push((a, b, channel));
        pass(ms(2_000)).await;
    }
    pass(Duration::from_secs(60)).await;
    let (a, mut b, ours) = peers.swap_remove(0);
    let theirs = b.channels.recv().await.unwrap();
    while ours.next_event().await.unwrap() != DataChannelEvent::Open {}
    Channels { ours, theirs }.talk(1).await;
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
}

/// A port that is taken is told when the factory is made.
#[tokio::test(start_paused = true)]
async fn a_port_that_is_taken_is_an_error_of_the_factory() {
    let (lab, host, _) = two_hosts(56, ms(5));
    let _taken = host.bind(addr("192.0.2.1:5000")).unwrap();
    let mut dependencies = dependencies(&lab, &host, 1);
    dependencies.udp_mux = Some(UdpMux::new(PORT));
    let error = PeerConnectionFactory::with_dependencies(dependencies).unwrap_err();
    assert!(error.to_string().contains("the shared UDP port of 192.0.2.1 cannot be had"), "{error}");
}

/// While the system takes no packets those of all connections wait, and all of them go out when it does again.
#[tokio::test(start_paused = true)]
async fn a_full_socket_holds_back_all_and_forgets_nobody() {
    let lab = Lab::start(57);
    let (host, factory) = server(&lab);
    let mut connected = Vec::new();
    for number in 1..=3 {
        connected.push(connect(&lab, &host, &factory, number).await);
    }
    host.set_send_blocked(true);
    for (_, _, channels) in &connected {
        channels.theirs.send("waits").unwrap();
    }
    pass(ms(2_000)).await;
    host.set_send_blocked(false);
    for (_, _, channels) in &connected {
        loop {
            if let DataChannelEvent::Message(message) = channels.ours.next_event().await.unwrap() {
                assert_eq!(message, DataChannelMessage::from("waits"));
                break;
            }
        }
        channels.talk(1).await;
    }
}
