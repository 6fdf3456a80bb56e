//! Tests of RIDs learned from packets and of retransmissions.

use bytes::Bytes;
use peerstack_jsep::{Codec, RtpExtension};
use peerstack_rtp_transport::RtpExtensionType;

use super::*;
use crate::dropping_queue::DroppingQueue;
use crate::media_stream_track::{MediaStreamTrack, TrackKind};
use crate::network_task::commands::MediaSection;
use crate::rtp_packet::RtpHeaderExtension;
use crate::{RtpTransceiverDirection, network_task::SectionEncoding};

fn section(remote_repairs: Vec<(u32, u32)>) -> Section {
    let codecs = vec![Codec::video(96, "VP8"), Codec::rtx(97, 96), Codec::video(98, "VP9")];
    let encoding =
        |rid: &str, ssrc| SectionEncoding { rid: Some(Arc::from(rid)), ssrc, rtx_ssrc: ssrc + 100 };
    let config = MediaSection {
        mid: "0".to_owned(),
        id: TransceiverId(0),
        kind: TrackKind::Video,
        direction: RtpTransceiverDirection::Sendrecv,
        receive_codecs: codecs.clone(),
        send_codecs: codecs,
        reduced_size: true,
        remote_ssrcs: Vec::new(),
        remote_repairs,
        receive_extensions: Vec::new(),
        send_extensions: vec![
            RtpExtension::new(3, "urn:long"),
            RtpExtension::new(4, RtpExtensionType::Mid.uri()),
        ],
        extmap_allow_mixed: false,
        encodings: vec![encoding("q", 1), encoding("f", 2)],
        track: MediaStreamTrack::new(TrackKind::Video),
        feedback: Arc::new(DroppingQueue::new(0)),
    };
    Section::new(config, None)
}

fn packet(payload_type: u8, ssrc: u32, rid: Option<(RtpExtensionType, &str)>, payload: &[u8]) -> RtpPacket {
    let extension = |(extension, rid): (RtpExtensionType, &str)| RtpHeaderExtension {
        uri: Arc::from(extension.uri()),
        value: Bytes::copy_from_slice(rid.as_bytes()),
    };
    RtpPacket {
        payload_type,
        ssrc,
        sequence_number: 1_000,
        header_extensions: rid.map(extension).into_iter().collect(),
        payload: Bytes::copy_from_slice(payload),
        ..RtpPacket::default()
    }
}

/// A packet as the application sees it.
type Seen = (u8, u32, u16, Option<String>, Vec<u8>);

/// Its payload type, SSRC, sequence number, RID, payload.
fn seen(section: &mut Section, mut packet: RtpPacket) -> Option<Seen> {
    section.identify(&mut packet).then(|| {
        let rid = packet.rid.as_deref().map(str::to_owned);
        (packet.payload_type, packet.ssrc, packet.sequence_number, rid, packet.payload.to_vec())
    })
}

/// Packets that carry no RID any more have that of their SSRC; retransmissions are put back by the repaired RID.
#[test]
fn rids_are_learned() {
    let mut section = section(Vec::new());
    let (rid, repaired) = (RtpExtensionType::RtpStreamId, RtpExtensionType::RepairedRtpStreamId);
    // What it repeats is not known yet: nobody's.
    assert_eq!(seen(&mut section, packet(97, 60, Some((repaired, "h")), &[0, 7, 9])), None);
    let h = Some("h".to_owned());
    assert_eq!(
        seen(&mut section, packet(96, 50, Some((rid, "h")), &[1])),
        Some((96, 50, 1_000, h.clone(), vec![1]))
    );
    assert_eq!(seen(&mut section, packet(96, 50, None, &[1])), Some((96, 50, 1_000, h.clone(), vec![1])));
    assert_eq!(
        seen(&mut section, packet(97, 60, Some((repaired, "h")), &[0, 7, 9])),
        Some((96, 50, 7, h.clone(), vec![9]))
    );
    assert_eq!(seen(&mut section, packet(97, 60, None, &[0, 8, 9])), Some((96, 50, 8, h, vec![9])));
    // Another SSRC without a RID has none.
    assert_eq!(seen(&mut section, packet(96, 51, None, &[1])), Some((96, 51, 1_000, None, vec![1])));
    // A RID that is none.
    assert_eq!(seen(&mut section, packet(96, 52, Some((rid, "")), &[1])).unwrap().3, None);
}

/// RFC 4588: padding is not for the application, nor what is too short; groups of SSRCs say what is repeated.
#[test]
fn retransmissions_are_unwrapped() {
    let mut section = section(vec![(60, 50)]);
    assert_eq!(seen(&mut section, packet(97, 60, None, &[1, 2, 3])), Some((96, 50, 258, None, vec![3])));
    for short in [&[][..], &[1], &[1, 2]] {
        assert_eq!(seen(&mut section, packet(97, 60, None, short)), None);
    }
    // No word of whose it is: the only stream there is.
    assert_eq!(seen(&mut section, packet(97, 61, None, &[1, 2, 3])), None);
    assert!(seen(&mut section, packet(96, 70, None, &[1])).is_some());
    assert_eq!(seen(&mut section, packet(97, 61, None, &[1, 2, 3])).unwrap().1, 70);
}

/// A peer that makes up SSRCs and RIDs fills no memory.
#[test]
fn what_is_learned_is_bounded() {
    let mut section = section(Vec::new());
    for ssrc in 0..1_000 {
        let rid = format!("r{ssrc}");
        let _ = seen(&mut section, packet(96, ssrc, Some((RtpExtensionType::RtpStreamId, &rid)), &[1]));
    }
    assert_eq!(section.layers.by_ssrc.len(), MAX_LAYERS);
}

/// What is sent again goes as RTX with numbers of its own; without RTX for its codec as it was.
#[test]
fn packets_are_sent_again() {
    let mut section = section(Vec::new());
    let again = |section: &mut Section, packet| section.as_retransmission(packet);
    let original = RtpPacket { sequence_number: 0x0102, ..packet(96, 2, None, &[9]) };
    for number in [0x0102, 0x0103] {
        let sent = again(&mut section, original.clone());
        assert_eq!((sent.payload_type, sent.ssrc, sent.sequence_number), (97, 102, number));
        assert_eq!((&sent.payload[..], sent.timestamp), (&[1, 2, 9][..], original.timestamp));
    }
    let plain = packet(98, 2, None, &[9]);
    assert_eq!(again(&mut section, plain.clone()), plain);
    assert!(section.sends_rtx() && section.receives_rtx());
    assert_eq!(section.sent_ssrcs().collect::<Vec<_>>(), [1, 2, 101, 102]);
}

/// RFC 8285 section 4.1.2: where the forms may not be mixed, what needs the other form is left out.
#[test]
fn long_values_need_agreement() {
    let mut section = section(Vec::new());
    let value = Bytes::from(vec![5; 17]);
    let header_extensions = vec![RtpHeaderExtension { uri: Arc::from("urn:long"), value }];
    let sent = RtpPacket { header_extensions, ..packet(96, 1, None, &[9]) };
    for (mixed, form, values) in [(false, 0xBEDE_u16, 1), (true, 0x1000, 2)] {
        section.config.extmap_allow_mixed = mixed;
        let mut slot = [0; 100];
        let len = section.write(&sent, &mut slot).unwrap();
        assert!(len <= section.len_bound(&sent));
        assert_eq!(slot[12..14], form.to_be_bytes());
        let view = peerstack_rtp_transport::RtpPacket::parse(&slot[..len]).unwrap();
        assert_eq!(view.header().extensions().count(), values);
    }
}
