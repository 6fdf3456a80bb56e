//! ICE as an application asks for it: gathering ahead, lite agents, servers that fail, candidates that are wrong.

use peerstack_netsim::{Host, Lab, LinkConfig, Nat, StunServer, TurnServer, addr, ip};
use peerstack_peer_connection::{
    Configuration, DataChannelInit, IceCandidateErrorEvent, IceCandidateInit, IceGatheringState, IceServer,
    OfferOptions, PeerConnection, PeerConnectionEvent, PeerConnectionEvents, PeerConnectionState,
    RtcErrorKind, SessionDescription, Settings, TrackKind,
};

use crate::harness::{Peer, dependencies, joined, ms, negotiate, pass, two_hosts};

/// A host behind a NAT and one in the open, a STUN and a TURN server.
fn lab(seed: u64) -> (Lab, Host, Host) {
    let lab = Lab::start(seed);
    let internet = lab.internet();
    let nat = Nat::port_restricted("home", &internet, ip("203.0.113.1"));
    let hosts = [
        lab.host_at("a", &nat, ip("192.168.0.2")),
        lab.host_at("b", &internet, ip("192.0.2.2")),
        lab.host_at("turn", &internet, ip("198.51.100.7")),
        lab.host_at("stun", &internet, ip("198.51.100.9")),
    ];
    for host in &hosts {
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(20)));
    }
    let [a, b, turn, stun] = hosts;
    StunServer::new(&stun, addr("198.51.100.9:3478"));
    TurnServer::new(&turn, addr("198.51.100.7:3478"), &[ip("198.51.100.7")], &[("user", "pass")]);
    (lab, a, b)
}

fn turn(url: &str, credential: &str) -> IceServer {
    IceServer { urls: vec![url.into()], username: "user".into(), credential: credential.into() }
}

fn servers() -> Vec<IceServer> {
    vec![IceServer::new("stun:198.51.100.9"), turn("turn:198.51.100.7", "pass")]
}

fn connection(lab: &Lab, host: &Host, seed: u64, configuration: Configuration) -> PeerConnection {
    let mut dependencies = dependencies(lab, host, seed);
    dependencies.dns_resolver = lab.dns_resolver();
    PeerConnection::with_dependencies(configuration, dependencies).unwrap()
}

fn told(events: &mut PeerConnectionEvents) -> Vec<PeerConnectionEvent> {
    std::iter::from_fn(|| events.try_next()).collect()
}

/// The types of candidates that were told, and the gathering states.
fn gathered(events: &[PeerConnectionEvent]) -> (Vec<String>, Vec<IceGatheringState>) {
    let (mut types, mut states) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            PeerConnectionEvent::IceCandidate(candidate) if !candidate.candidate.is_empty() => {
                types.extend(candidate.candidate.split(' ').nth(7).map(str::to_owned));
            }
            PeerConnectionEvent::IceGatheringStateChange(state) => states.push(*state),
            _ => {}
        }
    }
    (types, states)
}

fn attribute<'a>(description: &'a SessionDescription, name: &str) -> Option<&'a str> {
    description.sdp.lines().find_map(|line| line.strip_prefix(name))
}

async fn connect(a: &Peer, b: &Peer) {
    negotiate(a, b).await;
    pass(ms(3_000)).await;
    for pc in [&a.pc, &b.pc] {
        assert_eq!(pc.connection_state(), PeerConnectionState::Connected);
    }
}

/// G27, G17, G37: what a pool of two found before the offer is told with it, under the parameters it gathered by; the
/// connection goes by its socket, and the answer throws the rest away.
#[tokio::test(start_paused = true)]
async fn candidates_gathered_ahead_are_told_at_once() {
    let (lab, a, b) = lab(31);
    let configuration = Configuration::new().with_ice_servers(servers()).with_ice_candidate_pool_size(2);
    let pc_a = connection(&lab, &a, 1, configuration);
    let pc_b = connection(&lab, &b, 2, Configuration::new());
    let mut events = pc_a.events();
    pass(ms(2_000)).await;
    assert!(told(&mut events).is_empty(), "nothing is told before a description");
    assert_eq!(pc_a.ice_gathering_state(), IceGatheringState::New);
    assert_eq!(lab.open_sockets(), 2);

    let (mut events, (a, b)) = (pc_a.events(), joined((pc_a, a), (pc_b, b)));
    let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    a.pc.set_local_description(offer.clone()).await.unwrap();
    pass(ms(1)).await;
    let (types, states) = gathered(&told(&mut events));
    assert_eq!(types, ["host", "srflx", "relay"]);
    assert_eq!(states, [IceGatheringState::Gathering, IceGatheringState::Complete]);
    assert_eq!(lab.open_sockets(), 2, "no other socket");
    let local = a.pc.local_description().unwrap();
    assert_eq!(attribute(&local, "a=ice-ufrag:"), attribute(&offer, "a=ice-ufrag:"));
    b.pc.set_remote_description(local).await.unwrap();
    let answer = b.pc.create_answer().await.unwrap();
    b.pc.set_local_description(answer).await.unwrap();
    pass(ms(100)).await;
    a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
    pass(ms(3_000)).await;
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
    assert_eq!(lab.open_sockets(), 2, "one each: what the pool had left is closed");
    channel.close();
    for pc in [&a.pc, &b.pc] {
        pc.close();
        pc.closed().await;
    }
    assert_eq!(lab.open_sockets(), 0);
}

/// G27: who answers takes from the pool too; a pool that nobody asked goes with its connection.
#[tokio::test(start_paused = true)]
async fn an_answer_takes_from_the_pool() {
    let (lab, a, b) = lab(32);
    let configuration = || Configuration::new().with_ice_servers(servers()).with_ice_candidate_pool_size(3);
    let pc_a = connection(&lab, &a, 1, configuration());
    pass(ms(2_000)).await;
    assert_eq!(lab.open_sockets(), 3);
    let pc_b = connection(&lab, &b, 2, Configuration::new());
    let mut events = pc_a.events();
    let (a, b) = joined((pc_a, a), (pc_b, b));
    let _channel = b.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let offer = b.pc.create_offer(OfferOptions::default()).await.unwrap();
    b.pc.set_local_description(offer).await.unwrap();
    pass(ms(100)).await;
    a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
    assert!(gathered(&told(&mut events)).0.is_empty());
    let answer = a.pc.create_answer().await.unwrap();
    a.pc.set_local_description(answer.clone()).await.unwrap();
    pass(ms(1)).await;
    assert_eq!(gathered(&told(&mut events)).0, ["host", "srflx", "relay"]);
    pass(ms(500)).await;
    assert_eq!(lab.open_sockets(), 2, "one each, once the allocations of the others are given back");
    b.pc.set_remote_description(a.pc.local_description().unwrap()).await.unwrap();
    pass(ms(3_000)).await;
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);

    let idle = connection(&lab, &a.host, 3, configuration());
    pass(ms(100)).await;
    assert_eq!(lab.open_sockets(), 5);
    idle.close();
    idle.closed().await;
    assert_eq!(lab.open_sockets(), 2);
}

/// G27, O33: other servers throw away what gathered by the ones before and gather again; the size may change until there is a
/// local description, and not after.
#[tokio::test(start_paused = true)]
async fn a_changed_configuration_gathers_ahead_anew() {
    let (lab, a, _) = lab(39);
    let pc = connection(&lab, &a, 1, Configuration::new().with_ice_candidate_pool_size(1));
    let mut events = pc.events();
    pass(ms(500)).await;
    assert_eq!(lab.open_sockets(), 1);
    let changed = Configuration::new().with_ice_servers(servers()).with_ice_candidate_pool_size(2);
    pc.set_configuration(changed.clone()).unwrap();
    pass(ms(500)).await;
    assert_eq!(lab.open_sockets(), 2);
    let _channel = pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let offer = pc.create_offer(OfferOptions::default()).await.unwrap();
    pc.set_local_description(offer).await.unwrap();
    pass(ms(1)).await;
    assert_eq!(gathered(&told(&mut events)).0, ["host", "srflx", "relay"]);
    let more = changed.clone().with_ice_candidate_pool_size(3);
    assert_eq!(pc.set_configuration(more).unwrap_err().kind, RtcErrorKind::InvalidModificationError);
    pc.set_configuration(changed).unwrap();
    pc.close();
    pc.closed().await;
    assert_eq!(lab.open_sockets(), 0);
}

/// C12, I09, RFC 8445 section 2.5: a lite agent of ours says so in its descriptions, whether it offers or answers, and a
/// full one of ours behind a NAT connects to it. Data passes for minutes.
#[tokio::test(start_paused = true)]
async fn a_full_agent_connects_to_a_lite_one() {
    for lite_offers in [false, true] {
        let (lab, a, b) = lab(33);
        let mut settings = Settings::default();
        settings.ice_lite = true;
        let full = connection(&lab, &a, 1, Configuration::new().with_ice_servers(servers()));
        let lite =
            connection(&lab, &b, 2, Configuration::new().with_ice_servers(servers()).with_settings(settings));
        let mut events = lite.events();
        let (full, lite) = joined((full, a), (lite, b));
        let (offerer, answerer) = if lite_offers { (&lite, &full) } else { (&full, &lite) };
        let channel = offerer.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        connect(offerer, answerer).await;
        let (ours, theirs) = (lite.pc.local_description().unwrap(), full.pc.local_description().unwrap());
        let says_lite =
            |description: &SessionDescription| description.sdp.lines().any(|line| line == "a=ice-lite");
        assert_eq!((says_lite(&ours), says_lite(&theirs)), (true, false));
        assert_eq!(gathered(&told(&mut events)).0, ["host"]);
        pass(ms(120_000)).await;
        assert_eq!(lite.pc.connection_state(), PeerConnectionState::Connected);
        channel.send("still here").unwrap();
        pass(ms(500)).await;
        assert_eq!(channel.buffered_amount(), 0);
        for pc in [&full.pc, &lite.pc] {
            pc.close();
            pc.closed().await;
        }
    }
}

/// C13: with short checks enabled on both sides they connect and stay so.
#[tokio::test(start_paused = true)]
async fn short_checks_keep_a_connection() {
    let (lab, a, b) = two_hosts(34, ms(10));
    let with = |host: &Host, seed| {
        let mut settings = Settings::default();
        settings.goog_ping = true;
        connection(&lab, host, seed, Configuration::new().with_settings(settings))
    };
    let (a, b) = joined((with(&a, 1), a), (with(&b, 2), b));
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    connect(&a, &b).await;
    pass(ms(120_000)).await;
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
}

/// I03: of the mid and the index of a candidate the mid counts; a mid that there is not is an error, whatever the index.
#[tokio::test(start_paused = true)]
async fn the_mid_counts_more_than_the_index() {
    let (lab, a, b) = two_hosts(35, ms(5));
    let (a, b) =
        (connection(&lab, &a, 1, Configuration::new()), connection(&lab, &b, 2, Configuration::new()));
    a.add_transceiver(TrackKind::Audio, Default::default()).unwrap();
    a.add_transceiver(TrackKind::Video, Default::default()).unwrap();
    let offer = a.create_offer(OfferOptions::default()).await.unwrap();
    a.set_local_description(offer.clone()).await.unwrap();
    b.set_remote_description(offer).await.unwrap();
    let candidate = |mid: Option<&str>, index: Option<u16>, port: u16| IceCandidateInit {
        candidate: format!("candidate:1 1 udp 2122260223 192.0.2.77 {port} typ host"),
        sdp_mid: mid.map(str::to_owned),
        sdp_mline_index: index,
        username_fragment: None,
    };
    b.add_ice_candidate(candidate(Some("1"), Some(0), 5001)).await.unwrap();
    b.add_ice_candidate(candidate(None, Some(0), 5000)).await.unwrap();
    let unknown = b.add_ice_candidate(candidate(Some("7"), Some(0), 5007)).await.unwrap_err();
    assert_eq!(unknown.kind, RtcErrorKind::OperationError);
    let sdp = b.remote_description().unwrap().sdp;
    let video = sdp.find("m=video").unwrap();
    let at = |port: u16| sdp.find(&format!(" 192.0.2.77 {port} "));
    assert!(at(5000).unwrap() < video && at(5001).unwrap() > video && at(5007).is_none(), "{sdp}");
}

/// I10: a connection that is closed while it gathers does not say that it is complete.
#[tokio::test(start_paused = true)]
async fn closing_does_not_complete_gathering() {
    let (lab, a, _) = two_hosts(36, ms(5));
    let configuration = Configuration::new().with_ice_servers([IceServer::new("stun:203.0.113.200")]);
    let pc = connection(&lab, &a, 1, configuration);
    let mut events = pc.events();
    let _channel = pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let offer = pc.create_offer(OfferOptions::default()).await.unwrap();
    pc.set_local_description(offer).await.unwrap();
    pass(ms(1_000)).await;
    pc.close();
    pc.closed().await;
    pass(ms(60_000)).await;
    let (types, states) = gathered(&told(&mut events));
    assert_eq!((types, states), (vec!["host".to_owned()], vec![IceGatheringState::Gathering]));
    assert_ne!(pc.ice_gathering_state(), IceGatheringState::Complete);
}

/// I13, U02, U15: a server that is not there, one whose credentials are wrong, names that are not known, and a transport
/// that is not spoken: each an event with URL, code, text, address and port; the rest of gathering goes on to its end.
#[tokio::test(start_paused = true)]
async fn servers_that_fail_are_told_and_the_rest_goes_on() {
    let (lab, a, _) = lab(37);
    let mut servers = servers();
    servers.extend([
        IceServer::new("stun:203.0.113.200:3479"),
        IceServer::new("stun:nowhere.example"),
        turn("turn:198.51.100.7:3478?transport=udp", "wrong"),
        turn("turn:203.0.113.200?transport=tcp", "pass"),
        turn("turn:nowhere.example", "pass"),
        turn("turns:198.51.100.7?transport=udp", "pass"),
    ]);
    let pc = connection(&lab, &a, 1, Configuration::new().with_ice_servers(servers));
    let mut events = pc.events();
    let _channel = pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let offer = pc.create_offer(OfferOptions::default()).await.unwrap();
    pc.set_local_description(offer).await.unwrap();
    // Systems try to connect for two minutes.
    pass(ms(200_000)).await;
    let told = told(&mut events);
    let (types, states) = gathered(&told);
    assert_eq!(types, ["host", "srflx", "relay"]);
    assert_eq!(states, [IceGatheringState::Gathering, IceGatheringState::Complete]);
    let errors: Vec<IceCandidateErrorEvent> = told
        .into_iter()
        .filter_map(|event| match event {
            PeerConnectionEvent::IceCandidateError(error) => Some(error),
            _ => None,
        })
        .collect();
    let code = |url: &str| {
        let found: Vec<_> = errors.iter().filter(|error| error.url.contains(url)).collect();
        assert_eq!(found.len(), 1, "{url}: {errors:?}");
        assert!(!found[0].error_text.is_empty(), "{found:?}");
        if !url.starts_with("turns") {
            assert_eq!(found[0].address, "192.168.0.2", "{found:?}");
            assert!(found[0].port.is_some(), "{found:?}");
        }
        found[0].error_code
    };
    assert_eq!(code("stun:203.0.113.200:3479"), 701);
    assert_eq!(code("stun:nowhere.example:3478"), 701);
    assert_eq!(code("turn:198.51.100.7:3478?transport=udp"), 401);
    assert_eq!(code("turn:203.0.113.200:3478?transport=tcp"), 701);
    assert_eq!(code("turn:nowhere.example:3478?transport=udp"), 701);
    assert_eq!(code("turns:198.51.100.7:5349?transport=udp"), 701);
    assert_eq!(errors.len(), 6);
}

/// A candidate line that is malformed is an OperationError that says what is wrong with what (webrtc-pc section 4.4.2),
/// one without a section a TypeError; neither changes anything. So are servers that cannot be: SyntaxError for a URL,
/// InvalidAccessError for a TURN server without credentials (U18).
#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_by_name() {
    let (lab, a, b) = two_hosts(38, ms(5));
    let (a, b_pc) =
        (connection(&lab, &a, 1, Configuration::new()), connection(&lab, &b, 2, Configuration::new()));
    let _channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
    let offer = a.create_offer(OfferOptions::default()).await.unwrap();
    b_pc.set_remote_description(offer).await.unwrap();
    let before = b_pc.remote_description().unwrap().sdp;
    let add = |candidate: &str, mid: Option<&str>| {
        let (pc, candidate, sdp_mid) = (b_pc.clone(), candidate.to_owned(), mid.map(str::to_owned));
        async move {
            let init = IceCandidateInit { candidate, sdp_mid, ..IceCandidateInit::default() };
            pc.add_ice_candidate(init).await.unwrap_err()
        }
    };
    for line in [
        "candidate:1 1 udp 2122260223 192.0.2.77 99999 typ host",
        "candidate:1 1 udp many 192.0.2.77 5000 typ host",
        "candidate:1 1 udp 2122260223 192.0.2.77 5000 typ new",
        "candidate:1 1 udp 2122260223",
        "not a candidate",
    ] {
        let error = add(line, Some("0")).await;
        assert_eq!(error.kind, RtcErrorKind::OperationError, "{line}");
        assert!(error.message.contains(line), "{error}");
    }
    let line = "candidate:1 1 udp 2122260223 192.0.2.77 5000 typ host";
    assert_eq!(add(line, None).await.kind, RtcErrorKind::TypeError);
    assert_eq!(b_pc.remote_description().unwrap().sdp, before);

    let refused = |server: IceServer| {
        let configuration = Configuration::new().with_ice_servers([server]);
        PeerConnection::with_dependencies(configuration, dependencies(&lab, &b, 3)).unwrap_err().kind
    };
    assert_eq!(refused(IceServer::new("ftp:example.org")), RtcErrorKind::SyntaxError);
    assert_eq!(refused(IceServer::new("stun:")), RtcErrorKind::SyntaxError);
    assert_eq!(refused(IceServer::new("turn:turn.example.org")), RtcErrorKind::InvalidAccessError);
    assert_eq!(refused(turn("turn:turn.example.org", "")), RtcErrorKind::InvalidAccessError);
}
