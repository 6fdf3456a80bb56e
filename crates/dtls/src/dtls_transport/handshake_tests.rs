//! How a handshake begins, what it agrees on, and what ends it. Section 7 of the behaviours list.

use std::time::Duration;

use peerstack_base::SendError;
use peerstack_p2p::{FakeIceFate, FakeIceSide, IceTransport};

use super::tests::connected;
use crate::test_pair::{Pair, certificates, config, start};
use crate::{
    DtlsEngineError, DtlsEngineKind, DtlsFingerprint, DtlsRole, DtlsTransportEvent, DtlsTransportInternal,
    DtlsTransportState, DtlsVersion, SrtpProtectionProfile,
};

use DtlsTransportState::{Connected, Connecting, Failed, New};
use FakeIceSide::{A, B};

/// D01: the handshake starts when ICE is writable and the fingerprint is known, in either order.
#[test]
fn starts_when_ice_is_writable_and_parameters_are_known_in_either_order() {
    for writable_first in [true, false] {
        let mut pair = Pair::with_defaults();
        if writable_first {
            pair.set_writable(A, true);
            pair.set_writable(B, true);
            pair.run_for(Duration::from_secs(1));
            assert_eq!((pair.a.dtls.state(), pair.link.sent(A)), (New, 0));
            pair.exchange_parameters();
        } else {
            pair.exchange_parameters();
            pair.run_for(Duration::from_secs(1));
            assert_eq!((pair.a.dtls.state(), pair.link.sent(A)), (New, 0));
            pair.set_writable(A, true);
            pair.set_writable(B, true);
        }
        assert_eq!(pair.a.dtls.state(), Connecting);
        assert!(pair.connect());
        assert_eq!(pair.a.states(), [Connecting, Connected]);
        assert_eq!(pair.b.states(), [Connecting, Connected]);
        assert!(pair.talk());
    }
}

/// D01: the role comes from the description, not from who offers or is writable first.
#[test]
fn either_side_may_be_the_client() {
    let mut pair = Pair::with_defaults();
    pair.tell_parameters(A, DtlsRole::Server).unwrap();
    pair.tell_parameters(B, DtlsRole::Client).unwrap();
    pair.set_writable(A, true);
    pair.set_writable(B, true);
    assert_eq!(pair.a.dtls.role(), Some(DtlsRole::Server));
    assert!(pair.connect());
    assert!(pair.talk());
}

/// D02: a ClientHello that comes before the fingerprint is known is kept and fed in later.
#[test]
fn an_early_client_hello_is_kept() {
    let mut pair = Pair::with_defaults();
    pair.set_writable(A, true);
    pair.set_writable(B, true);
    pair.tell_parameters(A, DtlsRole::Client).unwrap();
    // From here on nothing more from the client arrives.
    pair.run_for(Duration::from_millis(15));
    pair.link.set_script(A, |_, _| FakeIceFate::Drop);
    let now = pair.now;
    // Junk of other kinds takes no room.
    for _ in 0..10 {
        pair.b.receive(now, vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        pair.b.receive(now, vec![23; 40]);
    }
    assert_eq!(pair.b.dtls.state(), New);
    pair.tell_parameters(B, DtlsRole::Server).unwrap();
    assert!(pair.b.dtls.ice_mut().transmits().pending_bytes() > 0, "the server answers at once");
    pair.link.set_script(A, |_, _| FakeIceFate::Deliver);
    assert!(pair.connect());
    assert!(pair.talk());
}

/// D02: at most four distinct ones.
#[test]
fn no_more_than_four_early_client_hellos_are_kept() {
    let mut pair = Pair::with_defaults();
    let now = pair.now;
    let hello = |number: u8| {
        let mut bytes = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, number, 0, 13];
        bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, number]);
        bytes
    };
    for number in [0, 0, 1, 1, 2, 3, 4, 5, 6] {
        pair.b.receive(now, hello(number));
    }
    assert_eq!(pair.b.dtls.early_hellos, [hello(0), hello(1), hello(2), hello(3)]);
    assert_eq!(pair.b.dtls.stats().dropped.packets, 5);
    // They are not a ClientHello after all, but the real one comes and gets through.
    pair.go();
    assert!(pair.connect());
}

/// D07: versions and cipher suite are visible; 1.2 and 1.3 peers meet at 1.2; nothing meets nothing.
#[test]
fn versions_meet() {
    use DtlsVersion::{Dtls12, Dtls13};
    let both = (Dtls12, Dtls13);
    let cases = [
        (both, both, Some("DTLS 1.3")),
        (both, (Dtls12, Dtls12), Some("DTLS 1.2")),
        ((Dtls12, Dtls12), both, Some("DTLS 1.2")),
        ((Dtls12, Dtls12), (Dtls12, Dtls12), Some("DTLS 1.2")),
        ((Dtls13, Dtls13), both, Some("DTLS 1.3")),
        (both, (Dtls13, Dtls13), Some("DTLS 1.3")),
        ((Dtls13, Dtls13), (Dtls12, Dtls12), None),
        ((Dtls12, Dtls12), (Dtls13, Dtls13), None),
    ];
    for (client, server, expected) in cases {
        let (mut a, mut b) = (config(A), config(B));
        (a.min_version, a.max_version) = client;
        (b.min_version, b.max_version) = server;
        let mut pair = Pair::new(a, b);
        pair.go();
        assert_eq!(pair.connect(), expected.is_some(), "{client:?} {server:?}");
        if expected.is_some() {
            for peer in [&pair.a, &pair.b] {
                assert_eq!(peer.dtls.tls_version(), expected);
                let suite = peer.dtls.cipher_suite().unwrap();
                assert_eq!(suite.contains("ECDHE"), expected == Some("DTLS 1.2"), "{suite}");
            }
            assert_eq!(pair.a.dtls.cipher_suite(), pair.b.dtls.cipher_suite());
            assert!(pair.talk());
        }
    }
}

/// D07: DTLS 1.3 takes one round trip, and the server is writable with the client's last flight; 1.2 takes two.
#[test]
fn a_handshake_takes_the_round_trips_it_must() {
    // 10 ms one way.
    for (version, client, server) in [(DtlsVersion::Dtls13, 20, 30), (DtlsVersion::Dtls12, 40, 30)] {
        let mut a = config(A);
        a.max_version = version;
        let mut pair = Pair::new(a, config(B));
        let start = pair.now;
        pair.go();
        let mut writable = [None, None];
        pair.run_until(Duration::from_secs(1), |pair| {
            for (at, peer) in writable.iter_mut().zip([&pair.a, &pair.b]) {
                if peer.dtls.writable() {
                    at.get_or_insert(pair.now - start);
                }
            }
            pair.connected()
        });
        assert_eq!(writable, [client, server].map(|time| Some(Duration::from_millis(time))), "{version}");
    }
}

/// D09: a certificate that is not the signalled one fails the transport, on either side and in either version,
/// before a key or a byte is used.
#[test]
fn a_wrong_fingerprint_fails_before_keys() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        for side in [A, B] {
            let (mut a, b) = (config(A), config(B));
            a.max_version = version;
            let mut pair = Pair::new(a, b);
            let mut wrong = certificates()[side.other() as usize].fingerprint();
            wrong.value[31] ^= 1;
            let (now, role) = (pair.now, if side == A { DtlsRole::Client } else { DtlsRole::Server });
            pair.peer(side).dtls.set_remote_parameters(now, vec![wrong], role).unwrap();
            let other = if side == A { DtlsRole::Server } else { DtlsRole::Client };
            pair.tell_parameters(side.other(), other).unwrap();
            pair.set_writable(A, true);
            pair.set_writable(B, true);
            assert!(pair.run_until(Duration::from_secs(1), |pair| pair.peer(side).dtls.state() == Failed));
            let peer = pair.peer(side);
            assert_eq!(peer.states(), [Connecting, Failed]);
            assert!(matches!(
                &peer.told[1],
                DtlsTransportEvent::HandshakeError(reason) if *reason == DtlsEngineError::Fingerprint
            ));
            assert!(!peer.told.iter().any(|event| matches!(event, DtlsTransportEvent::WritableState(_))));
            assert_eq!(peer.dtls.srtp_keying_material(), None);
            assert_eq!(peer.dtls.remote_certificate(), None);
            assert_eq!(peer.send(now, b"x"), Err(SendError::NotWritable));
            pair.run_for(Duration::from_secs(40));
            assert!(pair.a.data.is_empty() && pair.b.data.is_empty());
        }
    }
}

/// D09: any of several fingerprints will do, whatever its hash; what is unknown is passed over.
#[test]
fn any_signalled_fingerprint_will_do() {
    let mut pair = Pair::with_defaults();
    let der = certificates()[1].der();
    let mut other = DtlsFingerprint::of_certificate("sha-256", der).unwrap();
    other.value[0] ^= 1;
    let fingerprints = vec![
        DtlsFingerprint { algorithm: "sha-1".into(), value: vec![0; 20] },
        other,
        DtlsFingerprint::of_certificate("SHA-512", der).unwrap(),
    ];
    let now = pair.now;
    pair.a.dtls.set_remote_parameters(now, fingerprints, DtlsRole::Client).unwrap();
    pair.tell_parameters(B, DtlsRole::Server).unwrap();
    pair.set_writable(A, true);
    pair.set_writable(B, true);
    assert!(pair.connect());
}

/// D09, J02: the same again is harmless before and after; a role changed alone is refused; what cannot be used
/// is refused and changes nothing.
#[test]
fn parameters_may_be_said_again_but_not_contradict() {
    let mut pair = Pair::with_defaults();
    pair.exchange_parameters();
    pair.exchange_parameters();
    pair.set_writable(A, true);
    pair.set_writable(B, true);
    pair.exchange_parameters();
    assert!(pair.connect());
    pair.exchange_parameters();
    let now = pair.now;
    assert!(pair.tell_parameters(A, DtlsRole::Server).is_err());
    let fingerprint = certificates()[1].fingerprint();
    for wrong in [
        vec![],
        vec![DtlsFingerprint { algorithm: "sha-1".into(), value: vec![0; 20] }],
        vec![DtlsFingerprint { value: vec![0; 31], ..fingerprint.clone() }],
        vec![fingerprint.clone(), DtlsFingerprint { value: vec![], ..fingerprint.clone() }],
    ] {
        assert!(pair.a.dtls.set_remote_parameters(now, wrong, DtlsRole::Client).is_err());
    }
    assert_eq!(pair.a.dtls.role(), Some(DtlsRole::Client));
    assert!(pair.connected());
    assert!(pair.talk());
    assert_eq!(pair.a.states(), [Connecting, Connected]);
}

/// J02: a new fingerprint, with or without another role, makes a new association.
#[test]
fn a_new_fingerprint_restarts_dtls() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut pair = connected();
        let old = pair.a.dtls.srtp_keying_material().unwrap();
        // The same certificate under another hash is another fingerprint.
        for (side, role) in
            [(A, role), (B, if role == DtlsRole::Client { DtlsRole::Server } else { DtlsRole::Client })]
        {
            let der = certificates()[side.other() as usize].der();
            let fingerprint = DtlsFingerprint::of_certificate("sha-384", der).unwrap();
            let now = pair.now;
            pair.peer(side).told.clear();
            pair.peer(side).dtls.set_remote_parameters(now, vec![fingerprint], role).unwrap();
            pair.peer(side).settle(now);
            assert_eq!(pair.peer(side).states(), [New, Connecting]);
            assert_eq!(pair.peer(side).told[0], DtlsTransportEvent::WritableState(false));
            assert_eq!(pair.peer(side).dtls.srtp_keying_material(), None);
        }
        assert!(pair.connect());
        assert!(pair.talk());
        let new = pair.a.dtls.srtp_keying_material().unwrap();
        assert_ne!(new, old);
        assert_eq!(Some(new), pair.b.dtls.srtp_keying_material());
    }
}

/// A handshake that nobody answers fails after 30 s, with T02's doubling waits from ICE's round-trip time, up to
/// 1.6 s.
#[test]
fn nobody_answers() {
    for (rtt, first) in [(None, 50), (Some(5), 50), (Some(100), 200), (Some(5000), 3000)] {
        let mut pair = Pair::with_defaults();
        pair.link.set_script(A, |_, _| FakeIceFate::Drop);
        pair.a.dtls.ice_mut().set_rtt(rtt.map(Duration::from_millis));
        pair.go();
        let start = pair.now;
        let mut waits = Vec::new();
        let mut last = pair.now;
        pair.run_until(Duration::from_secs(29), |pair| {
            if pair.link.sent(A) > waits.len() + 1 {
                waits.push(pair.now - last);
                last = pair.now;
            }
            false
        });
        assert_eq!(pair.a.dtls.state(), Connecting);
        for (index, wait) in waits.iter().enumerate() {
            // dimpl spreads each wait by a quarter.
            let expected = f64::from((first << index.min(10)).min(first.max(1600)));
            let actual = wait.as_secs_f64() * 1000.0;
            assert!((expected * 0.74..expected * 1.26).contains(&actual), "{index}: {actual} of {expected}");
        }
        assert!(waits.len() >= 3, "{waits:?}");
        assert!(pair.run_until(Duration::from_secs(2), |pair| pair.a.dtls.state() == Failed));
        assert_eq!(pair.now - start, Duration::from_secs(30));
        assert_eq!(pair.a.states(), [Connecting, Failed]);
    }
}

/// A server waits for its client as long as it takes.
#[test]
fn a_server_waits_for_its_client() {
    let mut pair = Pair::with_defaults();
    pair.tell_parameters(B, DtlsRole::Server).unwrap();
    pair.set_writable(B, true);
    pair.run_for(Duration::from_secs(600));
    assert_eq!(pair.b.dtls.state(), Connecting);
    pair.tell_parameters(A, DtlsRole::Client).unwrap();
    pair.set_writable(A, true);
    assert!(pair.connect());
}

/// What cannot be built fails with a reason, at once.
#[test]
fn a_configuration_that_cannot_be_met_fails_with_a_reason() {
    let mut no_version = config(A);
    (no_version.min_version, no_version.max_version) = (DtlsVersion::Dtls13, DtlsVersion::Dtls12);
    let mut no_profile = config(A);
    no_profile.srtp_profiles = vec![SrtpProtectionProfile::Aes128CmSha1_32];
    let mut cases = vec![no_version, no_profile];
    if cfg!(not(feature = "webrtc-dtls")) {
        let mut no_engine = config(A);
        no_engine.engine = DtlsEngineKind::WebrtcDtls;
        cases.push(no_engine);
    }
    for case in cases {
        let mut pair = Pair::new(case, config(B));
        pair.go();
        assert_eq!(pair.a.states(), [Failed]);
        assert!(matches!(pair.a.told[0], DtlsTransportEvent::HandshakeError(_)));
    }
}

/// An expired certificate of our own is not shown to anybody.
#[test]
fn an_expired_certificate_fails() {
    #[derive(Debug)]
    struct Later;
    impl peerstack_base::WallClock for Later {
        fn now(&self) -> std::time::SystemTime {
            certificates()[0].expires()
        }
    }
    let mut late = config(A);
    late.wall_clock = Some(std::sync::Arc::new(Later));
    let mut pair = Pair::new(late, config(B));
    pair.go();
    assert_eq!(pair.a.dtls.state(), Failed);
}

/// A peer with P-384 is understood.
#[test]
fn a_p384_certificate_works() {
    use crate::{Certificate, KeyAlgorithm};
    let random = &mut peerstack_base::Random::from_seed(9);
    let certificate =
        Certificate::generate(KeyAlgorithm::EcdsaP384, &peerstack_base::SystemWallClock, random).unwrap();
    let now = start();
    let mut a = config(A);
    a.certificate = certificate.clone();
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        a.max_version = version;
        let mut pair = Pair::new(a.clone(), config(B));
        pair.tell_parameters(A, DtlsRole::Client).unwrap();
        let fingerprints = certificate.fingerprints();
        pair.b.dtls.set_remote_parameters(now, fingerprints, DtlsRole::Server).unwrap();
        pair.set_writable(A, true);
        pair.set_writable(B, true);
        assert!(pair.connect(), "{version}");
    }
}
