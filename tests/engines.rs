//! The second engines, webrtc-dtls and webrtc-srtp, on one or both sides of a connection over real UDP sockets of
//! the loopback interface: data and RTP go through.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails")]

use peerstack::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, DtlsEngineKind,
    MediaStreamTrack, OfferOptions, PeerConnection, PeerConnectionEvent, PeerConnectionEvents, RtpPacket,
    RtpSender, Settings, SrtpEngineKind, TrackKind,
};

/// Which engines one side has.
type Engines = (DtlsEngineKind, SrtpEngineKind);

const OURS: Engines = (DtlsEngineKind::Dimpl, SrtpEngineKind::Peerstack);
const WEBRTC: Engines = (DtlsEngineKind::WebrtcDtls, SrtpEngineKind::WebrtcSrtp);

fn peer((dtls, srtp): Engines) -> (PeerConnection, PeerConnectionEvents) {
    let mut settings = Settings::default();
    settings.allow_loopback = true;
    settings.dtls_engine = dtls;
    settings.srtp_engine = srtp;
    let pc = PeerConnection::new(Configuration::new().with_settings(settings)).unwrap();
    let events = pc.events();
    (pc, events)
}

/// What came in on one side.
#[derive(Default)]
struct Incoming {
    channel: Option<DataChannel>,
    track: Option<MediaStreamTrack>,
}

/// Passes candidates on until a channel and a track came in, then goes on with candidates in the background.
async fn incoming(mut events: PeerConnectionEvents, to: PeerConnection) -> Incoming {
    let mut found = Incoming::default();
    while found.channel.is_none() || found.track.is_none() {
        match events.next().await.unwrap() {
            PeerConnectionEvent::IceCandidate(candidate) => to.add_ice_candidate(candidate).await.unwrap(),
            PeerConnectionEvent::DataChannel(channel) => found.channel = Some(channel),
            PeerConnectionEvent::Track(event) => found.track = Some(event.track),
            _ => {}
        }
    }
    pass_candidates(events, to);
    found
}

fn pass_candidates(mut events: PeerConnectionEvents, to: PeerConnection) {
    #[expect(clippy::disallowed_methods, reason = "the signalling between the two peers of a test")]
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                PeerConnectionEvent::IceCandidate(candidate) => {
                    // The other side may be closed by now.
                    let _ = to.add_ice_candidate(candidate).await;
                }
                PeerConnectionEvent::Closed => break,
                _ => {}
            }
        }
    });
}

async fn opened(channel: &DataChannel) {
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
}

async fn next_message(channel: &DataChannel) -> DataChannelMessage {
    loop {
        match channel.next_event().await {
            Some(DataChannelEvent::Message(message)) => return message,
            Some(_) => {}
            None => panic!("the channel closed"),
        }
    }
}

fn packet(payload_type: u8, sequence_number: u16, payload: &'static [u8]) -> RtpPacket {
    RtpPacket {
        payload_type,
        sequence_number,
        timestamp: 3_000,
        payload: payload.into(),
        ..RtpPacket::default()
    }
}

/// A channel that is open says that DTLS is; then SRTP has its keys on both sides.
async fn rtp_goes_through(sender: &RtpSender, track: &MediaStreamTrack) {
    let payload_type = sender.codecs()[0].payload_type;
    let sent = [packet(payload_type, 65_535, b"first"), packet(payload_type, 0, b"second")];
    for packet in &sent {
        sender.send_rtp(packet.clone()).unwrap();
    }
    for packet in &sent {
        let received = track.recv().await.unwrap();
        assert_eq!(received.sequence_number, packet.sequence_number);
        assert_eq!((received.ssrc, &received.payload), (sender.ssrc(), &packet.payload));
    }
}

async fn connect_and_talk(offerer: Engines, answerer: Engines) {
    let ((a, a_events), (b, b_events)) = (peer(offerer), peer(answerer));
    let channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
    let sender = a.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    let offer = a.create_offer(OfferOptions::default()).await.unwrap();
    a.set_local_description(offer.clone()).await.unwrap();
    b.set_remote_description(offer).await.unwrap();
    let back = b.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    let answer = b.create_answer().await.unwrap();
    b.set_local_description(answer.clone()).await.unwrap();
    a.set_remote_description(answer).await.unwrap();
    pass_candidates(a_events, b.clone());
    let found = incoming(b_events, a.clone()).await;
    let (remote, track) = (found.channel.unwrap(), found.track.unwrap());

    opened(&channel).await;
    let large: Vec<u8> = (0..100_000).map(|index| (index % 251) as u8).collect();
    channel.send(DataChannelMessage::from(large.clone())).unwrap();
    assert!(next_message(&remote).await == DataChannelMessage::from(large));
    remote.send(DataChannelMessage::from("back")).unwrap();
    assert_eq!(next_message(&channel).await, DataChannelMessage::from("back"));

    rtp_goes_through(&sender, &track).await;
    rtp_goes_through(&back, &a.transceivers()[0].receiver().track()).await;
    a.close();
    b.close();
    tokio::join!(a.closed(), b.closed());
}

#[tokio::test]
async fn both_sides_run_webrtc_dtls_and_webrtc_srtp() {
    connect_and_talk(WEBRTC, WEBRTC).await;
}

#[tokio::test]
async fn the_offerer_runs_webrtc_dtls_and_webrtc_srtp() {
    connect_and_talk(WEBRTC, OURS).await;
}

#[tokio::test]
async fn the_answerer_runs_webrtc_dtls_and_webrtc_srtp() {
    connect_and_talk(OURS, WEBRTC).await;
}

#[tokio::test]
async fn engines_mix_on_one_side() {
    let mixed = (DtlsEngineKind::Dimpl, SrtpEngineKind::WebrtcSrtp);
    connect_and_talk(mixed, (DtlsEngineKind::WebrtcDtls, SrtpEngineKind::Peerstack)).await;
}
