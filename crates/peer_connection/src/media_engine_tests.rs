//! Tests of the media engine: capabilities, registration, codec preferences.

use super::*;

type Kind = TrackKind;

fn named(codecs: &[Codec]) -> Vec<&str> {
    codecs.iter().map(|codec| codec.name.as_str()).collect()
}

fn names(codecs: &[Codec]) -> Vec<String> {
    codecs.iter().map(|codec| format!("{} {}", codec.payload_type, codec.name)).collect()
}

/// getCapabilities: each codec once, RTX without what it goes with.
#[test]
fn capabilities_list_each_codec_once() {
    let engine = MediaEngine::full();
    for kind in [Kind::Audio, Kind::Video] {
        let capabilities = engine.capabilities(kind);
        for (index, codec) in capabilities.codecs.iter().enumerate() {
            assert!(
                !capabilities.codecs[..index].iter().any(|other| other.is_same_format(codec)),
                "{codec:?}"
            );
            assert!(codec.mime_type().starts_with(kind.as_str()), "{}", codec.mime_type());
            assert!(engine.knows(kind, codec));
        }
        assert!(capabilities.header_extensions.iter().any(|one| one.uri == MID_URI));
    }
    let video = engine.capabilities(Kind::Video).codecs;
    assert_eq!(video.iter().filter(|codec| codec.is_rtx()).count(), 1);
    for name in ["VP8", "VP9", "H264", "H265", "AV1", "rtx", "red", "ulpfec", "flexfec-03"] {
        assert!(video.iter().any(|codec| codec.name == name), "{name}");
    }
    let audio = engine.capabilities(Kind::Audio).codecs;
    for name in ["opus", "red", "G722", "PCMU", "PCMA", "CN", "telephone-event"] {
        assert!(audio.iter().any(|codec| codec.name == name), "{name}");
    }
    // Payload types are unique in the whole.
    let all: Vec<u8> = engine.audio.iter().chain(&engine.video).map(|codec| codec.payload_type).collect();
    let unique: std::collections::BTreeSet<u8> = all.iter().copied().collect();
    assert_eq!(unique.len(), all.len());
    assert!(all.iter().all(|number| !(64..=95).contains(number)));
    assert!(!MediaEngine::default().capabilities(Kind::Video).codecs.iter().any(Codec::is_red));
}

#[test]
fn codecs_are_registered() {
    let mut engine = MediaEngine::empty();
    let error = |result: Result<u8, RtcError>| result.map_err(|error| error.kind);
    let video = |number, name: &str| Codec::video(number, name);
    assert_eq!(error(engine.register_codec(Kind::Video, video(100, "X-depth"))), Ok(100));
    assert_eq!(error(engine.register_codec(Kind::Video, Codec::rtx(101, 100))), Ok(101));
    // The number is taken: another is given.
    assert_eq!(error(engine.register_codec(Kind::Audio, Codec::audio(100, "L16", 44_100, 2))), Ok(96));
    use RtcErrorKind::{InvalidModificationError, TypeError};
    assert_eq!(
        error(engine.register_codec(Kind::Video, video(102, "x-DEPTH"))),
        Err(InvalidModificationError)
    );
    for bad in [video(102, ""), video(102, "a b"), video(102, "a\r\nb"), video(72, "a"), video(128, "a")] {
        assert_eq!(error(engine.register_codec(Kind::Video, bad.clone())), Err(TypeError), "{bad:?}");
    }
    let still = Codec::audio(97, "a", 0, 1);
    assert_eq!(error(engine.register_codec(Kind::Audio, still)), Err(TypeError));
    assert_eq!(error(engine.register_codec(Kind::Video, Codec::rtx(102, 99))), Err(TypeError));
    for number in 0..200 {
        let _ = engine.register_codec(Kind::Video, video(96, &format!("c{number}")));
    }
    assert_eq!(
        error(engine.register_codec(Kind::Video, video(96, "last"))),
        Err(RtcErrorKind::OperationError)
    );
    engine.remove_codec(Kind::Video, "X-DEPTH");
    assert!(!engine.codecs(Kind::Video).iter().any(|codec| codec.is_rtx() || codec.name == "X-depth"));
    assert_eq!(named(engine.codecs(Kind::Audio)), ["L16"]);
}

/// webrtc-pc section 5.4: what set_codec_preferences refuses and what it leaves out.
#[test]
fn preferences_are_checked() {
    let engine = MediaEngine::full();
    let check =
        |codecs: Vec<Codec>| checked_preferences(&engine, Kind::Video, codecs).map_err(|error| error.kind);
    let vp8 = Codec::video(1, "vp8");
    assert_eq!(check(vec![]), Ok(vec![]));
    assert_eq!(check(vec![vp8.clone(), vp8.clone()]).unwrap().len(), 1);
    let alone = [
        vec![Codec::video(0, "rtx")],
        vec![Codec::video(0, "red"), Codec::video(0, "ulpfec")],
        vec![Codec::video(0, "flexfec-03")],
        vec![Codec::video(0, "H263")],
        vec![vp8.clone(), Codec::audio(0, "opus", 48_000, 2)],
        vec![Codec::audio(0, "VP8", 8_000, 0)],
        vec![Codec::video(0, "VP9").with_param("profile-id", "7")],
        vec![Codec::video(0, "H264").with_param("profile-level-id", "nonsens")],
    ];
    for codecs in alone {
        assert_eq!(check(codecs.clone()), Err(RtcErrorKind::InvalidModificationError), "{codecs:?}");
    }
    let capabilities = engine.capabilities(Kind::Video).codecs;
    assert_eq!(check(capabilities.clone()), Ok(capabilities));
}

/// The order is the list's; RTX stands behind what it goes with, if it is wanted.
#[test]
fn preferences_order_the_codecs() {
    let engine = MediaEngine::default();
    let own = engine.codecs(Kind::Video);
    let list = [Codec::video(0, "AV1"), Codec::video(0, "VP8")];
    assert_eq!(names(&preferred(own, &list)), ["45 AV1", "96 VP8"]);
    let list = [
        Codec::video(0, "rtx"),
        Codec::video(0, "VP9").with_param("profile-id", "2"),
        Codec::video(0, "VP8"),
    ];
    assert_eq!(names(&preferred(own, &list)), ["100 VP9", "101 rtx", "96 VP8", "97 rtx"]);
    // Without parameters all of the name.
    assert_eq!(named(&preferred(own, &[Codec::video(0, "H264")])), ["H264"; 5]);
    let list = [Codec::video(0, "H264")
        .with_param("packetization-mode", "0")
        .with_param("profile-level-id", "42e01f")];
    assert_eq!(names(&preferred(own, &list)), ["104 H264"]);
}

#[test]
fn extensions_are_registered() {
    let mut engine = MediaEngine::default();
    let mut register = |uri: &str, direction| {
        engine.register_header_extension(Kind::Video, uri, direction).map_err(|error| error.kind)
    };
    let send = RtpTransceiverDirection::Sendonly;
    assert_eq!(register("urn:example:one", send), Ok(()));
    assert_eq!(register("urn:example:one", RtpTransceiverDirection::Stopped), Ok(()));
    for bad in ["", "a b", "a\nb"] {
        assert_eq!(register(bad, send), Err(RtcErrorKind::TypeError));
    }
    assert_eq!(register(MID_URI, RtpTransceiverDirection::Stopped), Err(RtcErrorKind::TypeError));
    for number in 0..100 {
        let _ = register(&format!("urn:example:{number}"), send);
    }
    assert_eq!(register("urn:example:last", send), Err(RtcErrorKind::OperationError));
    assert_eq!(engine.header_extensions(Kind::Video).len(), MAX_EXTENSIONS);
}

/// R14: only directions change, and not that of MID.
#[test]
fn extension_lists_are_checked() {
    let before = MediaEngine::default().header_extensions(Kind::Video).to_vec();
    let check = |change: &dyn Fn(&mut Vec<RtpHeaderExtensionCapability>)| {
        let mut wanted = before.clone();
        change(&mut wanted);
        check_extensions(&before, &wanted).map_err(|error| error.kind)
    };
    assert_eq!(before[0].uri, MID_URI);
    assert_eq!(check(&|_| {}), Ok(()));
    assert_eq!(
        check(&|list| list
            .iter_mut()
            .skip(1)
            .for_each(|one| one.direction = RtpTransceiverDirection::Stopped)),
        Ok(())
    );
    type Change = dyn Fn(&mut Vec<RtpHeaderExtensionCapability>);
    let refused: [&Change; 5] = [
        &|list| list.swap(1, 2),
        &|list| drop(list.pop()),
        &|list| list.push(RtpHeaderExtensionCapability::new("urn:x", RtpTransceiverDirection::Stopped)),
        &|list| list[0].direction = RtpTransceiverDirection::Recvonly,
        &|list| list[1].uri.push('x'),
    ];
    for (index, change) in refused.iter().enumerate() {
        assert_eq!(check(change), Err(RtcErrorKind::InvalidModificationError), "change {index}");
    }
}
