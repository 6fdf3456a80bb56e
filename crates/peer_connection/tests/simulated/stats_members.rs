//! Statistics of a live call: every member that webrtc-pc section 8.6 makes mandatory, as JSON with W3C's names; what
//! selectors reach; what goes when its object does.

use std::collections::{BTreeMap, BTreeSet};

use peerstack_netsim::{Lab, LinkConfig, Nat, NatConfig, StunServer, addr, ip};
use peerstack_peer_connection::{
    Configuration, DataChannelEvent, DataChannelInit, IceServer, MediaStreamTrack, PeerConnectionFactory,
    RtcErrorKind, RtpHeaderExtension, RtpPacket, RtpSender, RtpTransceiverInit, StatsReport, TrackKind,
};
use serde_json::{Map, Value};

use crate::harness::{Peer, dependencies, joined, ms, negotiate, pass, spawn, two_peers};
use crate::stats::check_ids;

/// Dictionary, kind of media where it matters, mandatory members: they are on every object, with a value that traffic
/// made.
const MANDATORY: &[(&str, &str, &[&str])] = &[
    (
        "inbound-rtp",
        "",
        &[
            "ssrc",
            "kind",
            "transportId",
            "codecId",
            "packetsReceived",
            "jitter",
            "trackIdentifier",
            "remoteId",
            "bytesReceived",
        ],
    ),
    ("inbound-rtp", "audio", &["totalAudioEnergy", "totalSamplesDuration"]),
    ("inbound-rtp", "video", &["framesDecoded", "framesReceived"]),
    (
        "outbound-rtp",
        "",
        &["ssrc", "kind", "transportId", "codecId", "packetsSent", "bytesSent", "remoteId", "mediaSourceId"],
    ),
    ("outbound-rtp", "video", &["framesEncoded", "framesSent"]),
    (
        "remote-inbound-rtp",
        "",
        &["ssrc", "kind", "transportId", "codecId", "packetsReceived", "jitter", "localId", "roundTripTime"],
    ),
    (
        "remote-outbound-rtp",
        "",
        &["ssrc", "kind", "transportId", "codecId", "packetsSent", "bytesSent", "localId", "remoteTimestamp"],
    ),
    ("media-source", "", &["trackIdentifier", "kind"]),
    ("media-source", "audio", &["totalAudioEnergy", "totalSamplesDuration"]),
    ("media-source", "video", &["width", "height", "framesPerSecond"]),
    ("peer-connection", "", &["dataChannelsOpened"]),
    (
        "data-channel",
        "",
        &[
            "label",
            "protocol",
            "dataChannelIdentifier",
            "state",
            "messagesSent",
            "bytesSent",
            "messagesReceived",
            "bytesReceived",
        ],
    ),
    ("codec", "", &["payloadType", "mimeType", "clockRate", "transportId"]),
    (
        "transport",
        "",
        &[
            "bytesSent",
            "bytesReceived",
            "selectedCandidatePairId",
            "localCertificateId",
            "remoteCertificateId",
            "dtlsState",
        ],
    ),
    ("candidate-pair", "", &["transportId", "localCandidateId", "remoteCandidateId", "state", "nominated"]),
    ("local-candidate", "", &["address", "port", "protocol", "candidateType"]),
    ("remote-candidate", "", &["port", "protocol", "candidateType"]),
    ("certificate", "", &["fingerprint", "fingerprintAlgorithm", "base64Certificate"]),
];

/// The same, on one object of the dictionary at least: only the pair in use carries, only a reflexive candidate has a
/// server, only some codecs have parameters.
const SOMEWHERE: &[(&str, &[&str])] = &[
    ("codec", &["channels", "sdpFmtpLine"]),
    (
        "candidate-pair",
        &[
            "bytesSent",
            "bytesReceived",
            "totalRoundTripTime",
            "currentRoundTripTime",
            "lastPacketSentTimestamp",
            "lastPacketReceivedTimestamp",
            "responsesReceived",
        ],
    ),
    ("local-candidate", &["url"]),
    ("remote-candidate", &["address"]),
];

/// Mandatory too, and rightly 0 in a call without loss.
const COUNTED: &[(&str, &str, &[&str])] = &[
    ("inbound-rtp", "", &["packetsLost", "packetsDiscarded", "nackCount"]),
    ("inbound-rtp", "video", &["framesDropped"]),
    ("outbound-rtp", "", &["nackCount"]),
    ("remote-inbound-rtp", "", &["packetsLost"]),
    ("peer-connection", "", &["dataChannelsClosed"]),
];

/// What webrtc-stats has beside those, and is told here too.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "inbound-rtp",
        &[
            "mid",
            "headerBytesReceived",
            "lastPacketReceivedTimestamp",
            "retransmittedPacketsReceived",
            "retransmittedBytesReceived",
            "rtxSsrc",
            "pliCount",
            "firCount",
            "framesPerSecond",
            "audioLevel",
        ],
    ),
    (
        "outbound-rtp",
        &[
            "mid",
            "rid",
            "encodingIndex",
            "active",
            "headerBytesSent",
            "retransmittedPacketsSent",
            "retransmittedBytesSent",
            "rtxSsrc",
            "pliCount",
            "firCount",
            "framesPerSecond",
        ],
    ),
    ("remote-inbound-rtp", &["fractionLost", "totalRoundTripTime", "roundTripTimeMeasurements"]),
    ("remote-outbound-rtp", &["reportsSent"]),
    ("media-source", &["audioLevel", "frames"]),
    (
        "transport",
        &[
            "packetsSent",
            "packetsReceived",
            "dtlsRole",
            "tlsVersion",
            "dtlsCipher",
            "srtpCipher",
            "iceState",
            "iceRole",
            "iceLocalUsernameFragment",
            "selectedCandidatePairChanges",
        ],
    ),
    (
        "candidate-pair",
        &[
            "packetsSent",
            "packetsReceived",
            "requestsReceived",
            "requestsSent",
            "responsesSent",
            "consentRequestsSent",
            "packetsDiscardedOnSend",
            "bytesDiscardedOnSend",
        ],
    ),
    (
        "local-candidate",
        &[
            "transportId",
            "priority",
            "foundation",
            "usernameFragment",
            "relatedAddress",
            "relatedPort",
            "relayProtocol",
            "tcpType",
        ],
    ),
    (
        "remote-candidate",
        &[
            "transportId",
            "priority",
            "foundation",
            "usernameFragment",
            "relatedAddress",
            "relatedPort",
            "tcpType",
        ],
    ),
];

type Objects = BTreeMap<String, Map<String, Value>>;

fn objects(report: &StatsReport) -> Objects {
    serde_json::from_str(&report.to_json()).unwrap()
}

fn of_type<'o>(objects: &'o Objects, name: &str, kind: &str) -> Vec<&'o Map<String, Value>> {
    let is =
        |object: &&Map<String, Value>| object["type"] == name && (kind.is_empty() || object["kind"] == kind);
    objects.values().filter(is).collect()
}

/// Whether a value is one that was measured: numbers that count traffic are not 0.
fn plausible(member: &str, value: Option<&Value>) -> bool {
    match value {
        Some(Value::Number(number)) => {
            member == "dataChannelIdentifier" || number.as_f64().is_some_and(|number| number > 0.0)
        }
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(_)) => true,
        _ => false,
    }
}

const STUN: &str = "198.51.100.9:3478";

/// Two sides behind NATs, with a STUN server.
fn behind_nats() -> (Lab, Peer, Peer) {
    let lab = Lab::start(60);
    let stun = lab.host_at("stun", &lab.internet(), addr(STUN).ip());
    StunServer::new(&stun, addr(STUN));
    let configuration = Configuration::new().with_ice_servers([IceServer::new(format!("stun:{STUN}"))]);
    let [a, b] = [1_u8, 2].map(|number| {
        let outside = ip(&format!("203.0.113.{number}"));
        let nat = Nat::new(&format!("nat{number}"), &lab.internet(), outside, NatConfig::full_cone());
        let host = lab.host_at(&format!("h{number}"), &nat, ip(&format!("192.168.{number}.2")));
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)).with_jitter(ms(4)));
        let dependencies = dependencies(&lab, &host, u64::from(number));
        let factory = PeerConnectionFactory::with_dependencies(dependencies).unwrap();
        (factory.create_peer_connection(configuration.clone()).unwrap(), host)
    });
    let (a, b) = joined(a, b);
    (lab, a, b)
}

/// Fifty packets of sound a second, with their levels; thirty pictures of two packets each.
async fn call(senders: &[RtpSender], seconds: u32) {
    let uri = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    for tick in 0..seconds * 100 {
        for sender in senders {
            let codec = sender.codecs()[0].clone();
            let audio = sender.track().unwrap().kind() == TrackKind::Audio;
            let mut packet = RtpPacket {
                payload_type: codec.payload_type,
                timestamp: tick * (codec.clock_rate / 100),
                payload: vec![7; 100].into(),
                ..RtpPacket::default()
            };
            if audio && tick % 2 == 0 {
                packet.sequence_number = (tick / 2) as u16;
                packet.header_extensions =
                    vec![RtpHeaderExtension { uri: uri.into(), value: vec![0x80 | 30].into() }];
                sender.send_rtp(packet).unwrap();
            } else if !audio && tick % 3 == 0 {
                for half in 0..2 {
                    packet.sequence_number = (tick / 3 * 2 + half) as u16;
                    sender.send_rtp(packet.clone()).unwrap();
                }
            }
        }
        pass(ms(10)).await;
    }
}

/// Q02, Q03: every mandatory member of every dictionary is there in a live call, with a value that was measured, and no
/// member that webrtc-stats does not have.
#[tokio::test(start_paused = true)]
async fn every_mandatory_member_is_measured() {
    let (_lab, mut a, mut b) = behind_nats();
    let init = DataChannelInit { protocol: "p".to_owned(), ..DataChannelInit::default() };
    let channel = a.pc.create_data_channel("label", init).unwrap();
    let mut senders = [[TrackKind::Audio, TrackKind::Video]; 2]
        .as_flattened()
        .iter()
        .zip([&a, &a, &b, &b])
        .map(|(kind, peer)| {
            let track = MediaStreamTrack::new(*kind);
            if *kind == TrackKind::Video {
                track.set_video_size(1280, 720);
            }
            peer.pc.add_track(track, &[]).unwrap()
        })
        .collect::<Vec<_>>();
    negotiate(&a, &b).await;
    let remote = b.channels.recv().await.unwrap();
    while channel.next_event().await != Some(DataChannelEvent::Open) {}
    channel.send("there").unwrap();
    remote.send("back").unwrap();
    for peer in [&mut a, &mut b] {
        for _ in 0..2 {
            let track = peer.tracks.recv().await.unwrap();
            spawn(async move { while track.recv().await.is_some() {} });
        }
    }
    call(&senders, 14).await;

    let report = a.pc.stats().await.unwrap();
    check_ids(&report);
    let objects = objects(&report);
    for (name, kind, members) in MANDATORY {
        let all = of_type(&objects, name, kind);
        assert!(!all.is_empty(), "no {name}");
        for object in all {
            assert!(object["id"].is_string() && object["timestamp"].as_f64().unwrap() > 1e12, "{object:?}");
            for member in *members {
                assert!(plausible(member, object.get(*member)), "{member} of {object:?}");
            }
        }
    }
    for (name, members) in SOMEWHERE {
        for member in *members {
            let all = of_type(&objects, name, "");
            assert!(
                all.iter().any(|one| plausible(member, one.get(*member))),
                "no {name} has {member}: {all:?}"
            );
        }
    }
    for (name, kind, members) in COUNTED {
        for object in of_type(&objects, name, kind) {
            for member in *members {
                assert_eq!(object[*member], 0, "{member} of {object:?}");
            }
        }
    }
    for object in objects.values() {
        let name = object["type"].as_str().unwrap();
        let known: BTreeSet<&str> = (MANDATORY.iter().chain(COUNTED))
            .filter(|(of, _, _)| *of == name)
            .flat_map(|(_, _, members)| *members)
            .chain(
                SOMEWHERE
                    .iter()
                    .chain(OTHERS)
                    .filter(|(of, _)| *of == name)
                    .flat_map(|(_, members)| *members),
            )
            .copied()
            .chain(["id", "type", "timestamp"])
            .collect();
        let unknown: Vec<_> = object.keys().filter(|key| !known.contains(key.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?} of {object:?}");
        // Only video has these (webrtc-stats sections 8.3 and 8.4).
        if object.get("kind").is_some_and(|kind| kind == "audio") {
            assert!(
                !object.keys().any(|key| key.starts_with("frames") || key == "pliCount" || key == "firCount")
            );
        }
    }
    // The numbers mean what they say.
    let one = |name, kind| of_type(&objects, name, kind)[0].clone();
    let number = |object: &Map<String, Value>, member: &str| object[member].as_f64().unwrap();
    let (source, sent, received) =
        (one("media-source", "video"), one("outbound-rtp", "video"), one("inbound-rtp", "video"));
    assert_eq!((number(&source, "width"), number(&source, "height")), (1280.0, 720.0));
    assert!((32.0..=35.0).contains(&number(&source, "framesPerSecond")), "{source:?}");
    assert_eq!(number(&sent, "framesEncoded"), number(&source, "frames"));
    let frames = number(&received, "framesReceived");
    assert!(frames > 440.0 && (frames - number(&received, "framesDecoded")).abs() <= 1.0, "{received:?}");
    let sound = one("inbound-rtp", "audio");
    let (energy, duration) = (number(&sound, "totalAudioEnergy"), number(&sound, "totalSamplesDuration"));
    assert!((13.0..=14.0).contains(&duration), "{duration}");
    // -30 dBov is a thousandth of the energy.
    assert!((energy / duration - 0.001).abs() < 1e-5, "{energy}");
    let round_trip = number(&one("remote-inbound-rtp", "audio"), "roundTripTime");
    assert!((0.04..0.06).contains(&round_trip), "{round_trip}");

    // The same objects have the same ids later, and times go on.
    let later = a.pc.stats().await.unwrap();
    let ids =
        |report: &StatsReport| -> BTreeSet<String> { report.iter().map(|one| one.id().to_owned()).collect() };
    assert_eq!(ids(&later), ids(&report));
    senders.clear();
}

/// What a report has, by W3C's types.
fn types(report: &StatsReport) -> BTreeMap<String, usize> {
    let mut types = BTreeMap::new();
    for object in objects(report).values() {
        *types.entry(object["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    types
}

/// Q05: a selector limits the report to what it reaches; a track needs exactly one sender or receiver.
#[tokio::test(start_paused = true)]
async fn selectors_reach_what_they_refer_to() {
    let (_lab, a, mut b) = two_peers(61, ms(5));
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let audio_track = MediaStreamTrack::new(TrackKind::Audio);
    let audio = a.pc.add_track(audio_track.clone(), &[]).unwrap();
    let video = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    let kind =
        |result: Result<StatsReport, peerstack_peer_connection::RtcError>| result.map(drop).unwrap_err().kind;
    // Before there is anything to tell.
    assert!(types(&audio.stats().await.unwrap()).is_empty());
    negotiate(&a, &b).await;
    let tracks = [b.tracks.recv().await.unwrap(), b.tracks.recv().await.unwrap()];
    pass(ms(1_000)).await;
    call(&[audio.clone(), video.clone()], 8).await;

    let ends = [
        ("candidate-pair", 1),
        ("certificate", 2),
        ("local-candidate", 1),
        ("remote-candidate", 1),
        ("transport", 1),
    ];
    let with = |more: &[(&str, usize)]| -> BTreeMap<String, usize> {
        ends.iter().chain(more).map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let sent = with(&[("codec", 1), ("media-source", 1), ("outbound-rtp", 1), ("remote-inbound-rtp", 1)]);
    for (report, ssrc) in [
        (audio.stats().await.unwrap(), audio.ssrc()),
        (video.stats().await.unwrap(), video.ssrc()),
        (a.pc.stats_of_track(&audio_track).await.unwrap(), audio.ssrc()),
    ] {
        check_ids(&report);
        assert_eq!((types(&report), report.outbound_rtp[0].ssrc), (sent.clone(), ssrc));
        assert!(report.peer_connection.is_none() && report.data_channels.is_empty());
    }
    // Nothing is received here.
    assert!(types(&a.pc.receivers()[0].stats().await.unwrap()).is_empty());
    let received = with(&[("codec", 1), ("inbound-rtp", 1), ("remote-outbound-rtp", 1)]);
    for (index, receiver) in b.pc.receivers().iter().enumerate() {
        let report = receiver.stats().await.unwrap();
        check_ids(&report);
        assert_eq!(
            (types(&report), &report.inbound_rtp[0].track_identifier),
            (received.clone(), &receiver.track().id())
        );
        assert_eq!(types(&b.pc.stats_of_track(&tracks[index]).await.unwrap()), received);
    }
    // Nobody's track, one of the other side, and one that two senders have.
    assert_eq!(
        kind(a.pc.stats_of_track(&MediaStreamTrack::new(TrackKind::Audio)).await),
        RtcErrorKind::InvalidAccessError
    );
    assert_eq!(kind(a.pc.stats_of_track(&tracks[0]).await), RtcErrorKind::InvalidAccessError);
    a.pc.add_transceiver_with_track(audio_track.clone(), RtpTransceiverInit::default()).unwrap();
    assert_eq!(kind(a.pc.stats_of_track(&audio_track).await), RtcErrorKind::InvalidAccessError);
    // Q07: of a closed connection what was measured last.
    b.pc.close();
    b.pc.closed().await;
    assert_eq!(types(&b.pc.stats().await.unwrap()).get("inbound-rtp"), Some(&2));
}

/// Q03: objects go with what they are about, and those that stay keep their ids: a stopped transceiver takes its streams,
/// its source and its codec; a closed channel its object, but not the count.
#[tokio::test(start_paused = true)]
async fn objects_go_with_what_they_are_about() {
    let (_lab, a, mut b) = two_peers(62, ms(5));
    let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let audio = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let video = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate(&a, &b).await;
    let _remote = b.channels.recv().await.unwrap();
    pass(ms(1_000)).await;
    call(&[audio.clone(), video.clone()], 8).await;
    let (before, there) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    a.pc.transceivers()[1].stop().unwrap();
    negotiate(&a, &b).await;
    channel.close();
    while channel.next_event().await.is_some() {}
    let gone = |before: &StatsReport, after: &StatsReport| -> BTreeMap<String, usize> {
        let mut gone = types(before);
        for (name, count) in types(after) {
            *gone.entry(name).or_default() -= count;
        }
        gone.retain(|_, count| *count > 0);
        gone
    };
    let after = a.pc.stats().await.unwrap();
    check_ids(&after);
    let names = |list: &[&str]| -> BTreeMap<String, usize> {
        list.iter().map(|name| ((*name).to_owned(), 1)).collect()
    };
    assert_eq!(
        gone(&before, &after),
        names(&["codec", "data-channel", "media-source", "outbound-rtp", "remote-inbound-rtp"])
    );
    let known: BTreeSet<&str> = before.iter().map(|one| one.id()).collect();
    assert!(after.iter().all(|one| known.contains(one.id())), "{known:?}");
    let connection = after.peer_connection.unwrap();
    assert_eq!((connection.data_channels_opened, connection.data_channels_closed), (1, 1));
    let after = b.pc.stats().await.unwrap();
    check_ids(&after);
    assert_eq!(gone(&there, &after), names(&["codec", "data-channel", "inbound-rtp", "remote-outbound-rtp"]));
}
