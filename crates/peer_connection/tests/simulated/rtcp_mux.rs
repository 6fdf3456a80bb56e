//! RTCP on a transport of its own (`rtcp_mux_policy` negotiate), where the peer does not multiplex.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use peerstack_base::PacketClass;
use peerstack_netsim::{Direction, Lab, LossModel, Packet, TurnServer, Verdict, addr, ip};
use peerstack_peer_connection::{
    BundlePolicy, Configuration, DataChannelInit, DtlsTransport, DtlsTransportState, IceComponent,
    IceConnectionState, IceServer, IceTransportState, MediaStreamTrack, OfferOptions, PeerConnection,
    PeerConnectionEvent, PeerConnectionFactory, PeerConnectionState, RtcErrorKind, RtcpMuxPolicy,
    RtpProtection, RtpSender, SdpType, SessionDescription, Settings, TrackKind, TransportStats, UdpMux,
};

use crate::harness::{
    Peer, dependencies, joined, ms, negotiate, negotiate_with, pass, send_media, two_hosts,
};

const NEGOTIATE: RtcpMuxPolicy = RtcpMuxPolicy::Negotiate;
const REQUIRE: RtcpMuxPolicy = RtcpMuxPolicy::Require;

fn peers_with(seed: u64, configurations: [Configuration; 2]) -> (Lab, Peer, Peer) {
    let (lab, a, b) = two_hosts(seed, ms(5));
    let [for_a, for_b] = configurations;
    let pc_a = PeerConnection::with_dependencies(for_a, dependencies(&lab, &a, seed)).unwrap();
    let pc_b = PeerConnection::with_dependencies(for_b, dependencies(&lab, &b, seed + 1)).unwrap();
    let (a, b) = joined((pc_a, a), (pc_b, b));
    (lab, a, b)
}

fn peers(seed: u64, policies: [RtcpMuxPolicy; 2]) -> (Lab, Peer, Peer) {
    peers_with(seed, policies.map(|policy| Configuration::new().with_rtcp_mux_policy(policy)))
}

fn without(mut description: SessionDescription, lines: &[&str]) -> SessionDescription {
    let kept = description.sdp.split_inclusive('\n');
    description.sdp = kept.filter(|line| !lines.iter().any(|start| line.starts_with(start))).collect();
    description
}

/// As a peer says it that neither bundles nor multiplexes: a gateway of before either.
fn as_of_old(description: SessionDescription) -> SessionDescription {
    without(description, &["a=rtcp-mux", "a=group:BUNDLE", "a=bundle-only"])
}

fn as_it_is(description: SessionDescription) -> SessionDescription {
    description
}

fn track(pc: &PeerConnection, kind: TrackKind) -> RtpSender {
    pc.add_track(MediaStreamTrack::new(kind), &[]).unwrap()
}

async fn flows(sender: &RtpSender, peer: &PeerConnection, first: u16) {
    let kind = sender.track().unwrap().kind();
    let receivers = peer.receivers().into_iter();
    let track = receivers.map(|one| one.track()).find(|track| track.kind() == kind).unwrap();
    send_media(sender, first, 50).await;
    pass(ms(500)).await;
    let count =
        std::iter::from_fn(|| track.try_recv()).filter(|packet| packet.payload == vec![7; 100]).count();
    assert_eq!(count, 50, "{kind:?}");
}

/// What left a host: classes of packets, and the ports they left from.
type Sent = Arc<Mutex<HashSet<(PacketClass, u16)>>>;

fn watch(peer: &Peer) -> Sent {
    let sent = Sent::default();
    let seen = Arc::clone(&sent);
    peer.host.interfaces()[0].link().set_filter(Direction::Outbound, move |packet: &mut Packet| {
        seen.lock().unwrap().insert((PacketClass::of(&packet.payload), packet.source.port()));
        Verdict::Pass
    });
    sent
}

fn ports_of(sent: &Sent, class: PacketClass) -> Vec<u16> {
    let sent = sent.lock().unwrap();
    let mut ports: Vec<u16> = sent.iter().filter(|(of, _)| *of == class).map(|(_, port)| *port).collect();
    ports.sort_unstable();
    ports
}

/// The ports of the candidates of a component, in the order of the description.
fn ports(pc: &PeerConnection, component: &str) -> Vec<u16> {
    let description = pc.local_description().unwrap();
    let lines = description.sdp.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    let fields = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|fields| fields[1] == component).map(|fields| fields[5].parse().unwrap()).collect()
}

fn rtcp_lines(pc: &PeerConnection) -> Vec<String> {
    let sdp = pc.local_description().unwrap().sdp;
    sdp.lines().filter(|line| line.starts_with("a=rtcp:")).map(str::to_owned).collect()
}

fn transports(report: &[TransportStats]) -> Vec<&TransportStats> {
    report.iter().filter(|one| one.rtcp_transport_stats_id.is_some()).collect()
}

fn is_connected(ice: IceConnectionState) -> bool {
    matches!(ice, IceConnectionState::Connected | IceConnectionState::Completed)
}

fn assert_apart(sender: &RtpSender) -> (DtlsTransport, DtlsTransport) {
    let (rtp, rtcp) = (sender.transport().unwrap(), sender.rtcp_transport().unwrap());
    assert_ne!(rtp, rtcp);
    for (transport, component) in [(&rtp, IceComponent::Rtp), (&rtcp, IceComponent::Rtcp)] {
        let ice = transport.ice_transport();
        assert_eq!((ice.component(), ice.component().as_str()), (component, component.as_str()));
        let of = |candidates: Vec<peerstack_peer_connection::Candidate>| {
            candidates.iter().all(|candidate| candidate.component == component.id())
        };
        assert!(!ice.local_candidates().is_empty() && of(ice.local_candidates()));
        assert!(!ice.remote_candidates().is_empty() && of(ice.remote_candidates()));
        let pair = ice.selected_candidate_pair().unwrap();
        assert_eq!((pair.local.component, pair.remote.component), (component.id(), component.id()));
        assert!(matches!(ice.state(), IceTransportState::Connected | IceTransportState::Completed));
    }
    assert_eq!(rtp.ice_transport().local_parameters(), rtcp.ice_transport().local_parameters());
    assert_eq!(rtp.ice_transport().remote_parameters(), rtcp.ice_transport().remote_parameters());
    (rtp, rtcp)
}

/// D14, D21, J16: with a peer that does not multiplex RTCP has ICE, DTLS and keys of its own, for each section; reports
/// cross there, and RTP alone by the other. Offer and answer name both components.
#[tokio::test(start_paused = true)]
async fn rtcp_has_ice_dtls_and_keys_of_its_own() {
    let (_lab, a, b) = peers(401, [NEGOTIATE; 2]);
    let mut events = a.pc.events();
    let (from_a, from_b) = (watch(&a), watch(&b));
    let (audio, video) = (track(&a.pc, TrackKind::Audio), track(&b.pc, TrackKind::Video));
    let _ = track(&a.pc, TrackKind::Video);
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    // A offers it, B never sees that and says nothing of it.
    negotiate_with(&a, &b, as_of_old, as_it_is).await;
    pass(ms(5_000)).await;
    for pc in [&a.pc, &b.pc] {
        assert_eq!(pc.connection_state(), PeerConnectionState::Connected);
        assert!(is_connected(pc.ice_connection_state()));
    }
    let (rtp, rtcp) = assert_apart(&audio);
    for transport in [&rtp, &rtcp] {
        assert_eq!(transport.state(), DtlsTransportState::Connected);
    }
    assert_eq!(rtp.remote_certificates(), rtcp.remote_certificates());
    assert_eq!(rtp.remote_certificates().len(), 1);
    flows(&audio, &b.pc, 0).await;
    flows(&video, &a.pc, 0).await;
    pass(ms(10_000)).await;

    // Sections of RTP have two ports, that of data has one.
    for (pc, sent) in [(&a.pc, &from_a), (&b.pc, &from_b)] {
        let (rtp, rtcp) = (ports(pc, "1"), ports(pc, "2"));
        assert_eq!((rtp.len(), rtcp.len()), (3, 2));
        let of_rtcp = ports_of(sent, PacketClass::Rtcp);
        assert!(!of_rtcp.is_empty() && of_rtcp.iter().all(|port| rtcp.contains(port)));
        let of_rtp = ports_of(sent, PacketClass::Rtp);
        assert!(!of_rtp.is_empty() && of_rtp.iter().all(|port| rtp.contains(port)));
        assert_eq!(ports_of(sent, PacketClass::Dtls).len(), 5, "a handshake each");
        // RFC 3605, RFC 9429 section 5.2.1: where RTCP goes without ICE.
        let said: Vec<u16> =
            rtcp_lines(pc).iter().filter_map(|line| line[7..].split(' ').next()?.parse().ok()).collect();
        assert_eq!(said, rtcp);
    }
    let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    assert_eq!(at_a.remote_inbound_rtp.len(), 1, "the reports of B came");
    assert!(!at_b.remote_outbound_rtp.is_empty(), "the reports of A came");
    for report in [&at_a, &at_b] {
        assert_eq!((report.transports.len(), transports(&report.transports).len()), (5, 2));
        for rtp in transports(&report.transports) {
            let id = rtp.rtcp_transport_stats_id.as_deref();
            let rtcp = report.transports.iter().find(|one| Some(one.id.as_str()) == id).unwrap();
            assert_eq!((&rtcp.mid, &rtcp.ice_role), (&rtp.mid, &rtp.ice_role));
            assert_eq!(rtcp.dtls_state, "connected");
            assert_ne!(rtcp.selected_candidate_pair_id, rtp.selected_candidate_pair_id);
            assert!(rtcp.packets_sent > 2 && rtcp.packets_received > 2, "{rtcp:?}");
            assert!(rtcp.rtcp_transport_stats_id.is_none());
        }
    }
    let sent = &at_a.outbound_rtp[0];
    let of = at_a.transports.iter().find(|one| one.id == sent.transport_id).unwrap();
    assert!(of.rtcp_transport_stats_id.is_some(), "streams belong to RTP's");
    let reachable = audio.stats().await.unwrap();
    assert_eq!(reachable.transports.len(), 2);

    // Each section's candidates end once, after those of both components.
    let mut ended: Vec<String> = Vec::new();
    while let Some(event) = events.try_next() {
        let PeerConnectionEvent::IceCandidate(candidate) = event else { continue };
        let mid = candidate.sdp_mid.unwrap();
        assert!(!ended.contains(&mid), "a candidate of {mid} after the end");
        if candidate.candidate.is_empty() {
            ended.push(mid);
        }
    }
    assert_eq!(ended.len(), 3);
}

/// What becomes of each pair of policies, with and without rtcp-mux and BUNDLE on the way: how many transports, of RTCP's
/// own among them, or a refusal. J14, J16.
#[tokio::test(start_paused = true)]
async fn policies_in_every_combination() {
    let mut seed = 411;
    for policies in [[NEGOTIATE, NEGOTIATE], [NEGOTIATE, REQUIRE], [REQUIRE, NEGOTIATE], [REQUIRE, REQUIRE]] {
        for bundle in [true, false] {
            for mux in [true, false] {
                seed += 2;
                let what = format!("{policies:?}, bundle {bundle}, mux {mux}");
                let (_lab, a, b) = peers(seed, policies);
                let audio = track(&a.pc, TrackKind::Audio);
                let video = track(&b.pc, TrackKind::Video);
                let _ = track(&a.pc, TrackKind::Video);
                let filter = |description| {
                    let lines: &[&str] = match (bundle, mux) {
                        (true, true) => &[],
                        (true, false) => &["a=rtcp-mux"],
                        (false, true) => &["a=group:BUNDLE"],
                        (false, false) => &["a=rtcp-mux", "a=group:BUNDLE"],
                    };
                    without(description, lines)
                };
                a.pc.set_local_description(None).await.unwrap();
                let taken = b.pc.set_remote_description(filter(a.pc.local_description().unwrap())).await;
                // What is bundled multiplexes (RFC 9143 section 9.3), and so does all where it is required.
                if !mux && (bundle || policies[1] == REQUIRE) {
                    assert_eq!(taken.unwrap_err().kind, RtcErrorKind::InvalidAccessError, "{what}");
                    assert!(b.pc.remote_description().is_none());
                    continue;
                }
                taken.unwrap();
                b.pc.set_local_description(None).await.unwrap();
                let answer = b.pc.local_description().unwrap();
                assert_eq!(answer.sdp.contains("a=rtcp-mux"), mux, "{what}");
                let taken = a.pc.set_remote_description(answer).await;
                if !mux && policies[0] == REQUIRE {
                    assert_eq!(taken.unwrap_err().kind, RtcErrorKind::InvalidAccessError, "{what}");
                    continue;
                }
                taken.unwrap();
                a.release();
                pass(ms(3_000)).await;
                for pc in [&a.pc, &b.pc] {
                    assert_eq!(pc.connection_state(), PeerConnectionState::Connected, "{what}");
                    let sections = if bundle { 1 } else { 2 };
                    let count = pc.stats().await.unwrap().transports.len();
                    assert_eq!(count, if mux { sections } else { 2 * sections }, "{what}");
                    if !bundle {
                        assert_eq!(ports(pc, "2").len(), if mux { 0 } else { 2 }, "{what}");
                    }
                }
                assert_eq!(audio.rtcp_transport().is_some(), !mux);
                flows(&audio, &b.pc, 0).await;
                flows(&video, &a.pc, 0).await;
            }
        }
    }
}

/// D21: where both multiplex RTCP's transport goes with the answer: its sockets, its candidates in the description, its
/// view. The default offers one component and one only.
#[tokio::test(start_paused = true)]
async fn what_the_answer_makes_needless_is_gone() {
    let (lab, a, b) = peers(441, [NEGOTIATE; 2]);
    let audio = track(&a.pc, TrackKind::Audio);
    a.pc.set_local_description(None).await.unwrap();
    pass(ms(500)).await;
    assert_eq!((ports(&a.pc, "1").len(), ports(&a.pc, "2").len(), lab.open_sockets()), (1, 1, 2));
    let rtcp = audio.rtcp_transport().unwrap();
    let offer = a.pc.local_description().unwrap();
    b.pc.set_remote_description(offer).await.unwrap();
    b.pc.set_local_description(None).await.unwrap();
    a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
    a.release();
    pass(ms(3_000)).await;
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
    assert_eq!((ports(&a.pc, "2").len(), lab.open_sockets()), (0, 2), "one each");
    assert_eq!(rtcp_lines(&a.pc), ["a=rtcp:9 IN IP4 0.0.0.0"]);
    assert!(audio.rtcp_transport().is_none());
    assert_eq!(
        (rtcp.state(), rtcp.ice_transport().state()),
        (DtlsTransportState::Closed, IceTransportState::Closed)
    );
    // Late candidates of the component that is gone are ignored.
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    assert!(offer.sdp.contains("a=rtcp-mux") && !offer.sdp.contains(" 2 udp "));
    flows(&audio, &b.pc, 0).await;
    a.pc.close();
    b.pc.close();
    pass(ms(1_000)).await;
    assert_eq!(lab.open_sockets(), 0);

    let (_lab, a, _b) = peers(443, [REQUIRE; 2]);
    let _ = track(&a.pc, TrackKind::Audio);
    a.pc.set_local_description(None).await.unwrap();
    pass(ms(500)).await;
    assert_eq!((ports(&a.pc, "1").len(), ports(&a.pc, "2").len()), (1, 0));
}

/// D21: a provisional answer keeps both transports, whatever it says; the final one decides.
#[tokio::test(start_paused = true)]
async fn a_provisional_answer_keeps_both() {
    for (seed, provisional, last) in
        [(451, false, true), (453, true, false), (455, false, false), (457, true, true)]
    {
        let (_lab, a, b) = peers(seed, [NEGOTIATE; 2]);
        let from_a = watch(&a);
        let audio = track(&a.pc, TrackKind::Audio);
        // B says at once what it says in the end; on the way its provisional answer is changed.
        let offered =
            |description| if last { without(description, &["a=group"]) } else { as_of_old(description) };
        a.pc.set_local_description(None).await.unwrap();
        b.pc.set_remote_description(offered(a.pc.local_description().unwrap())).await.unwrap();
        let answer = b.pc.create_answer().await.unwrap();
        let said = |sdp_type, mux: bool| {
            let mut sdp = answer.sdp.replace("a=rtcp-mux\r\n", "");
            if mux {
                sdp = sdp.replace("a=mid:0\r\n", "a=mid:0\r\na=rtcp-mux\r\n");
            }
            SessionDescription { sdp_type, sdp }
        };
        let pranswer = SessionDescription { sdp_type: SdpType::Pranswer, ..answer.clone() };
        b.pc.set_local_description(pranswer).await.unwrap();
        a.pc.set_remote_description(said(SdpType::Pranswer, provisional)).await.unwrap();
        a.release();
        pass(ms(4_000)).await;
        for pc in [&a.pc, &b.pc] {
            assert_eq!(pc.connection_state(), PeerConnectionState::Connected, "seed {seed}");
        }
        assert_apart(&audio);
        flows(&audio, &b.pc, 0).await;
        pass(ms(6_000)).await;
        let (rtp, rtcp) = (ports(&a.pc, "1"), ports(&a.pc, "2"));
        assert_eq!(
            ports_of(&from_a, PacketClass::Rtcp),
            if provisional { rtp.clone() } else { rtcp.clone() }
        );

        b.pc.set_local_description(answer.clone()).await.unwrap();
        a.pc.set_remote_description(said(SdpType::Answer, last)).await.unwrap();
        from_a.lock().unwrap().clear();
        flows(&audio, &b.pc, 50).await;
        pass(ms(6_000)).await;
        assert_eq!(audio.rtcp_transport().is_some(), !last, "seed {seed}");
        assert_eq!(ports_of(&from_a, PacketClass::Rtcp), if last { rtp } else { rtcp }, "seed {seed}");
        assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
        // Both are of one mind again: reports answer reports.
        flows(&audio, &b.pc, 100).await;
        pass(ms(20_000)).await;
        let told = &a.pc.stats().await.unwrap().remote_inbound_rtp[0];
        assert!(told.round_trip_time.is_some(), "seed {seed} {told:?}");
    }
}

/// A restart of ICE is one of both components (RFC 8839 section 4.4.1): packets of both go on, by pairs of the new
/// generation.
#[tokio::test(start_paused = true)]
async fn ice_restarts_for_both() {
    let (_lab, a, b) = peers(461, [NEGOTIATE; 2]);
    let audio = track(&a.pc, TrackKind::Audio);
    negotiate_with(&a, &b, as_of_old, as_of_old).await;
    pass(ms(4_000)).await;
    let before = assert_apart(&audio);
    let fragments = |(rtp, rtcp): &(DtlsTransport, DtlsTransport)| {
        [rtp, rtcp].map(|one| one.ice_transport().selected_candidate_pair().unwrap().local.username_fragment)
    };
    let old = fragments(&before);
    assert_eq!(old[0], old[1]);
    a.pc.restart_ice();
    negotiate_with(&a, &b, as_of_old, as_of_old).await;
    pass(ms(4_000)).await;
    let after = assert_apart(&audio);
    assert_eq!(before, after, "the same transports");
    let new = fragments(&after);
    assert!(new[0] == new[1] && new[0] != old[0]);
    flows(&audio, &b.pc, 0).await;
    let reports = |report: &peerstack_peer_connection::StatsReport| {
        report.remote_inbound_rtp[0].round_trip_time_measurements
    };
    pass(ms(6_000)).await;
    let seen = reports(&a.pc.stats().await.unwrap());
    flows(&audio, &b.pc, 50).await;
    pass(ms(20_000)).await;
    assert!(reports(&a.pc.stats().await.unwrap()) > seen);
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
}

/// Both handshakes and all checks come through loss.
#[tokio::test(start_paused = true)]
async fn both_connect_under_loss() {
    for seed in [471, 473, 475, 477] {
        let (_lab, a, b) = peers(seed, [NEGOTIATE; 2]);
        for peer in [&a, &b] {
            peer.host.interfaces()[0].link().set_loss(LossModel::Uniform(0.2));
        }
        let audio = track(&a.pc, TrackKind::Audio);
        negotiate_with(&a, &b, as_of_old, as_of_old).await;
        pass(ms(30_000)).await;
        assert_apart(&audio);
        for pc in [&a.pc, &b.pc] {
            assert_eq!(pc.connection_state(), PeerConnectionState::Connected, "seed {seed}");
        }
        for peer in [&a, &b] {
            peer.host.interfaces()[0].link().set_loss(LossModel::Uniform(0.0));
        }
        flows(&audio, &b.pc, 0).await;
    }
}

/// The path of RTCP alone is cut: the connection is disconnected, then failed, although RTP's goes on; J06, J07.
#[tokio::test(start_paused = true)]
async fn the_loss_of_rtcp_s_path_counts() {
    let (_lab, a, b) = peers(481, [NEGOTIATE; 2]);
    let audio = track(&a.pc, TrackKind::Audio);
    negotiate_with(&a, &b, as_of_old, as_of_old).await;
    pass(ms(4_000)).await;
    let (rtp, rtcp) = assert_apart(&audio);
    let port = ports(&a.pc, "2")[0];
    for direction in [Direction::Outbound, Direction::Inbound] {
        a.host.interfaces()[0].link().set_filter(direction, move |packet: &mut Packet| {
            let of_rtcp = packet.source.port() == port || packet.destination.port() == port;
            if of_rtcp { Verdict::Drop } else { Verdict::Pass }
        });
    }
    pass(ms(60_000)).await;
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Failed);
    assert_eq!(rtcp.ice_transport().state(), IceTransportState::Failed);
    assert!(matches!(
        rtp.ice_transport().state(),
        IceTransportState::Connected | IceTransportState::Completed
    ));
}

/// SDES and RTP in the clear, where gateways without rtcp-mux are: RTCP has a port of its own there as well, and the keys
/// are one set for both (RFC 4568 section 6.1).
#[tokio::test(start_paused = true)]
async fn without_dtls_rtcp_is_apart_too() {
    for (seed, protection) in [(491, RtpProtection::DangerouslySdes), (493, RtpProtection::DangerouslyNone)] {
        let mut settings = Settings::default();
        settings.rtp_protection = protection;
        let configuration = Configuration::new().with_settings(settings).with_rtcp_mux_policy(NEGOTIATE);
        let (lab, a, b) = peers_with(seed, [configuration.clone(), configuration]);
        let from_a = watch(&a);
        let (audio, video) = (track(&a.pc, TrackKind::Audio), track(&b.pc, TrackKind::Video));
        let _ = track(&a.pc, TrackKind::Video);
        negotiate_with(&a, &b, as_of_old, as_of_old).await;
        pass(ms(3_000)).await;
        assert_apart(&audio);
        for pc in [&a.pc, &b.pc] {
            assert_eq!(pc.connection_state(), PeerConnectionState::Connected);
        }
        flows(&audio, &b.pc, 0).await;
        flows(&video, &a.pc, 0).await;
        pass(ms(10_000)).await;
        let told = a.pc.stats().await.unwrap();
        assert!(told.remote_inbound_rtp.iter().any(|one| one.round_trip_time.is_some()));
        let (of_rtcp, rtcp) = (ports_of(&from_a, PacketClass::Rtcp), ports(&a.pc, "2"));
        assert!(of_rtcp.len() == 2 && of_rtcp.iter().all(|port| rtcp.contains(port)));
        assert!(ports_of(&from_a, PacketClass::Dtls).is_empty());
        a.pc.close();
        b.pc.close();
        pass(ms(1_000)).await;
        assert_eq!(lab.open_sockets(), 0);
    }
}

/// Each component has an allocation of its own at a TURN server, and gives it back: that which the answer made needless at
/// once, the other at the end.
#[tokio::test(start_paused = true)]
async fn both_components_are_relayed() {
    for (seed, mux) in [(501, false), (503, true)] {
        let (lab, a_host, b_host) = two_hosts(seed, ms(5));
        let turn = lab.host_at("turn", &lab.internet(), ip("198.51.100.7"));
        let server =
            TurnServer::new(&turn, addr("198.51.100.7:3478"), &[ip("198.51.100.7")], &[("user", "pass")]);
        let servers = IceServer {
            urls: vec!["turn:198.51.100.7".into()],
            username: "user".into(),
            credential: "pass".into(),
        };
        let make = |host, seed| {
            let mut configuration =
                Configuration::new().with_rtcp_mux_policy(NEGOTIATE).with_ice_servers([servers.clone()]);
            configuration.ice_transport_policy = peerstack_peer_connection::IceTransportPolicy::Relay;
            PeerConnection::with_dependencies(configuration, dependencies(&lab, host, seed)).unwrap()
        };
        let (pc_a, pc_b) = (make(&a_host, seed), make(&b_host, seed + 1));
        let (a, b) = joined((pc_a, a_host), (pc_b, b_host));
        let audio = track(&a.pc, TrackKind::Audio);
        if mux {
            negotiate(&a, &b).await;
        } else {
            negotiate_with(&a, &b, as_of_old, as_of_old).await;
        }
        pass(ms(5_000)).await;
        assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
        assert_eq!(server.allocations().len(), if mux { 2 } else { 4 });
        if !mux {
            assert_apart(&audio);
        }
        flows(&audio, &b.pc, 0).await;
        a.pc.close();
        b.pc.close();
        pass(ms(2_000)).await;
        assert_eq!((server.allocations().len(), lab.open_sockets()), (0, 0));
    }
}

/// Whatever an attacker sends to RTCP's port from the peer's address does not get further than it would by RTP's: STUN
/// that is not authenticated, DTLS records, RTP and RTCP without keys, and noise.
#[tokio::test(start_paused = true)]
async fn hostile_bytes_on_the_second_component() {
    let (_lab, a, b) = peers(511, [NEGOTIATE; 2]);
    let audio = track(&a.pc, TrackKind::Audio);
    negotiate_with(&a, &b, as_of_old, as_of_old).await;
    let attack = async |peer: &Peer, from: &Peer, count: usize, random: &mut peerstack_base::Random| {
        for component in ["1", "2"] {
            let (Some(to), Some(source)) =
                (ports(&peer.pc, component).first().copied(), ports(&from.pc, component).first().copied())
            else {
                continue;
            };
            for round in 0..count {
                let mut payload = vec![0; 1 + random.below(1_200) as usize];
                random.fill(&mut payload);
                payload[0] = match round % 6 {
                    0 => 0x00,
                    1 => 20 + random.below(44) as u8,
                    2 | 3 => 0x80 | random.below(0x40) as u8,
                    _ => payload[0],
                };
                if round % 6 == 2 && payload.len() > 1 {
                    payload[1] = 200 + random.below(8) as u8;
                }
                let (source, destination) =
                    (addr(&format!("{}:{source}", peer_ip(from))), addr(&format!("{}:{to}", peer_ip(peer))));
                peer.host.inject(Packet::udp(source, destination, payload));
            }
        }
    };
    let mut random = peerstack_base::Random::from_seed(511);
    // While ICE and DTLS are on their way as well.
    for _ in 0..100 {
        attack(&a, &b, 5, &mut random).await;
        attack(&b, &a, 5, &mut random).await;
        pass(ms(20)).await;
    }
    pass(ms(10_000)).await;
    assert_apart(&audio);
    for pc in [&a.pc, &b.pc] {
        assert_eq!(pc.connection_state(), PeerConnectionState::Connected);
    }
    flows(&audio, &b.pc, 0).await;
    pass(ms(6_000)).await;
    let told = a.pc.stats().await.unwrap();
    assert!(told.remote_inbound_rtp[0].round_trip_time.is_some());
}

fn peer_ip(peer: &Peer) -> String {
    peer.host.interfaces()[0].ips()[0].to_string()
}

/// Sockets that connections share are told apart by user fragments, of which both components have the same.
#[tokio::test(start_paused = true)]
async fn one_port_for_all_and_two_components_do_not_go_together() {
    let (lab, host, _) = two_hosts(521, ms(5));
    let mut dependencies = dependencies(&lab, &host, 1);
    dependencies.udp_mux = Some(UdpMux::new(5_000));
    let factory = PeerConnectionFactory::with_dependencies(dependencies).unwrap();
    let configuration = Configuration::new().with_rtcp_mux_policy(NEGOTIATE);
    let refused = factory.create_peer_connection(configuration).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::NotSupportedError);
    assert!(factory.create_peer_connection(Configuration::new()).is_ok());
}

/// max-bundle gathers for the first section alone, both components of it.
#[tokio::test(start_paused = true)]
async fn max_bundle_gathers_two_components_of_one_section() {
    let configuration =
        Configuration::new().with_rtcp_mux_policy(NEGOTIATE).with_bundle_policy(BundlePolicy::MaxBundle);
    let (lab, a, b) = peers_with(531, [configuration.clone(), configuration]);
    let audio = track(&a.pc, TrackKind::Audio);
    let _ = track(&a.pc, TrackKind::Video);
    a.pc.set_local_description(None).await.unwrap();
    pass(ms(500)).await;
    assert_eq!((ports(&a.pc, "1").len(), ports(&a.pc, "2").len(), lab.open_sockets()), (1, 1, 2));
    negotiate(&a, &b).await;
    pass(ms(3_000)).await;
    assert_eq!(lab.open_sockets(), 2);
    flows(&audio, &b.pc, 0).await;
}
