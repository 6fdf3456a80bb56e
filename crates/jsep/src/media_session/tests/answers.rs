//! Answers to browsers and to ourselves.

use super::*;
use crate::codec::{ABS_SEND_TIME_URI, AUDIO_LEVEL_URI, MID_URI, REPAIRED_RID_URI, RID_URI};

/// The answer to Chromium: its payload types and ids, what both have, `active`.
#[test]
fn chromium_is_answered() {
    let offered = parse(test_sdp::CHROMIUM_OFFER).unwrap();
    let answer = answer(&options_for(&offered), &offered);
    assert_eq!(answer.bundle_groups, offered.bundle_groups);
    assert!(answer.extmap_allow_mixed);
    assert!(answer.contents.iter().all(|content| content.transport.setup == Some(ConnectionRole::Active)));
    assert_eq!(
        names(rtp(&answer, "0")),
        ["111 opus", "9 G722", "0 PCMU", "8 PCMA", "13 CN", "110 telephone-event", "126 telephone-event"]
    );
    assert_eq!(
        names(rtp(&answer, "1")),
        [
            "96 VP8",
            "97 rtx:96",
            "103 H264",
            "104 rtx:103",
            "109 H264",
            "114 rtx:109",
            "115 H264",
            "116 rtx:115",
            "39 H264",
            "40 rtx:39",
            "45 AV1",
            "46 rtx:45",
            "98 VP9",
            "99 rtx:98",
            "100 VP9",
            "101 rtx:100",
        ]
    );
    let vp8 = &rtp(&answer, "1").codecs[0];
    let feedback: Vec<_> = vp8.feedback.iter().map(|f| format!("{} {}", f.id, f.param)).collect();
    assert_eq!(feedback, ["ccm fir", "nack ", "nack pli"]);
    assert!(rtp(&answer, "0").codecs[0].feedback.is_empty());
    assert_eq!(extensions(rtp(&answer, "0")), [(14, AUDIO_LEVEL_URI), (2, ABS_SEND_TIME_URI), (9, MID_URI)]);
    assert_eq!(
        extensions(rtp(&answer, "1")),
        [(2, ABS_SEND_TIME_URI), (9, MID_URI), (10, RID_URI), (11, REPAIRED_RID_URI)]
    );
    assert!(rtp(&answer, "1").rtcp_mux && rtp(&answer, "1").rtcp_reduced_size);
    let sctp = answer.content("2").unwrap().description.as_sctp().unwrap();
    assert_eq!((sctp.sctp_port, sctp.max_message_size), (5000, Some(262_144)));
    assert_numbers_agree(&answer);
}

/// The answer to Firefox.
#[test]
fn firefox_is_answered() {
    let offered = parse(test_sdp::FIREFOX_OFFER).unwrap();
    let answer = answer(&options_for(&offered), &offered);
    assert_eq!(answer.bundle_groups, offered.bundle_groups);
    assert!(!answer.extmap_allow_mixed);
    assert_eq!(names(rtp(&answer, "0")), ["109 opus", "9 G722", "0 PCMU", "8 PCMA", "101 telephone-event"]);
    assert_eq!(
        names(rtp(&answer, "1")),
        [
            "120 VP8",
            "124 rtx:120",
            "121 VP9",
            "125 rtx:121",
            "126 H264",
            "127 rtx:126",
            "97 H264",
            "98 rtx:97"
        ]
    );
    assert_eq!(rtp(&answer, "1").codecs[4].params["profile-level-id"], "42e01f");
    assert_eq!(extensions(rtp(&answer, "0")), [(1, AUDIO_LEVEL_URI), (3, MID_URI)]);
    assert_eq!(extensions(rtp(&answer, "1")), [(3, MID_URI), (4, ABS_SEND_TIME_URI)]);
    // Reduced-size RTCP if both say so (O29).
    assert!(!rtp(&answer, "0").rtcp_reduced_size && rtp(&answer, "1").rtcp_reduced_size);
}

/// Firefox answers us: its answer reads as one to our offer.
#[test]
fn firefox_answers() {
    let answer = parse(test_sdp::FIREFOX_ANSWER).unwrap();
    assert!(answer.contents.iter().all(|content| content.transport.setup == Some(ConnectionRole::Active)));
    assert_eq!(names(rtp(&answer, "1")), ["96 VP8", "97 rtx:96", "109 H264", "114 rtx:109"]);
}

/// O05: the direction is what both want.
#[test]
fn directions_intersect() {
    use RtpTransceiverDirection::{Inactive, Recvonly, Sendonly, Sendrecv};
    for (offered, ours, expected) in [
        (Sendrecv, Sendrecv, Sendrecv),
        (Sendrecv, Sendonly, Sendonly),
        (Sendrecv, Recvonly, Recvonly),
        (Sendonly, Sendrecv, Recvonly),
        (Sendonly, Sendonly, Inactive),
        (Recvonly, Sendrecv, Sendonly),
        (Recvonly, Recvonly, Inactive),
        (Inactive, Sendrecv, Inactive),
        (Sendrecv, Inactive, Inactive),
    ] {
        let mut offering = audio("0");
        offering.direction = offered;
        let offered = offer(&options(vec![offering]));
        let mut answering = audio("0");
        answering.direction = ours;
        assert_eq!(rtp(&answer(&options(vec![answering]), &offered), "0").direction, expected);
    }
}

/// J01: the role an answer takes, and those it cannot.
#[test]
fn setup_is_answered() {
    use ConnectionRole::{Active, Actpass, Holdconn, Passive};
    let of = |offered: Option<ConnectionRole>, given: Option<ConnectionRole>| {
        let mut offer = offer(&options(vec![data("0")]));
        offer.contents[0].transport.setup = offered;
        let mut section = data("0");
        section.transport.setup = given;
        let answer = factory().create_answer(&options(vec![section]), &offer, None);
        answer.map(|answer| answer.contents[0].transport.setup.unwrap()).ok()
    };
    assert_eq!(of(Some(Actpass), None), Some(Active));
    assert_eq!(of(Some(Active), None), Some(Passive));
    assert_eq!(of(Some(Passive), None), Some(Active));
    assert_eq!(of(None, None), Some(Active));
    assert_eq!(of(Some(Actpass), Some(Passive)), Some(Passive));
    assert_eq!(of(Some(Active), Some(Active)), None);
    assert_eq!(of(Some(Passive), Some(Passive)), None);
    for bad in [Actpass, Holdconn] {
        assert_eq!(of(Some(Actpass), Some(bad)), None);
    }
}

/// O18, O26, J20: what cannot be taken is refused, and a group of which nothing is left stays, empty.
#[test]
fn what_cannot_be_taken_is_refused() {
    let text = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE a b c d e f\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 97 98\na=mid:a\na=rtpmap:97 iLBC/8000\na=rtpmap:98 telephone-event/8000\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\na=mid:b\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\n\
        m=image 9 TCP t38\na=mid:c\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\na=mid:d\na=rtpmap:96 VP8/90000\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:e\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\na=mid:f\na=bundle-only\na=rtpmap:96 VP8/90000\n";
    let offered = parse(text).unwrap();
    let mut wanted = options_for(&offered);
    wanted.sections[4].stopped = true;
    let made = answer(&wanted, &offered);
    let rejected: Vec<_> = made.contents.iter().map(|content| content.rejected).collect();
    assert_eq!(rejected, [true, true, true, true, true, false]);
    assert_eq!(made.bundle_groups[0].mids, ["f"]);
    // bundle-only asks for a group: in an answer it has a port.
    assert!(!made.contents[5].bundle_only);
    assert!(serialize(&made).contains("m=image 0 TCP t38\r\n"));
    for content in &made.contents[..5] {
        assert_eq!(content.transport, TransportDescription::default());
    }
    wanted.sections[5].stopped = true;
    let made = answer(&wanted, &offered);
    assert_eq!(made.bundle_groups, [ContentGroup::bundle(Vec::new())]);
    assert!(serialize(&made).contains("a=group:BUNDLE\r\n"));

    // bundle-only outside of a group has no transport.
    let mut alone = offered.clone();
    alone.bundle_groups[0].mids.retain(|mid| mid != "f");
    assert!(answer(&options_for(&alone), &alone).content("f").unwrap().rejected);
}

/// O24: one data channel section is all there is.
#[test]
fn a_second_data_section_is_refused() {
    let mut offered = offer(&options(vec![data("0")]));
    let mut second = offered.contents[0].clone();
    second.mid = "1".to_owned();
    offered.contents.push(second);
    let answer = answer(&options_for(&offered), &offered);
    assert_eq!((answer.contents[0].rejected, answer.contents[1].rejected), (false, true));
}

/// P11: a peer of before RFC 8841 is answered in its form.
#[test]
fn an_old_data_section_is_answered_in_its_form() {
    let text = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\nm=application 9 DTLS/SCTP 5001\na=mid:data\n\
        a=sctpmap:5001 webrtc-datachannel 256\n";
    let offered = parse(text).unwrap();
    let text = serialize(&answer(&options_for(&offered), &offered));
    assert!(text.contains("m=application 9 DTLS/SCTP 5001\r\n"), "{text}");
    assert!(text.contains("a=sctpmap:5001 webrtc-datachannel 1024\r\n"), "{text}");
}

/// O18: the application's order of codecs outweighs the offer's; `rtx` follows its codec.
#[test]
fn codec_order() {
    let offered = parse(test_sdp::CHROMIUM_OFFER).unwrap();
    let mut wanted = options_for(&offered);
    let section = &mut wanted.sections[1];
    section.codecs = vec![
        Codec::rtx(51, 50),
        Codec::video(50, "vp9").with_feedback("nack", ""),
        Codec::video(52, "VP8"),
        Codec::video(53, "H266"),
        Codec::rtx(54, 53),
    ];
    assert_eq!(names(rtp(&answer(&wanted, &offered), "1")), ["96 VP8", "98 VP9", "99 rtx:98"]);
    wanted.sections[1].keep_codec_order = true;
    assert_eq!(names(rtp(&answer(&wanted, &offered), "1")), ["99 rtx:98", "98 VP9", "96 VP8"]);
}

/// RFC 2198 within an answer: `red` goes with what it repeats.
#[test]
fn red_goes_with_its_codec() {
    let offered = parse(test_sdp::CHROMIUM_OFFER).unwrap();
    let mut wanted = options_for(&offered);
    wanted.sections[0].codecs =
        vec![Codec::audio(20, "opus", 48_000, 2), Codec::audio(21, "red", 48_000, 2).with_param("", "20/20")];
    let answer = answer(&wanted, &offered);
    assert_eq!(names(rtp(&answer, "0")), ["111 opus", "63 red"]);
    assert_eq!(rtp(&answer, "0").codecs[1].params[""], "111/111");
}

/// RFC 8285: ids of the offer, directions both allow.
#[test]
fn header_extensions_intersect() {
    let text = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\nm=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\n\
        a=extmap:20 urn:a\na=extmap:2/recvonly urn:b\na=extmap:3/sendonly urn:c\na=extmap:4 urn:d\na=extmap:5 urn:a\n\
        a=extmap:6/inactive urn:e\n";
    let offered = parse(text).unwrap();
    let mut wanted = options_for(&offered);
    let mut own: Vec<_> =
        ["urn:e", "urn:c", "urn:b", "urn:a"].iter().map(|uri| RtpExtension::new(1, *uri)).collect();
    own[1].direction = Some(RtpTransceiverDirection::Sendonly);
    wanted.sections[0].header_extensions = own;
    let answer = answer(&wanted, &offered);
    assert_eq!(extensions(rtp(&answer, "0")), [(20, "urn:a"), (2, "urn:b")]);
    assert_eq!(rtp(&answer, "0").header_extensions[1].direction, Some(RtpTransceiverDirection::Sendonly));
}

/// RFC 8853: offered simulcast is answered the other way round.
#[test]
fn simulcast_is_answered() {
    let offered = parse(test_sdp::CHROMIUM_SIMULCAST_OFFER).unwrap();
    let mut wanted = options_for(&offered);
    let made = answer(&wanted, &offered);
    let text = serialize(&made);
    assert!(text.contains("a=rid:q recv\r\na=rid:h recv pt=96;max-width=640\r\na=rid:f recv\r\n"), "{text}");
    assert!(text.contains("a=simulcast:recv q;~h;f\r\n"), "{text}");
    assert_eq!(
        made.content("0").unwrap().description.as_rtp().unwrap().direction,
        RtpTransceiverDirection::Recvonly
    );
    // Not wanted, or only one of them.
    wanted.sections[0].accept_simulcast = false;
    let made = answer(&wanted, &offered);
    assert!(rtp(&made, "0").simulcast.is_empty() && rtp(&made, "0").rids.is_empty());
    wanted.sections[0].rids = vec![RidDescription {
        rid: "f".to_owned(),
        direction: RidDirection::Recv,
        payload_types: Vec::new(),
        restrictions: Default::default(),
    }];
    assert!(serialize(&answer(&wanted, &offered)).contains("a=simulcast:recv f\r\n"));

    // R11: without the header extension that tells the streams apart there is none.
    let mut wanted = options_for(&offered);
    wanted.sections[0].header_extensions.retain(|extension| extension.uri != RID_URI);
    let made = answer(&wanted, &offered);
    assert!(rtp(&made, "0").simulcast.is_empty() && rtp(&made, "0").rids.is_empty());

    // A server asks for simulcast: we send what we have of it.
    let mut server = parse(test_sdp::CHROMIUM_SIMULCAST_OFFER).unwrap();
    let rtp = server.contents[0].description.as_rtp_mut().unwrap();
    rtp.direction = RtpTransceiverDirection::Recvonly;
    rtp.simulcast = rtp.simulcast.reversed();
    rtp.rids.iter_mut().for_each(|rid| rid.direction = RidDirection::Recv);
    let mut wanted = options_for(&server);
    wanted.sections[0].rids = ["q", "f", "x"]
        .map(|rid| RidDescription {
            rid: rid.to_owned(),
            direction: RidDirection::Send,
            payload_types: Vec::new(),
            restrictions: Default::default(),
        })
        .to_vec();
    let text = serialize(&answer(&wanted, &server));
    assert!(text.contains("a=simulcast:send q;f\r\n"), "{text}");
}

/// O25, RFC 3264 section 6: an answer has the sections of the offer.
#[test]
fn answers_that_do_not_fit_are_refused() {
    let offered = parse(test_sdp::CHROMIUM_OFFER).unwrap();
    let of = |sections| factory().create_answer(&options(sections), &offered, None).unwrap_err();
    assert_eq!(
        of(vec![audio("0"), video("1")]),
        MediaSessionError::WrongNumberOfSections { offered: 3, given: 2 }
    );
    assert!(matches!(
        of(vec![audio("0"), video("x"), data("2")]),
        MediaSessionError::SectionInUse { index: 1, .. }
    ));
    assert!(matches!(of(vec![audio("0"), audio("1"), data("2")]), MediaSessionError::KindChanged { .. }));
}

/// Offers that were tampered with are answered, or refused with a reason; nothing panics.
#[test]
fn crafted_offers_never_panic() {
    let mut random = Random::from_seed(3);
    for round in 0..1_500 {
        let mut lines: Vec<&str> = test_sdp::ALL[round % test_sdp::ALL.len()].lines().collect();
        let from: Vec<&str> = test_sdp::ALL[(round / 7) % test_sdp::ALL.len()].lines().collect();
        for _ in 0..=random.below(4) {
            let at = 5 + random.below(lines.len() as u64 - 5) as usize;
            match random.below(3) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, from[random.below(from.len() as u64) as usize]),
                _ => {
                    let other = 5 + random.below(lines.len() as u64 - 5) as usize;
                    lines.swap(at, other);
                }
            }
        }
        let Ok(mut offered) = parse(&lines.join("\r\n")) else { continue };
        offered.fill_in_missing_mids(None);
        let mut factory = factory();
        let wanted = options_for(&offered);
        let answer = factory.create_answer(&wanted, &offered, None).unwrap();
        assert_eq!(answer.contents.len(), offered.contents.len());
        parse(&serialize(&answer)).unwrap();
        let offer = factory.create_offer(&wanted, Some(&answer), Some(&offered)).unwrap();
        assert_numbers_agree(&offer);
        parse(&serialize(&offer)).unwrap();
    }
}
