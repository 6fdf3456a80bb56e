//! Several encodings of one sender, told apart by RID: offered, answered, paused, refused, restricted, sent and
//! received (webrtc-pc section 5.4.1, RFC 8851, RFC 8853).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use peerstack_peer_connection::{
    Codec, MediaStreamTrack, OfferOptions, PeerConnection, RtcErrorKind, RtpEncodingParameters as Encoding,
    RtpPacket, RtpSender, RtpTransceiver, RtpTransceiverDirection as D, RtpTransceiverInit,
    SessionDescription, TrackKind,
};

use crate::harness::{Peer, ms, negotiate, pass, two_peers};

/// A sender of these encodings.
fn sending(pc: &PeerConnection, encodings: Vec<Encoding>) -> RtpTransceiver {
    let init = RtpTransceiverInit::new(D::Sendonly).with_send_encodings(encodings);
    pc.add_transceiver_with_track(MediaStreamTrack::new(TrackKind::Video), init).unwrap()
}

fn layers(rids: &[&str]) -> Vec<Encoding> {
    rids.iter().map(|rid| Encoding::new(*rid)).collect()
}

fn rids(sender: &RtpSender) -> Vec<Option<String>> {
    sender.layers().into_iter().map(|layer| layer.rid).collect()
}

fn lines<'s>(sdp: &'s str, start: &str) -> Vec<&'s str> {
    sdp.lines().filter(|line| line.starts_with(start)).collect()
}

fn video_packet(sender: &RtpSender, rid: Option<&str>, sequence_number: u16, payload: &str) -> RtpPacket {
    RtpPacket {
        payload_type: sender.codecs()[0].payload_type,
        rid: rid.map(Arc::from),
        sequence_number,
        timestamp: u32::from(sequence_number) * 3_000,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..RtpPacket::default()
    }
}

/// Offer and answer through a signalling server that rewrites both.
async fn exchange(
    a: &PeerConnection,
    b: &PeerConnection,
    offer_as: impl Fn(&str) -> String,
    answer_as: impl Fn(&str) -> String,
) -> Result<(), RtcErrorKind> {
    let offer = a.create_offer(OfferOptions::default()).await.unwrap();
    a.set_local_description(offer.clone()).await.unwrap();
    b.set_remote_description(SessionDescription::offer(offer_as(&offer.sdp)))
        .await
        .map_err(|error| error.kind)?;
    let answer = b.create_answer().await.unwrap();
    b.set_local_description(answer.clone()).await.unwrap();
    let answer = SessionDescription::answer(answer_as(&answer.sdp));
    a.set_remote_description(answer).await.map_err(|error| error.kind)
}

fn same(sdp: &str) -> String {
    sdp.to_owned()
}

/// R10, R19: three layers of ours reach another of ours, each packet with its RID, also those that carry none any more,
/// and what is sent again comes out as what it repeats.
#[tokio::test(start_paused = true)]
async fn three_layers_cross_by_rid() {
    let (_lab, a, mut b) = two_peers(31, ms(5));
    let sender = sending(&a.pc, layers(&["q", "h", "f"])).sender();
    negotiate(&a, &b).await;
    let offer = a.pc.local_description().unwrap().sdp;
    assert_eq!(lines(&offer, "a=rid:"), ["a=rid:q send", "a=rid:h send", "a=rid:f send"]);
    assert_eq!(lines(&offer, "a=simulcast:"), ["a=simulcast:send q;h;f"]);
    assert_eq!(lines(&offer, "a=ssrc"), [""; 0], "RIDs tell streams apart");
    let answer = b.pc.local_description().unwrap().sdp;
    assert_eq!(lines(&answer, "a=rid:"), ["a=rid:q recv", "a=rid:h recv", "a=rid:f recv"]);
    assert_eq!(lines(&answer, "a=simulcast:"), ["a=simulcast:recv q;h;f"]);

    let track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    let ssrcs: BTreeMap<String, u32> =
        sender.layers().into_iter().map(|layer| (layer.rid.unwrap(), layer.ssrc)).collect();
    assert_eq!(ssrcs.values().collect::<std::collections::BTreeSet<_>>().len(), 3);
    for number in 0..10u16 {
        for rid in ["q", "h", "f"] {
            let payload = format!("{rid} {number}");
            sender.send_rtp(video_packet(&sender, Some(rid), number, &payload)).unwrap();
        }
        pass(ms(10)).await;
    }
    for number in 0..10u16 {
        for rid in ["q", "h", "f"] {
            let packet = track.recv().await.unwrap();
            assert_eq!((packet.rid.as_deref(), packet.sequence_number), (Some(rid), number));
            assert_eq!(
                (packet.ssrc, &packet.payload[..]),
                (ssrcs[rid], format!("{rid} {number}").as_bytes())
            );
        }
    }
    // Again, as the peer's NACK would ask for: RTX in a stream of its own, surfaced as what it repeats.
    let again = video_packet(&sender, Some("h"), 3, "h 3");
    sender.resend_rtp(again.clone()).unwrap();
    sender.resend_rtp(again).unwrap();
    for _ in 0..2 {
        let packet = track.recv().await.unwrap();
        assert_eq!((packet.rid.as_deref(), packet.sequence_number, packet.ssrc), (Some("h"), 3, ssrcs["h"]));
        assert_eq!(
            (packet.payload_type, &packet.payload[..]),
            (sender.codecs()[0].payload_type, &b"h 3"[..])
        );
    }
    // Feedback on any layer comes to the one sender.
    b.pc.receivers()[0].send_pli(ssrcs["f"]);
    let feedback = sender.next_feedback().await.unwrap();
    assert_eq!(format!("{feedback:?}"), format!("Pli {{ ssrc: {} }}", ssrcs["f"]));
}

/// Packets without a RID go with the first layer, those of no layer are refused.
#[tokio::test(start_paused = true)]
async fn a_packet_names_its_layer() {
    let (_lab, a, mut b) = two_peers(33, ms(5));
    let sender = sending(&a.pc, layers(&["1", "2"])).sender();
    let plain = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate(&a, &b).await;
    let track = b.tracks.recv().await.unwrap();
    let plain_track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    sender.send_rtp(video_packet(&sender, None, 1, "first")).unwrap();
    assert_eq!(track.recv().await.unwrap().rid.as_deref(), Some("1"));
    let refused = sender.send_rtp(video_packet(&sender, Some("3"), 1, "")).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidAccessError);
    // What is passed on to a sender without layers loses the RID of where it came from.
    plain.send_rtp(video_packet(&plain, Some("2"), 1, "plain")).unwrap();
    assert_eq!(plain_track.recv().await.unwrap().rid, None);
}

/// R10, webrtc-pc section 5.4.1: descriptions neither tell which layers are active nor change it. That the peer wants one paused
/// is told, and the application decides.
#[tokio::test(start_paused = true)]
async fn layers_are_paused() {
    let (_lab, a, b) = two_peers(35, ms(5));
    let mut encodings = layers(&["q", "h", "f"]);
    encodings[1].active = false;
    let sender = sending(&a.pc, encodings).sender();
    let pause = |sdp: &str| sdp.replace("a=simulcast:recv q;h;f", "a=simulcast:recv q;h;~f");
    exchange(&a.pc, &b.pc, same, pause).await.unwrap();
    let offer = a.pc.local_description().unwrap().sdp;
    assert_eq!(lines(&offer, "a=simulcast:"), ["a=simulcast:send q;h;f"]);
    let active = || -> Vec<bool> {
        sender.get_parameters().encodings.iter().map(|encoding| encoding.active).collect()
    };
    assert_eq!(active(), [true, false, true]);
    let paused: Vec<bool> = sender.layers().iter().map(|layer| layer.paused).collect();
    assert_eq!(paused, [false, false, true]);
    sender.send_rtp(video_packet(&sender, Some("f"), 1, "")).unwrap();
    let mut parameters = sender.get_parameters();
    parameters.encodings[2].active = false;
    sender.set_parameters(parameters).unwrap();
    let refused = sender.send_rtp(video_packet(&sender, Some("f"), 1, "")).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidStateError);
    // The next exchange changes none of it, and the answer that no longer pauses is told.
    exchange(&a.pc, &b.pc, same, same).await.unwrap();
    let offer = a.pc.local_description().unwrap().sdp;
    assert_eq!(lines(&offer, "a=simulcast:"), ["a=simulcast:send q;h;f"]);
    assert_eq!(active(), [true, false, false]);
    assert!(sender.layers().iter().all(|layer| !layer.paused));
}

/// R11: an answer keeps the layers it names, the first where it knows no simulcast; without the header extension that
/// carries RIDs it is refused.
#[tokio::test(start_paused = true)]
async fn an_answer_leaves_layers_out() {
    let without = |sdp: &str, starts: &[&str]| -> String {
        sdp.split_inclusive('\n').filter(|line| !starts.iter().any(|start| line.starts_with(start))).collect()
    };
    let rid_extension = |sdp: &str| {
        let line = sdp.lines().find(|line| line.ends_with("sdes:rtp-stream-id")).unwrap().to_owned();
        sdp.replace(&format!("{line}\r\n"), "")
    };
    let (_lab, a, b) = two_peers(37, ms(5));
    let sender = sending(&a.pc, layers(&["q", "h", "f"])).sender();
    let ssrcs: Vec<u32> = sender.layers().iter().map(|layer| layer.ssrc).collect();
    let fewer = |sdp: &str| without(sdp, &["a=rid:h"]).replace("recv q;h;f", "recv q;f");
    exchange(&a.pc, &b.pc, same, fewer).await.unwrap();
    assert_eq!(rids(&sender), [Some("q".to_owned()), Some("f".to_owned())]);
    assert_eq!(sender.layers()[1].ssrc, ssrcs[2]);
    // In a later exchange the rest goes too; the first keeps its SSRC and loses its RID.
    exchange(&a.pc, &b.pc, same, |sdp| without(sdp, &["a=rid", "a=simulcast"])).await.unwrap();
    assert_eq!((rids(&sender), sender.ssrc()), (vec![None], ssrcs[0]));
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    assert_eq!((lines(&offer.sdp, "a=rid:").len(), lines(&offer.sdp, "a=simulcast:").len()), (0, 0));

    let (_lab, a, b) = two_peers(39, ms(5));
    let sender = sending(&a.pc, layers(&["q", "h"])).sender();
    let refused = exchange(&a.pc, &b.pc, same, rid_extension).await;
    assert_eq!(refused, Err(RtcErrorKind::InvalidAccessError));
    assert_eq!(rids(&sender).len(), 2, "a failed call changes nothing");
    // An offer without it is answered without simulcast.
    let (_lab, a, b) = two_peers(41, ms(5));
    let sender = sending(&a.pc, layers(&["q", "h"])).sender();
    exchange(&a.pc, &b.pc, rid_extension, same).await.unwrap();
    assert_eq!(lines(&b.pc.local_description().unwrap().sdp, "a=simulcast:").len(), 0);
    assert_eq!(rids(&sender), [None]);
}

/// R09, R11: audio has one encoding, and simulcast of audio in an answer is refused.
#[tokio::test(start_paused = true)]
async fn audio_is_not_sent_in_layers() {
    let (_lab, a, b) = two_peers(43, ms(5));
    let init = RtpTransceiverInit::new(D::Sendonly).with_send_encodings(layers(&["a", "b"]));
    let sender = a.pc.add_transceiver(TrackKind::Audio, init).unwrap().sender();
    assert_eq!(rids(&sender), [None]);
    let simulcast = |sdp: &str| format!("{sdp}a=rid:a recv\r\na=rid:b recv\r\na=simulcast:recv a;b\r\n");
    let refused = exchange(&a.pc, &b.pc, same, simulcast).await;
    assert_eq!(refused, Err(RtcErrorKind::InvalidAccessError));
}

/// R12: a peer's offer to receive simulcast makes the encodings of the sender that answers, at most three; it is not
/// taken for a transceiver that was made without.
#[tokio::test(start_paused = true)]
async fn an_offer_to_receive_makes_encodings() {
    let (_lab, a, b) = two_peers(45, ms(5));
    a.pc.add_transceiver(TrackKind::Video, RtpTransceiverInit::new(D::Recvonly)).unwrap();
    let own = b.pc.add_transceiver(TrackKind::Video, RtpTransceiverInit::new(D::Sendonly)).unwrap();
    let wanted = |sdp: &str| {
        let rids = ["l", "m", "h", "x"].map(|rid| match rid {
            "m" => "a=rid:m recv max-width=640;max-fps=15\r\n".to_owned(),
            rid => format!("a=rid:{rid} recv\r\n"),
        });
        format!("{sdp}{}a=simulcast:recv l;~m;h,x;x\r\n", rids.concat())
    };
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    a.pc.set_local_description(offer.clone()).await.unwrap();
    b.pc.set_remote_description(SessionDescription::offer(wanted(&offer.sdp))).await.unwrap();
    assert_eq!(own.mid(), None);
    let transceivers = b.pc.transceivers();
    let answering = transceivers.iter().find(|one| one.mid().is_some()).unwrap();
    let sender = answering.sender();
    let expected = ["l", "m", "h"].map(|rid| Some(rid.to_owned()));
    assert_eq!(rids(&sender), expected);
    let told = sender.layers();
    assert!(told.iter().all(|layer| layer.active));
    assert_eq!((told[0].paused, told[1].paused), (false, true));
    assert_eq!(told[1].restrictions["max-width"], "640");
    answering.set_direction(D::Sendonly).unwrap();
    let answer = b.pc.create_answer().await.unwrap();
    assert_eq!(lines(&answer.sdp, "a=simulcast:"), ["a=simulcast:send l;m;h"]);
    assert_eq!(lines(&answer.sdp, "a=rid:").len(), 3);
    // A rollback takes them back.
    let before = b.pc.transceivers().len();
    b.pc.set_remote_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(b.pc.transceivers().len(), before - 1);

    // A track that was added without encodings takes them.
    let (_lab, a, b) = two_peers(47, ms(5));
    a.pc.add_transceiver(TrackKind::Video, RtpTransceiverInit::new(D::Recvonly)).unwrap();
    let sender = b.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    let ssrc = sender.ssrc();
    exchange(&a.pc, &b.pc, wanted, same).await.unwrap();
    assert_eq!((rids(&sender), sender.ssrc()), (expected.to_vec(), ssrc));
}

/// R15: payload types an answer restricts a layer to are kept to.
#[tokio::test(start_paused = true)]
async fn payload_types_of_a_layer_are_kept_to() {
    let (_lab, a, b) = two_peers(49, ms(5));
    let sender = sending(&a.pc, layers(&["q", "f"])).sender();
    let restrict = |sdp: &str| sdp.replace("a=rid:f recv", "a=rid:f recv pt=96;max-br=500000");
    exchange(&a.pc, &b.pc, same, restrict).await.unwrap();
    let told = sender.layers();
    assert_eq!((told[0].payload_types.len(), &told[1].payload_types[..]), (0, &[96][..]));
    assert_eq!(told[1].restrictions["max-br"], "500000");
    let packet = |payload_type| RtpPacket { payload_type, ..video_packet(&sender, Some("f"), 1, "") };
    sender.send_rtp(packet(96)).unwrap();
    assert_eq!(sender.send_rtp(packet(98)).unwrap_err().kind, RtcErrorKind::InvalidAccessError);
}

/// R08, R13, R18, R19: encodings are there before anything is negotiated and stay what was said; parameters are good
/// until they are set or an encoding goes away.
#[tokio::test(start_paused = true)]
async fn parameters_are_got_and_set() {
    use RtcErrorKind::{InvalidModificationError, InvalidStateError, OperationError};
    let (_lab, a, b) = two_peers(51, ms(5));
    let encodings = vec![
        Encoding::new("q")
            .with_scale_resolution_down_by(4.0)
            .with_max_bitrate(100_000)
            .with_max_framerate(15.0),
        Encoding::new("f").with_codec(Codec::video(0, "vp9").with_param("profile-id", "0")),
    ];
    let transceiver = sending(&a.pc, encodings.clone());
    let sender = transceiver.sender();
    let first = sender.get_parameters();
    assert_eq!(first.encodings[0], encodings[0]);
    assert_eq!((first.codecs.len(), first.header_extensions.len()), (0, 0));
    assert_eq!(transceiver.receiver().get_parameters().codecs, []);
    assert_eq!(sender.get_parameters(), first, "the same until something changes");
    let unknown = Encoding::new("q").with_codec(Codec::video(0, "H263"));
    let init = RtpTransceiverInit::default().with_send_encodings([unknown]);
    let refused = a.pc.add_transceiver(TrackKind::Video, init).unwrap_err();
    assert_eq!((refused.kind, a.pc.transceivers().len()), (OperationError, 1));

    a.pc.set_local_description(None).await.unwrap();
    assert_eq!(sender.get_parameters().encodings, first.encodings);
    // R13: the negotiation changes nothing that the transaction is about.
    sender.set_parameters(first.clone()).unwrap();
    assert_eq!(sender.set_parameters(first.clone()).unwrap_err().kind, InvalidStateError);
    let mut changed = sender.get_parameters();
    assert_ne!(changed.transaction_id, first.transaction_id);
    changed.rtcp.cname = "other".to_owned();
    assert_eq!(sender.set_parameters(changed).unwrap_err().kind, InvalidModificationError);
    let mut changed = sender.get_parameters();
    changed.encodings[0].max_bitrate = Some(200_000);
    sender.set_parameters(changed).unwrap();
    assert_eq!(sender.get_parameters().encodings[0].max_bitrate, Some(200_000));

    // The answer takes VP9 and a layer away: the codec is reset, the transaction void.
    let got = sender.get_parameters();
    b.pc.set_remote_description(a.pc.local_description().unwrap()).await.unwrap();
    b.pc.transceivers()[0]
        .set_codec_preferences(vec![Codec::video(0, "VP8"), Codec::video(0, "rtx")])
        .unwrap();
    b.pc.set_local_description(None).await.unwrap();
    let answer = b.pc.local_description().unwrap().sdp.replace("a=simulcast:recv q;f", "a=simulcast:recv f");
    let answer = answer.replace("a=rid:q recv\r\n", "");
    a.pc.set_remote_description(SessionDescription::answer(answer)).await.unwrap();
    assert_eq!(sender.set_parameters(got).unwrap_err().kind, InvalidStateError);
    let now = sender.get_parameters();
    assert_eq!((now.encodings.len(), now.encodings[0].codec.is_none()), (1, true));
    assert_eq!(now.codecs.iter().map(|codec| codec.name.as_str()).collect::<Vec<_>>(), ["VP8", "rtx"]);
    assert!(now.rtcp.reduced_size && !now.rtcp.cname.is_empty());
    assert!(now.header_extensions.iter().any(|one| one.uri.ends_with("rtp-stream-id") && one.id > 0));
    let mut bad = now.clone();
    bad.encodings[0].codec = Some(Codec::video(0, "VP9"));
    assert_eq!(sender.set_parameters(bad).unwrap_err().kind, InvalidModificationError);
    let received = b.pc.receivers()[0].get_parameters();
    assert_eq!((received.codecs, received.header_extensions), (now.codecs, now.header_extensions));
    transceiver.stop().unwrap();
    let parameters = sender.get_parameters();
    assert_eq!(sender.set_parameters(parameters).unwrap_err().kind, InvalidStateError);
}

/// A peer of Chromium's kind: its offer of simulcast is answered whole, and packets that carry neither MID nor RID any
/// more keep theirs.
#[tokio::test(start_paused = true)]
async fn an_offer_of_chromiums_kind_is_received() {
    let (_lab, a, b) = two_peers(53, ms(5));
    let offer = include_str!("chromium_simulcast_offer.sdp").replace('\n', "\r\n");
    b.pc.set_remote_description(SessionDescription::offer(offer)).await.unwrap();
    b.pc.set_local_description(None).await.unwrap();
    let answer = b.pc.local_description().unwrap().sdp;
    assert_eq!(lines(&answer, "a=rid:"), ["a=rid:0 recv", "a=rid:1 recv", "a=rid:2 recv"]);
    assert_eq!(lines(&answer, "a=simulcast:"), ["a=simulcast:recv 0;1;2"]);
    let rtx = lines(&answer, "a=rtpmap:").into_iter().filter(|line| line.ends_with(" rtx/90000")).count();
    assert!(rtx > 0);
    for uri in ["sdes:mid", "sdes:rtp-stream-id", "sdes:repaired-rtp-stream-id"] {
        assert!(lines(&answer, "a=extmap:").iter().any(|line| line.ends_with(uri)), "{uri}");
    }
    let _ = &a;
}

/// Rolling a local offer back leaves the layers as they were.
#[tokio::test(start_paused = true)]
async fn a_rollback_keeps_the_layers() {
    let (_lab, a, _b): (_, Peer, Peer) = two_peers(55, ms(5));
    let sender = sending(&a.pc, layers(&["q", "f"])).sender();
    let before = sender.layers();
    a.pc.set_local_description(None).await.unwrap();
    a.pc.set_local_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(sender.layers(), before);
}
