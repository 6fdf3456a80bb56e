//! RTP to its sinks, header extensions, data channels.

use peerstack_base::{Ecn, PacketOptions, ReceiveMeta, SendError, SocketId};
use peerstack_dtls::{DtlsRole, DtlsTransportState, SrtpProtectionProfile};
use peerstack_rtp_transport::{
    DemuxerError, RtpDemuxerCriteria, RtpExtensionType, RtpPacket, RtpTransportInternal, SinkId,
    SrtpBackendKind, SrtpKey, StreamId, UnDemuxablePacket,
};
use peerstack_sctp::{DataChannelEvent, DataChannelInit, MessageKind, SctpTransportState};

use super::*;
use crate::RtpExtension;

use JsepTransportControllerEvent as Event;

/// What came out of `receive`.
#[derive(Debug, PartialEq, Eq)]
enum Packet {
    Rtp(SinkId, u32),
    UnDemuxable(u32, Option<StreamId>),
    Rtcp(usize),
}

#[derive(Debug, Default)]
struct Packets(Vec<Packet>);

impl TransportSink for Packets {
    fn on_rtp_packet(
        &mut self,
        _now: Instant,
        _transport: TransportId,
        sink: SinkId,
        packet: &RtpPacket<'_>,
    ) {
        self.0.push(Packet::Rtp(sink, packet.header().ssrc()));
    }

    fn on_undemuxable_rtp_packet(
        &mut self,
        _now: Instant,
        _transport: TransportId,
        source: &UnDemuxablePacket,
        packet: &RtpPacket<'_>,
    ) {
        assert_eq!(source.ssrc, packet.header().ssrc());
        self.0.push(Packet::UnDemuxable(source.ssrc, source.mid));
    }

    fn on_rtcp_packet(&mut self, _now: Instant, _transport: TransportId, packet: &[u8]) {
        self.0.push(Packet::Rtcp(packet.len()));
    }
}

/// An RTP packet; with `mid` in extension 4 if given.
fn rtp(ssrc: u32, payload_type: u8, mid: Option<u8>) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type, 0, 1, 0, 0, 0, 2];
    packet.extend(ssrc.to_be_bytes());
    if let Some(mid) = mid {
        packet[0] |= 0x10;
        packet.extend([0xBE, 0xDE, 0, 1, 4 << 4, mid, 0, 0]);
    }
    packet.extend([1, 2, 3, 4]);
    packet
}

fn rtcp() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 0, 0, 0, 7]
}

fn mid(text: &str) -> StreamId {
    StreamId::new(text).unwrap()
}

fn extensions(description: SessionDescription) -> SessionDescription {
    let mids: Vec<String> = description.contents.iter().map(|content| content.mid.clone()).collect();
    mids.iter().fold(description, |description, of| {
        with(description, of, |content| {
            if let Some(rtp) = content.description.as_rtp_mut() {
                rtp.header_extensions = vec![RtpExtension::new(4, RtpExtensionType::Mid.uri())];
            }
        })
    })
}

impl Test {
    /// RTP in the clear, two sections in one group.
    fn plain() -> Self {
        let mut config = JsepTransportControllerConfig::with_bundle_policy(BundlePolicy::Balanced);
        config.rtp_protection = RtpProtection::None;
        let mut test = Self::with_config(&config, false);
        let offer = extensions(test.offer("0:a 1:v", &["0 1"]));
        assert_eq!(offer.contents[0].transport.setup, None);
        test.set_local(SdpType::Offer, &offer).unwrap();
        test
    }

    fn answer_it(&mut self) {
        let answer = extensions(peer("0:a 1:v", &["0 1"], ConnectionRole::Active));
        self.set_remote(SdpType::Answer, &answer).unwrap();
    }

    fn receive(&mut self, of: &str, mut packet: Vec<u8>) -> Vec<Packet> {
        let meta = self.ice(of).meta();
        let mut packets = Packets::default();
        self.controller.receive(self.now, &mut packet, &meta, &mut packets);
        packets.0
    }
}

/// Sinks get their packets by MID and SSRC, and go with their section when the answer bundles.
#[test]
fn packets_reach_their_sinks() {
    let mut test = Test::plain();
    let by_ssrc = RtpDemuxerCriteria { ssrcs: [7].into(), ..RtpDemuxerCriteria::mid(mid("0")) };
    test.controller.set_rtp_sinks("0", vec![(SinkId(10), by_ssrc)]).unwrap();
    test.controller.set_rtp_sinks("1", vec![(SinkId(11), RtpDemuxerCriteria::mid(mid("1")))]).unwrap();
    assert_eq!(test.receive("0", rtp(7, 96, None)), [Packet::Rtp(SinkId(10), 7)]);
    assert_eq!(test.receive("1", rtp(8, 96, Some(b'1'))), [Packet::Rtp(SinkId(11), 8)]);
    // On the other section's transport the MID is nobody's.
    assert_eq!(test.receive("1", rtp(9, 96, Some(b'0'))), []);

    test.answer_it();
    assert_eq!(test.receive("0", rtp(7, 96, None)), [Packet::Rtp(SinkId(10), 7)]);
    assert_eq!(test.receive("0", rtp(20, 96, Some(b'1'))), [Packet::Rtp(SinkId(11), 20)]);
    assert_eq!(test.receive("0", rtcp()), [Packet::Rtcp(8)]);
    assert_eq!(test.receive("0", vec![0x80, 96]), []);
    assert_eq!(test.receive("0", Vec::new()), []);

    // A datagram of another's socket is not looked at.
    let meta = ReceiveMeta {
        socket: SocketId::unique(),
        remote: ([192, 0, 2, 1], 1).into(),
        local_ip: None,
        ecn: Ecn::NotEct,
    };
    let mut packets = Packets::default();
    test.controller.receive(test.now, &mut rtp(7, 96, None), &meta, &mut packets);
    assert_eq!(packets.0, []);
}

/// A source that no section claims is told, with what it says of itself, and may be bound.
#[test]
fn unclaimed_sources_are_told() {
    let mut test = Test::plain();
    test.answer_it();
    test.events();
    for _ in 0..2 {
        assert_eq!(test.receive("0", rtp(5, 111, None)), [Packet::UnDemuxable(5, None)]);
    }
    test.process();
    let transport = test.controller.transport_id("0").unwrap();
    let source = UnDemuxablePacket { ssrc: 5, payload_type: 111, mid: None, rsid: None };
    assert_eq!(test.events(), [Event::UnDemuxableRtpPacket { transport, source }]);
    let transport = test.controller.transport_by_id_mut(transport).unwrap();
    assert!(transport.rtp_mut().demuxer_mut().bind_ssrc(5, SinkId(1)));
    assert_eq!(test.receive("0", rtp(5, 111, None)), [Packet::Rtp(SinkId(1), 5)]);
}

/// Sinks that would take another's packets are refused, and those there were stay.
#[test]
fn conflicting_sinks_change_nothing() {
    let mut test = Test::plain();
    test.answer_it();
    let criteria = |ssrc: u32| RtpDemuxerCriteria { ssrcs: [ssrc].into(), ..Default::default() };
    test.controller.set_rtp_sinks("0", vec![(SinkId(1), criteria(1))]).unwrap();
    test.controller.set_rtp_sinks("1", vec![(SinkId(2), criteria(2))]).unwrap();
    let taken = vec![(SinkId(3), criteria(3)), (SinkId(4), criteria(1))];
    assert_eq!(test.controller.set_rtp_sinks("1", taken), Err(DemuxerError::Ssrc(1)));
    assert_eq!(test.receive("0", rtp(2, 96, None)), [Packet::Rtp(SinkId(2), 2)]);
    assert_eq!(test.receive("0", rtp(3, 96, None)), [Packet::UnDemuxable(3, None)]);
    test.controller.set_rtp_sinks("1", vec![(SinkId(3), criteria(3))]).unwrap();
    assert_eq!(test.receive("0", rtp(2, 96, None)), [Packet::UnDemuxable(2, None)]);
    assert_eq!(test.receive("0", rtp(3, 96, None)), [Packet::Rtp(SinkId(3), 3)]);
    test.controller.set_rtp_sinks("0", Vec::new()).unwrap();
    assert_eq!(test.receive("0", rtp(1, 96, None)), [Packet::UnDemuxable(1, None)]);
}

/// Packets go out by the transport of their section once it is writable; readiness is told on changes.
#[test]
fn packets_leave_by_the_section_s_transport() {
    let mut test = Test::plain();
    let (now, options) = (test.now, PacketOptions::default());
    let send = |test: &mut Test, mid: &str, packet: &[u8]| {
        test.controller.send_rtp_with(now, mid, &options, packet.len(), |slot| {
            slot.copy_from_slice(packet);
            packet.len()
        })
    };
    let packet = rtp(1, 96, None);
    assert_eq!(send(&mut test, "0", &packet), Err(SendError::NotWritable));
    assert_eq!(send(&mut test, "9", &packet), Err(SendError::NotWritable));
    test.process();
    test.events();
    test.dtls("1").set_writable(true);
    test.process();
    let transport = test.controller.transport_id("1").unwrap();
    let events: Vec<_> = test
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::WritableState { .. } | Event::ReadyToSend { .. }))
        .collect();
    assert_eq!(
        events,
        [Event::WritableState { transport, writable: true }, Event::ReadyToSend { transport }]
    );
    assert_eq!(send(&mut test, "1", &packet), Ok(packet.len()));
    assert_eq!(send(&mut test, "0", &packet), Err(SendError::NotWritable));
    assert!(matches!(send(&mut test, "1", &[1, 2, 3]), Err(SendError::Malformed(_))));
    let report = rtcp();
    let sent = test.controller.send_rtcp_with(now, "1", &options, report.len(), |slot| {
        slot.copy_from_slice(&report);
        report.len()
    });
    assert_eq!(sent, Ok(report.len()));
    assert_eq!(test.dtls("1").take_srtp(), [packet, report]);

    test.dtls("1").set_send_error(Some(SendError::WouldBlock));
    assert_eq!(send(&mut test, "1", &rtp(1, 96, None)), Err(SendError::WouldBlock));
    test.dtls("1").set_send_error(None);
    test.dtls("1").emit_ready_to_send();
    test.process();
    assert_eq!(test.events(), [Event::ReadyToSend { transport }]);
}

/// With keys from DTLS, or given ones, what one controller protects the other reads; not without.
#[test]
fn packets_are_protected() {
    let profile = SrtpProtectionProfile::AeadAes128Gcm;
    let key = |byte| SrtpKey::new(profile, &[byte; 16], &[byte; 12]).unwrap();
    let given = |send, receive| {
        let mut config = JsepTransportControllerConfig::default();
        config.rtp_protection =
            RtpProtection::srtp(SrtpBackendKind::InPlace, key(send), key(receive)).unwrap();
        Test::with_config(&config, false)
    };
    let pairs =
        [(given(1, 2), given(2, 1)), (Test::new(BundlePolicy::Balanced), Test::new(BundlePolicy::Balanced))];
    for (index, (mut one, mut other)) in pairs.into_iter().enumerate() {
        one.exchange("0:a", &[], ("0:a", &[]));
        other.exchange("0:a", &[], ("0:a", &[]));
        if index == 1 {
            one.dtls("0").connect(DtlsRole::Client, profile, 1);
            other.dtls("0").connect(DtlsRole::Server, profile, 1);
        }
        one.dtls("0").set_writable(true);
        other.dtls("0").set_writable(true);
        one.process();
        other.process();
        let rtp_transport = one.controller.transport("0").unwrap().rtp();
        assert_eq!(rtp_transport.srtp_profile(), Some(profile));
        assert!(rtp_transport.srtp_active() && rtp_transport.setup_error().is_none());
        let packet = rtp(5, 96, None);
        let options = PacketOptions::default();
        let sent = one.controller.send_rtp_with(one.now, "0", &options, packet.len(), |slot| {
            slot.copy_from_slice(&packet);
            packet.len()
        });
        assert_eq!(sent, Ok(packet.len()));
        let sealed = one.dtls("0").take_srtp().remove(0);
        assert_ne!(sealed, packet);
        assert_eq!(other.receive("0", packet), []);
        assert_eq!(other.receive("0", sealed), [Packet::UnDemuxable(5, None)]);
    }
}

/// D22: ids of header extensions are those of our description, and follow it.
#[test]
fn header_extensions_follow_our_description() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let extension = |id, encrypt| {
        move |content: &mut ContentInfo| {
            content.description.as_rtp_mut().unwrap().header_extensions =
                vec![RtpExtension { encrypt, ..RtpExtension::new(id, RtpExtensionType::AudioLevel.uri()) }];
        }
    };
    test.set_remote(SdpType::Offer, &with(peer_offer("0:a", &[]), "0", extension(3, false))).unwrap();
    let id = |test: &Test| {
        let rtp = test.controller.transport("0").unwrap().rtp();
        (rtp.extensions().id(RtpExtensionType::AudioLevel), rtp.extensions().encrypted_ids())
    };
    assert_eq!(id(&test), (None, vec![]));
    let answer = with(test.answer("0:a", &[]), "0", extension(3, false));
    test.set_local(SdpType::Answer, &answer).unwrap();
    assert_eq!(id(&test), (Some(3), vec![]));
    let offer = with(test.offer("0:a", &[]), "0", extension(5, true));
    test.set_local(SdpType::Offer, &offer).unwrap();
    assert_eq!(id(&test), (Some(5), vec![5]));
    test.controller.rollback_transports(test.now).unwrap();
    assert_eq!(id(&test), (Some(3), vec![]));
}

/// Application data of one controller's DTLS becomes the other's.
fn carry(one: &mut Test, other: &mut Test) {
    for _ in 0..50 {
        for _ in 0..2 {
            std::mem::swap(one, other);
            one.process();
            for record in one.dtls("0").take_data() {
                other.dtls("0").push_data(record);
            }
        }
    }
}

fn data_pair() -> (Test, Test) {
    let (mut one, mut other) = (Test::new(BundlePolicy::Balanced), Test::new(BundlePolicy::Balanced));
    one.exchange("0:d", &[], ("0:d", &[]));
    other.set_remote(SdpType::Offer, &peer_offer("0:d", &[])).unwrap();
    let answer = other.answer("0:d", &[]);
    other.set_local(SdpType::Answer, &answer).unwrap();
    (one, other)
}

/// A channel made before anything was negotiated opens and carries a message.
#[test]
fn data_channels_open_over_the_transport() {
    let (mut one, mut other) = data_pair();
    let now = one.now;
    let channel = one
        .controller
        .sctp_mut()
        .unwrap()
        .create_data_channel(now, DataChannelInit::labelled("chat"))
        .unwrap();
    carry(&mut one, &mut other);
    assert_eq!(one.dtls("0").outbox().len(), 0);
    one.dtls("0").connect(DtlsRole::Server, SrtpProtectionProfile::AeadAes128Gcm, 1);
    other.dtls("0").connect(DtlsRole::Client, SrtpProtectionProfile::AeadAes128Gcm, 1);
    carry(&mut one, &mut other);
    let connected =
        |event: &Event| matches!(event, Event::SctpStateChange { state: SctpTransportState::Connected, .. });
    assert_eq!(one.events().iter().filter(|event| connected(event)).count(), 1);
    assert_eq!(other.events().iter().filter(|event| connected(event)).count(), 1);
    let sctp = one.controller.sctp_mut().unwrap();
    assert_eq!(sctp.max_message_size(), 65_536);
    sctp.send(now, channel, MessageKind::Text, "hello").unwrap();
    carry(&mut one, &mut other);
    let sctp = other.controller.sctp_mut().unwrap();
    let events: Vec<DataChannelEvent> = std::iter::from_fn(|| sctp.poll_event()).collect();
    assert!(format!("{events:?}").contains("chat"), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, DataChannelEvent::Message { .. })), "{events:?}");

    // The peer rejects the section: the association ends, and says so.
    one.events();
    let offer = one.offer("0:d", &[]);
    one.set_local(SdpType::Offer, &offer).unwrap();
    one.set_remote(SdpType::Answer, &peer("0:dx", &[], ConnectionRole::Active)).unwrap();
    let sctp = one.controller.sctp_mut().unwrap();
    assert_eq!(sctp.state(), SctpTransportState::Closed);
}

/// K17: the SCTP transport goes with its section when the answer bundles, with the channels made meanwhile.
#[test]
fn the_sctp_transport_follows_its_section() {
    let mut test = Test::new(BundlePolicy::Balanced);
    assert!(test.controller.sctp_mut().is_none());
    let now = test.now;
    let sctp = test.controller.sctp_or_create().unwrap();
    let channel = sctp.create_data_channel(now, DataChannelInit::labelled("early")).unwrap();
    let offer = test.offer("0:a 1:d", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    assert!(test.controller.transport("1").unwrap().sctp().is_some());
    assert!(test.controller.transport("0").unwrap().sctp().is_none());
    test.set_remote(SdpType::Answer, &peer("0:a 1:d", &["0 1"], ConnectionRole::Active)).unwrap();
    let sctp = test.controller.transport("0").unwrap().sctp().unwrap();
    assert_eq!(sctp.data_channel_init(channel).unwrap().label, "early");
    assert_eq!(sctp.max_message_size(), 65_536);
}

/// O23: an offer taken back leaves the application's channels, which the next offer carries.
#[test]
fn channels_outlive_a_rollback() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let now = test.now;
    let init = DataChannelInit::labelled("kept");
    let channel = test.controller.sctp_or_create().unwrap().create_data_channel(now, init).unwrap();
    let offer = test.offer("0:d", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.controller.rollback_transports(now).unwrap();
    assert!(test.controller.sctp_mut().unwrap().data_channel_init(channel).is_some());
    test.exchange("0:a 1:d", &["0 1"], ("0:a 1:d", &["0 1"]));
    let sctp = test.controller.transport("1").unwrap().sctp().unwrap();
    assert!(sctp.data_channel_init(channel).is_some());
}

/// What cannot work is refused with the answer: a port of 0, ports that change (K13), a section not offered.
#[test]
fn bad_data_sections_are_refused() {
    let port = |port| {
        move |content: &mut ContentInfo| {
            let MediaContentDescription::Sctp(sctp) = &mut content.description else { panic!() };
            sctp.sctp_port = port;
        }
    };
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:d", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let answer = peer("0:d", &[], ConnectionRole::Active);
    let before = test.snapshot();
    for (bad, times) in
        [(with(answer.clone(), "0", port(0)), 1), (peer("0:dx 1:d", &[], ConnectionRole::Active), 1)]
    {
        for _ in 0..times {
            assert!(test.set_remote(SdpType::Answer, &bad).is_err());
            assert_eq!(test.snapshot(), before);
        }
    }
    test.set_remote(SdpType::Answer, &answer).unwrap();
    test.set_local(SdpType::Offer, &offer).unwrap();
    let refused = test.set_remote(SdpType::Answer, &with(answer.clone(), "0", port(6000)));
    assert!(matches!(refused, Err(JsepError::Sctp { .. })), "{refused:?}");
    test.set_remote(SdpType::Answer, &answer).unwrap();
}

/// K13: an offer that changes the ports of an association that stands is refused when it comes, not when it is
/// answered; a section that takes the place of one that ended may have another port.
#[test]
fn an_offer_keeps_the_ports_of_its_association() {
    let port = |port| {
        move |content: &mut ContentInfo| {
            let MediaContentDescription::Sctp(sctp) = &mut content.description else { panic!() };
            sctp.sctp_port = port;
        }
    };
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a 1:d", &["0 1"], ("0:a 1:d", &["0 1"]));
    let before = test.snapshot();
    let offer = peer_offer("0:a 1:d", &["0 1"]);
    let refused = test.set_remote(SdpType::Offer, &with(offer.clone(), "1", port(6000)));
    assert!(matches!(&refused, Err(JsepError::Sctp { mid, .. }) if mid == "1"), "{refused:?}");
    let ours = test.offer("0:a 1:d", &["0 1"]);
    let refused = test.set_local(SdpType::Offer, &with(ours.clone(), "1", port(6000)));
    assert!(matches!(refused, Err(JsepError::Sctp { .. })), "{refused:?}");
    assert_eq!(test.snapshot(), before);
    test.set_remote(SdpType::Offer, &offer).unwrap();
    test.controller.rollback_transports(test.now).unwrap();

    test.set_local(SdpType::Offer, &ours).unwrap();
    test.set_remote(SdpType::Answer, &peer("0:a 1:dx", &["0"], ConnectionRole::Active)).unwrap();
    let renewed = with(peer_offer("0:a 2:d", &["0 2"]), "2", port(6000));
    test.set_remote(SdpType::Offer, &renewed).unwrap();
    let answer = test.answer("0:a 2:d", &["0 2"]);
    test.set_local(SdpType::Answer, &answer).unwrap();
}

/// K13, J02: with another fingerprint of the peer's, which begins DTLS anew, other ports may come, in the answer or in an
/// offer: another association takes the place of the old one once that has told its channels.
#[test]
fn other_ports_with_a_dtls_restart_are_another_association() {
    let other = |id: u8| {
        move |content: &mut ContentInfo| {
            content.transport.fingerprints = vec![fingerprint(id)];
            if let MediaContentDescription::Sctp(sctp) = &mut content.description {
                sctp.sctp_port = 6000 + u16::from(id);
            }
        }
    };
    let all = |description, id| with(with(description, "0", other(id)), "1", other(id));
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a 1:d", &["0 1"], ("0:a 1:d", &["0 1"]));
    test.process();
    let now = test.now;
    let expect_another = |test: &mut Test, remote: u16| {
        let before = test.controller.sctp_mut().unwrap();
        assert_eq!(before.state(), SctpTransportState::Closed);
        let told: Vec<_> = std::iter::from_fn(|| before.poll_event()).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(test.controller.sctp_is_replaced());
        test.process();
        assert!(!test.controller.sctp_is_replaced());
        let transport = test.controller.transport("1").unwrap();
        assert_eq!(transport.sctp().unwrap().state(), SctpTransportState::Connecting);
        assert_eq!(transport.sctp_ports(), Some((5000, remote)));
        let changes = test.events().into_iter().filter_map(|event| match event {
            Event::SctpStateChange { state, .. } => Some(state),
            _ => None,
        });
        assert_eq!(changes.collect::<Vec<_>>(), [SctpTransportState::Closed, SctpTransportState::Connecting]);
    };
    let create = |test: &mut Test| {
        let sctp = test.controller.sctp_mut().unwrap();
        let _ = sctp.create_data_channel(now, DataChannelInit::labelled("d")).unwrap();
    };
    // The peer answers from another place.
    create(&mut test);
    let offer = test.offer("0:a 1:d", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let answer = peer("0:a 1:d", &["0 1"], ConnectionRole::Active);
    test.set_remote(SdpType::Answer, &all(answer, 9)).unwrap();
    test.process();
    expect_another(&mut test, 6009);
    // It offers from another one.
    create(&mut test);
    test.set_remote(SdpType::Offer, &all(peer_offer("0:a 1:d", &["0 1"]), 10)).unwrap();
    let answer = test.answer("0:a 1:d", &["0 1"]);
    test.set_local(SdpType::Answer, &answer).unwrap();
    test.process();
    expect_another(&mut test, 6010);
}

/// Data before SCTP is there is dropped without harm.
#[test]
fn data_without_sctp_is_dropped() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    test.dtls("0").push_data([1, 2, 3]);
    test.process();
    assert_eq!(test.dtls("0").state(), DtlsTransportState::New);
    assert!(test.dtls("0").poll_data().is_none());
}

/// What `stats()` reads of a transport before, while and without ICE's own counters.
#[test]
fn statistics_tell_what_a_transport_is() {
    let mut test = Test::new(BundlePolicy::Balanced);
    assert_eq!(test.controller.stats(test.now), []);
    test.exchange("0:a 1:d", &["0 1"], ("0:a 1:d", &["0 1"]));
    let new = test.controller.stats(test.now).remove(0);
    assert_eq!((new.name.as_str(), &new.mids[..]), ("0", &["0".to_owned(), "1".to_owned()][..]));
    assert_eq!((new.dtls_state, new.tls_version, new.srtp_profile), (DtlsTransportState::New, None, None));
    assert_eq!(new.sctp.unwrap().state, SctpTransportState::Connecting);
    assert_eq!((new.sent(), new.received()), Default::default());
    assert_eq!(new.ice_local_username_fragment.map(|ufrag| ufrag.len()), Some(4));

    let profile = SrtpProtectionProfile::Aes128CmSha1_80;
    test.dtls("0").connect(DtlsRole::Server, profile, 1);
    test.process();
    let report = rtcp();
    let sent = test.controller.send_rtcp_with(test.now, "0", &PacketOptions::default(), 8, |slot| {
        slot.copy_from_slice(&report);
        report.len()
    });
    assert_eq!(sent, Ok(8));
    let up = test.controller.stats(test.now).remove(0);
    assert_eq!((up.dtls_state, up.dtls_role), (DtlsTransportState::Connected, Some(DtlsRole::Server)));
    assert_eq!((up.tls_version, up.srtp_profile), (Some("DTLS 1.3"), Some(profile)));
    assert!(up.dtls_cipher.is_some() && up.remote_certificate.is_some() && up.srtp_setup_error.is_none());
    assert_eq!(up.rtp.rtcp_sent.packets, 1);
    assert_eq!(up.sent().packets, 1 + up.sctp.unwrap().stats.sent.packets);
}
