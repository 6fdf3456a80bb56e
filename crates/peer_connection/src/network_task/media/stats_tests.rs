//! Tests of the objects that made-up SSRCs are given.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use peerstack_base::{Random, SystemWallClock};
use peerstack_media::MAX_STREAMS;
use peerstack_rtp_transport::{RtpFields, RtpPacket as RtpPacketView, SinkId, write_rtp_header};

use super::*;
use crate::RtpTransceiverDirection;
use crate::dropping_queue::DroppingQueue;
use crate::media_stream_track::MediaStreamTrack;
use crate::network_task::SectionEncoding;
use crate::network_task::commands::MediaSection;
use crate::network_task::rtcp::Rtcp;

fn packet(ssrc: u32, sequence_number: u16, timestamp: u32) -> Vec<u8> {
    let fields =
        RtpFields { marker: false, payload_type: 96, sequence_number, timestamp, ssrc, padding: false };
    let mut packet = vec![0; 40];
    let len = write_rtp_header(&mut packet, &fields, std::iter::empty(), std::iter::empty()).unwrap();
    packet.truncate(len + 10);
    packet
}

/// An authenticated peer that makes up SSRCs in one section makes no more objects than the demuxer knows SSRCs, and those of
/// the stream that was there before stay and go on counting.
#[test]
fn made_up_ssrcs_are_bounded() {
    #[expect(clippy::disallowed_methods, reason = "tests count from one real instant")]
    let start = Instant::now();
    let config = MediaSection {
        mid: "0".to_owned(),
        id: TransceiverId(0),
        kind: TrackKind::Video,
        direction: RtpTransceiverDirection::Sendrecv,
        receive_codecs: vec![Codec::video(96, "VP8")],
        send_codecs: vec![Codec::video(96, "VP8")],
        reduced_size: true,
        remote_ssrcs: Vec::new(),
        remote_repairs: Vec::new(),
        receive_extensions: Vec::new(),
        send_extensions: Vec::new(),
        extmap_allow_mixed: false,
        encodings: vec![SectionEncoding { rid: None, ssrc: 1, rtx_ssrc: 2 }],
        track: MediaStreamTrack::remote(TrackKind::Video, "t".to_owned(), 10),
        feedback: Arc::new(DroppingQueue::new(0)),
    };
    let transport = TransportId::default();
    let rtcp = Rtcp::new("c".to_owned(), Arc::new(SystemWallClock), Random::from_seed(1));
    let mut media = Media::new(rtcp);
    let track = config.track.clone();
    media.configure(start, vec![config], |_| Some(transport), &[transport].into());
    let mut came = 0;
    for number in 0..3_000_u32 {
        let now = start + Duration::from_millis(u64::from(number) * 5);
        for (ssrc, sequence_number) in [(7, number as u16), (1_000 + number, 0)] {
            let bytes = packet(ssrc, sequence_number, number * 450);
            let view = RtpPacketView::parse(&bytes).unwrap();
            media.receive(now, transport, SinkId(0), &view);
            came += usize::from(track.try_recv().is_some_and(|packet| packet.ssrc == 7));
        }
    }
    let now = start + Duration::from_secs(15);
    let mut snapshot = NetworkSnapshot::default();
    media.add_stats(&mut snapshot, &StatsClock::new(now, UNIX_EPOCH));
    assert_eq!(snapshot.inbound_rtp.len(), MAX_STREAMS);
    assert_eq!(snapshot.codecs.len(), 2);
    let honest = snapshot.inbound_rtp.iter().find(|stream| stream.ssrc == 7).unwrap();
    assert_eq!((honest.packets_received, honest.packets_lost, came), (3_000, 0, 3_000));
    assert_eq!((honest.frames_received, honest.frames_decoded), (Some(3_000), Some(3_000)));
}
