//! Every call of the API that can fail, and how: W3C's name, what was wrong with what, and nothing changed. What
//! signalling states forbid is in `signaling_states.rs`, wrong descriptions are in `negotiation.rs` and `sdp_corpora.rs`.

use peerstack_peer_connection::{
    BundlePolicy, Codec, Configuration, DataChannelInit, IceCandidateInit, IceServer, KeygenAlgorithm,
    MediaStreamTrack, OfferOptions, PeerConnection, RtcError, RtcErrorDetail,
    RtcErrorKind::{
        self, InvalidAccessError, InvalidModificationError, InvalidStateError, NotSupportedError,
        OperationError, RangeError, SyntaxError, TypeError,
    },
    RtpPacket, RtpTransceiverDirection, RtpTransceiverInit, SdpType, SessionDescription, Settings, TrackKind,
    generate_certificate,
};

use crate::harness::{Peer, dependencies, ms, negotiate, pass, two_hosts, two_peers};
use crate::signaling_states::visible;

/// A call, a word of its message that says what was wrong, its name, and what came of it.
type Row = (&'static str, &'static str, RtcErrorKind, Result<(), RtcError>);

fn check(rows: Vec<Row>) {
    for (call, word, kind, result) in rows {
        let error = result.expect_err(call);
        assert_eq!(error.kind, kind, "{call}: {error}");
        assert!(error.message.contains(word), "{call}: {error} does not say {word:?}");
        assert_eq!(error.to_string(), format!("{}: {}", kind.as_str(), error.message));
    }
}

fn server(url: &str, username: &str, credential: &str) -> IceServer {
    let mut server = IceServer::new(url);
    (server.username, server.credential) = (username.to_owned(), credential.to_owned());
    server
}

/// What a connection is made from.
#[tokio::test(start_paused = true)]
async fn wrong_configurations_make_no_connection() {
    let (lab, host, _other) = two_hosts(80, ms(1));
    let make = |configuration: Configuration| {
        PeerConnection::with_dependencies(configuration, dependencies(&lab, &host, 1)).map(drop)
    };
    let servers = |server: IceServer| make(Configuration::new().with_ice_servers([server]));
    let size = |bytes: u32| {
        let mut settings = Settings::default();
        settings.max_message_size = bytes;
        make(Configuration::new().with_settings(settings))
    };
    let long = "u".repeat(510);
    check(vec![
        ("a server without a URL", "URL", SyntaxError, servers(IceServer::default())),
        ("a URL of the web", "http://x", SyntaxError, servers(IceServer::new("http://x"))),
        ("an empty URL", "\"\"", SyntaxError, servers(IceServer::new(""))),
        ("TURN without a name", "turn:x", InvalidAccessError, servers(IceServer::new("turn:x"))),
        ("TURN without a credential", "turn:x", InvalidAccessError, servers(server("turn:x", "u", ""))),
        ("a name that is too long", "510", InvalidAccessError, servers(server("turn:x", &long, "c"))),
        ("a largest message of 0", "max_message_size is 0", RangeError, size(0)),
        ("a largest message of all memory", "4294967295", RangeError, size(u32::MAX)),
        (
            "a certificate of RSA",
            "RSA",
            NotSupportedError,
            generate_certificate(KeygenAlgorithm::Rsa { modulus_length: 2048 }, None).map(drop),
        ),
    ]);
    pass(ms(1)).await;
    assert_eq!(lab.open_sockets(), 0);
}

/// What changes nothing when it fails: descriptions, transceivers, channels, what waits to be sent.
fn all_of(peer: &Peer) -> String {
    let senders: Vec<_> =
        peer.pc.senders().iter().map(|one| (one.track().map(|track| track.id()), one.streams())).collect();
    format!("{} {senders:?} {:?}", visible(&peer.pc), peer.pc.connection_state())
}

/// Every call that can fail on an open connection.
#[tokio::test(start_paused = true)]
async fn calls_fail_by_name_and_change_nothing() {
    let (_lab, a, b) = two_peers(81, ms(1));
    let candidate = |text: &str, mid: Option<&str>, line: Option<u16>| IceCandidateInit {
        candidate: text.to_owned(),
        sdp_mid: mid.map(str::to_owned),
        sdp_mline_index: line,
        ..IceCandidateInit::default()
    };
    let good = "candidate:1 1 udp 1 203.0.113.1 1 typ host";
    let fresh = all_of(&a);
    check(vec![
        (
            "a candidate before a description",
            "remote description",
            InvalidStateError,
            a.pc.add_ice_candidate(candidate(good, Some("0"), None)).await,
        ),
        (
            "an answer without an offer",
            "create_answer",
            InvalidStateError,
            a.pc.create_answer().await.map(drop),
        ),
        (
            "a local answer",
            "answer",
            InvalidStateError,
            a.pc.set_local_description(SessionDescription::answer("x")).await,
        ),
        (
            "a remote answer",
            "answer",
            InvalidStateError,
            a.pc.set_remote_description(SessionDescription::answer("x")).await,
        ),
        (
            "nothing to take back",
            "rollback",
            InvalidStateError,
            a.pc.set_local_description(SessionDescription::rollback()).await,
        ),
        (
            "an offer of nobody's",
            "offer",
            InvalidModificationError,
            a.pc.set_local_description(SessionDescription::offer("v=0")).await,
        ),
        (
            "no SDP",
            "line 1",
            OperationError,
            a.pc.set_remote_description(SessionDescription::offer("hello")).await,
        ),
    ]);
    assert_eq!(all_of(&a), fresh);

    let channel = a.pc.create_data_channel("chat", DataChannelInit::default()).unwrap();
    let track = MediaStreamTrack::new(TrackKind::Audio);
    let sender = a.pc.add_track(track.clone(), &["s".to_owned()]).unwrap();
    let foreign = b.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let early = channel.send("early");
    negotiate(&a, &b).await;
    let transceiver = a.pc.transceivers()[0].clone();
    let stopped = a.pc.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    stopped.stop().unwrap();
    while a.pc.connection_state().as_str() != "connected" {
        pass(ms(100)).await;
    }
    let before = all_of(&a);
    let plain = DataChannelInit::default;
    let create = |label: &str, init: DataChannelInit| a.pc.create_data_channel(label, init).map(drop);
    let negotiated = |id: Option<u16>| DataChannelInit { negotiated: true, id, ..plain() };
    let both = DataChannelInit { max_retransmits: Some(1), max_packet_life_time: Some(1), ..plain() };
    let long = "x".repeat(65_536);
    let rtx = Codec::video(97, "rtx");
    let mut policy = Configuration::new();
    policy.bundle_policy = BundlePolicy::MaxCompat;
    let unknown = MediaStreamTrack::with_id(TrackKind::Video, "unknown");
    check(vec![
        // Data channels.
        ("a label too long", "label has 65536 bytes", TypeError, create(&long, plain())),
        (
            "a protocol too long",
            "protocol has 65536 bytes",
            TypeError,
            create("", DataChannelInit { protocol: long.clone(), ..plain() }),
        ),
        ("two reliabilities", "max_retransmits", TypeError, create("", both)),
        ("negotiated without id", "id", TypeError, create("", negotiated(None))),
        ("id 65535", "65535", TypeError, create("", negotiated(Some(65_535)))),
        ("an id in use", "id 1 is in use", OperationError, create("", negotiated(channel.id()))),
        ("an id beyond the streams", "id 1024", OperationError, create("", negotiated(Some(1_024)))),
        ("sending before it is open", "\"chat\" is Connecting", InvalidStateError, early),
        ("a message too large", "262145 bytes", TypeError, channel.send(vec![0; 262_145])),
        // Candidates.
        (
            "a candidate for nothing",
            "mid",
            TypeError,
            a.pc.add_ice_candidate(candidate(good, None, None)).await,
        ),
        (
            "no candidate",
            "candidate",
            OperationError,
            a.pc.add_ice_candidate(candidate("candidate:1 1", Some("0"), None)).await,
        ),
        (
            "a candidate for no section",
            "9",
            OperationError,
            a.pc.add_ice_candidate(candidate(good, Some("9"), None)).await,
        ),
        // Tracks and transceivers.
        (
            "a track sent already",
            &*Box::leak(track.id().into_boxed_str()),
            InvalidAccessError,
            a.pc.add_track(track, &[]).map(drop),
        ),
        (
            "a sender of another connection",
            "another connection",
            InvalidAccessError,
            a.pc.remove_track(&foreign),
        ),
        (
            "a track of another kind",
            "video",
            TypeError,
            sender.replace_track(Some(MediaStreamTrack::new(TrackKind::Video))),
        ),
        (
            "a direction to stop by",
            "stop",
            TypeError,
            transceiver.set_direction(RtpTransceiverDirection::Stopped),
        ),
        (
            "a direction of a stopped one",
            "stopped",
            InvalidStateError,
            stopped.set_direction(RtpTransceiverDirection::Inactive),
        ),
        ("streams of a stopped one", "stopped", InvalidStateError, stopped.sender().set_streams(&[])),
        ("a track for a stopped one", "stopped", InvalidStateError, stopped.sender().replace_track(None)),
        ("codecs of a stopped one", "stopped", InvalidStateError, stopped.set_codec_preferences(Vec::new())),
        (
            "no codec but retransmission",
            "codec",
            InvalidModificationError,
            transceiver.set_codec_preferences(vec![rtx]),
        ),
        (
            "RTP where none was negotiated",
            "send",
            InvalidStateError,
            stopped.sender().send_rtp(RtpPacket::default()),
        ),
        ("RTCP that is none", "RTCP", InvalidAccessError, a.pc.send_rtcp("0", vec![1, 2, 3].into())),
        // Statistics and configuration.
        ("a track of nobody", "unknown", InvalidAccessError, a.pc.stats_of_track(&unknown).await.map(drop)),
        ("another bundle policy", "bundle", InvalidModificationError, a.pc.set_configuration(policy)),
        (
            "a server that is none",
            "x:y",
            SyntaxError,
            a.pc.set_configuration(Configuration::new().with_ice_servers([IceServer::new("x:y")])),
        ),
    ]);
    let error =
        a.pc.set_remote_description(SessionDescription::offer("v=0\r\no=- 1 2 IN IP4 x\r\ns=-\r\nt=x\r\n"))
            .await;
    let error = error.unwrap_err();
    assert_eq!(error.detail, Some(RtcErrorDetail::SdpSyntaxError { line_number: 4 }), "{error}");
    assert_eq!(error.detail.unwrap().as_str(), "sdp-syntax-error");
    assert_eq!(all_of(&a), before);
    assert_eq!((channel.buffered_amount(), a.pc.stats().await.unwrap().data_channels.len()), (0, 1));
}

/// On a closed connection all is refused by one name, but for what reads.
#[tokio::test(start_paused = true)]
async fn a_closed_connection_refuses_all() {
    let (_lab, a, b) = two_peers(82, ms(1));
    let channel = a.pc.create_data_channel("chat", DataChannelInit::default()).unwrap();
    let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    negotiate(&a, &b).await;
    let transceiver = a.pc.transceivers()[0].clone();
    a.pc.close();
    let closed = all_of(&a);
    let track = || MediaStreamTrack::new(TrackKind::Audio);
    let offer = || SessionDescription { sdp_type: SdpType::Offer, sdp: "v=0".to_owned() };
    let wrong = DataChannelInit { negotiated: true, ..DataChannelInit::default() };
    let rows: Vec<(&'static str, Result<(), RtcError>)> = vec![
        ("create_offer", a.pc.create_offer(OfferOptions::default()).await.map(drop)),
        ("create_answer", a.pc.create_answer().await.map(drop)),
        ("set_local_description", a.pc.set_local_description(None).await),
        ("set_remote_description", a.pc.set_remote_description(offer()).await),
        ("add_ice_candidate", a.pc.add_ice_candidate(IceCandidateInit::default()).await),
        ("set_configuration", a.pc.set_configuration(Configuration::new())),
        ("add_track", a.pc.add_track(track(), &[]).map(drop)),
        ("remove_track", a.pc.remove_track(&sender)),
        ("add_transceiver", a.pc.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).map(drop)),
        (
            "add_transceiver_with_track",
            a.pc.add_transceiver_with_track(track(), RtpTransceiverInit::default()).map(drop),
        ),
        // W3C asks whether it is closed before it looks at what it is given.
        ("create_data_channel", a.pc.create_data_channel("", wrong).map(drop)),
        ("send", channel.send("x")),
        ("set_direction", transceiver.set_direction(RtpTransceiverDirection::Inactive)),
        ("set_codec_preferences", transceiver.set_codec_preferences(Vec::new())),
        ("replace_track", sender.replace_track(None)),
        ("set_streams", sender.set_streams(&[])),
        ("send_rtp", sender.send_rtp(RtpPacket::default())),
    ];
    for (call, result) in rows {
        let error = result.expect_err(call);
        assert_eq!(error.kind, InvalidStateError, "{call}: {error}");
        assert!(error.message.len() > 15, "{call}: {error}");
    }
    assert_eq!(all_of(&a), closed);
    // What reads goes on, what is done already is no error.
    a.pc.close();
    a.pc.restart_ice();
    channel.close();
    assert!(a.pc.stats().await.is_ok());
    a.pc.closed().await;
    assert!(a.pc.stats().await.is_ok());
}
