//! Transceivers and what their tracks carry: how they are made, whose packets are whose.

use bytes::Bytes;
use peerstack_peer_connection::{
    Codec, Configuration, MediaEngine, MediaStreamTrack, OfferOptions, PeerConnection, PeerConnectionEvent,
    RtcErrorKind, RtpEncodingParameters, RtpHeaderExtension, RtpPacket, RtpSender,
    RtpTransceiverDirection as D, RtpTransceiverInit, SessionDescription, Settings, TrackKind,
};

use crate::harness::{dependencies, joined, ms, negotiate, pass, two_hosts, two_peers};

fn track(kind: TrackKind) -> MediaStreamTrack {
    MediaStreamTrack::new(kind)
}

fn packet(sender: &RtpSender, text: &str) -> RtpPacket {
    let payload_type = sender.codecs()[0].payload_type;
    RtpPacket { payload_type, payload: Bytes::copy_from_slice(text.as_bytes()), ..RtpPacket::default() }
}

/// Offer and answer without the lines that contain any of these.
async fn exchange_without(a: &PeerConnection, b: &PeerConnection, words: &[&str]) {
    let strip = |sdp: String| -> String {
        sdp.split_inclusive('\n').filter(|line| !words.iter().any(|word| line.contains(word))).collect()
    };
    let offer = a.create_offer(OfferOptions::default()).await.unwrap();
    a.set_local_description(offer.clone()).await.unwrap();
    b.set_remote_description(SessionDescription::offer(strip(offer.sdp))).await.unwrap();
    let answer = b.create_answer().await.unwrap();
    b.set_local_description(answer.clone()).await.unwrap();
    a.set_remote_description(SessionDescription::answer(strip(answer.sdp))).await.unwrap();
}

/// R01: a transceiver is as its init says; the same track twice makes two.
#[tokio::test(start_paused = true)]
async fn transceivers_are_as_they_were_asked_for() {
    let (_lab, a, _b) = two_peers(401, ms(5));
    let one = a.pc.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    assert_eq!((one.kind(), one.direction(), one.current_direction()), (TrackKind::Audio, D::Sendrecv, None));
    assert_eq!((one.mid(), one.sender().track(), one.stopped()), (None, None, false));
    let camera = track(TrackKind::Video);
    for direction in [D::Sendrecv, D::Sendonly, D::Recvonly, D::Inactive] {
        let encodings =
            [RtpEncodingParameters::new("a").with_max_bitrate(1_000), RtpEncodingParameters::new("b")];
        let init = RtpTransceiverInit::new(direction)
            .with_streams(["s".to_owned(), "s".to_owned()])
            .with_send_encodings(encodings.clone());
        let made = a.pc.add_transceiver_with_track(camera.clone(), init).unwrap();
        assert_eq!((made.kind(), made.direction()), (TrackKind::Video, direction));
        assert_eq!(
            (made.sender().track().as_ref(), made.sender().streams()),
            (Some(&camera), vec!["s".to_owned()])
        );
        let parameters = made.sender().get_parameters();
        assert_eq!(parameters.encodings[0], encodings[0].clone().with_scale_resolution_down_by(2.0));
        assert_eq!(parameters.encodings[1].rid.as_deref(), Some("b"));
        assert_eq!(made.receiver().track().kind(), TrackKind::Video);
    }
    assert_eq!(a.pc.transceivers().len(), 5);
}

/// R05: the peer's streams change, its SSRC changes; the track stays the same.
#[tokio::test(start_paused = true)]
async fn a_track_outlives_its_streams_and_ssrcs() {
    let (_lab, a, mut b) = two_peers(403, ms(5));
    let sender = a.pc.add_track(track(TrackKind::Video), &["one".to_owned()]).unwrap();
    negotiate(&a, &b).await;
    let received = b.tracks.recv().await.unwrap();
    let receiver = b.pc.receivers().remove(0);
    assert_eq!(receiver.streams(), ["one"]);
    pass(ms(2_000)).await;
    let mut events = b.pc.events();
    sender.set_streams(&["two".to_owned(), "three".to_owned()]).unwrap();
    // Another SSRC than was announced: a forwarder's source changed.
    let other = |sdp: &str| sdp.replace(&format!("a=ssrc:{}", sender.ssrc()), "a=ssrc:77");
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    a.pc.set_local_description(offer.clone()).await.unwrap();
    let changed = other(&offer.sdp).replace(&format!("FID {}", sender.ssrc()), "FID 77");
    b.pc.set_remote_description(SessionDescription::offer(changed)).await.unwrap();
    b.pc.set_local_description(None).await.unwrap();
    a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
    assert_eq!(receiver.streams(), ["two", "three"]);
    sender.send_rtp(packet(&sender, "after")).unwrap();
    assert_eq!(&received.recv().await.unwrap().payload[..], b"after");
    assert_eq!(receiver.track(), received);
    let told = std::iter::from_fn(|| events.try_next());
    let tracks = told.filter(|event| {
        matches!(event, PeerConnectionEvent::Track(_) | PeerConnectionEvent::TrackRemoved(_))
    });
    assert_eq!(tracks.count(), 0);
}

/// R16: tracks without a word of their SSRCs are told apart by MID; without MID, on transports of their own or by
/// payload type; what nobody claims is a track of its own.
#[tokio::test(start_paused = true)]
async fn packets_find_their_section() {
    let cases: [&[&str]; 3] =
        [&["a=ssrc"], &["a=ssrc", "sdes:mid"], &["a=ssrc", "sdes:mid", "a=group:BUNDLE", "a=bundle-only"]];
    for (index, words) in cases.into_iter().enumerate() {
        let (_lab, a, b) = two_peers(405 + 2 * index as u64, ms(5));
        let kinds = match index {
            // Two of a kind only where MID is there.
            0 => vec![TrackKind::Audio, TrackKind::Video, TrackKind::Video],
            _ => vec![TrackKind::Audio, TrackKind::Video],
        };
        let senders: Vec<_> = kinds.iter().map(|kind| a.pc.add_track(track(*kind), &[]).unwrap()).collect();
        exchange_without(&a.pc, &b.pc, words).await;
        a.release();
        pass(ms(3_000)).await;
        for (number, sender) in senders.iter().enumerate() {
            sender.send_rtp(packet(sender, &format!("to {number}"))).unwrap();
        }
        for (number, receiver) in b.pc.receivers().iter().enumerate() {
            let received = receiver.track().recv().await.unwrap();
            assert_eq!(&received.payload[..], format!("to {number}").as_bytes(), "case {index}");
        }
    }
    // Two of a kind without MID: nobody's, but heard.
    let (_lab, a, b) = two_peers(411, ms(5));
    let senders: Vec<_> = (0..2).map(|_| a.pc.add_track(track(TrackKind::Video), &[]).unwrap()).collect();
    let mut events = b.pc.events();
    exchange_without(&a.pc, &b.pc, &["a=ssrc", "sdes:mid"]).await;
    a.release();
    pass(ms(3_000)).await;
    senders[1].send_rtp(packet(&senders[1], "whose")).unwrap();
    pass(ms(100)).await;
    let found = std::iter::from_fn(|| events.try_next()).find_map(|event| match event {
        PeerConnectionEvent::UnsignaledTrack(event) => Some(event),
        _ => None,
    });
    let found = found.unwrap();
    assert_eq!(
        (found.ssrc, &found.track.recv().await.unwrap().payload[..]),
        (senders[1].ssrc(), &b"whose"[..])
    );
}

/// R18: names of codecs are compared without case; CSRCs are passed on, and sources told with their levels.
#[tokio::test(start_paused = true)]
async fn codecs_without_case_and_contributing_sources() {
    let (_lab, a, mut b) = two_peers(413, ms(5));
    let sender = a.pc.add_track(track(TrackKind::Audio), &[]).unwrap();
    let upper = |sdp: &str| sdp.replace("opus/48000", "OPUS/48000");
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    a.pc.set_local_description(offer.clone()).await.unwrap();
    b.pc.set_remote_description(SessionDescription::offer(upper(&offer.sdp))).await.unwrap();
    b.pc.set_local_description(None).await.unwrap();
    a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
    a.release();
    assert!(sender.get_parameters().codecs[0].is_named("opus"));
    let heard = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    let csrcs = vec![5, 6, u32::MAX];
    let level = RtpHeaderExtension {
        uri: "urn:ietf:params:rtp-hdrext:ssrc-audio-level".into(),
        value: Bytes::from_static(&[0x80 | 20]),
    };
    let mixed = RtpPacket { csrcs: csrcs.clone(), timestamp: 960, ..packet(&sender, "mixed") };
    sender.send_rtp(RtpPacket { header_extensions: vec![level], ..mixed }).unwrap();
    assert_eq!(heard.recv().await.unwrap().csrcs, csrcs);
    let receiver = b.pc.receivers().remove(0);
    let own = receiver.synchronization_sources().await;
    assert_eq!((own.len(), own[0].source, own[0].rtp_timestamp), (1, sender.ssrc(), 960));
    assert!((own[0].audio_level.unwrap() - 0.1).abs() < 1e-9 && own[0].timestamp > 0.0);
    let mut others: Vec<_> = receiver.contributing_sources().await.iter().map(|one| one.source).collect();
    others.sort_unstable();
    assert_eq!(others, csrcs);
    pass(ms(10_100)).await;
    assert_eq!(
        (receiver.contributing_sources().await.len(), receiver.synchronization_sources().await.len()),
        (0, 0)
    );
}

/// The order of codec preferences is that of the description, on either side; an empty list brings all back.
#[tokio::test(start_paused = true)]
async fn preferences_order_descriptions() {
    let (_lab, a, b) = two_peers(415, ms(5));
    let ours = a.pc.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    let video = |name| Codec::video(0, name);
    let names = |pc: &PeerConnection| -> Vec<String> {
        let sdp = pc.local_description().unwrap().sdp;
        let lines = sdp.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
        lines.map(|(_, name)| name.trim_end_matches("/90000").to_owned()).collect()
    };
    ours.set_codec_preferences(vec![video("AV1"), video("VP8"), video("rtx"), video("H265")]).unwrap();
    a.pc.set_local_description(None).await.unwrap();
    assert_eq!(names(&a.pc), ["AV1", "rtx", "VP8", "rtx", "H265", "rtx"]);
    b.pc.set_remote_description(a.pc.local_description().unwrap()).await.unwrap();
    let theirs = b.pc.transceivers().remove(0);
    theirs.set_codec_preferences(vec![video("VP8"), video("AV1")]).unwrap();
    b.pc.set_local_description(None).await.unwrap();
    assert_eq!(names(&b.pc), ["VP8", "AV1"]);
    a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
    assert_eq!(ours.sender().codecs()[0].name, "VP8");
    let refused = ours.set_codec_preferences(vec![video("rtx")]).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidModificationError);
    // Payload types are what they were (O25).
    let before = a.pc.local_description().unwrap().sdp;
    ours.set_codec_preferences(Vec::new()).unwrap();
    a.pc.set_local_description(None).await.unwrap();
    let after = a.pc.local_description().unwrap().sdp;
    for line in before.lines().filter(|line| line.starts_with("a=rtpmap:")) {
        assert!(after.contains(line), "{line}");
    }
    assert_eq!(names(&a.pc).len(), a.pc.sender_capabilities(TrackKind::Video).codecs.len() * 2 - 2);
}

/// All the codecs there are, and one's own: RED, ULPFEC, FlexFEC and what was registered are agreed on with the payload
/// types of whoever offers, and packets of them cross.
#[tokio::test(start_paused = true)]
async fn all_codecs_and_ones_own_are_agreed_on() {
    let (lab, a, b) = two_hosts(417, ms(5));
    let make = |host, seed, own| {
        let mut settings = Settings::default();
        settings.media = MediaEngine::full();
        let depth = Codec::video(own, "X-depth").with_feedback("nack", "pli");
        assert_eq!(settings.media.register_codec(TrackKind::Video, depth), Ok(own));
        settings.media.register_codec(TrackKind::Video, Codec::rtx(127, own)).unwrap();
        let configuration = Configuration::new().with_settings(settings);
        PeerConnection::with_dependencies(configuration, dependencies(&lab, host, seed)).unwrap()
    };
    let (pc_a, pc_b) = (make(&a, 417, 120), make(&b, 418, 121));
    let (a, mut b) = joined((pc_a, a), (pc_b, b));
    let audio = a.pc.add_track(track(TrackKind::Audio), &[]).unwrap();
    let video = a.pc.add_track(track(TrackKind::Video), &[]).unwrap();
    negotiate(&a, &b).await;
    let names =
        |sender: &RtpSender| -> Vec<String> { sender.codecs().into_iter().map(|one| one.name).collect() };
    assert_eq!(names(&audio)[..3], ["opus", "red", "G722"]);
    let offered = a.pc.sender_capabilities(TrackKind::Video).codecs;
    let agreed = names(&video);
    for codec in &offered {
        assert!(agreed.contains(&codec.name), "{}", codec.name);
    }
    let (heard, seen) = (b.tracks.recv().await.unwrap(), b.tracks.recv().await.unwrap());
    pass(ms(2_000)).await;
    for (sender, track, name) in
        [(&audio, &heard, "red"), (&video, &seen, "X-depth"), (&video, &seen, "ulpfec")]
    {
        let codec = sender.codecs().into_iter().find(|codec| codec.name == name).unwrap();
        let sequence_number = u16::from(codec.payload_type);
        sender
            .send_rtp(RtpPacket { payload_type: codec.payload_type, sequence_number, ..packet(sender, name) })
            .unwrap();
        let received = track.recv().await.unwrap();
        assert_eq!((received.payload_type, &received.payload[..]), (codec.payload_type, name.as_bytes()));
    }
    // The other way round the numbers stay those that were agreed on (O25).
    let before = video.codecs();
    negotiate(&b, &a).await;
    assert_eq!(video.codecs().len(), before.len());
    for codec in video.codecs() {
        assert!(before.iter().any(|old| old.payload_type == codec.payload_type && old.name == codec.name));
    }
    let depth = before.iter().find(|codec| codec.name == "X-depth").unwrap().payload_type;
    assert_eq!(depth, 120);
}
