//! Media that comes before the answer it belongs to.

use peerstack_peer_connection::{
    MediaStreamTrack, PeerConnectionEvent, RtpReceiver, RtpSender, RtpTransceiverDirection,
    RtpTransceiverInit, SessionDescription, TrackKind,
};

use crate::harness::{ms, negotiate, pass, send_media, two_peers};

async fn received(sender: &RtpSender, receiver: &RtpReceiver, first: u16) -> usize {
    send_media(sender, first, 20).await;
    pass(ms(200)).await;
    std::iter::from_fn(|| receiver.track().try_recv()).count()
}

/// O28: from our offer on a section is receptive: what the answerer sends before its answer is here comes on the
/// receiver's track, and is told as nothing else; a rollback ends it, and what was agreed before goes on all along.
#[tokio::test(start_paused = true)]
async fn media_may_overtake_the_answer() {
    let (_lab, a, b) = two_peers(101, ms(5));
    let audio = b.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    negotiate(&b, &a).await;
    pass(ms(3_000)).await;
    let heard = a.pc.receivers().remove(0);
    assert_eq!(received(&audio, &heard, 0).await, 20);

    let mut events = a.pc.events();
    let init = RtpTransceiverInit::new(RtpTransceiverDirection::Recvonly);
    let seen = a.pc.add_transceiver(TrackKind::Video, init).unwrap();
    a.pc.set_local_description(None).await.unwrap();
    a.pc.set_local_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(received(&audio, &heard, 20).await, 20);
    a.pc.set_local_description(None).await.unwrap();
    assert_eq!(received(&audio, &heard, 40).await, 20);
    b.pc.set_remote_description(a.pc.local_description().unwrap()).await.unwrap();
    let theirs = b.pc.transceivers().into_iter().find(|one| one.kind() == TrackKind::Video).unwrap();
    theirs.set_direction(RtpTransceiverDirection::Sendonly).unwrap();
    theirs.sender().replace_track(Some(MediaStreamTrack::new(TrackKind::Video))).unwrap();
    b.pc.set_local_description(None).await.unwrap();
    assert_eq!(received(&theirs.sender(), &seen.receiver(), 0).await, 20);
    a.pc.set_remote_description(b.pc.local_description().unwrap()).await.unwrap();
    assert_eq!(received(&theirs.sender(), &seen.receiver(), 20).await, 20);
    assert_eq!(received(&audio, &heard, 60).await, 20);
    let told: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    let strange = |event: &PeerConnectionEvent| matches!(event, PeerConnectionEvent::UnsignaledTrack(_));
    assert!(!told.iter().any(strange));
}
