//! One object for each SSRC that is sent or received: the layers of simulcast, and their retransmissions, which are no
//! streams of their own (webrtc-stats, the hierarchy of RTP streams).

use std::collections::{BTreeMap, BTreeSet};

use peerstack_peer_connection::{
    InboundRtpStats, MediaStreamTrack, OutboundRtpStats, PeerConnection, RtpEncodingParameters, RtpPacket,
    RtpSender, RtpTransceiverDirection, RtpTransceiverInit, StatsReport, TrackKind,
};

use crate::harness::{ms, negotiate, pass, two_peers};
use crate::stats::check_ids;

const RIDS: [&str; 3] = ["q", "h", "f"];
/// Packets for each picture of a layer, and bytes in each.
const SHAPES: [(u16, usize); 3] = [(1, 100), (2, 200), (4, 300)];
const PICTURES: u16 = 90;

fn simulcast(pc: &PeerConnection) -> RtpSender {
    let encodings = RIDS.map(RtpEncodingParameters::new).to_vec();
    let init = RtpTransceiverInit::new(RtpTransceiverDirection::Sendonly).with_send_encodings(encodings);
    pc.add_transceiver_with_track(MediaStreamTrack::new(TrackKind::Video), init).unwrap().sender()
}

fn packet(sender: &RtpSender, layer: usize, picture: u16, part: u16) -> RtpPacket {
    let (parts, size) = SHAPES[layer];
    RtpPacket {
        // Each layer with a codec of its own.
        payload_type: sender
            .codecs()
            .iter()
            .filter(|codec| codec.is_media())
            .nth(layer)
            .unwrap()
            .payload_type,
        rid: Some(RIDS[layer].into()),
        sequence_number: picture * parts + part,
        timestamp: u32::from(picture) * 3_000,
        payload: vec![7; size].into(),
        ..RtpPacket::default()
    }
}

/// The streams sent and received of three layers, by RID.
fn layers(
    sent: &StatsReport,
    received: &StatsReport,
) -> BTreeMap<String, (OutboundRtpStats, InboundRtpStats)> {
    let pair = |rid: &str| {
        let ours = sent.outbound_rtp.iter().find(|one| one.rid.as_deref() == Some(rid)).unwrap();
        let theirs = received.inbound_rtp.iter().find(|one| one.rid.as_deref() == Some(rid)).unwrap();
        assert_eq!(ours.ssrc, theirs.ssrc);
        (ours.clone(), theirs.clone())
    };
    assert_eq!((sent.outbound_rtp.len(), received.inbound_rtp.len()), (3, 3));
    RIDS.iter().map(|rid| ((*rid).to_owned(), pair(rid))).collect()
}

/// Q03: three layers each way. Each has objects of its own on both sides, with what that layer sent and its codec,
/// reports of the peer included; what is sent again counts with the layer it repeats. The objects keep their ids over
/// a negotiation.
#[tokio::test(start_paused = true)]
async fn each_layer_has_its_objects() {
    let (_lab, a, mut b) = two_peers(81, ms(5));
    let mut a = a;
    let ours = simulcast(&a.pc);
    negotiate(&a, &b).await;
    let theirs = simulcast(&b.pc);
    negotiate(&b, &a).await;
    let tracks = [b.tracks.recv().await.unwrap(), a.tracks.recv().await.unwrap()];
    pass(ms(2_000)).await;
    for picture in 0..PICTURES {
        for (layer, (parts, _)) in SHAPES.into_iter().enumerate() {
            for part in 0..parts {
                ours.send_rtp(packet(&ours, layer, picture, part)).unwrap();
                theirs.send_rtp(packet(&theirs, layer, picture, part)).unwrap();
            }
        }
        if picture % 10 == 9 {
            ours.resend_rtp(packet(&ours, 1, picture, 0)).unwrap();
        }
        pass(ms(33)).await;
        for track in &tracks {
            while track.try_recv().is_some() {}
        }
    }
    pass(ms(100)).await;

    let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    check_ids(&at_a);
    check_ids(&at_b);
    for (sent, received, again) in [(&at_a, &at_b, 9), (&at_b, &at_a, 0)] {
        for (index, (rid, (sent_stream, received_stream))) in
            layers(sent, received).into_iter().map(|one| (RIDS.iter().position(|rid| **rid == one.0), one))
        {
            let index = index.unwrap();
            let (parts, size) = SHAPES[index];
            // RFC 4588 section 4: two bytes more.
            let again = if rid == "h" { again } else { 0 };
            let packets = u64::from(PICTURES * parts) + again;
            let bytes = u64::from(PICTURES * parts) * size as u64 + again * (size as u64 + 2);
            assert_eq!((sent_stream.packets_sent, sent_stream.bytes_sent), (packets, bytes), "{rid}");
            assert_eq!((received_stream.packets_received, received_stream.bytes_received), (packets, bytes));
            assert_eq!(sent_stream.header_bytes_sent, received_stream.header_bytes_received);
            assert_eq!(
                (sent_stream.retransmitted_packets_sent, sent_stream.retransmitted_bytes_sent),
                (again, again * (size as u64 + 2))
            );
            assert_eq!(received_stream.retransmitted_packets_received, Some(again));
            assert_eq!(received_stream.rtx_ssrc, sent_stream.rtx_ssrc.filter(|_| again > 0));
            assert_eq!(sent_stream.encoding_index, index);
            assert_eq!(sent_stream.frames_sent, Some(u64::from(PICTURES)));
            assert_eq!(received_stream.frames_received, Some(u64::from(PICTURES)));
            assert_eq!(received_stream.frames_decoded, Some(u64::from(PICTURES)));
            assert_eq!(received_stream.packets_lost, 0);

            let reported = sent.remote_inbound_rtp.iter().find(|one| one.ssrc == sent_stream.ssrc).unwrap();
            assert_eq!(sent_stream.remote_id.as_ref(), Some(&reported.id));
            assert_eq!((&reported.local_id, reported.packets_lost), (&sent_stream.id, 0));
            assert!(reported.round_trip_time.is_some() && reported.packets_received > 30, "{reported:?}");
            let told = received.remote_outbound_rtp.iter().find(|one| one.ssrc == sent_stream.ssrc).unwrap();
            assert_eq!(
                (received_stream.remote_id.as_ref(), &told.local_id),
                (Some(&told.id), &received_stream.id)
            );
            assert!(told.packets_sent > 30 && told.packets_sent < packets, "{told:?}");
        }
        assert_eq!((sent.remote_inbound_rtp.len(), received.remote_outbound_rtp.len()), (3, 3));
        let codecs: BTreeSet<_> = sent.outbound_rtp.iter().map(|stream| &stream.codec_id).collect();
        assert_eq!(codecs.len(), 3, "{codecs:?}");
        assert_eq!(received.inbound_rtp.iter().map(|one| &one.codec_id).collect::<BTreeSet<_>>().len(), 3);
    }

    let ids = |report: &StatsReport| -> BTreeSet<String> {
        let (sent, received) = (&report.outbound_rtp, &report.inbound_rtp);
        sent.iter().map(|one| one.id.clone()).chain(received.iter().map(|one| one.id.clone())).collect()
    };
    a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    negotiate(&a, &b).await;
    let after = a.pc.stats().await.unwrap();
    assert_eq!(after.outbound_rtp.len(), 4);
    assert!(ids(&after).is_superset(&ids(&at_a)));
    let sent = after.outbound_rtp.iter().find(|one| one.rid.as_deref() == Some("h")).unwrap();
    assert_eq!(sent.packets_sent, u64::from(PICTURES) * 2 + 9);
}

/// Without RTX what is sent again goes under the SSRC of the stream and is counted there; what comes again cannot be
/// told from what comes first, so nothing is said of it.
#[tokio::test(start_paused = true)]
async fn what_is_sent_again_without_rtx_is_counted() {
    let (_lab, a, mut b) = two_peers(83, ms(5));
    let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    negotiate(&a, &b).await;
    let track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    let mut packet = RtpPacket {
        payload_type: sender.codecs()[0].payload_type,
        payload: vec![7; 100].into(),
        ..RtpPacket::default()
    };
    for number in 0..3 {
        packet.sequence_number = number;
        packet.timestamp = u32::from(number) * 960;
        sender.send_rtp(packet.clone()).unwrap();
    }
    sender.resend_rtp(packet).unwrap();
    pass(ms(100)).await;
    assert_eq!(std::iter::from_fn(|| track.try_recv()).count(), 3);
    let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    let (sent, received) = (&at_a.outbound_rtp[0], &at_b.inbound_rtp[0]);
    assert_eq!(
        (sent.packets_sent, sent.retransmitted_packets_sent, sent.retransmitted_bytes_sent),
        (4, 1, 100)
    );
    assert_eq!((sent.rtx_ssrc, received.rtx_ssrc), (None, None));
    assert_eq!((received.packets_received, received.retransmitted_packets_received), (3, None));
}
