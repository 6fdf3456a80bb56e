use peerstack_base::AdapterType;
use peerstack_dtls::FakeDtlsTransport;

use super::*;
use crate::rtp_transport::tests::{drain, send_rtcp, send_rtp};
use crate::srtp_context::tests::{PROFILES, key};
use crate::test_util::{meta, rtcp, rtp, rtp_with, start};

type Transport = SrtpTransport<FakeDtlsTransport, char>;

fn transport() -> Transport {
    let mut dtls = FakeDtlsTransport::default();
    dtls.set_writable(true);
    Transport::new("test", dtls, None, SrtpBackendKind::InPlace)
}

fn other_key(profile: SrtpProtectionProfile) -> SrtpKey {
    SrtpKey::new(profile, &vec![0xAB; profile.key_len()], &vec![0xCD; profile.salt_len()]).unwrap()
}

fn pair(profile: SrtpProtectionProfile) -> (Transport, Transport) {
    let (mut one, mut other) = (transport(), transport());
    one.set_rtp_keys(&key(profile), &other_key(profile)).unwrap();
    other.set_rtp_keys(&other_key(profile), &key(profile)).unwrap();
    (one, other)
}

/// D16: every profile, both directions, RTP and RTCP, with and without encrypted header extensions.
#[test]
fn packets_pass_in_every_profile() {
    for profile in PROFILES {
        for encrypted in [&[][..], &[1]] {
            let (mut one, mut other) = (transport(), transport());
            one.set_encrypted_header_extension_ids(encrypted, &[]);
            other.set_encrypted_header_extension_ids(&[], encrypted);
            one.set_rtp_keys(&key(profile), &other_key(profile)).unwrap();
            other.set_rtp_keys(&other_key(profile), &key(profile)).unwrap();
            assert_eq!(one.srtp_profile(), Some(profile));
            let plain = rtp_with(7, 1, 96, &[(1, b"abc")], b"payload");
            assert_eq!(send_rtp(&mut one, &plain), Ok(plain.len()));
            let mut sealed = one.rtp_dtls_mut().take_srtp().remove(0);
            assert_eq!(sealed.len(), plain.len() + crate::rtp_overhead(profile));
            let Received::Rtp { packet, .. } = other.receive(start(), &mut sealed, &meta()) else {
                panic!("{profile:?}: the packet is refused");
            };
            assert_eq!(packet.as_bytes(), plain);
            assert_eq!(send_rtcp(&mut other, &rtcp(9)), Ok(8));
            let mut sealed = other.rtp_dtls_mut().take_srtp().remove(0);
            assert_eq!(one.receive(start(), &mut sealed, &meta()), Received::Rtcp(&rtcp(9)));
        }
    }
}

/// D22: the set of encrypted extensions may change with new keys.
#[test]
fn encrypted_extensions_change_with_new_keys() {
    let (mut one, mut other) = pair(PROFILES[0]);
    let plain = rtp_with(7, 1, 96, &[(1, b"abc")], b"payload");
    for encrypted in [&[][..], &[1], &[]] {
        one.set_encrypted_header_extension_ids(encrypted, &[]);
        other.set_encrypted_header_extension_ids(&[], encrypted);
        one.set_rtp_keys(&key(PROFILES[0]), &other_key(PROFILES[0])).unwrap();
        other.set_rtp_keys(&other_key(PROFILES[0]), &key(PROFILES[0])).unwrap();
        send_rtp(&mut one, &plain).unwrap();
        let mut sealed = one.rtp_dtls_mut().take_srtp().remove(0);
        assert_eq!(sealed[..20] == plain[..20], encrypted.is_empty());
        let Received::Rtp { packet, .. } = other.receive(start(), &mut sealed, &meta()) else {
            panic!("the packet is refused");
        };
        assert_eq!(packet.as_bytes(), plain);
    }
}

/// Why a packet was dropped is counted.
#[test]
fn drops_are_counted_by_reason() {
    let (mut one, mut other) = pair(PROFILES[2]);
    send_rtp(&mut one, &rtp(7, 1, b"payload")).unwrap();
    let sealed = one.rtp_dtls_mut().take_srtp().remove(0);
    let mut receive = |mut bytes: Vec<u8>| {
        other.receive(start(), &mut bytes, &meta());
        other.stats().dropped
    };
    let mut tampered = sealed.clone();
    tampered[20] ^= 1;
    assert_eq!(receive(tampered).authentication, 1);
    assert_eq!(receive(sealed.clone()).total(), 1);
    assert_eq!(receive(sealed.clone()).replayed, 1);
    assert_eq!(receive(vec![0x80; 20]).malformed, 1);
    assert_eq!(receive([rtcp(1), vec![0; 24]].concat()).not_encrypted, 1);
    let mut without_keys = transport();
    without_keys.receive(start(), &mut sealed.clone(), &meta());
    assert_eq!(without_keys.stats().dropped.no_keys, 1);
    assert_eq!(send_rtp(&mut without_keys, &rtp(7, 1, b"")), Err(SendError::NotWritable));
}

/// D17: a packet SRTP refuses is an error of the sender's, and nothing is sent.
#[test]
fn a_refused_packet_is_not_sent() {
    let (mut one, _) = pair(PROFILES[2]);
    send_rtp(&mut one, &rtp(7, 1, b"payload")).unwrap();
    assert!(matches!(send_rtp(&mut one, &rtp(7, 1, b"other")), Err(SendError::Protect(_))));
    assert_eq!(one.rtp_dtls().outbox().len(), 1);
    assert_eq!((one.stats().protect_failures, one.stats().rtp_sent.packets), (1, 1));
}

/// The route's overhead counts SRTP's bytes.
#[test]
fn the_route_counts_the_tag() {
    let (mut one, _) = pair(PROFILES[2]);
    let mut events = one.subscribe();
    let route = NetworkRoute {
        connected: true,
        local_network_id: 1,
        remote_network_id: 2,
        adapter_type: AdapterType::Wifi,
        packet_overhead: 28,
        relayed: false,
        local_ip: None,
    };
    one.rtp_dtls_mut().set_network_route(Some(route));
    one.process(start());
    let told = NetworkRoute { packet_overhead: 28 + 16, ..route };
    assert!(drain(&mut events).contains(&RtpTransportEvent::NetworkRouteChange(Some(told))));
}
