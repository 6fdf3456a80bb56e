//! Samples: frames go in at one end and come out at the other, in order, over a network that reorders and loses.

use std::time::Duration;

use bytes::Bytes;
use peerstack_netsim::LossModel;
use peerstack_peer_connection::{
    Codec, RtcErrorKind, RtpEncodingParameters, RtpTransceiverDirection, RtpTransceiverInit, Sample,
    SampleBuilder, TrackKind,
};

use crate::harness::{ms, negotiate, pass, two_peers};

/// A frame of this codec, that ends with its number.
fn frame(name: &str, number: u16, len: usize) -> Bytes {
    let mut data = match name {
        "opus" => vec![0x78],
        "VP8" => vec![0x10],
        "VP9" => vec![0x80],
        "H264" => vec![0, 0, 0, 1, 0x65],
        "H265" => vec![0, 0, 0, 1, 0x26, 1],
        "AV1" => vec![0x12, 0, 0x0A, 1, 7, 0x30 | 2, 0x80 | (len & 0x7F) as u8, (len >> 7) as u8],
        _ => Vec::new(),
    };
    data.extend(std::iter::repeat_n(0xAB, len - 2));
    data.extend([number as u8 | 1, (number >> 7) as u8 | 1]);
    data.into()
}

/// Every codec's frames cross whole.
#[tokio::test(start_paused = true)]
async fn every_codec_crosses() {
    let codecs = [
        ("opus", TrackKind::Audio, 48_000, 2),
        ("PCMU", TrackKind::Audio, 8_000, 1),
        ("PCMA", TrackKind::Audio, 8_000, 1),
        ("G722", TrackKind::Audio, 8_000, 1),
        ("VP8", TrackKind::Video, 90_000, 0),
        ("VP9", TrackKind::Video, 90_000, 0),
        ("H264", TrackKind::Video, 90_000, 0),
        ("H265", TrackKind::Video, 90_000, 0),
        ("AV1", TrackKind::Video, 90_000, 0),
    ];
    for (index, (name, kind, clock_rate, channels)) in codecs.into_iter().enumerate() {
        let (_lab, a, mut b) = two_peers(70 + 2 * index as u64, ms(5));
        let init = RtpTransceiverInit::new(RtpTransceiverDirection::Sendonly);
        let transceiver = a.pc.add_transceiver(kind, init).unwrap();
        transceiver.set_codec_preferences(vec![Codec::audio(0, name, clock_rate, channels)]).unwrap();
        negotiate(&a, &b).await;
        let track = b.tracks.recv().await.unwrap();
        let receiver = &b.pc.receivers()[0];
        let codec = receiver.get_parameters().codecs[0].clone();
        assert_eq!(codec.name, name);
        let mut builder = SampleBuilder::new(&codec).unwrap();
        pass(ms(2_000)).await;
        let len = if kind == TrackKind::Audio { 160 } else { 5_000 };
        for number in 0..20 {
            let sample = Sample::new(frame(name, number, len), ms(20));
            transceiver.sender().send_sample(sample).unwrap();
            pass(ms(20)).await;
        }
        let mut before = None;
        for number in 0..20 {
            let sample = loop {
                if let Some(sample) = builder.pop() {
                    break sample;
                }
                builder.push(track.recv().await.unwrap());
            };
            assert_eq!((sample.data, sample.key_frame), (frame(name, number, len), true), "{name} {number}");
            if let Some(before) = before.replace(sample.timestamp) {
                assert_eq!(sample.timestamp.wrapping_sub(before), clock_rate / 50);
            }
            assert_eq!(sample.lost_packets, 0);
        }
    }
}

/// What was lost is told, what is given out is whole.
#[tokio::test(start_paused = true)]
async fn loss_is_told_with_the_next_sample() {
    let (_lab, a, mut b) = two_peers(90, ms(5));
    let init = RtpTransceiverInit::new(RtpTransceiverDirection::Sendonly);
    let transceiver = a.pc.add_transceiver(TrackKind::Video, init).unwrap();
    negotiate(&a, &b).await;
    let track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    a.host.interfaces()[0].link().set_loss(LossModel::Uniform(0.05));
    for number in 0..300 {
        transceiver.sender().send_sample(Sample::new(frame("VP8", number, 4_000), ms(33))).unwrap();
        pass(ms(33)).await;
    }
    let codec = b.pc.receivers()[0].get_parameters().codecs[0].clone();
    let mut builder = SampleBuilder::with_window(&codec, 16).unwrap();
    let (mut whole, mut gaps) = (0u32, 0u64);
    while let Some(packet) = track.try_recv() {
        builder.push(packet);
        while let Some(sample) = builder.pop() {
            let number = u16::from(sample.data[sample.data.len() - 2]);
            assert_eq!(sample.data.len(), frame("VP8", number, 4_000).len());
            whole += 1;
            gaps += sample.lost_packets;
        }
    }
    assert!((180..295).contains(&whole), "{whole} frames");
    // Each frame is four packets; those at the very end may still wait.
    assert!(gaps.abs_diff(4 * u64::from(300 - whole)) <= 24, "{gaps} packets of {whole} frames");
    assert!(builder.packets_lost() > 20 && builder.packets_discarded() > 20);
}

/// Each encoding has a stream of its own; what is no frame is refused.
#[tokio::test(start_paused = true)]
async fn encodings_have_samples_of_their_own() {
    let (_lab, a, mut b) = two_peers(92, ms(5));
    let encodings = ["h", "f"].map(RtpEncodingParameters::new);
    let init = RtpTransceiverInit::new(RtpTransceiverDirection::Sendonly).with_send_encodings(encodings);
    let transceiver = a.pc.add_transceiver(TrackKind::Video, init).unwrap();
    let sender = transceiver.sender();
    let early = sender.send_sample(Sample::new(frame("VP8", 0, 100), ms(33))).unwrap_err();
    assert_eq!(early.kind, RtcErrorKind::InvalidStateError);
    negotiate(&a, &b).await;
    let track = b.tracks.recv().await.unwrap();
    pass(ms(2_000)).await;
    // Each has its own codec.
    let mut parameters = sender.get_parameters();
    parameters.encodings[1].codec = Some(Codec::video(0, "AV1"));
    sender.set_parameters(parameters).unwrap();
    let codecs = b.pc.receivers()[0].get_parameters().codecs;
    let codec = |name: &str| codecs.iter().find(|codec| codec.is_named(name)).unwrap();
    let mut builders = [SampleBuilder::new(codec("VP8")).unwrap(), SampleBuilder::new(codec("AV1")).unwrap()];
    for number in 0..5 {
        sender.send_sample(Sample::new(frame("VP8", number, 3_000), ms(33)).with_rid("h")).unwrap();
        sender.send_sample(Sample::new(frame("AV1", number, 3_000), ms(33)).with_rid("f")).unwrap();
    }
    let refused = sender.send_sample(Sample::new(frame("VP8", 0, 100), ms(33)).with_rid("f")).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::OperationError);
    let refused = sender.send_sample(Sample::new(Bytes::new(), Duration::ZERO)).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::OperationError);
    pass(ms(100)).await;
    while let Some(packet) = track.try_recv() {
        let layer = usize::from(packet.rid.as_deref() == Some("f"));
        builders[layer].push(packet);
    }
    for (builder, (rid, name)) in builders.iter_mut().zip([("h", "VP8"), ("f", "AV1")]) {
        for number in 0..5 {
            let sample = builder.pop().unwrap();
            assert_eq!((sample.rid.as_deref(), sample.data), (Some(rid), frame(name, number, 3_000)));
        }
        assert_eq!((builder.pop(), builder.packets_discarded()), (None, 0));
    }
}
