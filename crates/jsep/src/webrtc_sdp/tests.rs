//! Tests of the text form. Rows P.. and T16 are those of the conformance checklist.

mod attributes;
mod corpora;
mod mutations;

use peerstack_p2p::{CandidateAddress, CandidateType, ConnectionRole, IceMode};

use super::{MAX_MEDIA_SECTIONS, MAX_SDP_BYTES, SdpParseError, parse, serialize};
use crate::session_description::*;
use crate::test_sdp;

/// A whole description around the lines of one audio section.
fn audio(lines: &str) -> String {
    format!("{HEAD}m=audio 9 UDP/TLS/RTP/SAVPF 111 0\n{}", lines.replace('|', "\n"))
}

/// A whole description around the lines of one video section.
fn video(lines: &str) -> String {
    format!("{HEAD}m=video 9 UDP/TLS/RTP/SAVPF 96 97\n{}", lines.replace('|', "\n"))
}

const HEAD: &str = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\n";
/// The line on which what [`audio`] and [`video`] are given begins.
const FIRST: usize = 6;

fn rtp(text: &str) -> RtpMediaContentDescription {
    parse(text).unwrap().contents[0].description.as_rtp().unwrap().clone()
}

fn error(text: &str) -> SdpParseError {
    match parse(text) {
        Ok(description) => panic!("{text} was taken: {description:?}"),
        Err(error) => error,
    }
}

/// P01: what libwebrtc writes comes back byte for byte.
#[test]
fn libwebrtc_text_comes_back_byte_for_byte() {
    for text in [test_sdp::CHROMIUM_OFFER, test_sdp::CHROMIUM_SIMULCAST_OFFER] {
        let again = serialize(&parse(text).unwrap());
        for (line, (was, is)) in text.lines().zip(again.lines()).enumerate() {
            assert_eq!(was, is, "line {}", line + 1);
        }
        assert_eq!(text, again);
    }
}

/// P01: what anybody writes means the same after a round trip.
#[test]
fn a_round_trip_keeps_the_meaning() {
    for text in test_sdp::ALL {
        let description = parse(text).unwrap();
        assert_eq!(parse(&serialize(&description)).unwrap(), description);
    }
}

/// P12, P01: LF alone, no line end at the end, blank lines; t= before a=.
#[test]
fn line_ends_and_order() {
    let expected = parse(test_sdp::CHROMIUM_OFFER).unwrap();
    let unix = test_sdp::CHROMIUM_OFFER.replace("\r\n", "\n");
    assert_eq!(parse(&unix).unwrap(), expected);
    assert_eq!(parse(unix.trim_end()).unwrap(), expected);
    assert_eq!(parse(&unix.replace("\nm=", "\n\nm=")).unwrap(), expected);

    let early = error("v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\na=group:BUNDLE 0\nt=0 0\n");
    assert_eq!((early.line_number, early.line.as_str()), (4, "a=group:BUNDLE 0"));
    for (text, line) in [
        ("", 1),
        ("v=0\n", 2),
        ("v=0\ns=-\n", 2),
        ("v=1\n", 1),
        ("v=0\no=- 1 IN IP4 127.0.0.1\n", 2),
        ("v=0\no=- -1 2 IN IP4 127.0.0.1\n", 2),
        ("v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\n", 4),
        ("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\n\r\nt=x 0\r\n", 5),
        ("v=0\nhello\n", 2),
        ("v=0\no=- 1 2 IN IP4 127.0.0.1\ns=a\rb\n", 3),
        ("=0\n", 1),
    ] {
        let error = error(text);
        assert_eq!(error.line_number, line, "{text:?}: {error}");
        assert!(!error.reason.is_empty());
    }
    // A description without sections is one (O01), so is an empty s= (P12).
    assert!(parse("v=0\no=- 1 2 IN IP4 h.example\ns=\ni=x\nu=http://x/\ne=x\nt=0 0\nr=1 2 3\n").is_ok());
}

/// What Chromium says is understood.
#[test]
fn a_chromium_offer() {
    let offer = parse(test_sdp::CHROMIUM_OFFER).unwrap();
    assert_eq!((offer.session_id, offer.session_version), (4611731400430051336, 2));
    assert_eq!(offer.bundle_groups, [ContentGroup::bundle(vec!["0".into(), "1".into(), "2".into()])]);
    assert!(offer.extmap_allow_mixed && !offer.ice_lite);
    let [audio, video, data] = offer.contents.as_slice() else { panic!("three sections") };
    assert_eq!(
        (&audio.kind, &video.kind, &data.kind),
        (&MediaKind::Audio, &MediaKind::Video, &MediaKind::Application)
    );
    let ice = audio.transport.ice.as_ref().unwrap();
    assert_eq!((ice.ufrag.as_str(), ice.pwd.len(), ice.renomination), ("Tp9A", 24, false));
    assert!(audio.transport.has_option("trickle"));
    assert_eq!(audio.transport.setup, Some(ConnectionRole::Actpass));
    assert_eq!(audio.transport.fingerprints[0].value.len(), 32);

    let rtp = audio.description.as_rtp().unwrap();
    assert!(rtp.rtcp_mux && rtp.rtcp_reduced_size && rtp.extmap_allow_mixed);
    assert_eq!(rtp.codecs[0].name, "opus");
    assert_eq!((rtp.codecs[0].clock_rate, rtp.codecs[0].channels), (48000, 2));
    assert_eq!(rtp.codecs[0].params["minptime"], "10");
    assert_eq!(rtp.codecs[1].params[""], "111/111");
    assert_eq!(rtp.msids[0].track_id.as_deref(), Some("a0f1"));
    let rtp = video.description.as_rtp().unwrap();
    assert_eq!(rtp.codecs.len(), 21);
    assert_eq!(rtp.codecs[0].feedback.len(), 5);
    assert_eq!(rtp.ssrc_groups[0].ssrcs, [2001, 2002]);
    assert_eq!(data.description.as_sctp().unwrap().max_message_size, Some(262_144));
}

/// P10, P03: simulcast and candidates of an offer after gathering.
#[test]
fn a_simulcast_offer() {
    let offer = parse(test_sdp::CHROMIUM_SIMULCAST_OFFER).unwrap();
    let content = &offer.contents[0];
    let rtp = content.description.as_rtp().unwrap();
    let rids: Vec<_> =
        rtp.simulcast.send.iter().flatten().map(|layer| (layer.rid.as_str(), layer.paused)).collect();
    assert_eq!(rids, [("q", false), ("h", true), ("f", false)]);
    assert_eq!(rtp.rids[1].payload_types, [96]);
    assert_eq!(rtp.rids[1].restrictions["max-width"], "640");
    assert_eq!(rtp.msids[0].stream_id, None);
    assert_eq!(rtp.bandwidth.unwrap().bps, 2_500_000);
    assert_eq!(content.transport.candidates.len(), 3);
    assert_eq!(content.transport.candidates[1].candidate_type, CandidateType::Srflx);
    assert_eq!(content.transport.candidates[1].username_fragment, "Tp9A");
    assert_eq!(content.connection_address, Some(CandidateAddress::Ip("198.51.100.7:60001".parse().unwrap())));
    assert!(content.transport.ice.as_ref().unwrap().renomination);

    // The c= line is the default candidate's, found again without the one that was read.
    let mut description = offer.clone();
    description.contents[0].connection_address = None;
    assert_eq!(serialize(&description), test_sdp::CHROMIUM_SIMULCAST_OFFER);
}

/// P12, P07: what the session level says holds for sections that do not say otherwise.
#[test]
fn sections_inherit_from_the_session() {
    let offer = parse(test_sdp::FIREFOX_OFFER).unwrap();
    assert!(offer.contents.iter().all(|content| content.transport.fingerprints.len() == 1));
    assert!(offer.contents.iter().all(|content| content.transport.has_option("trickle")));

    let hash = "00:".repeat(31) + "01";
    let other = "00:".repeat(31) + "02";
    let text = format!(
        "{HEAD}a=ice-lite\na=ice-ufrag:sess\na=ice-pwd:{pwd}\na=fingerprint:SHA-256 {hash}\na=setup:passive\n\
         a=recvonly\na=extmap:1 urn:a\na=extmap-allow-mixed\nc=IN IP4 192.0.2.1\n\
         m=audio 5 UDP/TLS/RTP/SAVPF 0\nm=audio 6 UDP/TLS/RTP/SAVPF 0\nc=IN IP6 ::1\na=ice-ufrag:medi\n\
         a=fingerprint:sha-256 {other}\na=setup:active\na=sendonly\n",
        pwd = "p".repeat(22),
    );
    let text = text.replace("t=0 0\n", "").replace("a=ice-lite", "c=IN IP4 192.0.2.1\nt=0 0\na=ice-lite");
    let text = text.replacen("a=extmap-allow-mixed\nc=IN IP4 192.0.2.1\n", "a=extmap-allow-mixed\n", 1);
    let description = parse(&text).unwrap();
    let [first, second] = description.contents.as_slice() else { panic!("two sections") };
    for content in [first, second] {
        assert_eq!(content.transport.ice_mode, IceMode::Lite);
        assert_eq!(content.transport.fingerprints.len(), 1);
        assert_eq!(content.transport.fingerprints[0].algorithm, "sha-256");
        assert_eq!(content.description.as_rtp().unwrap().header_extensions.len(), 1);
    }
    assert_eq!(first.transport.ice.as_ref().unwrap().ufrag, "sess");
    assert_eq!(second.transport.ice.as_ref().unwrap().ufrag, "medi");
    assert_eq!(
        (first.transport.setup, second.transport.setup),
        (Some(ConnectionRole::Passive), Some(ConnectionRole::Active))
    );
    assert_eq!(first.description.as_rtp().unwrap().direction, RtpTransceiverDirection::Recvonly);
    assert_eq!(second.description.as_rtp().unwrap().direction, RtpTransceiverDirection::Sendonly);
    assert_eq!(second.transport.fingerprints[0].value[31], 2);
    // P12: the section's address outweighs the session's.
    assert_eq!(first.connection_address, Some(CandidateAddress::Ip("192.0.2.1:5".parse().unwrap())));
    assert_eq!(second.connection_address, Some(CandidateAddress::Ip("[::1]:6".parse().unwrap())));
}

/// P02: order is kept; what is not known is kept as rejected, and written back.
#[test]
fn unknown_sections_are_kept_as_rejected() {
    let text = format!(
        "{HEAD}m=video 9 RTP/SAVPF 96\nm=image 54111 TCP t38\na=mid:i\nm=application 9 RTP/SAVPF 101\n\
         m=audio 9 DTLS/SCTP 5000\nm=audio 0 UDP/TLS/RTP/SAVPF\nm=flute 9 RTP/QUIC x y\n"
    );
    let description = parse(&text).unwrap();
    let kinds: Vec<_> =
        description.contents.iter().map(|content| (content.kind.as_str(), content.rejected)).collect();
    assert_eq!(
        kinds,
        [
            ("video", false),
            ("image", true),
            ("application", true),
            ("audio", true),
            ("audio", true),
            ("flute", true)
        ]
    );
    assert!(matches!(description.contents[2].kind, MediaKind::Unsupported(_)));
    assert!(matches!(description.contents[3].kind, MediaKind::Unsupported(_)));
    let again = serialize(&description);
    assert!(again.contains("m=image 0 TCP t38\r\n"), "{again}");
    assert!(again.contains("m=flute 0 RTP/QUIC x y\r\n"), "{again}");
    assert_eq!(parse(&again).unwrap().contents.len(), 6);
    for bad in [
        "m=audio x RTP/AVP 0",
        "m=audio 65536 RTP/AVP 0",
        "m=audio -1 RTP/AVP 0",
        "m=audio 9 RTP/AVP",
        "m=audio 9",
        "m=audio 9 RTP/AVP 128",
        "m=audio 9 RTP/AVP x",
    ] {
        assert_eq!(error(&format!("{HEAD}{bad}\n")).line, bad);
    }
}

/// T16, P08: mids and groups are tokens, mids of at most 16 bytes and unique.
#[test]
fn mids_and_groups() {
    assert!(parse(&audio("a=mid:0123456789abcdef")).is_ok());
    for bad in ["a=mid:0123456789abcdefg", "a=mid:a b", "a=mid:", "a=mid:a/b", "a=mid:é"] {
        assert_eq!(error(&audio(bad)).line_number, FIRST, "{bad}");
    }
    let twice = error(&format!("{}\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:a", audio("a=mid:a")));
    assert_eq!(twice.line_number, FIRST + 1);
    let description = parse(&format!("{HEAD}a=group:BUNDLE\na=group:LS a b\n")).unwrap();
    assert_eq!(description.bundle_groups, [ContentGroup::bundle(Vec::new())]);
    assert_eq!(description.other_groups[0].mids, ["a", "b"]);
    assert_eq!(error(&format!("{HEAD}a=group:BUNDLE a [b\n")).line_number, 5);
    assert_eq!(error(&format!("{HEAD}a=group:\n")).line_number, 5);
}

/// P08: bundle-only means something with port 0 alone.
#[test]
fn bundle_only_goes_with_port_0() {
    let alive = &parse(&format!("{HEAD}m=audio 0 UDP/TLS/RTP/SAVPF 0\na=bundle-only\n")).unwrap().contents[0];
    assert!(alive.bundle_only && !alive.rejected);
    let ignored = &parse(&audio("a=bundle-only")).unwrap().contents[0];
    assert!(!ignored.bundle_only && !ignored.rejected);
    let rejected = &parse(&format!("{HEAD}m=audio 0 UDP/TLS/RTP/SAVPF 0\n")).unwrap().contents[0];
    assert!(rejected.rejected && !rejected.bundle_only);
}

/// O12: a legacy peer's sections get the mids they had, or new ones that are free.
#[test]
fn missing_mids_are_filled_in() {
    let legacy =
        format!("{HEAD}m=audio 9 RTP/SAVPF 0\nm=video 9 RTP/SAVPF 96\nm=video 9 RTP/SAVPF 96\na=mid:0\n");
    let mut first = parse(&legacy).unwrap();
    first.fill_in_missing_mids(None);
    let mids = |description: &SessionDescription| -> Vec<String> {
        description.contents.iter().map(|content| content.mid.clone()).collect()
    };
    assert_eq!(mids(&first), ["3", "1", "0"]);
    let mut second = parse(&legacy).unwrap();
    second.fill_in_missing_mids(Some(&first));
    assert_eq!(mids(&second), mids(&first));
}

/// Too much is refused early.
#[test]
fn sizes_are_bounded() {
    let long = format!("{HEAD}a={}\n", "x".repeat(MAX_SDP_BYTES));
    assert!(error(&long).reason.contains("bytes"));
    let section = "m=audio 9 UDP/TLS/RTP/SAVPF 0\n";
    assert!(parse(&format!("{HEAD}{}", section.repeat(MAX_MEDIA_SECTIONS))).is_ok());
    let error = error(&format!("{HEAD}{}", section.repeat(MAX_MEDIA_SECTIONS + 1)));
    assert_eq!(error.line_number, 5 + MAX_MEDIA_SECTIONS);
}

/// A password never stands in an error.
#[test]
fn errors_keep_secrets() {
    let error = error(&audio("a=ice-ufrag:abcd|a=ice-pwd:secret"));
    assert_eq!((error.line_number, error.line.as_str()), (FIRST + 1, "a=ice-pwd:..."));
    assert!(!format!("{error} {error:?}").contains("secret"));
}

/// Names an application chose cannot begin a line.
#[test]
fn values_cannot_begin_a_line() {
    let mut description = parse(test_sdp::CHROMIUM_OFFER).unwrap();
    let rtp = description.contents[0].description.as_rtp_mut().unwrap();
    rtp.msids[0].track_id = Some("x\r\na=setup:passive".to_owned());
    rtp.ssrcs[0].cname = Some("y\na=ice-lite".to_owned());
    let text = serialize(&description);
    assert!(!text.lines().any(|line| line == "a=setup:passive" || line == "a=ice-lite"));
}

/// An SSRC of which nothing is kept but that it is there is written and read again, and its group stays valid.
#[test]
fn an_ssrc_without_a_name_is_not_lost() {
    let lines = "a=ssrc-group:FID 1 2|a=ssrc:1 cname:x|a=ssrc:2 mslabel:y";
    let description = parse(&audio(lines)).unwrap();
    let rtp = description.contents[0].description.as_rtp().unwrap();
    assert_eq!(rtp.ssrcs.iter().map(|info| info.ssrc).collect::<Vec<_>>(), [1, 2]);
    let again = parse(&serialize(&description)).unwrap();
    assert_eq!(again.contents[0].description.as_rtp().unwrap().ssrcs, rtp.ssrcs);
    assert_eq!(again.validate(), description.validate());
}
