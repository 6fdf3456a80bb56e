//! First offers.

use super::*;
use crate::codec::{ABS_SEND_TIME_URI, AUDIO_LEVEL_URI, MID_URI};

/// O02, J01, J03: sections in order, one group, `actpass`, trickle, everything muxed; T19: the largest message.
#[test]
fn a_first_offer() {
    let mut camera = video("1");
    camera.msids = vec![Msid { stream_id: Some("stream".to_owned()), track_id: Some("track".to_owned()) }];
    camera.ssrcs = vec![1, 2];
    camera.ssrc_groups = vec![SsrcGroup { semantics: "FID".to_owned(), ssrcs: vec![1, 2] }];
    let offer = offer(&options(vec![audio("0"), camera, data("2")]));
    assert_eq!(offer.bundle_groups, [ContentGroup::bundle(vec!["0".into(), "1".into(), "2".into()])]);
    for content in &offer.contents {
        assert!(!content.rejected && !content.bundle_only);
        assert_eq!(content.transport.setup, Some(ConnectionRole::Actpass));
        assert_eq!(content.transport.ice_options, ["trickle"]);
        if let Some(rtp) = content.description.as_rtp() {
            assert!(rtp.rtcp_mux && rtp.rtcp_reduced_size && !rtp.rtcp_mux_only);
        }
    }
    assert_eq!(extensions(rtp(&offer, "0")), [(1, AUDIO_LEVEL_URI), (2, ABS_SEND_TIME_URI), (4, MID_URI)]);
    assert_eq!(names(rtp(&offer, "0"))[..3], ["111 opus", "9 G722", "0 PCMU"]);
    assert_eq!(names(rtp(&offer, "1"))[..4], ["96 VP8", "97 rtx:96", "98 VP9", "99 rtx:98"]);
    assert_numbers_agree(&offer);

    let text = serialize(&offer);
    assert!(text.contains("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(text.contains("a=sctp-port:5000\r\na=max-message-size:262144\r\n"));
    assert!(text.contains("a=msid:stream track\r\n"));
    assert!(text.contains("a=ssrc-group:FID 1 2\r\na=ssrc:1 cname:cname\r\n"));
    assert!(text.contains("a=fmtp:111 minptime=10;useinbandfec=1\r\n"));
    assert!(!text.contains("transport-cc") && !text.contains("goog-remb"));
    let mut again = parse(&text).unwrap();
    for content in &mut again.contents {
        content.connection_address = None;
    }
    assert_eq!(again, offer);
}

/// O01: nothing wanted, nothing said.
#[test]
fn an_empty_offer() {
    let offer = offer(&options(Vec::new()));
    assert!(offer.contents.is_empty() && offer.bundle_groups.is_empty());
    assert_eq!(parse(&serialize(&offer)).unwrap().contents, []);
}

/// J13, J18: with max-bundle all sections but the first live within the group alone.
#[test]
fn max_bundle_marks_bundle_only() {
    let mut wanted = options(vec![
        MediaDescriptionOptions::stopped("s", MediaKind::Audio),
        audio("0"),
        video("1"),
        data("2"),
    ]);
    wanted.bundle_policy = BundlePolicy::MaxBundle;
    let made = offer(&wanted);
    let only: Vec<_> = made.contents.iter().map(|content| content.bundle_only).collect();
    assert_eq!(only, [false, false, true, true]);
    let again = parse(&serialize(&made)).unwrap();
    assert!(again.contents[2].bundle_only && !again.contents[2].rejected);
    // Without BUNDLE there is no group, and no section that needs one.
    wanted.bundle = false;
    let made = offer(&wanted);
    assert!(made.bundle_groups.is_empty() && made.contents.iter().all(|content| !content.bundle_only));
}

/// O09: streams and tracks are said while we send.
#[test]
fn senders_are_said_while_sending() {
    for (direction, said) in [
        (RtpTransceiverDirection::Sendrecv, true),
        (RtpTransceiverDirection::Sendonly, true),
        (RtpTransceiverDirection::Recvonly, false),
        (RtpTransceiverDirection::Inactive, false),
    ] {
        let mut section = audio("0");
        section.direction = direction;
        section.msids = vec![Msid { stream_id: None, track_id: Some("t".to_owned()) }];
        section.ssrcs = vec![5];
        section.rids = vec![RidDescription {
            rid: "q".to_owned(),
            direction: RidDirection::Send,
            payload_types: Vec::new(),
            restrictions: Default::default(),
        }];
        let offer = offer(&options(vec![section]));
        let rtp = rtp(&offer, "0");
        assert_eq!(rtp.direction, direction);
        assert_eq!(
            (rtp.msids.len(), rtp.ssrcs.len(), rtp.rids.len()),
            if said { (1, 1, 1) } else { (0, 0, 0) }
        );
    }
}

/// T16, O02: mids are tokens and unique.
#[test]
fn bad_mids_are_refused() {
    let of = |mids: &[&str]| {
        factory().create_offer(&options(mids.iter().map(|mid| audio(mid)).collect()), None, None).unwrap_err()
    };
    assert_eq!(of(&["0", "0"]), MediaSessionError::DuplicateMid("0".to_owned()));
    for bad in ["", "a b", "a\r\n", "0123456789abcdefg"] {
        assert_eq!(of(&[bad]), MediaSessionError::InvalidMid(bad.to_owned()));
    }
}

/// J23: a codec with other parameters gets another number in another section of the group, and `rtx` with it.
#[test]
fn one_number_means_one_thing_in_all_sections() {
    let mut narrow = audio("1");
    narrow.codecs = vec![Codec::audio(111, "opus", 48_000, 2).with_param("stereo", "1")];
    let mut other = video("3");
    other.codecs = vec![
        Codec::video(96, "H264").with_param("packetization-mode", "1"),
        Codec::rtx(97, 96),
        Codec::video(98, "VP8"),
        Codec::rtx(99, 98),
        Codec::rtx(100, 55),
    ];
    other.header_extensions = vec![RtpExtension::new(4, "urn:x"), RtpExtension::new(9, MID_URI)];
    let offer = offer(&options(vec![audio("0"), narrow, video("2"), other]));
    assert_numbers_agree(&offer);
    assert_ne!(rtp(&offer, "1").codecs[0].payload_type, 111);
    let codecs = names(rtp(&offer, "3"));
    // VP8 is what it is in section 2; rtx of nothing is left out.
    assert_eq!(codecs.len(), 4);
    assert_eq!(codecs[2..], names(rtp(&offer, "2"))[..2]);
    assert!(codecs[1].ends_with(&format!("rtx:{}", rtp(&offer, "3").codecs[0].payload_type)));
    assert_eq!(extensions(rtp(&offer, "3"))[1], (4, MID_URI));
}

/// More codecs than numbers: what finds none is left out, and its `rtx` too.
#[test]
fn payload_types_run_out() {
    let mut section = video("0");
    section.codecs = (0..200)
        .flat_map(|index| [Codec::video(96, format!("X{index}"))])
        .chain([Codec::rtx(97, 96)])
        .collect();
    let offer = offer(&options(vec![section]));
    let rtp = rtp(&offer, "0");
    assert_eq!(rtp.codecs.len(), 32 + 29);
    assert_numbers_agree(&offer);
}
