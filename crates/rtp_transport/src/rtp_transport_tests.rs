use peerstack_base::Ecn;
use peerstack_dtls::{FakeDtlsTransport, SrtpProtectionProfile};
use peerstack_p2p::FakeIceTransport;

use super::*;
use crate::rtp_demuxer::RtpDemuxerCriteria;
use crate::test_util::{meta, rtcp, rtp, rtp_with, start};
use crate::{RtpExtensionType, StreamId};

type Transport = RtpTransport<FakeDtlsTransport, char>;

pub(crate) fn drain(events: &mut EventReceiver<RtpTransportEvent>) -> Vec<RtpTransportEvent> {
    std::iter::from_fn(|| events.try_next()).collect()
}

pub(crate) fn send_rtp<T: RtpTransportInternal>(
    transport: &mut T,
    packet: &[u8],
) -> Result<usize, SendError> {
    transport.send_rtp_with(start(), &PacketOptions::default(), packet.len(), |slot| {
        slot.copy_from_slice(packet);
        packet.len()
    })
}

pub(crate) fn send_rtcp<T: RtpTransportInternal>(
    transport: &mut T,
    packet: &[u8],
) -> Result<usize, SendError> {
    transport.send_rtcp_with(start(), &PacketOptions::default(), packet.len(), |slot| {
        slot.copy_from_slice(packet);
        packet.len()
    })
}

fn writable() -> FakeDtlsTransport {
    let mut dtls = FakeDtlsTransport::default();
    dtls.set_writable(true);
    dtls
}

/// D20: ready-to-send is told on a change only; without multiplexing RTCP has to be ready too.
#[test]
fn ready_to_send_is_told_on_a_change() {
    use RtpTransportEvent::{ReadyToSend, WritableState};
    let now = start();
    let mut transport =
        Transport::new("test", FakeDtlsTransport::default(), Some(FakeDtlsTransport::default()));
    let mut events = transport.subscribe();
    transport.process(now);
    assert_eq!(drain(&mut events), []);
    transport.rtp_dtls_mut().set_writable(true);
    transport.process(now);
    assert_eq!((drain(&mut events), transport.ready_to_send()), (vec![], false));
    transport.rtcp_dtls_mut().unwrap().set_writable(true);
    transport.process(now);
    assert_eq!(drain(&mut events), [WritableState(true), ReadyToSend(true)]);
    transport.process(now);
    transport.rtp_dtls_mut().emit_ready_to_send();
    transport.process(now);
    assert_eq!(drain(&mut events), []);
    transport.rtp_dtls_mut().set_writable(false);
    transport.process(now);
    assert_eq!(drain(&mut events), [WritableState(false), ReadyToSend(false)]);
}

/// D20: with multiplexing RTP's transport alone decides.
#[test]
fn multiplexed_rtcp_needs_no_transport() {
    let now = start();
    let mut transport = Transport::new("test", writable(), Some(FakeDtlsTransport::default()));
    transport.process(now);
    assert!(!transport.writable());
    transport.set_rtcp_mux_enabled(true);
    transport.process(now);
    assert!(transport.writable() && transport.ready_to_send());
    let mut without = Transport::new("test", writable(), None);
    without.process(now);
    assert!(without.rtcp_mux_enabled() && without.writable());
}

#[test]
fn would_block_takes_readiness_until_there_is_room() {
    let now = start();
    let mut transport = Transport::new("test", writable(), None);
    transport.process(now);
    let mut events = transport.subscribe();
    transport.rtp_dtls_mut().set_send_error(Some(SendError::WouldBlock));
    assert_eq!(send_rtp(&mut transport, &rtp(1, 1, b"")), Err(SendError::WouldBlock));
    assert_eq!(send_rtp(&mut transport, &rtp(1, 1, b"")), Err(SendError::WouldBlock));
    assert_eq!(drain(&mut events), [RtpTransportEvent::ReadyToSend(false)]);
    assert!(transport.writable() && !transport.ready_to_send());
    transport.rtp_dtls_mut().set_send_error(None);
    transport.rtp_dtls_mut().emit_ready_to_send();
    transport.process(now);
    assert_eq!(drain(&mut events), [RtpTransportEvent::ReadyToSend(true)]);
}

/// D12, D20: RTCP goes by RTP's transport when multiplexed, else by its own; options and ECN marks are handed on.
#[test]
fn rtcp_takes_its_transport() {
    let mut transport = Transport::new("test", writable(), Some(writable()));
    send_rtcp(&mut transport, &rtcp(1)).unwrap();
    assert_eq!(transport.rtcp_dtls_mut().unwrap().take_srtp(), [rtcp(1)]);
    assert!(transport.rtp_dtls().outbox().is_empty());
    transport.set_rtcp_mux_enabled(true);
    let options = PacketOptions { ecn: Ecn::Ect1, ..PacketOptions::default() };
    let sent = transport.send_rtcp_with(start(), &options, 20, |slot| {
        slot[..8].copy_from_slice(&rtcp(1));
        8
    });
    assert_eq!(sent, Ok(8));
    let packet = transport.rtp_dtls_mut().take_outbox().remove(0);
    assert_eq!((packet.bytes, packet.options.ecn, packet.options.srtp_bypass), (rtcp(1), Ecn::Ect1, true));
    assert_eq!(transport.stats().rtcp_sent.packets, 2);
}

/// D10: what is not RTP is not sent as RTP, and leaves nothing in the queue.
#[test]
fn what_is_not_rtp_is_not_sent() {
    let mut transport = Transport::new("test", writable(), None);
    for packet in [&[0x80; 11][..], &[0x00; 20], &rtcp(1), &[0xC0; 20]] {
        assert!(matches!(send_rtp(&mut transport, packet), Err(SendError::Malformed(_))));
    }
    assert!(matches!(send_rtcp(&mut transport, &rtp(1, 1, b"")), Err(SendError::Malformed(_))));
    assert_eq!(transport.send_rtp_with(start(), &PacketOptions::default(), 20, |_| 0), Ok(0));
    assert!(transport.rtp_dtls().outbox().is_empty());
    transport.rtp_dtls_mut().set_writable(false);
    assert_eq!(send_rtp(&mut transport, &rtp(1, 1, b"")), Err(SendError::NotWritable));
}

/// D20: a packet goes to the sink that claims it; what nobody claims is told once for an SSRC.
#[test]
fn what_nobody_claims_is_told_once() {
    let now = start();
    let mut transport = Transport::new("test", writable(), None);
    let mut extensions = RtpHeaderExtensionMap::default();
    extensions.register_type(1, RtpExtensionType::Mid).unwrap();
    transport.set_extensions(extensions);
    let mid = StreamId::new("0").unwrap();
    transport.demuxer_mut().add_sink(&RtpDemuxerCriteria::mid(mid), 'a').unwrap();
    let mut events = transport.subscribe();
    let mut claimed = rtp_with(7, 1, 96, &[(1, b"0")], b"x");
    assert!(matches!(transport.receive(now, &mut claimed, &meta()), Received::Rtp { sink: Some('a'), .. }));
    for sequence_number in 0..3 {
        let mut packet = rtp(8, sequence_number, b"x");
        let Received::Rtp { packet, sink: None } = transport.receive(now, &mut packet, &meta()) else {
            panic!("the packet is delivered without a sink");
        };
        assert_eq!((packet.payload(), packet.header().ssrc()), (&b"x"[..], 8));
    }
    let told = UnDemuxablePacket { ssrc: 8, payload_type: 96, mid: None, rsid: None };
    assert_eq!(drain(&mut events), [RtpTransportEvent::UnDemuxable(told)]);
    let mut unknown = rtp_with(7, 2, 96, &[(1, b"9")], b"x");
    assert_eq!(transport.receive(now, &mut unknown, &meta()), Received::None);
    let stats = transport.stats();
    assert_eq!((stats.rtp_received.packets, stats.unclaimed.packets, stats.dropped.unknown_mid), (4, 3, 1));
    assert_eq!(stats.dropped.total(), 1);
}

/// D10: application data and RTP are told apart.
#[test]
fn application_data_passes_through() {
    let now = start();
    let (dtls, _) = FakeDtlsTransport::connected_pair(SrtpProtectionProfile::AeadAes128Gcm);
    let mut transport = Transport::new("test", dtls, None);
    let mut record = vec![23, 1, 2, 3];
    assert_eq!(transport.receive(now, &mut record, &meta()), Received::None);
    assert_eq!(transport.poll_data(), Some(&[23, 1, 2, 3][..]));
    assert_eq!(transport.poll_data(), None);
    let mut packet = rtcp(1);
    assert_eq!(transport.receive(now, &mut packet, &meta()), Received::Rtcp(&rtcp(1)));
    for mut malformed in [vec![0x80, 200], vec![0x80; 11], vec![0xA0; 12], vec![0x80, 200, 0, 0, 0]] {
        assert_eq!(transport.receive(now, &mut malformed, &meta()), Received::None);
    }
    assert_eq!(transport.stats().dropped.malformed, 4);
}

#[test]
fn timeouts_are_the_transports_below() {
    let now = start();
    let mut transport = Transport::new("test", writable(), Some(writable()));
    assert_eq!(transport.next_timeout(), None);
    let later = now + std::time::Duration::from_secs(2);
    let sooner = now + std::time::Duration::from_secs(1);
    let ice = |dtls: &mut FakeDtlsTransport, at| FakeIceTransport::set_timeout(dtls.ice_mut(), Some(at));
    ice(transport.rtp_dtls_mut(), later);
    ice(transport.rtcp_dtls_mut().unwrap(), sooner);
    assert_eq!(transport.next_timeout(), Some(sooner));
    transport.handle_timeout(later);
    assert_eq!(transport.next_timeout(), None);
}
