//! Header extensions: which are offered, what is left of them, and what packets carry (webrtc-extensions, "RTP header
//! extension control"; RFC 8285).

use std::sync::Arc;

use bytes::Bytes;
use peerstack_peer_connection::{
    Configuration, MediaEngine, MediaStreamTrack, PeerConnection, RtcErrorKind, RtpHeaderExtension,
    RtpPacket, RtpTransceiver, RtpTransceiverDirection as D, RtpTransceiverInit, Settings, TrackKind,
};

use crate::harness::{dependencies, joined, ms, negotiate, pass, two_hosts, two_peers};

const LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
const OWN: &str = "urn:example:own";

fn set(transceiver: &RtpTransceiver, changes: &[(&str, D)]) {
    let mut list = transceiver.get_header_extensions_to_negotiate();
    for (uri, direction) in changes {
        list.iter_mut().find(|one| one.uri == *uri).unwrap().direction = *direction;
    }
    transceiver.set_header_extensions_to_negotiate(list).unwrap();
}

fn negotiated(transceiver: &RtpTransceiver, uri: &str) -> D {
    transceiver.get_negotiated_header_extensions().into_iter().find(|one| one.uri == uri).unwrap().direction
}

fn extmaps(pc: &PeerConnection) -> Vec<String> {
    let sdp = pc.local_description().unwrap().sdp;
    sdp.lines().filter_map(|line| line.strip_prefix("a=extmap:")).map(str::to_owned).collect()
}

fn packet(uris: &[&str], payload_type: u8, len: usize) -> RtpPacket {
    let extension =
        |uri: &&str| RtpHeaderExtension { uri: Arc::from(*uri), value: Bytes::from(vec![0x33; len]) };
    RtpPacket {
        payload_type,
        header_extensions: uris.iter().map(extension).collect(),
        ..RtpPacket::default()
    }
}

/// R14: what is stopped is not offered, the answer is what both have, ids stay, and each packet carries what goes its way.
#[tokio::test(start_paused = true)]
async fn extensions_are_negotiated() {
    let (_lab, a, mut b) = two_peers(301, ms(5));
    let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let ours = a.pc.transceivers().remove(0);
    assert!(ours.get_negotiated_header_extensions().iter().all(|one| one.direction == D::Stopped));
    negotiate(&a, &b).await;
    assert_eq!(
        extmaps(&a.pc),
        [format!("1 {LEVEL}"), format!("2 {SEND_TIME}"), "4 urn:ietf:params:rtp-hdrext:sdes:mid".into()]
    );
    let theirs = b.pc.transceivers().remove(0);
    // The peer adds a track, so that both send.
    let back = b.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    negotiate(&b, &a).await;
    assert_eq!((negotiated(&ours, LEVEL), negotiated(&theirs, SEND_TIME)), (D::Sendrecv, D::Sendrecv));
    let (track, own_track) = (b.tracks.recv().await.unwrap(), ours.receiver().track());
    pass(ms(2_000)).await;
    let carried = |packet: RtpPacket| -> Vec<String> {
        let uris = packet.header_extensions.iter().map(|one| one.uri.to_string());
        uris.filter(|uri| !uri.ends_with("sdes:mid")).collect()
    };
    let payload_type = sender.codecs()[0].payload_type;
    sender.send_rtp(packet(&[LEVEL, SEND_TIME, OWN], payload_type, 1)).unwrap();
    assert_eq!(carried(track.recv().await.unwrap()), [LEVEL, SEND_TIME]);

    // One is stopped on this side, one goes one way.
    set(&ours, &[(LEVEL, D::Stopped), (SEND_TIME, D::Sendonly)]);
    assert_eq!(negotiated(&ours, LEVEL), D::Sendrecv, "until the next negotiation");
    negotiate(&a, &b).await;
    assert_eq!(
        extmaps(&a.pc),
        [format!("2/sendonly {SEND_TIME}"), "4 urn:ietf:params:rtp-hdrext:sdes:mid".into()]
    );
    assert_eq!(extmaps(&b.pc)[0], format!("2/recvonly {SEND_TIME}"));
    assert_eq!((negotiated(&ours, LEVEL), negotiated(&ours, SEND_TIME)), (D::Stopped, D::Sendonly));
    assert_eq!((negotiated(&theirs, LEVEL), negotiated(&theirs, SEND_TIME)), (D::Stopped, D::Recvonly));
    assert!(sender.get_parameters().header_extensions.iter().any(|one| one.uri == SEND_TIME && one.id == 2));
    assert!(ours.receiver().get_parameters().header_extensions.iter().all(|one| one.uri != SEND_TIME));
    sender
        .send_rtp(RtpPacket { sequence_number: 1, ..packet(&[LEVEL, SEND_TIME], payload_type, 1) })
        .unwrap();
    assert_eq!(carried(track.recv().await.unwrap()), [SEND_TIME]);
    back.send_rtp(packet(&[LEVEL, SEND_TIME], payload_type, 1)).unwrap();
    assert_eq!(carried(own_track.recv().await.unwrap()), [""; 0]);

    // It comes back under its number.
    set(&ours, &[(LEVEL, D::Sendrecv), (SEND_TIME, D::Sendrecv)]);
    negotiate(&a, &b).await;
    assert_eq!(extmaps(&a.pc)[..2], [format!("1 {LEVEL}"), format!("2 {SEND_TIME}")]);
    // A list that is not the one got is refused, as is what is over.
    let mut list = ours.get_header_extensions_to_negotiate();
    list.pop();
    let refused = ours.set_header_extensions_to_negotiate(list.clone()).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidModificationError);
    ours.stop().unwrap();
    let refused = ours.set_header_extensions_to_negotiate(list).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidStateError);
}

/// One's own, more than the one-byte form has ids for, values longer than it takes: with extmap-allow-mixed they go in
/// the two-byte form (RFC 8285 section 4.3), in the same stream as packets that need none of it.
#[tokio::test(start_paused = true)]
async fn long_values_and_high_ids_take_the_two_byte_form() {
    let (lab, a, b) = two_hosts(303, ms(5));
    let mut media = MediaEngine::default();
    let uris: Vec<String> = (0..16).map(|number| format!("{OWN}:{number}")).collect();
    for uri in &uris {
        media.register_header_extension(TrackKind::Audio, uri, D::Sendrecv).unwrap();
    }
    let mut settings = Settings::default();
    settings.media = media;
    let make = |host, seed| {
        let configuration = Configuration::new().with_settings(settings.clone());
        PeerConnection::with_dependencies(configuration, dependencies(&lab, host, seed)).unwrap()
    };
    let (pc_a, pc_b) = (make(&a, 303), make(&b, 304));
    let (a, mut b) = joined((pc_a, a), (pc_b, b));
    let init = RtpTransceiverInit::new(D::Sendonly);
    let sender = a.pc.add_transceiver(TrackKind::Audio, init).unwrap().sender();
    negotiate(&a, &b).await;
    let ids: Vec<u16> = sender.get_parameters().header_extensions.iter().map(|one| one.id).collect();
    assert!(ids.iter().any(|id| *id > 15) && !ids.contains(&15), "{ids:?}");
    assert!(a.pc.local_description().unwrap().sdp.contains("a=extmap-allow-mixed"));
    let track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    let payload_type = sender.codecs()[0].payload_type;
    let all: Vec<&str> = uris.iter().map(String::as_str).collect();
    for (number, (uris, len)) in [(&all[..], 40), (&all[..1], 3), (&all[15..], 200)].into_iter().enumerate() {
        let sent = RtpPacket { sequence_number: number as u16, ..packet(uris, payload_type, len) };
        sender.send_rtp(sent.clone()).unwrap();
        let mut received = track.recv().await.unwrap().header_extensions;
        received.retain(|one| one.uri.starts_with(OWN));
        assert_eq!(received, sent.header_extensions);
    }
}
