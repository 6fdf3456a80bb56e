//! Reports and feedback between two connections.

use bytes::Bytes;
use peerstack_netsim::{LossModel, TraceEntry, TraceKind};
use peerstack_peer_connection::{
    MediaStreamTrack, RtcpFeedback, RtpTransceiverDirection, RtpTransceiverInit, TrackKind,
};

use crate::harness::{ms, negotiate, negotiate_without, pass, send_media, two_peers};

/// Q03, Q06: reports cross; loss and round-trip time are known to the sender, what was sent to the receiver, within
/// the intervals of RFC 3550 and libwebrtc.
#[tokio::test(start_paused = true)]
async fn reports_cross() {
    let (_lab, a, mut b) = two_peers(1, ms(25));
    let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate(&a, &b).await;
    let _track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    send_media(&sender, 65_000, 1_000).await;
    // The last report is at most one and a half of an interval old.
    pass(ms(1_600)).await;

    let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    let (sent, received) = (&at_a.outbound_rtp[0], &at_b.inbound_rtp[0]);
    assert_eq!((sent.packets_sent, sent.bytes_sent, sent.ssrc), (1_000, 100_000, sender.ssrc()));
    assert_eq!((received.packets_received, received.bytes_received), (1_000, 100_000));
    // Both count the same headers: 12 bytes, and MID's extension.
    assert_eq!(sent.header_bytes_sent, received.header_bytes_received);
    assert!(sent.header_bytes_sent > 12_000);
    assert_eq!((received.packets_lost, received.ssrc), (0, sender.ssrc()));
    assert!(received.jitter < 0.002, "{}", received.jitter);

    let told = &at_a.remote_inbound_rtp[0];
    assert_eq!((told.local_id.as_str(), told.packets_lost), (sent.id.as_str(), 0));
    assert_eq!(sent.remote_id.as_ref(), Some(&told.id));
    // 50 ms each way; the clock has a grain of 1 ms.
    let round_trip = told.round_trip_time.unwrap();
    assert!((0.099..0.106).contains(&round_trip), "{round_trip}");
    assert!((7..=24).contains(&told.round_trip_time_measurements), "{}", told.round_trip_time_measurements);

    let told = &at_b.remote_outbound_rtp[0];
    assert_eq!((told.local_id.as_str(), told.packets_sent), (received.id.as_str(), 1_000));
    assert_eq!((told.bytes_sent, received.remote_id.as_ref()), (100_000, Some(&told.id)));
    assert!((7..=24).contains(&told.reports_sent), "{}", told.reports_sent);
    let age = told.timestamp - told.remote_timestamp.unwrap();
    assert!((49.0..53.0).contains(&age), "sent {age} ms before it came");
}

/// Loss on the way is what the receiver counts and the sender is told.
#[tokio::test(start_paused = true)]
async fn loss_is_told() {
    let (_lab, a, mut b) = two_peers(2, ms(5));
    let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    negotiate(&a, &b).await;
    let _track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    let link = a.host.interfaces()[0].link();
    link.set_loss(LossModel::Uniform(0.1));
    send_media(&sender, 0, 2_000).await;
    link.set_loss(LossModel::None);
    send_media(&sender, 2_000, 1).await;
    // Two intervals of audio: the last report tells of all.
    pass(ms(15_100)).await;
    let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    let received = &at_b.inbound_rtp[0];
    assert_eq!(received.packets_received + received.packets_lost as u64, 2_001);
    assert!((120..=280).contains(&received.packets_lost), "{}", received.packets_lost);
    assert_eq!(at_a.remote_inbound_rtp[0].packets_lost, received.packets_lost);
}

/// Feedback reaches the application's sender, whichever of the sections it is about.
#[tokio::test(start_paused = true)]
async fn feedback_reaches_the_sender() {
    let (_lab, a, b) = two_peers(3, ms(5));
    let one = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    let two = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate(&a, &b).await;
    pass(ms(2_000)).await;
    let receivers: Vec<_> = b.pc.transceivers().iter().map(|one| one.receiver()).collect();
    // Of what never came nothing is asked.
    receivers[1].send_pli(two.ssrc());
    send_media(&one, 1, 1).await;
    send_media(&two, 1, 1).await;
    let track = receivers[1].track();
    assert_eq!(track.recv().await.unwrap().ssrc, two.ssrc());

    receivers[1].send_pli(two.ssrc());
    receivers[1].send_fir(two.ssrc());
    receivers[1].send_nack(two.ssrc(), vec![65_535, 0, 40]);
    let ssrc = two.ssrc();
    let expected = [
        RtcpFeedback::Pli { ssrc },
        RtcpFeedback::Fir { ssrc },
        RtcpFeedback::Nack { ssrc, sequence_numbers: vec![65_535, 0, 40] },
    ];
    for feedback in expected {
        assert_eq!(two.next_feedback().await, Some(feedback));
    }
    let report = a.pc.stats().await.unwrap();
    let stats = report.outbound_rtp.iter().find(|stats| stats.ssrc == ssrc).unwrap();
    assert_eq!((stats.pli_count, stats.fir_count, stats.nack_count), (Some(1), Some(1), 1));
    let report = b.pc.stats().await.unwrap();
    let stats = report.inbound_rtp.iter().find(|stats| stats.ssrc == ssrc).unwrap();
    assert_eq!((stats.pli_count, stats.fir_count, stats.nack_count), (Some(1), Some(1), 1));
}

/// What is not read here comes out whole at the other end; congestion feedback goes to a sender.
#[tokio::test(start_paused = true)]
async fn unknown_rtcp_is_available_raw() {
    let (_lab, a, b) = two_peers(4, ms(5));
    let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate(&a, &b).await;
    pass(ms(2_000)).await;
    let mid = b.pc.transceivers()[0].mid().unwrap();
    let xr = Bytes::from_static(&[0x80, 207, 0, 2, 0, 0, 0, 1, 4, 0, 0, 0]);
    b.pc.send_rtcp(&mid, xr.clone()).unwrap();
    let raw = a.pc.next_rtcp().await.unwrap();
    assert_eq!((raw.mid, raw.packet), (mid.clone(), xr));
    let transport_cc =
        Bytes::from_static(&[0x8F, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 2, 0, 0, 3, 0, 0x20, 1, 0, 0]);
    b.pc.send_rtcp(&mid, transport_cc.clone()).unwrap();
    let expected = RtcpFeedback::TransportFeedback { packet: transport_cc };
    assert_eq!(sender.next_feedback().await, Some(expected));
    // Any bytes behind a right beginning: dropped, and nothing breaks.
    for len in 4..64u8 {
        let mut bytes = vec![len.wrapping_mul(37); usize::from(len)];
        bytes[..4].copy_from_slice(&[0x80 | len & 31, 200 + len % 8, 0, len / 4]);
        b.pc.send_rtcp(&mid, bytes.into()).unwrap();
    }
    pass(ms(100)).await;
    assert!(a.pc.stats().await.is_ok());
    a.pc.close();
    a.pc.closed().await;
    while a.pc.next_rtcp().await.is_some() {}
}

/// RFC 3550 section 6.6: a sender that stops says goodbye, and its reports end; once negotiated again it goes on.
#[tokio::test(start_paused = true)]
async fn a_stopped_sender_is_reported_no_more() {
    let (lab, a, mut b) = two_peers(5, ms(5));
    let init = RtpTransceiverInit::new(RtpTransceiverDirection::Sendonly);
    let transceiver = a.pc.add_transceiver(TrackKind::Video, init).unwrap();
    negotiate(&a, &b).await;
    let _track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    send_media(&transceiver.sender(), 0, 100).await;
    transceiver.set_direction(RtpTransceiverDirection::Inactive).unwrap();
    negotiate(&a, &b).await;
    assert!(transceiver.sender().send_rtp(Default::default()).is_err());
    // The peer reports what it hears for 8 s more.
    pass(ms(12_000)).await;
    let reports = b.pc.stats().await.unwrap().remote_outbound_rtp[0].reports_sent;
    let sent = a.pc.stats().await.unwrap().outbound_rtp[0].packets_sent;
    let rtcp = || {
        let kinds = |entry: &TraceEntry| matches!(entry.kind, TraceKind::Rtcp(_));
        lab.trace().only(kinds).entries().len()
    };
    let before = rtcp();
    assert!(before > 0);
    pass(ms(10_000)).await;
    assert_eq!((rtcp(), sent), (before, 100), "nobody has anything to report");

    transceiver.set_direction(RtpTransceiverDirection::Sendonly).unwrap();
    negotiate(&a, &b).await;
    send_media(&transceiver.sender(), 100, 100).await;
    pass(ms(1_600)).await;
    let at_a = a.pc.stats().await.unwrap();
    assert_eq!(at_a.outbound_rtp[0].packets_sent, 200);
    assert!(b.pc.stats().await.unwrap().remote_outbound_rtp[0].reports_sent > reports);

    // webrtc-pc section 5.4: stopping does not wait for the negotiation.
    let before = rtcp();
    transceiver.stop().unwrap();
    assert!(transceiver.sender().send_rtp(Default::default()).is_err());
    pass(ms(1)).await;
    assert!(rtcp() > before, "a goodbye");
}

/// O29: feedback goes alone only if both sides said that they take it.
#[tokio::test(start_paused = true)]
async fn reduced_size_needs_both_sides() {
    for (seed, line, first) in [(6, "", 206), (7, "a=rtcp-rsize", 201)] {
        let (lab, a, mut b) = two_peers(seed, ms(5));
        let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
        negotiate_without(&a, &b, line).await;
        let track = b.tracks.recv().await.unwrap();
        pass(ms(2_000)).await;
        send_media(&sender, 0, 1).await;
        assert!(track.recv().await.is_some());
        b.pc.receivers()[0].send_pli(sender.ssrc());
        assert_eq!(sender.next_feedback().await, Some(RtcpFeedback::Pli { ssrc: sender.ssrc() }));
        let rtcp = lab.trace().sent().only(|entry| matches!(entry.kind, TraceKind::Rtcp(_)));
        assert_eq!(rtcp.entries()[0].kind, TraceKind::Rtcp(first));
    }
}

/// Q06: without BUNDLE each section has its transport, and each transport its reports and its goodbye.
#[tokio::test(start_paused = true)]
async fn each_transport_has_its_reports() {
    let (_lab, a, b) = two_peers(8, ms(5));
    let audio = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let video = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate_without(&a, &b, "a=group:BUNDLE").await;
    pass(ms(3_000)).await;
    send_media(&audio, 0, 300).await;
    send_media(&video, 0, 300).await;
    pass(ms(8_000)).await;
    let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    assert_eq!((at_a.transports.len(), at_b.transports.len()), (2, 2));
    for sender in [&audio, &video] {
        let sent = at_a.outbound_rtp.iter().find(|stats| stats.ssrc == sender.ssrc()).unwrap();
        let told = at_a.remote_inbound_rtp.iter().find(|stats| stats.ssrc == sender.ssrc()).unwrap();
        assert_eq!((told.packets_lost, &told.transport_id), (0, &sent.transport_id));
        assert!(told.round_trip_time.is_some());
        let received = at_b.inbound_rtp.iter().find(|stats| stats.ssrc == sender.ssrc()).unwrap();
        assert_eq!((received.packets_received, received.packets_lost), (300, 0));
    }
    assert_ne!(at_a.outbound_rtp[0].transport_id, at_a.outbound_rtp[1].transport_id);
}
