//! Plaintext in the peer's name at each moment of a handshake, by somebody who sees every packet and sends from its
//! address, but holds back none: what ends no handshake any more.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerstack_p2p::{FakeIceFate, FakeIceSide};

use crate::guard_tests::record;
use crate::handshake_record::{HANDSHAKE_HEADER, RECORD_HEADER, is_client_hello};
use crate::test_pair::{Pair, certificates, config};
use crate::{Certificate, DtlsRole, DtlsTransportInternal, DtlsTransportState, DtlsVersion};

use FakeIceSide::{A, B};

const VERSIONS: [DtlsVersion; 2] = [DtlsVersion::Dtls12, DtlsVersion::Dtls13];

/// A is the client.
fn pair(version: DtlsVersion) -> Pair {
    let (mut a, b) = (config(A), config(B));
    a.max_version = version;
    Pair::new(a, b)
}

/// A first message with another random.
fn forged(datagram: &[u8], number: u16) -> Vec<u8> {
    let mut bytes = datagram.to_vec();
    let random = RECORD_HEADER + HANDSHAKE_HEADER + 2;
    for (byte, other) in bytes[random..random + 2].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= 0x80 ^ other;
    }
    bytes
}

/// How many datagrams each side sends until both are connected.
fn datagrams(version: DtlsVersion) -> [usize; 2] {
    let mut pair = pair(version);
    pair.go();
    assert!(pair.connect());
    [A, B].map(|side| pair.link.sent(side))
}

fn is_whole(pair: &mut Pair, what: &str) {
    assert!(pair.connect(), "{what}: {:?} {:?}", pair.a.told, pair.b.told);
    assert!(pair.talk(), "{what}");
    pair.run_for(Duration::from_secs(2));
    assert!(pair.talk(), "{what}");
}

/// A forged ClientHello before or behind each datagram of the client's, while each of the server's is lost once: the client
/// is known by its certificate. A DTLS 1.3 client takes the first ServerHello that comes for the answer, be it the forged
/// client's or the forger's own: there the forged one comes behind, and nothing is lost.
#[test]
fn a_forged_client_hello_at_each_moment() {
    for version in VERSIONS {
        let [client, server] = datagrams(version);
        let dtls12 = version == DtlsVersion::Dtls12;
        let losses: Vec<usize> = if dtls12 { (0..=server).collect() } else { vec![usize::MAX] };
        for (at, &lost) in (0..client).flat_map(|at| losses.iter().map(move |lost| (at, lost))) {
            for before in [dtls12, false] {
                let mut pair = pair(version);
                let mut hello = None;
                pair.link.set_script(A, move |index, bytes| {
                    if is_client_hello(bytes) {
                        let _ = hello.get_or_insert(bytes.to_vec());
                    }
                    match &hello {
                        Some(hello) if index == at && before => {
                            FakeIceFate::Replace(vec![forged(hello, 1), bytes.to_vec()])
                        }
                        Some(hello) if index == at => {
                            FakeIceFate::Replace(vec![bytes.to_vec(), forged(hello, 1)])
                        }
                        _ => FakeIceFate::Deliver,
                    }
                });
                pair.link.set_script(B, move |index, _| match index == lost {
                    true => FakeIceFate::Drop,
                    false => FakeIceFate::Deliver,
                });
                pair.go();
                is_whole(&mut pair, &format!("{version} at {at} before {before} lost {lost}"));
            }
        }
    }
}

/// Thousands of them make no more than a handshake a second, and the true one is done.
#[test]
fn a_flood_of_client_hellos_is_bounded() {
    for version in VERSIONS {
        let mut pair = pair(version);
        pair.link.set_script(A, move |_, bytes| match is_client_hello(bytes) {
            true => {
                let flood = (1..2000).map(|number| forged(bytes, number));
                FakeIceFate::Replace([bytes.to_vec()].into_iter().chain(flood).collect())
            }
            false => FakeIceFate::Deliver,
        });
        pair.go();
        is_whole(&mut pair, &format!("{version}"));
        let stats = pair.b.dtls.stats();
        assert!(stats.challenges <= 3 && stats.restarts == 0, "{stats:?}");
        assert!(stats.handshake_sent.packets < 30, "{stats:?}");
    }
}

/// A client that was deceived by a changed ServerHello begins anew, and the server, which is in the middle of the
/// handshake of before, takes its new ClientHello.
#[test]
fn a_client_that_begins_anew_is_answered() {
    let mut pair = pair(DtlsVersion::Dtls12);
    let mut first = true;
    pair.link.set_script(B, move |_, bytes| match std::mem::take(&mut first) {
        true => FakeIceFate::Replace(vec![forged(bytes, 1)]),
        false => FakeIceFate::Deliver,
    });
    pair.go();
    is_whole(&mut pair, "changed ServerHello");
    assert!(pair.a.dtls.stats().restarts > 0 && pair.b.dtls.stats().challenges > 0);
}

/// The same of a client whose whole transport began anew, at each moment of the first handshake, before the server sends
/// its flight again (which a DTLS 1.3 client would take for the answer).
#[test]
fn a_client_that_forgot_is_answered() {
    for version in VERSIONS {
        for silent in 1..datagrams(version)[0] {
            let mut pair = pair(version);
            pair.link.set_script(A, move |index, _| match index >= silent {
                true => FakeIceFate::Drop,
                false => FakeIceFate::Deliver,
            });
            pair.tell_parameters(A, DtlsRole::Client).unwrap();
            pair.tell_parameters(B, DtlsRole::Server).unwrap();
            pair.set_writable(A, true);
            pair.set_writable(B, true);
            pair.run_for(Duration::from_millis(25));
            if pair.b.dtls.state() == DtlsTransportState::Connected {
                continue;
            }
            // Another fingerprint that might be the server's, too, begins the client anew.
            pair.link.set_script(A, |_, _| FakeIceFate::Deliver);
            let fingerprints = certificates().each_ref().map(Certificate::fingerprint).to_vec();
            let now = pair.now;
            pair.a.dtls.set_remote_parameters(now, fingerprints, DtlsRole::Client).unwrap();
            pair.a.settle(now);
            is_whole(&mut pair, &format!("{version} silent from {silent}"));
        }
    }
}

/// Fatal alerts, close_notify and ChangeCipherSpec before and behind each datagram, in either direction.
#[test]
fn forged_alerts_at_each_moment() {
    for version in VERSIONS {
        let counts = datagrams(version);
        for (side, count) in [(A, counts[0]), (B, counts[1])] {
            for at in 0..count {
                for (kind, payload) in [(21, vec![2, 40]), (21, vec![2, 10]), (21, vec![1, 0]), (20, vec![1])]
                {
                    let mut pair = pair(version);
                    let what = format!("{version} {side:?} {at} {kind} {payload:?}");
                    pair.link.set_script(side, move |index, bytes| match index == at {
                        true => FakeIceFate::Replace(vec![
                            record(kind, 100, &payload),
                            bytes.to_vec(),
                            record(kind, 101, &payload),
                        ]),
                        false => FakeIceFate::Deliver,
                    });
                    pair.go();
                    is_whole(&mut pair, &what);
                }
            }
        }
    }
}

/// What no engine lets us do: a ServerHello that was changed, where the true one follows it, deceives a DTLS 1.3 client
/// for good. It fails with a reason, once, in the time that a handshake has; nobody is believed.
#[test]
fn a_changed_server_hello_deceives_no_more_than_the_handshake() {
    let told = Arc::new(Mutex::new(0));
    let mut pair = pair(DtlsVersion::Dtls13);
    let counted = Arc::clone(&told);
    pair.link.set_script(B, move |_, bytes| {
        if bytes.get(RECORD_HEADER) != Some(&2) {
            return FakeIceFate::Deliver;
        }
        *counted.lock().unwrap() += 1;
        FakeIceFate::Replace(vec![forged(bytes, 1), bytes.to_vec()])
    });
    pair.go();
    pair.run_for(Duration::from_secs(40));
    assert!(*told.lock().unwrap() > 0);
    assert_ne!(pair.a.dtls.state(), DtlsTransportState::Connected);
    assert!(pair.a.data.is_empty() && pair.b.data.is_empty());
}
