//! DtlsSrtpTransport over a fake of DTLS: whatever comes in, each packet is counted once; only what the peer
//! protected comes out; keys come and go.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_base::{Ecn, PacketClass, PacketOptions, ReceiveMeta, SocketId};
use peerstack_dtls::{DtlsRole, DtlsTransportState, FakeDtlsTransport, SrtpProtectionProfile};
use peerstack_fuzz::{Input, origin};
use peerstack_rtp_transport::{
    DtlsSrtpTransport, Received, RtpDemuxerCriteria, RtpExtensionType, RtpHeaderExtensionMap,
    RtpTransportInternal, SrtpBackendKind, SrtpKey, SrtpSession, StreamId,
};

const PROFILES: [SrtpProtectionProfile; 4] = [
    SrtpProtectionProfile::Aes128CmSha1_80,
    SrtpProtectionProfile::Aes128CmSha1_32,
    SrtpProtectionProfile::AeadAes128Gcm,
    SrtpProtectionProfile::AeadAes256Gcm,
];

type Transport = DtlsSrtpTransport<FakeDtlsTransport, u8>;

fn connect(
    transport: &mut Transport,
    kind: SrtpBackendKind,
    profile: SrtpProtectionProfile,
    seed: u8,
) -> SrtpSession {
    transport.rtp_dtls_mut().connect(DtlsRole::Client, profile, seed);
    transport.process(origin());
    let material = FakeDtlsTransport::keying_material(profile, seed);
    let (send, receive) = SrtpKey::from_dtls(&material, DtlsRole::Server).unwrap();
    let mut peer = SrtpSession::new(kind);
    peer.set_send(&send, &[]).unwrap();
    peer.set_receive(&receive, &[]).unwrap();
    peer
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let kind = if input.below(4) == 0 { SrtpBackendKind::WebrtcSrtp } else { SrtpBackendKind::InPlace };
    let profile = PROFILES[input.below(4)];
    let mut transport = Transport::new("fuzz", FakeDtlsTransport::default(), None, kind);
    let mut extensions = RtpHeaderExtensionMap::default();
    extensions.register_type(1, RtpExtensionType::Mid).unwrap();
    transport.set_extensions(extensions);
    let criteria = RtpDemuxerCriteria::mid(StreamId::new("0").unwrap());
    transport.demuxer_mut().add_sink(&criteria, 0).unwrap();
    let mut events = transport.subscribe();
    let mut peer = connect(&mut transport, SrtpBackendKind::InPlace, profile, 1);
    let mut seed = 1;
    while !input.is_empty() {
        match input.byte() % 16 {
            0..=4 => {
                let mut wire = protected(&mut peer, &mut input);
                let changed = input.mutate(&mut wire);
                receive(&mut transport, &mut wire, changed);
            }
            5..=9 => receive(&mut transport, &mut input.chunk().to_vec(), true),
            10 => {
                transport.rtp_dtls_mut().set_state(DtlsTransportState::Failed);
                transport.rtp_dtls_mut().set_writable(false);
                transport.process(origin());
                assert!(!transport.writable());
            }
            11 => {
                // DTLS anew, with new keys.
                transport.set_dtls_transports(FakeDtlsTransport::default(), None);
                assert!(!transport.srtp_active());
                seed = seed % 100 + 1;
                peer = connect(&mut transport, SrtpBackendKind::InPlace, profile, seed);
            }
            12 => transport.remove_ssrc(u32::from(input.byte() % 4)),
            _ => send(&mut transport, &mut peer, input.chunk()),
        }
        while events.try_next().is_some() {}
    }
});

fn protected(peer: &mut SrtpSession, input: &mut Input<'_>) -> Vec<u8> {
    let rtcp = input.flag();
    let second = if rtcp { 192 + input.byte() % 32 } else { input.byte() % 64 };
    let mut packet = vec![0x80 | input.byte() & 0x3F, second];
    match rtcp {
        true => packet.extend([0, 1, 0, 0, 0, input.byte() % 4]),
        false => {
            packet.extend(input.array::<6>());
            packet.extend([0, 0, 0, input.byte() % 4]);
        }
    }
    packet.extend(input.chunk());
    let len = packet.len();
    packet.resize(len + 32, 0);
    let written = match rtcp {
        true => peer.protect_rtcp(&mut packet, len),
        false => peer.protect_rtp(&mut packet, len),
    };
    packet.truncate(written.unwrap_or(len));
    packet
}

fn receive(transport: &mut Transport, datagram: &mut [u8], hostile: bool) {
    let (class, len) = (PacketClass::of(datagram), datagram.len());
    let meta = ReceiveMeta {
        socket: SocketId::unique(),
        remote: ([192, 0, 2, 1], 1).into(),
        local_ip: None,
        ecn: Ecn::NotEct,
    };
    let before = transport.stats();
    let received = transport.receive(origin(), datagram, &meta);
    match &received {
        Received::None => {}
        Received::Rtp { packet, sink } => {
            assert!(!hostile, "only what the peer protected");
            assert!(packet.as_bytes().len() < len && sink.is_none_or(|sink| sink == 0));
        }
        Received::Rtcp(packet) => {
            assert!(!hostile, "only what the peer protected");
            assert!(packet.len() < len && packet.len() % 4 == 0);
        }
    }
    let passed = u64::from(!matches!(received, Received::None));
    let after = transport.stats();
    let taken = |stats: &peerstack_rtp_transport::RtpTransportStats| {
        stats.rtp_received.packets + stats.rtcp_received.packets
    };
    assert_eq!(taken(&after) - taken(&before), passed);
    let one = u64::from(matches!(class, PacketClass::Rtp | PacketClass::Rtcp));
    assert_eq!(passed + after.dropped.total() - before.dropped.total(), one, "each packet is counted once");
}

/// What we send the peer can read, and nothing leaves in the clear.
fn send(transport: &mut Transport, peer: &mut SrtpSession, bytes: &[u8]) {
    let sent = transport.send_rtp_with(origin(), &PacketOptions::default(), bytes.len(), |slot| {
        slot[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    });
    let wire = transport.rtp_dtls_mut().take_srtp();
    assert_eq!(wire.len(), usize::from(sent.is_ok_and(|len| len > 0)));
    for mut packet in wire {
        assert!(packet.len() > bytes.len());
        if let Ok(len) = peer.unprotect_rtp(&mut packet) {
            assert_eq!(&packet[..len], bytes);
        }
    }
}
