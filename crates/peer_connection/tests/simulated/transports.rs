//! SctpTransport, DtlsTransport and IceTransport as applications see them; the configuration that may be changed.

use std::time::Duration;

use peerstack_base::Random;
use peerstack_netsim::{Host, Lab};
use peerstack_peer_connection::{
    BundlePolicy, Certificate, Configuration, DataChannelInit, DtlsFingerprint, DtlsTransport,
    DtlsTransportState, IceCandidateInit, IceComponent, IceGathererState, IceRole, IceServer, IceTransport,
    IceTransportPolicy, IceTransportState, KeyAlgorithm, MediaStreamTrack, PeerConnection,
    PeerConnectionEvent, PeerConnectionEvents, RtcErrorKind, RtcpMuxPolicy, RtpTransceiverDirection,
    RtpTransceiverInit, SctpTransportState, SessionDescription, Settings, TrackKind,
};

use crate::harness::{dependencies, joined, ms, negotiate, pass, two_hosts, two_peers};

fn told(events: &mut PeerConnectionEvents) -> Vec<PeerConnectionEvent> {
    std::iter::from_fn(|| events.try_next()).collect()
}

/// What transports told of their states, as words; what is not of `main` begins with `other`.
fn story(events: &[PeerConnectionEvent], main: Option<&DtlsTransport>) -> Vec<String> {
    use PeerConnectionEvent as Event;
    let whose = |its: bool| if its { "" } else { "other " };
    let ice = |transport: &IceTransport| whose(main.is_some_and(|main| main.ice_transport() == *transport));
    let words = events.iter().filter_map(|event| match event {
        Event::IceTransportStateChange { transport, state } => {
            Some(format!("{}ice {state:?}", ice(transport)))
        }
        Event::IceTransportGatheringStateChange { transport, state } => {
            Some(format!("{}gathering {state:?}", ice(transport)))
        }
        Event::DtlsTransportStateChange { transport, state } => {
            Some(format!("{}dtls {state:?}", whose(main == Some(transport))))
        }
        Event::SctpTransportStateChange { state, .. } => Some(format!("sctp {state:?}")),
        Event::IceCandidate(candidate) if candidate.candidate.is_empty() => Some("end".to_owned()),
        Event::ConnectionStateChange(state) => Some(format!("connection {}", state.as_str())),
        Event::IceGatheringStateChange(state) => Some(format!("all {}", state.as_str())),
        _ => None,
    });
    words.collect()
}

fn of(story: &[String], what: &str) -> Vec<String> {
    story.iter().filter_map(|word| word.strip_prefix(what)).map(|word| word.trim().to_owned()).collect()
}

fn place(story: &[String], word: &str) -> usize {
    story.iter().position(|other| other == word).unwrap_or_else(|| panic!("no {word} in {story:?}"))
}

fn line<'s>(description: &'s SessionDescription, start: &str) -> &'s str {
    description.sdp.lines().find_map(|line| line.strip_prefix(start)).unwrap()
}

/// Certificates, parameters, roles, candidates, the pair and the association: as descriptions and the peer have them;
/// each state once, in order, the transport's own before the connection's.
#[tokio::test(start_paused = true)]
async fn views_are_what_the_transports_are() {
    let (_lab, a, b) = two_peers(31, ms(5));
    let mut events = a.pc.events();
    let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    assert!(a.pc.sctp().is_none() && sender.transport().is_none());
    assert_eq!(a.pc.can_trickle_ice_candidates(), None);
    a.pc.set_local_description(None).await.unwrap();
    let dtls = sender.transport().unwrap();
    let ice = dtls.ice_transport();
    assert_eq!((dtls.state(), ice.state()), (DtlsTransportState::New, IceTransportState::New));
    assert_eq!((ice.role(), ice.component()), (Some(IceRole::Controlling), IceComponent::Rtp));
    assert!(ice.local_parameters().is_some() && ice.remote_parameters().is_none());
    assert!(dtls.remote_certificates().is_empty() && ice.selected_candidate_pair().is_none());
    assert!(a.pc.sctp().is_none());

    negotiate(&a, &b).await;
    assert_eq!(a.pc.can_trickle_ice_candidates(), Some(true));
    assert_eq!(sender.transport(), Some(dtls.clone()));
    let sctp = a.pc.sctp().unwrap();
    assert_eq!((sctp.transport(), sctp.state()), (dtls.clone(), SctpTransportState::Connecting));
    assert_eq!((sctp.max_channels(), sctp.max_message_size()), (None, 262_144));
    pass(ms(3_000)).await;
    assert_eq!(dtls.state(), DtlsTransportState::Connected);
    assert_eq!(sctp.state(), SctpTransportState::Connected);
    assert!(sctp.max_channels().is_some_and(|channels| channels >= 1_024));
    let receiver = &b.pc.receivers()[0];
    let theirs = receiver.transport().unwrap();
    assert_eq!(theirs.ice_transport().role(), Some(IceRole::Controlled));
    assert_eq!(b.pc.sctp().unwrap().transport(), theirs);

    let remote = a.pc.remote_description().unwrap();
    let said = DtlsFingerprint::parse(line(&remote, "a=fingerprint:")).unwrap();
    let shown = dtls.remote_certificates();
    assert_eq!(shown.len(), 1);
    assert_eq!(DtlsFingerprint::of_certificate("sha-256", &shown[0]).unwrap(), said);
    let parameters = ice.remote_parameters().unwrap();
    assert_eq!(parameters.username_fragment, line(&remote, "a=ice-ufrag:"));
    assert_eq!(parameters.password, line(&remote, "a=ice-pwd:"));
    assert!(!format!("{parameters:?}").contains(&parameters.password));
    let pair = ice.selected_candidate_pair().unwrap();
    assert!(ice.local_candidates().contains(&pair.local));
    let address = |candidates: &[peerstack_peer_connection::Candidate]| {
        candidates.iter().map(|one| one.address.clone()).collect::<Vec<_>>()
    };
    assert_eq!(address(&ice.remote_candidates()), address(&theirs.ice_transport().local_candidates()));
    assert_eq!(ice.remote_candidates().len(), 1);

    let events = told(&mut events);
    let story = story(&events, Some(&dtls));
    let states = of(&story, "ice");
    assert!(
        states == ["Checking", "Connected"] || states == ["Checking", "Connected", "Completed"],
        "{states:?}"
    );
    assert_eq!(of(&story, "dtls"), ["Connecting", "Connected"]);
    assert_eq!(of(&story, "other dtls"), ["Closed"], "that of the data, once bundled");
    assert_eq!(of(&story, "sctp"), ["Connected"]);
    assert!(place(&story, "ice Checking") < place(&story, "connection connecting"));
    assert!(place(&story, "dtls Connected") < place(&story, "connection connected"));
    assert!(place(&story, "gathering Gathering") <= place(&story, "all gathering"));
    assert!(place(&story, "end") < place(&story, "gathering Complete"));
    assert!(place(&story, "gathering Complete") < place(&story, "all complete"));
    let mut pairs = events.iter().filter_map(|event| match event {
        PeerConnectionEvent::SelectedCandidatePairChange(event) => Some(event),
        _ => None,
    });
    let last = pairs.next_back().unwrap();
    assert_eq!((&last.transport, &last.pair), (&ice, &Some(pair)));

    a.pc.close();
    assert_eq!((dtls.state(), ice.state()), (DtlsTransportState::Closed, IceTransportState::Closed));
    assert_eq!(sctp.state(), SctpTransportState::Closed);
}

/// The end of candidates is told for the transport's section and generation, and taken by the peer.
#[tokio::test(start_paused = true)]
async fn the_end_of_candidates_is_told() {
    let (lab, host, other) = two_hosts(32, ms(5));
    let pc = PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, &host, 1)).unwrap();
    let peer =
        PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, &other, 2)).unwrap();
    let mut events = pc.events();
    let sender = pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    pc.set_local_description(None).await.unwrap();
    peer.set_remote_description(pc.local_description().unwrap()).await.unwrap();
    pass(ms(3_000)).await;
    let candidates: Vec<IceCandidateInit> = told(&mut events)
        .into_iter()
        .filter_map(|event| match event {
            PeerConnectionEvent::IceCandidate(candidate) => Some(candidate),
            _ => None,
        })
        .collect();
    let ice = sender.transport().unwrap().ice_transport();
    let end = IceCandidateInit {
        candidate: String::new(),
        sdp_mid: Some("0".to_owned()),
        sdp_mline_index: Some(0),
        username_fragment: Some(ice.local_parameters().unwrap().username_fragment),
    };
    assert_eq!((candidates.len(), candidates.last()), (2, Some(&end)));
    assert_eq!(ice.gathering_state(), IceGathererState::Complete);
    assert!(pc.local_description().unwrap().sdp.contains("a=end-of-candidates"));
    peer.add_ice_candidate(end).await.unwrap();
    assert!(peer.remote_description().unwrap().sdp.contains("a=end-of-candidates"));
}

/// J15: what a rollback or an answer leaves without use is closed, and says so; a section that is rolled back has none.
#[tokio::test(start_paused = true)]
async fn transports_that_are_gone_are_closed() {
    let (_lab, a, b) = two_peers(33, ms(5));
    let mut events = a.pc.events();
    let senders: Vec<_> = [TrackKind::Audio, TrackKind::Video]
        .map(|kind| a.pc.add_track(MediaStreamTrack::new(kind), &[]).unwrap())
        .into();
    let transports = || -> Vec<Option<DtlsTransport>> { senders.iter().map(|one| one.transport()).collect() };
    a.pc.set_local_description(None).await.unwrap();
    let offered = transports();
    assert!(offered[0].is_some() && offered[1].is_some() && offered[0] != offered[1]);
    a.pc.set_local_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(transports(), [None, None]);
    for transport in offered.iter().flatten() {
        assert_eq!(transport.state(), DtlsTransportState::Closed);
        assert_eq!(transport.ice_transport().state(), IceTransportState::Closed);
    }
    assert_eq!(of(&story(&told(&mut events), None), "other dtls"), ["Closed", "Closed"]);

    a.pc.set_local_description(None).await.unwrap();
    let offered = transports();
    b.pc.set_remote_description(a.pc.local_description().unwrap()).await.unwrap();
    b.pc.set_local_description(None).await.unwrap();
    a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
    assert_eq!(transports(), [offered[0].clone(), offered[0].clone()]);
    assert_eq!(offered[1].as_ref().unwrap().state(), DtlsTransportState::Closed);
    assert_eq!(of(&story(&told(&mut events), None), "other dtls"), ["Closed"]);
    // An association that is rejected is over.
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    assert!(a.pc.sctp().is_none());
}

/// A transceiver that is stopped says so by its direction; nothing else makes it.
#[tokio::test(start_paused = true)]
async fn stopped_is_a_direction() {
    let (_lab, a, b) = two_peers(34, ms(5));
    let transceiver = a.pc.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    let refused = transceiver.set_direction(RtpTransceiverDirection::Stopped).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::TypeError);
    negotiate(&a, &b).await;
    assert_eq!(transceiver.current_direction(), Some(RtpTransceiverDirection::Sendonly));
    let theirs = b.pc.transceivers().remove(0);
    transceiver.stop().unwrap();
    assert_eq!(transceiver.direction(), RtpTransceiverDirection::Stopped);
    assert_eq!(transceiver.current_direction(), Some(RtpTransceiverDirection::Sendonly));
    negotiate(&a, &b).await;
    for one in [&transceiver, &theirs] {
        assert_eq!(one.direction(), RtpTransceiverDirection::Stopped);
        assert_eq!(one.current_direction(), Some(RtpTransceiverDirection::Stopped));
        assert_eq!(one.sender().transport(), None);
    }
}

fn connection(lab: &Lab, host: &Host, configuration: Configuration) -> PeerConnection {
    PeerConnection::with_dependencies(configuration, dependencies(lab, host, 1)).unwrap()
}

/// O33: what is fixed is refused and changes nothing; servers and policy may change, and come into force with the
/// restart of ICE that the next offer is.
#[tokio::test(start_paused = true)]
async fn the_configuration_changes_as_far_as_it_may() {
    let (lab, host, _) = two_hosts(35, ms(5));
    let certificate =
        Certificate::generate(KeyAlgorithm::EcdsaP384, &*lab.wall_clock(), &mut Random::from_seed(1))
            .unwrap();
    let made = Configuration::new().with_certificate(certificate.clone());
    let pc = connection(&lab, &host, made.clone());
    let other = Certificate::generate(KeyAlgorithm::EcdsaP256, &*lab.wall_clock(), &mut Random::from_seed(2))
        .unwrap();
    let mut settings = Settings::default();
    settings.track_queue = 1;
    let mut mux = made.clone();
    mux.rtcp_mux_policy = RtcpMuxPolicy::Negotiate;
    for (configuration, kind) in [
        (made.clone().with_bundle_policy(BundlePolicy::MaxBundle), RtcErrorKind::InvalidModificationError),
        (Configuration::new().with_certificate(other), RtcErrorKind::InvalidModificationError),
        (made.clone().with_settings(settings), RtcErrorKind::InvalidModificationError),
        (mux, RtcErrorKind::InvalidModificationError),
        (made.clone().with_ice_servers([IceServer::new("http://x")]), RtcErrorKind::SyntaxError),
    ] {
        assert_eq!(pc.set_configuration(configuration).unwrap_err().kind, kind);
    }
    assert!(pc.configuration().ice_servers.is_empty());

    // Before the first description it simply counts.
    let server = IceServer::new("stun:192.0.2.9");
    pc.set_configuration(Configuration::new().with_ice_servers([server.clone()])).unwrap();
    assert_eq!(pc.configuration().ice_servers, [server]);
    assert_eq!(pc.configuration().certificate, Some(certificate));
    pc.set_configuration(Configuration::new()).unwrap();
    let _channel = pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let mut events = pc.events();
    pc.set_local_description(None).await.unwrap();
    let first = pc.local_description().unwrap();
    pass(ms(3_000)).await;
    let candidates = |events: &mut PeerConnectionEvents| {
        let all = told(events).into_iter();
        all.filter(
            |event| matches!(event, PeerConnectionEvent::IceCandidate(one) if !one.candidate.is_empty()),
        )
        .count()
    };
    assert_eq!(candidates(&mut events), 1);
    let relay = Configuration::new().with_ice_transport_policy(IceTransportPolicy::Relay);
    pc.set_configuration(relay.clone()).unwrap();
    // Said again it is no change.
    pc.set_configuration(relay).unwrap();
    pass(ms(100)).await;
    assert_eq!(told(&mut events).len(), 0, "nothing to negotiate for it");
    pc.set_local_description(None).await.unwrap();
    let second = pc.local_description().unwrap();
    assert_ne!(line(&first, "a=ice-ufrag:"), line(&second, "a=ice-ufrag:"));
    pass(ms(3_000)).await;
    assert_eq!(candidates(&mut events), 0, "only relays are allowed, and there is none");
    pc.close();
    let refused = pc.set_configuration(Configuration::new()).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidStateError);
}

/// A certificate that is kept as PEM gives the same fingerprint after a restart, and one that expired is refused.
#[tokio::test(start_paused = true)]
async fn certificates_are_kept_over_restarts() {
    let (lab, host, other) = two_hosts(36, ms(5));
    let clock = lab.wall_clock();
    let lifetime = Duration::from_secs(3_600);
    let made = Certificate::generate_with_lifetime(
        KeyAlgorithm::EcdsaP384,
        &*clock,
        &mut Random::from_seed(1),
        lifetime,
    )
    .unwrap();
    let text = made.to_pem();
    let read = Certificate::from_pem(&text, &*clock).unwrap();
    assert_eq!((read.fingerprints(), read.expires()), (made.fingerprints(), made.expires()));
    let mut said = Vec::new();
    for certificate in [made.clone(), read.clone()] {
        let a = connection(&lab, &host, Configuration::new().with_certificate(certificate));
        let b = connection(&lab, &other, Configuration::new());
        let (a, b) = joined((a, host.clone()), (b, other.clone()));
        let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        negotiate(&a, &b).await;
        pass(ms(3_000)).await;
        let sctp = b.pc.sctp().unwrap();
        assert_eq!(sctp.state(), SctpTransportState::Connected);
        assert_eq!(sctp.transport().remote_certificates(), [made.der().to_vec()]);
        said.push(line(&a.pc.local_description().unwrap(), "a=fingerprint:").to_owned());
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(DtlsFingerprint::parse(&said[0]).unwrap(), made.fingerprint());
    pass(lifetime).await;
    let expired = Configuration::new().with_certificate(read);
    let refused = PeerConnection::with_dependencies(expired, dependencies(&lab, &host, 1)).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidAccessError);
}
