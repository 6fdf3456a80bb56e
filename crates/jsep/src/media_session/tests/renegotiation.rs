//! Offers and answers after the first ones.

use std::collections::BTreeMap;

use super::*;

/// Two peers.
struct Pair {
    a: MediaSessionDescriptionFactory,
    b: MediaSessionDescriptionFactory,
}

impl Pair {
    fn new() -> Self {
        let mut random = Random::from_seed(5);
        Self {
            a: MediaSessionDescriptionFactory::new(&mut random),
            b: MediaSessionDescriptionFactory::new(&mut random),
        }
    }
}

/// O14: the session id stays, the version rises with each different description and with no other.
#[test]
fn versions_rise() {
    let mut factory = factory();
    let mut wanted = options(vec![audio("0")]);
    let first = factory.create_offer(&wanted, None, None).unwrap();
    assert_eq!(factory.create_offer(&wanted, None, None).unwrap(), first);
    wanted.sections.push(data("1"));
    let second = factory.create_offer(&wanted, None, None).unwrap();
    assert_eq!(second.session_id, first.session_id);
    assert_eq!(second.session_version, first.session_version + 1);
    // A failed call changes nothing.
    wanted.sections.push(data("1"));
    assert!(factory.create_offer(&wanted, None, None).is_err());
    wanted.sections.pop();
    assert_eq!(factory.create_offer(&wanted, None, None).unwrap(), second);
    wanted.sections[0].stopped = true;
    assert_eq!(
        factory.create_offer(&wanted, None, None).unwrap().session_version,
        second.session_version + 1
    );
    assert!(first.session_id < 1 << 62);
}

/// O25, O18: an offer after one of Firefox keeps Firefox's payload types, `rtx` with them, and gives none of them
/// to something else, in new sections neither.
#[test]
fn payload_types_stay_what_they_were() {
    let offered = parse(test_sdp::FIREFOX_OFFER).unwrap();
    let mut factory = factory();
    let mut wanted = options_for(&offered);
    let answer = factory.create_answer(&wanted, &offered, None).unwrap();
    wanted.sections.push(video("3"));
    let offer = factory.create_offer(&wanted, Some(&answer), Some(&offered)).unwrap();
    assert_numbers_agree(&offer);
    for mid in ["1", "3"] {
        let codecs = names(rtp(&offer, mid));
        assert_eq!(codecs[..4], ["120 VP8", "124 rtx:120", "121 VP9", "125 rtx:121"], "{mid}");
        assert!(codecs.contains(&"126 H264".to_owned()) && codecs.contains(&"127 rtx:126".to_owned()));
        assert!(codecs.contains(&"97 H264".to_owned()) && codecs.contains(&"98 rtx:97".to_owned()));
        // Firefox uses 122, 123 and 119 for red, ulpfec and its rtx: nothing of ours.
        assert!(rtp(&offer, mid).codecs.iter().all(|codec| ![119, 122, 123].contains(&codec.payload_type)));
    }
    assert_eq!(names(rtp(&offer, "0"))[0], "109 opus");
    assert_eq!(extensions(rtp(&offer, "3")), extensions(rtp(&offer, "1")));
    assert_eq!(rtp(&offer, "0").header_extensions[2].id, 3);
}

/// O25: a payload type is not given away even after what it stood for has gone from the descriptions.
#[test]
fn payload_types_that_went_are_not_given_away() {
    let mut pair = Pair::new();
    let mut wanted = options(vec![video("0")]);
    wanted.sections[0].codecs = vec![Codec::video(96, "VP8"), Codec::video(97, "AV1")];
    let offer = pair.a.create_offer(&wanted, None, None).unwrap();
    let answer = pair.b.create_answer(&wanted, &offer, None).unwrap();
    wanted.sections[0].codecs = vec![Codec::video(96, "VP8")];
    let offer = pair.a.create_offer(&wanted, Some(&offer), Some(&answer)).unwrap();
    let answer = pair.b.create_answer(&wanted, &offer, Some(&answer)).unwrap();
    wanted.sections[0].codecs =
        vec![Codec::video(97, "VP9"), Codec::video(98, "VP8"), Codec::video(99, "AV1")];
    let third = pair.a.create_offer(&wanted, Some(&offer), Some(&answer)).unwrap();
    assert_eq!(names(rtp(&third, "0"))[1..], ["96 VP8", "97 AV1"]);
    assert!(![96, 97].contains(&rtp(&third, "0").codecs[0].payload_type));
    // The other side knows it too.
    let other = pair.b.create_offer(&wanted, Some(&answer), Some(&offer)).unwrap();
    assert_eq!(names(rtp(&other, "0"))[1..], ["96 VP8", "97 AV1"]);
}

/// O07, O25, O32: places are kept; a rejected one may be used again.
#[test]
fn places_are_kept_and_recycled() {
    let mut pair = Pair::new();
    let wanted = options(vec![audio("0"), video("1")]);
    let offer = pair.a.create_offer(&wanted, None, None).unwrap();
    let answer = pair.b.create_answer(&wanted, &offer, None).unwrap();
    let mut of = |sections: Vec<MediaDescriptionOptions>| {
        pair.a.create_offer(&options(sections), Some(&offer), Some(&answer))
    };
    assert_eq!(of(vec![audio("0")]).unwrap_err(), MediaSessionError::MissingSections { before: 2, given: 1 });
    assert!(matches!(
        of(vec![audio("0"), video("2")]),
        Err(MediaSessionError::SectionInUse { index: 1, .. })
    ));
    assert!(matches!(
        of(vec![video("1"), audio("0")]),
        Err(MediaSessionError::SectionInUse { index: 0, .. })
    ));
    assert!(matches!(of(vec![audio("0"), audio("1")]), Err(MediaSessionError::KindChanged { .. })));

    let stopped = options(vec![audio("0"), MediaDescriptionOptions::stopped("1", MediaKind::Video)]);
    let offer = pair.a.create_offer(&stopped, Some(&offer), Some(&answer)).unwrap();
    assert!(offer.contents[1].rejected);
    assert_eq!(offer.bundle_groups[0].mids, ["0"]);
    assert_eq!(offer.contents[1].transport, TransportDescription::default());
    let answer = pair.b.create_answer(&stopped, &offer, Some(&answer)).unwrap();
    let recycled = options(vec![audio("0"), audio("2")]);
    let offer = pair.a.create_offer(&recycled, Some(&offer), Some(&answer)).unwrap();
    assert_eq!(offer.contents[1].mid, "2");
    assert_eq!(offer.bundle_groups[0].mids, ["0", "2"]);
}

/// J08, J10, J22: groups are kept, what is new or was outside joins the first.
#[test]
fn groups_are_kept() {
    let mut factory = factory();
    let mut local = factory
        .create_offer(&options(vec![audio("0"), video("1"), audio("2"), video("3")]), None, None)
        .unwrap();
    local.bundle_groups =
        vec![ContentGroup::bundle(vec!["1".into(), "0".into()]), ContentGroup::bundle(vec!["2".into()])];
    let wanted = options(vec![audio("0"), video("1"), audio("2"), video("3"), data("4")]);
    let offer = factory.create_offer(&wanted, Some(&local), Some(&local)).unwrap();
    assert_eq!(offer.bundle_groups[0].mids, ["1", "0", "3", "4"]);
    assert_eq!(offer.bundle_groups[1].mids, ["2"]);
    assert_eq!(offer.bundle_groups.len(), 2);
}

/// O09: what was once said of senders is said as long as the section lives, and no longer.
#[test]
fn senders_stay_said() {
    let mut factory = factory();
    let mut wanted = options(vec![audio("0")]);
    wanted.sections[0].msids = vec![Msid { stream_id: None, track_id: Some("t".to_owned()) }];
    let first = factory.create_offer(&wanted, None, None).unwrap();
    wanted.sections[0].direction = RtpTransceiverDirection::Inactive;
    let second = factory.create_offer(&wanted, Some(&first), None).unwrap();
    assert_eq!(rtp(&second, "0").msids.len(), 1);
    wanted.sections[0].stopped = true;
    let third = factory.create_offer(&wanted, Some(&second), None).unwrap();
    assert!(rtp(&third, "0").msids.is_empty());
}

/// J23, RFC 8285 section 5: ids of header extensions stay what they were.
#[test]
fn header_extension_ids_stay_what_they_were() {
    let mut pair = Pair::new();
    let mut wanted = options(vec![audio("0")]);
    wanted.sections[0].header_extensions = vec![RtpExtension::new(1, "urn:a"), RtpExtension::new(2, "urn:b")];
    let offer = pair.a.create_offer(&wanted, None, None).unwrap();
    let answer = pair.b.create_answer(&wanted, &offer, None).unwrap();
    wanted.sections[0].header_extensions = vec![
        RtpExtension::new(1, "urn:c"),
        RtpExtension::new(1, "urn:b"),
        RtpExtension::new(15, "urn:d"),
        RtpExtension::new(15, "urn:b"),
    ];
    wanted.sections.push(audio("1"));
    wanted.sections[1].header_extensions = vec![RtpExtension::new(2, "urn:a"), RtpExtension::new(7, "urn:c")];
    let offer = pair.a.create_offer(&wanted, Some(&offer), Some(&answer)).unwrap();
    assert_eq!(extensions(rtp(&offer, "0")), [(3, "urn:c"), (2, "urn:b"), (4, "urn:d")]);
    assert_eq!(extensions(rtp(&offer, "1")), [(1, "urn:a"), (3, "urn:c")]);
    // Without two-byte headers there are 14.
    wanted.extmap_allow_mixed = false;
    wanted.sections[0].header_extensions =
        (1..=40).map(|id| RtpExtension::new(id, format!("urn:{id}"))).collect();
    let offer = pair.a.create_offer(&wanted, Some(&offer), Some(&answer)).unwrap();
    assert!(rtp(&offer, "0").header_extensions.iter().all(|extension| extension.id <= 14));
    assert_numbers_agree(&offer);
}

/// O25, J23: forty rounds of two peers that change what they want; never does a number change its meaning.
#[test]
fn numbers_never_change_their_meaning() {
    for seed in 0..12 {
        let mut random = Random::from_seed(seed);
        let mut pair = Pair::new();
        let mut kinds: Vec<MediaKind> = Vec::new();
        let mut descriptions: [Option<SessionDescription>; 2] = [None, None];
        let mut meanings: BTreeMap<u8, Codec> = BTreeMap::new();
        let mut ids: BTreeMap<u8, String> = BTreeMap::new();
        for _ in 0..40 {
            if kinds.len() < 6 && random.chance(0.3) {
                kinds.push(if random.chance(0.5) { MediaKind::Audio } else { MediaKind::Video });
            }
            let mut want = |shuffle: u64| -> MediaSessionOptions {
                let mut sections: Vec<_> = kinds
                    .iter()
                    .enumerate()
                    .map(|(index, kind)| section(&index.to_string(), kind.clone()))
                    .collect();
                for section in &mut sections {
                    let codecs = &mut section.codecs;
                    let pairs = codecs.len() as u64 / 2;
                    codecs.rotate_left((random.below(pairs) * 2) as usize);
                    codecs.truncate(2 + (random.below(pairs) * 2) as usize);
                    // Each side would like numbers of its own.
                    for codec in codecs.iter_mut() {
                        codec.payload_type = 96 + (codec.payload_type + shuffle as u8 * 7) % 32;
                        if let Some(apt) = codec.associated_payload_type() {
                            codec
                                .params
                                .insert("apt".to_owned(), (96 + (apt + shuffle as u8 * 7) % 32).to_string());
                        }
                    }
                    section.header_extensions.rotate_left(shuffle as usize % 3);
                    section
                        .header_extensions
                        .iter_mut()
                        .for_each(|extension| extension.id = 1 + shuffle as u8);
                }
                options(sections)
            };
            let (offerer, answerer) = (want(1), want(2));
            let first = random.chance(0.5);
            let (by, to) = if first { (&mut pair.a, &mut pair.b) } else { (&mut pair.b, &mut pair.a) };
            let (own, other) = if first { (0, 1) } else { (1, 0) };
            let offer =
                by.create_offer(&offerer, descriptions[own].as_ref(), descriptions[other].as_ref()).unwrap();
            let answer = to.create_answer(&answerer, &offer, descriptions[other].as_ref()).unwrap();
            for description in [&offer, &answer] {
                assert_numbers_agree(description);
                for rtp in description.contents.iter().filter_map(|content| content.description.as_rtp()) {
                    for codec in &rtp.codecs {
                        let known = meanings.entry(codec.payload_type).or_insert_with(|| codec.clone());
                        assert!(known.matches(codec), "{known:?} became {codec:?}");
                        assert_eq!(known.associated_payload_type(), codec.associated_payload_type());
                    }
                    for extension in &rtp.header_extensions {
                        let known = ids.entry(extension.id).or_insert_with(|| extension.uri.clone());
                        assert_eq!(known, &extension.uri);
                    }
                }
            }
            descriptions[own] = Some(offer);
            descriptions[other] = Some(answer);
        }
    }
}
