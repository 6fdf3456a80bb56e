use super::*;
use crate::test_util::rtp_with;

const MID: u8 = 1;
const RID: u8 = 2;
const REPAIRED: u8 = 3;

fn extensions() -> RtpHeaderExtensionMap {
    let mut map = RtpHeaderExtensionMap::default();
    map.register_type(MID, RtpExtensionType::Mid).unwrap();
    map.register_type(RID, RtpExtensionType::RtpStreamId).unwrap();
    map.register_type(REPAIRED, RtpExtensionType::RepairedRtpStreamId).unwrap();
    map
}

fn id(text: &str) -> StreamId {
    StreamId::new(text).unwrap()
}

fn mid_and_rid(mid: &str, rid: &str) -> RtpDemuxerCriteria {
    RtpDemuxerCriteria { mid: Some(id(mid)), rsid: Some(id(rid)), ..RtpDemuxerCriteria::default() }
}

fn ssrcs(ssrcs: &[u32]) -> RtpDemuxerCriteria {
    RtpDemuxerCriteria { ssrcs: ssrcs.iter().copied().collect(), ..RtpDemuxerCriteria::default() }
}

fn payload_types(types: &[u8]) -> RtpDemuxerCriteria {
    RtpDemuxerCriteria { payload_types: types.iter().copied().collect(), ..RtpDemuxerCriteria::default() }
}

fn demux(demuxer: &mut RtpDemuxer<char>, ssrc: u32, pt: u8, carried: &[(u8, &[u8])]) -> Demuxed<char> {
    let packet = rtp_with(ssrc, 1, pt, carried, b"");
    demuxer.demux(&RtpHeaderView::parse(&packet).unwrap(), &extensions())
}

/// R16: sources without signalling are told apart by MID, and stay so once they leave it out.
#[test]
fn a_mid_is_latched_to_its_ssrc() {
    let mut demuxer = RtpDemuxer::default();
    demuxer.add_sink(&RtpDemuxerCriteria::mid(id("0")), 'a').unwrap();
    demuxer.add_sink(&RtpDemuxerCriteria::mid(id("1")), 'v').unwrap();
    let nobody = Demuxed::Unclaimed { mid: None, rsid: None };
    assert_eq!(demux(&mut demuxer, 7, 96, &[]), nobody);
    assert_eq!(demux(&mut demuxer, 7, 96, &[(MID, b"1")]), Demuxed::Sink('v'));
    assert_eq!(demux(&mut demuxer, 7, 96, &[]), Demuxed::Sink('v'));
    assert_eq!(demux(&mut demuxer, 8, 96, &[(MID, b"0")]), Demuxed::Sink('a'));
    // RFC 9143 section 9.2: a source may move to another section.
    assert_eq!(demux(&mut demuxer, 7, 96, &[(MID, b"0")]), Demuxed::Sink('a'));
    assert_eq!(demux(&mut demuxer, 7, 96, &[]), Demuxed::Sink('a'));
    assert_eq!(demuxer.ssrcs_of('a'), [7, 8]);
}

/// RFC 9143 section 9.2: an unknown MID is dropped, even of an SSRC that is known.
#[test]
fn an_unknown_mid_is_dropped() {
    let mut demuxer = RtpDemuxer::default();
    demuxer.add_sink(&ssrcs(&[7]), 'a').unwrap();
    assert_eq!(demux(&mut demuxer, 7, 96, &[]), Demuxed::Sink('a'));
    assert_eq!(demux(&mut demuxer, 7, 96, &[(MID, b"9")]), Demuxed::UnknownMid(id("9")));
    assert_eq!(demux(&mut demuxer, 7, 96, &[]), Demuxed::Sink('a'));
}

/// MID outranks a signalled SSRC, and that outranks the payload type.
#[test]
fn what_ranks_first_decides() {
    let mut demuxer = RtpDemuxer::default();
    demuxer.add_sink(&RtpDemuxerCriteria::mid(id("0")), 'm').unwrap();
    demuxer.add_sink(&ssrcs(&[7]), 's').unwrap();
    demuxer.add_sink(&payload_types(&[96]), 'p').unwrap();
    assert_eq!(demux(&mut demuxer, 8, 96, &[]), Demuxed::Sink('p'));
    assert_eq!(demux(&mut demuxer, 7, 96, &[]), Demuxed::Sink('s'));
    assert_eq!(demux(&mut demuxer, 7, 96, &[(MID, b"0")]), Demuxed::Sink('m'));
    assert_eq!(demux(&mut demuxer, 8, 97, &[]), Demuxed::Sink('p'));
}

/// R10, R12: layers of simulcast by MID and RID; a retransmission goes with what it repairs.
#[test]
fn layers_are_told_apart_by_rid() {
    let mut demuxer = RtpDemuxer::default();
    demuxer.add_sink(&mid_and_rid("0", "h"), 'h').unwrap();
    demuxer.add_sink(&mid_and_rid("0", "l"), 'l').unwrap();
    assert_eq!(demux(&mut demuxer, 1, 96, &[(MID, b"0"), (RID, b"h")]), Demuxed::Sink('h'));
    assert_eq!(demux(&mut demuxer, 2, 96, &[(MID, b"0"), (RID, b"l")]), Demuxed::Sink('l'));
    assert_eq!(demux(&mut demuxer, 3, 97, &[(MID, b"0"), (REPAIRED, b"l")]), Demuxed::Sink('l'));
    assert_eq!(demux(&mut demuxer, 1, 96, &[]), Demuxed::Sink('h'));
    // MID first, RID in a later packet.
    let no_layer = Demuxed::Unclaimed { mid: Some(id("0")), rsid: None };
    assert_eq!(demux(&mut demuxer, 4, 96, &[(MID, b"0")]), no_layer);
    assert_eq!(demux(&mut demuxer, 4, 96, &[(RID, b"h")]), Demuxed::Sink('h'));
    let unknown = Demuxed::Unclaimed { mid: Some(id("0")), rsid: Some(id("x")) };
    assert_eq!(demux(&mut demuxer, 5, 96, &[(MID, b"0"), (RID, b"x")]), unknown);
}

#[test]
fn one_sink_of_a_section_takes_all_its_layers() {
    let mut demuxer = RtpDemuxer::default();
    demuxer.add_sink(&RtpDemuxerCriteria::mid(id("0")), 'v').unwrap();
    assert_eq!(demux(&mut demuxer, 1, 96, &[(MID, b"0"), (RID, b"h")]), Demuxed::Sink('v'));
    assert_eq!(demux(&mut demuxer, 2, 96, &[(MID, b"0"), (RID, b"l")]), Demuxed::Sink('v'));
}

/// D20: an unknown payload type is nobody's, nor is one that two sinks claim.
#[test]
fn a_payload_type_serves_while_it_is_one_sinks() {
    let mut demuxer = RtpDemuxer::default();
    demuxer.add_sink(&payload_types(&[96, 111]), 'a').unwrap();
    demuxer.add_sink(&payload_types(&[96]), 'b').unwrap();
    let nobody = Demuxed::Unclaimed { mid: None, rsid: None };
    assert_eq!(demux(&mut demuxer, 1, 96, &[]), nobody);
    assert_eq!(demux(&mut demuxer, 1, 100, &[]), nobody);
    assert_eq!(demux(&mut demuxer, 1, 111, &[]), Demuxed::Sink('a'));
    assert_eq!(demux(&mut demuxer, 1, 96, &[]), Demuxed::Sink('a'));
}

#[test]
fn criteria_that_conflict_are_refused() {
    let mut demuxer = RtpDemuxer::default();
    assert_eq!(demuxer.add_sink(&RtpDemuxerCriteria::default(), 'a'), Err(DemuxerError::Empty));
    demuxer.add_sink(&RtpDemuxerCriteria::mid(id("0")), 'a').unwrap();
    demuxer.add_sink(&RtpDemuxerCriteria::mid(id("0")), 'a').unwrap();
    demuxer.add_sink(&mid_and_rid("1", "h"), 'a').unwrap();
    demuxer.add_sink(&ssrcs(&[7]), 'a').unwrap();
    for (criteria, error) in [
        (RtpDemuxerCriteria::mid(id("0")), DemuxerError::Mid(id("0"))),
        (RtpDemuxerCriteria::mid(id("1")), DemuxerError::Mid(id("1"))),
        (mid_and_rid("0", "h"), DemuxerError::Mid(id("0"))),
        (mid_and_rid("1", "h"), DemuxerError::Rid(id("h"))),
        (ssrcs(&[8, 7]), DemuxerError::Ssrc(7)),
    ] {
        assert_eq!(demuxer.add_sink(&criteria, 'b'), Err(error));
    }
    assert!(!demuxer.remove_sink('b'));
}

#[test]
fn a_removed_sink_gets_nothing_more() {
    let mut demuxer = RtpDemuxer::default();
    let criteria = RtpDemuxerCriteria {
        ssrcs: [7].into(),
        payload_types: [96].into(),
        ..RtpDemuxerCriteria::mid(id("0"))
    };
    demuxer.add_sink(&criteria, 'a').unwrap();
    assert_eq!(demux(&mut demuxer, 8, 96, &[(MID, b"0")]), Demuxed::Sink('a'));
    assert!(demuxer.remove_sink('a') && !demuxer.remove_sink('a'));
    for ssrc in [7, 8] {
        assert_eq!(demux(&mut demuxer, ssrc, 96, &[]), Demuxed::Unclaimed { mid: None, rsid: None });
    }
    demuxer.add_sink(&criteria, 'b').unwrap();
    assert_eq!(demux(&mut demuxer, 8, 96, &[]), Demuxed::Sink('b'));
}

/// What is learned from packets is bounded; what is signalled goes on to work.
#[test]
fn learned_ssrcs_are_bounded() {
    let mut demuxer = RtpDemuxer::default();
    demuxer.add_sink(&RtpDemuxerCriteria::mid(id("0")), 'a').unwrap();
    for ssrc in 0..2000 {
        assert_eq!(demux(&mut demuxer, ssrc, 96, &[(MID, b"0")]), Demuxed::Sink('a'));
    }
    assert_eq!((demuxer.learned.len(), demuxer.latched.len()), (MAX_SSRC_BINDINGS, MAX_SSRC_BINDINGS));
    demuxer.add_sink(&ssrcs(&[5000]), 'b').unwrap();
    assert_eq!(demux(&mut demuxer, 5000, 96, &[]), Demuxed::Sink('b'));
    assert!(!demuxer.bind_ssrc(6000, 'b'));
    demuxer.forget_ssrc(0);
    assert!(demuxer.bind_ssrc(6000, 'b'));
    assert_eq!(demux(&mut demuxer, 6000, 96, &[]), Demuxed::Sink('b'));
}
