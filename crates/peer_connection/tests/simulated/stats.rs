//! `stats()` of both sides agree with each other and with what was sent.

use std::collections::BTreeSet;

use peerstack_peer_connection::{
    DataChannelEvent, DataChannelInit, DataChannelMessage, DataChannelState, MediaStreamTrack, StatsReport,
    TrackKind,
};

use crate::harness::{ms, negotiate, pass, send_media, two_peers};

/// Q03: no id twice, and what is referenced is there.
pub(crate) fn check_ids(report: &StatsReport) {
    let ids: Vec<&str> = report.iter().map(|stats| stats.id()).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    for stats in report.iter() {
        for reference in stats.references() {
            assert!(unique.contains(reference), "{reference} of {stats:?} is not among {unique:?}");
        }
        assert_eq!(report.get(stats.id()), Some(stats));
    }
}

/// Q02, Q03, Q04: what both sides measured is consistent; streams appear once negotiated, and with their first packet.
#[tokio::test(start_paused = true)]
async fn both_sides_agree() {
    let (_lab, a, mut b) = two_peers(11, ms(10));
    let channel = a.pc.create_data_channel("chat", DataChannelInit::default()).unwrap();
    let audio = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let video = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    let empty = a.pc.stats().await.unwrap();
    assert!(empty.transports.is_empty() && empty.outbound_rtp.is_empty());
    negotiate(&a, &b).await;
    let remote = b.channels.recv().await.unwrap();
    let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    assert_eq!((at_a.outbound_rtp.len(), at_b.outbound_rtp.len(), at_b.inbound_rtp.len()), (2, 0, 0));
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
    channel.send(DataChannelMessage::from(vec![1; 5_000])).unwrap();
    channel.send("text").unwrap();
    remote.send("back").unwrap();
    send_media(&audio, 0, 400).await;
    send_media(&video, 0, 700).await;
    pass(ms(1_000)).await;

    let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
    check_ids(&at_a);
    check_ids(&at_b);
    let (ours, theirs) = (&at_a.transports[0], &at_b.transports[0]);
    assert_eq!((ours.bytes_sent, ours.packets_sent), (theirs.bytes_received, theirs.packets_received));
    assert_eq!((ours.bytes_received, ours.packets_received), (theirs.bytes_sent, theirs.packets_sent));
    assert!(ours.bytes_sent > 110_000 && ours.packets_sent > 1_100);
    assert_eq!((ours.dtls_state.as_str(), ours.ice_role.as_str()), ("connected", "controlling"));
    assert_eq!((theirs.ice_role.as_str(), ours.tls_version.as_deref()), ("controlled", Some("FEFC")));
    assert!(["connected", "completed"].contains(&ours.ice_state.as_str()), "{}", ours.ice_state);
    assert_ne!(ours.dtls_role, theirs.dtls_role);
    assert!(ours.srtp_cipher.is_some() && ours.srtp_cipher == theirs.srtp_cipher);
    assert!(ours.dtls_cipher.is_some() && ours.selected_candidate_pair_changes >= 1);
    assert_eq!(ours.remote_certificate_id, theirs.local_certificate_id);
    assert_eq!(
        (at_a.certificates.len(), at_a.certificates[0].fingerprint_algorithm.as_str()),
        (2, "sha-256")
    );

    let pair = |report: &StatsReport| {
        let id = report.transports[0].selected_candidate_pair_id.clone().unwrap();
        report.candidate_pairs.iter().find(|pair| pair.id == id).unwrap().clone()
    };
    let (ours, theirs) = (pair(&at_a), pair(&at_b));
    assert_eq!((ours.state.as_str(), ours.nominated), ("succeeded", true));
    assert_eq!((ours.bytes_sent, ours.packets_sent), (theirs.bytes_received, theirs.packets_received));
    assert!(ours.responses_received > 0 && ours.requests_received > 0 && ours.responses_sent > 0);
    let round_trip = ours.current_round_trip_time.unwrap();
    assert!((0.039..0.045).contains(&round_trip), "{round_trip}");
    assert!(ours.total_round_trip_time >= round_trip);

    let (ours, theirs) = (&at_a.data_channels[0], &at_b.data_channels[0]);
    assert_eq!((ours.messages_sent, ours.bytes_sent), (2, 5_004));
    assert_eq!((theirs.messages_received, theirs.bytes_received), (2, 5_004));
    assert_eq!((ours.messages_received, ours.bytes_received), (1, 4));
    assert_eq!((ours.label.as_str(), ours.state), ("chat", DataChannelState::Open));
    assert_eq!(ours.data_channel_identifier, theirs.data_channel_identifier);

    for (sender, kind, packets) in [(&audio, "audio", 400), (&video, "video", 700)] {
        let sent = at_a.outbound_rtp.iter().find(|stats| stats.ssrc == sender.ssrc()).unwrap();
        let received = at_b.inbound_rtp.iter().find(|stats| stats.ssrc == sender.ssrc()).unwrap();
        assert_eq!((sent.packets_sent, sent.bytes_sent, sent.kind.as_str()), (packets, packets * 100, kind));
        assert_eq!((received.packets_received, received.bytes_received), (packets, packets * 100));
        assert_eq!((&received.mid, received.kind.as_str()), (&sent.mid, kind));
        let codec = |report: &StatsReport, id: &Option<String>| {
            report.codecs.iter().find(|codec| Some(&codec.id) == id.as_ref()).unwrap().mime_type.clone()
        };
        let mime_type = format!("{kind}/{}", sender.codecs()[0].name);
        assert_eq!(codec(&at_a, &sent.codec_id), mime_type);
        assert_eq!(codec(&at_b, &received.codec_id), mime_type);
    }
    assert_eq!(
        [&at_a, &at_b].map(|report| report.peer_connection.as_ref().map(|one| one.data_channels_opened)),
        [Some(1), Some(1)]
    );

    channel.close();
    while channel.next_event().await.is_some() {}
    let after = a.pc.stats().await.unwrap();
    assert_eq!((after.data_channels.len(), after.peer_connection.unwrap().data_channels_closed), (0, 1));
}
