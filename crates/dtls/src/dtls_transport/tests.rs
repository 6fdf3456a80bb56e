//! The transport's own behaviour: readiness, states, demultiplexing, close. Section 7 of the behaviours list.

use std::time::Duration;

use peerstack_base::{Ecn, PacketKind, PacketOptions, SendError};
use peerstack_p2p::{FakeIceFate, FakeIceSide, FakeIceTransport, IceTransport};

use crate::test_pair::{Pair, certificates, config, start};
use crate::{
    DtlsFingerprint, DtlsRole, DtlsTransport, DtlsTransportEvent, DtlsTransportInternal, DtlsTransportState,
    DtlsVersion, SrtpProtectionProfile,
};

use DtlsTransportState::{Closed, Connected, Connecting, Failed, New};
use FakeIceSide::{A, B};

const SRTP: PacketOptions = PacketOptions { srtp_bypass: true, kind: PacketKind::Audio, ecn: Ecn::NotEct };

pub(super) fn connected() -> Pair {
    let mut pair = Pair::with_defaults();
    pair.go();
    assert!(pair.connect());
    pair.run_for(Duration::from_secs(2));
    pair
}

/// D03: several records in one datagram are all processed.
#[test]
fn several_records_in_one_datagram_all_count() {
    let mut pair = connected();
    let now = pair.now;
    for text in [b"one", b"two"] {
        pair.a.send(now, text).unwrap();
    }
    let joined = pair.a.dtls.ice_mut().take_sent().concat();
    pair.b.receive(now, joined);
    assert_eq!(pair.b.data, [b"one", b"two"]);
}

/// D06: not writable before ICE is, and not while ICE is not.
#[test]
fn writable_only_while_ice_is() {
    let mut pair = connected();
    assert!(pair.a.dtls.writable());
    assert_eq!(pair.a.told.last(), Some(&DtlsTransportEvent::WritableState(true)));
    pair.a.told.clear();
    pair.set_writable(A, false);
    assert!(!pair.a.dtls.writable());
    assert_eq!(pair.a.told, [DtlsTransportEvent::WritableState(false)]);
    let now = pair.now;
    assert_eq!(pair.a.send(now, b"x"), Err(SendError::NotWritable));
    assert_eq!(pair.a.send_with_options(now, &SRTP, &[128, 0]), Err(SendError::NotWritable));
    assert_eq!(pair.a.dtls.state(), Connected);
    pair.set_writable(A, true);
    assert_eq!(pair.a.told[1..], [DtlsTransportEvent::WritableState(true), DtlsTransportEvent::ReadyToSend]);
    assert!(pair.talk());
}

/// D08: the remote certificate is visible once connected, and gone on close.
#[test]
fn the_remote_certificate_is_visible_while_connected() {
    let mut pair = Pair::with_defaults();
    pair.go();
    assert_eq!(pair.a.dtls.remote_certificate(), None);
    assert!(pair.connect());
    assert_eq!(pair.a.dtls.remote_certificate(), Some(certificates()[1].der()));
    assert_eq!(pair.b.dtls.remote_certificate(), Some(certificates()[0].der()));
    let now = pair.now;
    pair.a.dtls.close(now);
    assert_eq!(pair.a.dtls.remote_certificate(), None);
    assert_eq!(pair.a.dtls.srtp_keying_material(), None);
}

/// D10: SRTP and SRTCP pass by DTLS both ways, first byte 128 to 191; application data is told apart.
#[test]
fn srtp_passes_by_and_data_is_sealed() {
    let mut pair = connected();
    let now = pair.now;
    for first in [128, 144, 191] {
        pair.a.send_with_options(now, &SRTP, &[first, 96, 1, 2, 3]).unwrap();
    }
    pair.a.send(now, b"data").unwrap();
    let sent = pair.a.dtls.ice_mut().take_sent();
    assert_eq!(sent[0], [128, 96, 1, 2, 3]);
    assert!(!sent[3].windows(4).any(|window| window == b"data"));
    for datagram in sent {
        pair.b.receive(now, datagram);
    }
    assert_eq!(pair.b.srtp, [[128, 96, 1, 2, 3], [144, 96, 1, 2, 3], [191, 96, 1, 2, 3]]);
    assert_eq!(pair.b.data, [b"data"]);
    // What is neither is dropped and counted.
    let dropped = pair.b.dtls.stats().dropped.packets;
    for first in [4, 19, 64, 79, 127, 192, 255] {
        pair.b.receive(now, vec![first; 50]);
    }
    pair.b.receive(now, Vec::new());
    assert_eq!(pair.b.dtls.stats().dropped.packets, dropped + 8);
    assert_eq!((pair.b.srtp.len(), pair.b.data.len()), (3, 1));
}

/// D10: what is not SRTP never leaves unsealed; before the keys exist nothing passes up.
#[test]
fn what_is_not_srtp_does_not_pass_by() {
    let mut pair = connected();
    let now = pair.now;
    for wrong in [&[23, 254, 253][..], &[0, 1], &[127], &[192]] {
        let result = pair.a.send_with_options(now, &SRTP, wrong);
        assert!(matches!(result, Err(SendError::Malformed(_))), "{wrong:?}");
    }
    assert!(pair.a.dtls.ice_mut().take_sent().is_empty());
    let mut fresh = Pair::with_defaults();
    fresh.b.receive(now, vec![128; 50]);
    fresh.go();
    fresh.b.receive(now, vec![128; 50]);
    assert!(fresh.b.srtp.is_empty());
}

/// D11: both ends export the same keys, of the length the profile has.
#[test]
fn both_ends_export_the_same_keys() {
    use SrtpProtectionProfile::{AeadAes128Gcm, AeadAes256Gcm, Aes128CmSha1_80};
    let mut pair = connected();
    let keys = pair.a.dtls.srtp_keying_material().unwrap();
    assert_eq!(Some(keys.clone()), pair.b.dtls.srtp_keying_material());
    assert_eq!(keys.material.len(), 2 * (keys.profile.key_len() + keys.profile.salt_len()));
    let shown = format!("{keys:?}");
    assert!(shown.contains("profile") && !shown.contains('['), "{shown}");
    assert!([AeadAes256Gcm, AeadAes128Gcm, Aes128CmSha1_80].contains(&keys.profile));
    // Another connection has others.
    let other = connected().a.dtls.srtp_keying_material().unwrap();
    assert_ne!(other.material, keys.material);
    assert!(pair.talk());
}

/// Keys are readable before `Connected` is told.
#[test]
fn keys_are_there_when_connected_is_told() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        let (mut a, b) = (config(A), config(B));
        a.max_version = version;
        let mut pair = Pair::new(a, b);
        pair.go();
        let done = pair.run_until(Duration::from_secs(5), |pair| {
            for peer in [&pair.a, &pair.b] {
                let told = peer.told.contains(&DtlsTransportEvent::StateChange(Connected));
                assert_eq!(told, peer.dtls.srtp_keying_material().is_some());
            }
            pair.connected()
        });
        assert!(done);
        let order: Vec<_> = pair
            .a
            .told
            .iter()
            .skip_while(|event| !matches!(event, DtlsTransportEvent::StateChange(Connected)))
            .collect();
        assert_eq!(order[1], &DtlsTransportEvent::WritableState(true));
    }
}

/// D12: options reach ICE with the packet they belong to; an error is reported once.
#[test]
fn options_and_errors_belong_to_their_packet() {
    let mut pair = connected();
    let now = pair.now;
    let marked = PacketOptions { srtp_bypass: false, kind: PacketKind::Data, ecn: Ecn::Ect1 };
    pair.a.send_with_options(now, &marked, b"one").unwrap();
    pair.a.dtls.ice_mut().fail_next_send(SendError::WouldBlock);
    assert_eq!(pair.a.send_with_options(now, &marked, b"two"), Err(SendError::WouldBlock));
    pair.a.send(now, b"three").unwrap();
    pair.a.send_with_options(now, &SRTP, &[128, 1]).unwrap();
    let sent = pair.a.dtls.ice_mut().take_sent_with_options();
    let options: Vec<_> = sent.iter().map(|(_, options)| *options).collect();
    assert_eq!(options, [marked, PacketOptions::default(), SRTP]);
    for (datagram, _) in sent {
        pair.b.receive(now, datagram);
    }
    assert_eq!(pair.b.data, [b"one".to_vec(), b"three".to_vec()]);
}

/// Readiness of the transport below is handed on.
#[test]
fn receiving_and_ready_to_send_are_handed_on() {
    let mut pair = connected();
    pair.a.told.clear();
    let now = pair.now;
    pair.a.dtls.ice_mut().set_receiving(true);
    pair.a.dtls.ice_mut().set_blocked(true);
    assert_eq!(pair.a.send(now, b"x"), Err(SendError::WouldBlock));
    pair.a.dtls.ice_mut().set_blocked(false);
    pair.a.settle(now);
    assert_eq!(pair.a.told, [DtlsTransportEvent::ReceivingState(true), DtlsTransportEvent::ReadyToSend]);
    assert!(pair.talk());
}

/// With DTLS disabled by configuration packets pass straight to ICE and it is writable when ICE is.
#[test]
fn without_dtls_packets_pass_straight() {
    let now = start();
    let mut dtls = DtlsTransport::without_dtls(FakeIceTransport::new());
    let mut events = dtls.subscribe();
    assert!(!dtls.dtls_active() && !dtls.writable());
    dtls.ice_mut().set_writable(true);
    dtls.process(now);
    assert!(dtls.writable());
    assert_eq!(events.try_next(), Some(DtlsTransportEvent::WritableState(true)));
    for first in [20, 128, 255] {
        let written = dtls.send_with(now, &PacketOptions::default(), 2, |slot| {
            slot.fill(first);
            2
        });
        assert_eq!(written, Ok(2));
        let meta = dtls.ice().meta();
        assert_eq!(dtls.receive(now, &mut [first; 3], &meta), Some(&mut [first; 3][..]));
    }
    assert_eq!(dtls.ice_mut().take_sent().len(), 3);
    let fingerprint = certificates()[0].fingerprint();
    assert!(dtls.set_remote_parameters(now, vec![fingerprint], DtlsRole::Client).is_err());
    dtls.close(now);
    assert!(!dtls.writable());
    assert_eq!(dtls.state(), Closed);
}

/// Closing says close_notify; the peer is closed by it; nothing comes after `Closed`.
#[test]
fn close_reaches_the_peer() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        let (mut a, b) = (config(A), config(B));
        a.max_version = version;
        let mut pair = Pair::new(a, b);
        pair.go();
        assert!(pair.connect());
        pair.run_for(Duration::from_secs(1));
        pair.a.told.clear();
        pair.b.told.clear();
        let now = pair.now;
        pair.a.send(now, b"last words").unwrap();
        pair.a.dtls.close(now);
        pair.a.dtls.close(now);
        pair.a.settle(now);
        assert_eq!(pair.a.dtls.state(), Closed);
        assert_eq!(
            pair.a.told,
            [
                DtlsTransportEvent::WritableState(false),
                DtlsTransportEvent::StateChange(Closed),
                DtlsTransportEvent::Closed
            ]
        );
        assert_eq!(pair.a.send(now, b"x"), Err(SendError::Closed));
        assert_eq!(pair.a.dtls.next_timeout(), None);
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.b.data, [b"last words"]);
        assert_eq!(pair.b.dtls.state(), Closed);
        assert_eq!(
            pair.b.told,
            [DtlsTransportEvent::WritableState(false), DtlsTransportEvent::StateChange(Closed)]
        );
        assert_eq!(pair.b.dtls.remote_certificate(), None);
        let now = pair.now;
        assert_eq!(pair.b.send(now, b"x"), Err(SendError::NotWritable));
        let sent = pair.link.sent(B);
        pair.run_for(Duration::from_secs(60));
        assert_eq!(pair.link.sent(B), sent, "a closed transport is silent");
        // Parameters do not wake a transport that was closed here.
        assert!(pair.tell_parameters(A, DtlsRole::Client).is_err());
    }
}

/// Closing in any state, and ICE being closed below.
#[test]
fn close_in_every_state() {
    let ways: [fn(&mut Pair); 3] = [
        |_| {},
        |pair| pair.go(),
        |pair| {
            pair.go();
            pair.run_for(Duration::from_millis(25));
        },
    ];
    for prepare in ways {
        let mut pair = Pair::with_defaults();
        prepare(&mut pair);
        let now = pair.now;
        pair.a.dtls.close(now);
        pair.b.dtls.ice_mut().close(now);
        pair.a.settle(now);
        pair.b.settle(now);
        for peer in [&mut pair.a, &mut pair.b] {
            assert_eq!(peer.dtls.state(), Closed);
            assert_eq!(peer.told.last(), Some(&DtlsTransportEvent::Closed));
            assert_eq!(peer.dtls.next_timeout(), None);
            peer.dtls.ice_mut().take_sent();
            peer.receive(now, vec![22; 100]);
            assert!(peer.dtls.ice_mut().take_sent().is_empty());
        }
    }
}

/// Without SRTP profiles there are no keys, and data passes.
#[test]
fn data_alone_needs_no_srtp_profile() {
    let (mut a, mut b) = (config(A), config(B));
    a.srtp_profiles.clear();
    b.srtp_profiles.clear();
    let mut pair = Pair::new(a, b);
    pair.go();
    assert!(pair.connect());
    assert_eq!(pair.a.dtls.srtp_keying_material(), None);
    assert!(pair.talk());
}

/// Every state and what moves it.
#[test]
fn transitions_of_the_state() {
    /// What happens, and the state it leads to.
    type Step = (fn(&mut Pair), DtlsTransportState);
    let connect: Step = (
        |pair| {
            pair.set_writable(A, true);
            assert!(pair.connect());
        },
        Connected,
    );
    let begin: Step = (
        |pair| {
            pair.exchange_parameters();
            pair.set_writable(B, true);
            pair.link.set_script(B, |_, _| FakeIceFate::Deliver);
        },
        New,
    );
    let peer_closes: Step = (
        |pair| {
            let now = pair.now;
            pair.b.dtls.close(now);
            pair.run_for(Duration::from_secs(1));
        },
        Closed,
    );
    let new_fingerprint = |pair: &mut Pair| {
        let der = certificates()[1].der();
        let fingerprint = DtlsFingerprint::of_certificate("sha-512", der).unwrap();
        let now = pair.now;
        pair.a.dtls.set_remote_parameters(now, vec![fingerprint], DtlsRole::Client).unwrap();
        pair.a.settle(now);
    };
    let mismatch: Step = (
        |pair| {
            let fingerprint = certificates()[0].fingerprint();
            let now = pair.now;
            pair.a.dtls.set_remote_parameters(now, vec![fingerprint], DtlsRole::Client).unwrap();
            pair.tell_parameters(B, DtlsRole::Server).unwrap();
            pair.set_writable(A, true);
            pair.set_writable(B, true);
            pair.run_for(Duration::from_secs(1));
        },
        Failed,
    );
    let close: Step = (
        |pair| {
            let now = pair.now;
            pair.a.dtls.close(now);
        },
        Closed,
    );
    let unwritable: Step = (|pair| pair.set_writable(A, false), Connected);
    let silence: Step = (
        |pair| {
            pair.exchange_parameters();
            pair.set_writable(A, true);
            pair.run_for(Duration::from_secs(31));
        },
        Failed,
    );
    let table: Vec<(Vec<Step>, Vec<DtlsTransportState>)> = vec![
        (vec![begin, connect, close], vec![Connecting, Connected, Closed]),
        (vec![begin, connect, unwritable, close], vec![Connecting, Connected, Closed]),
        (vec![begin, connect, peer_closes], vec![Connecting, Connected, Closed]),
        (
            vec![begin, connect, peer_closes, (new_fingerprint, Connecting)],
            vec![Connecting, Connected, Closed, New, Connecting],
        ),
        (vec![mismatch, close], vec![Connecting, Failed, Closed]),
        (vec![mismatch, (new_fingerprint, Connecting)], vec![Connecting, Failed, New, Connecting]),
        (vec![silence, (new_fingerprint, Connecting)], vec![Connecting, Failed, New, Connecting]),
        (vec![begin, (new_fingerprint, New), connect], vec![Connecting, Connected]),
        (vec![close], vec![Closed]),
    ];
    for (steps, expected) in table {
        let mut pair = Pair::with_defaults();
        for (step, state) in steps {
            step(&mut pair);
            assert_eq!(pair.a.dtls.state(), state);
        }
        let now = pair.now;
        pair.a.settle(now);
        assert_eq!(pair.a.states(), expected);
    }
}

/// What waits to be read is bounded.
#[test]
fn unread_data_is_bounded() {
    let mut pair = connected();
    let now = pair.now;
    let meta = pair.b.dtls.ice().meta();
    for _ in 0..2000 {
        pair.a.send(now, &[7; 1000]).unwrap();
        for mut datagram in pair.a.dtls.ice_mut().take_sent() {
            assert!(pair.b.dtls.receive(now, &mut datagram, &meta).is_none());
        }
    }
    let mut read = 0;
    while pair.b.dtls.poll_data().is_some() {
        read += 1;
    }
    assert_eq!(read, crate::pending_data::MAX_PENDING_DATA / 1000);
    assert_eq!(pair.b.dtls.stats().dropped.packets, 2000 - read as u64);
    assert!(pair.talk());
}

/// Empty packets are taken back, large ones are refused or pass.
#[test]
fn sizes() {
    let mut pair = connected();
    let now = pair.now;
    assert_eq!(pair.a.send(now, b""), Ok(0));
    assert_eq!(pair.a.dtls.send_with(now, &PacketOptions::default(), 9, |_| 0), Ok(0));
    assert!(pair.a.dtls.ice_mut().take_sent().is_empty());
    for len in [1, 1200, 1 << 14] {
        assert_eq!(pair.a.send(now, &vec![3; len]), Ok(len));
    }
    assert!(matches!(pair.a.send(now, &vec![3; (1 << 14) + 1]), Err(SendError::Protect(_))));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.b.data.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1200, 1 << 14]);
    assert_eq!(pair.a.dtls.stats().sent.packets, 3);
    assert_eq!(pair.b.dtls.stats().received.packets, 3);
}
