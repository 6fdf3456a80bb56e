//! RtpDemuxer (RFC 9143 section 9.2): sinks come and go between packets; a packet goes to a sink that is there, and
//! what is learned is bounded.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use peerstack_fuzz::Input;
use peerstack_rtp_transport::{
    Demuxed, MAX_SSRC_BINDINGS, RtpDemuxer, RtpDemuxerCriteria, RtpExtensionType, RtpFields,
    RtpHeaderExtensionMap, RtpHeaderView, StreamId, write_rtp_header,
};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut extensions = RtpHeaderExtensionMap::default();
    extensions.register_type(1, RtpExtensionType::Mid).unwrap();
    extensions.register_type(2, RtpExtensionType::RtpStreamId).unwrap();
    extensions.register_type(3, RtpExtensionType::RepairedRtpStreamId).unwrap();
    let mut demuxer = RtpDemuxer::<u8>::default();
    let mut sinks = BTreeSet::new();
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => {
                let sink = input.byte() % 8;
                if demuxer.add_sink(&criteria(&mut input), sink).is_ok() {
                    sinks.insert(sink);
                }
            }
            1 => {
                let sink = input.byte() % 8;
                assert_eq!(demuxer.remove_sink(sink), sinks.remove(&sink));
                assert!(demuxer.ssrcs_of(sink).is_empty());
            }
            2 => {
                let (ssrc, sink) = (u32::from(input.byte() % 16), input.byte() % 8);
                if sinks.contains(&sink) && demuxer.bind_ssrc(ssrc, sink) {
                    assert!(demuxer.ssrcs_of(sink).contains(&ssrc) || !demuxer.ssrcs_of(sink).is_empty());
                }
            }
            3 => demuxer.forget_ssrc(u32::from(input.byte() % 16)),
            _ => packet(&mut demuxer, &sinks, &mut input, &extensions),
        }
        let learned: usize = sinks.iter().map(|sink| demuxer.ssrcs_of(*sink).len()).sum();
        assert!(learned <= MAX_SSRC_BINDINGS + 16 * 8);
    }
});

fn id(input: &mut Input<'_>) -> Option<StreamId> {
    match input.byte() {
        0..=99 => None,
        byte => StreamId::new(&(byte % 5).to_string()),
    }
}

fn criteria(input: &mut Input<'_>) -> RtpDemuxerCriteria {
    let mut criteria = RtpDemuxerCriteria { mid: id(input), rsid: id(input), ..Default::default() };
    for _ in 0..input.below(3) {
        criteria.ssrcs.insert(u32::from(input.byte() % 16));
    }
    for _ in 0..input.below(3) {
        criteria.payload_types.insert(input.byte() % 128);
    }
    criteria
}

fn packet(
    demuxer: &mut RtpDemuxer<u8>,
    sinks: &BTreeSet<u8>,
    input: &mut Input<'_>,
    extensions: &RtpHeaderExtensionMap,
) {
    let few = input.flag();
    let ssrc = if few { u32::from(input.byte() % 16) } else { input.u32() };
    let fields = RtpFields { ssrc, payload_type: input.byte() % 128, ..RtpFields::default() };
    let ids: Vec<(u8, StreamId)> = (1..=3).filter_map(|n| Some((n, id(input)?))).collect();
    let mut buffer = [0; 128];
    let elements = ids.iter().map(|(n, id)| (*n, id.as_bytes()));
    let len = write_rtp_header(&mut buffer, &fields, [].into_iter(), elements).unwrap();
    let header = RtpHeaderView::parse(&buffer[..len]).unwrap();
    match demuxer.demux(&header, extensions) {
        Demuxed::Sink(sink) => assert!(sinks.contains(&sink), "only to a sink that is there"),
        Demuxed::UnknownMid(mid) => assert!(ids.contains(&(1, mid))),
        Demuxed::Unclaimed { .. } => {}
    }
}
