//! The second engine over the transport: against itself and against the first, in both roles; D04's losses; the
//! crafted inputs it would die of without its guard; its tasks ended. The clock is tokio's, paused.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use peerstack_base::Random;
use peerstack_p2p::{FakeIceFate, FakeIceLink, FakeIceSide};

use crate::guard_tests::{bump, fragment, mutate, record, with_extensions};
use crate::handshake_record::is_client_hello;
use crate::loss_tests::cut_hello;
use crate::test_pair::{Pair, certificates, config};
use crate::{
    DtlsEngineError, DtlsEngineKind, DtlsRole, DtlsTransportConfig, DtlsTransportEvent,
    DtlsTransportInternal, DtlsTransportState, DtlsVersion, SrtpProtectionProfile,
};

use DtlsEngineKind::{Dimpl, WebrtcDtls};
use DtlsTransportState::{Closed, Connected, Connecting, Failed};
use FakeIceFate::{Deliver, Drop, Replace};
use FakeIceSide::{A, B};

/// Client and server.
const ENGINES: [[DtlsEngineKind; 2]; 3] =
    [[WebrtcDtls, WebrtcDtls], [Dimpl, WebrtcDtls], [WebrtcDtls, Dimpl]];

fn configs([client, server]: [DtlsEngineKind; 2]) -> [DtlsTransportConfig; 2] {
    let (mut a, mut b) = (config(A), config(B));
    (a.engine, b.engine) = (client, server);
    [a, b]
}

fn pair(engines: [DtlsEngineKind; 2]) -> Pair {
    let [a, b] = configs(engines);
    let mut pair = Pair::new(a, b);
    for side in [A, B] {
        pair.peer(side).dtls.ice_mut().set_rtt(Some(Duration::from_millis(25)));
    }
    pair
}

async fn connected(engines: [DtlsEngineKind; 2]) -> Pair {
    let mut pair = pair(engines);
    pair.go();
    assert!(pair.connect_async().await, "{engines:?}: {:?} {:?}", pair.a.told, pair.b.told);
    pair.run_for_async(Duration::from_secs(1)).await;
    pair
}

async fn survives(pair: &mut Pair, what: &str) {
    assert_eq!(pair.a.dtls.state(), Connected, "{what}: {:?}", pair.a.told);
    assert_eq!(pair.b.dtls.state(), Connected, "{what}: {:?}", pair.b.told);
    assert!(pair.talk_async().await, "{what}");
}

/// D01, D07, D08, D11: each engine with each; keys, certificate, version and suite are the same on both ends.
#[tokio::test(start_paused = true)]
async fn each_engine_with_each() {
    for engines in ENGINES {
        let mut pair = connected(engines).await;
        for (side, other) in [(A, B), (B, A)] {
            let keys = pair.peer(other).dtls.srtp_keying_material();
            let suite = pair.peer(other).dtls.cipher_suite().map(str::to_owned);
            let peer = pair.peer(side);
            assert!(keys.is_some());
            assert_eq!(peer.dtls.srtp_keying_material(), keys, "{engines:?}");
            assert_eq!(peer.dtls.tls_version(), Some("DTLS 1.2"));
            assert_eq!(peer.dtls.cipher_suite(), Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
            assert_eq!(peer.dtls.cipher_suite().map(str::to_owned), suite);
            assert_eq!(peer.dtls.remote_certificate(), Some(certificates()[other as usize].der()));
            assert_eq!(peer.states(), [Connecting, Connected]);
            assert!(peer.dtls.writable());
        }
        survives(&mut pair, &format!("{engines:?}")).await;
    }
}

/// D11, D24: each engine with each, in both roles, in each version they can have, with each profile: it is
/// used where the engines let it be chosen, both ends have the same keys of it, and data passes.
#[tokio::test(start_paused = true)]
async fn every_engine_version_role_and_profile() {
    use SrtpProtectionProfile::{AeadAes128Gcm, AeadAes256Gcm, Aes128CmSha1_80};
    let engines = ENGINES.into_iter().chain([[Dimpl, Dimpl]]);
    for engines in engines {
        let versions: &[DtlsVersion] = match engines {
            [Dimpl, Dimpl] => &[DtlsVersion::Dtls12, DtlsVersion::Dtls13],
            _ => &[DtlsVersion::Dtls12],
        };
        for (&version, client) in versions.iter().flat_map(|version| [(version, A), (version, B)]) {
            for profile in [AeadAes256Gcm, AeadAes128Gcm, Aes128CmSha1_80] {
                let what = format!("{engines:?} {version} {client:?} {profile:?}");
                let mut configs = configs(engines);
                for config in &mut configs {
                    config.srtp_profiles = vec![profile];
                    config.max_version = version;
                }
                let [a, b] = configs;
                let mut pair = Pair::new(a, b);
                pair.tell_parameters(client, DtlsRole::Client).unwrap();
                pair.tell_parameters(client.other(), DtlsRole::Server).unwrap();
                pair.set_writable(A, true);
                pair.set_writable(B, true);
                if engines == [Dimpl, Dimpl] && profile != AeadAes256Gcm {
                    // It offers each profile it has, and takes the first: not used, and not tried again.
                    let failed =
                        |pair: &mut Pair| [&pair.a, &pair.b].iter().any(|p| p.dtls.state() == Failed);
                    assert!(pair.run_until_async(Duration::from_secs(1), failed).await, "{what}");
                    let reason = DtlsEngineError::SrtpProfile("SRTP_AEAD_AES_256_GCM");
                    let reason = DtlsTransportEvent::HandshakeError(reason);
                    assert!(pair.a.told.contains(&reason) || pair.b.told.contains(&reason), "{what}");
                    pair.run_for_async(Duration::from_secs(1)).await;
                    for peer in [&pair.a, &pair.b] {
                        assert_ne!(peer.dtls.state(), Connected, "{what}");
                        assert_eq!(peer.dtls.srtp_keying_material(), None, "{what}");
                    }
                    continue;
                }
                assert!(pair.connect_async().await, "{what}: {:?} {:?}", pair.a.told, pair.b.told);
                let keys = pair.a.dtls.srtp_keying_material().unwrap();
                assert_eq!(pair.b.dtls.srtp_keying_material().as_ref(), Some(&keys), "{what}");
                assert_eq!(keys.profile, profile, "{what}");
                assert_eq!(keys.material.len(), 2 * (profile.key_len() + profile.salt_len()), "{what}");
                assert_eq!(pair.a.dtls.tls_version(), Some(version.as_str()), "{what}");
                for peer in [&pair.a, &pair.b] {
                    // Each event once, and in order: the keys with the state, writable behind it.
                    let expected = [
                        DtlsTransportEvent::StateChange(Connecting),
                        DtlsTransportEvent::StateChange(Connected),
                        DtlsTransportEvent::WritableState(true),
                    ];
                    assert_eq!(peer.told, expected, "{what}");
                }
                survives(&mut pair, &what).await;
            }
        }
    }
}

/// D24: the profile both have; SHA1-32, which the first engine has not.
#[tokio::test(start_paused = true)]
async fn profiles_meet() {
    use SrtpProtectionProfile::{AeadAes128Gcm, AeadAes256Gcm, Aes128CmSha1_32, Aes128CmSha1_80};
    for (client, server, expected) in [
        (vec![Aes128CmSha1_32], vec![Aes128CmSha1_80, Aes128CmSha1_32], Some(Aes128CmSha1_32)),
        (vec![AeadAes128Gcm, Aes128CmSha1_80], vec![Aes128CmSha1_80], Some(Aes128CmSha1_80)),
        (vec![AeadAes256Gcm], vec![AeadAes256Gcm], Some(AeadAes256Gcm)),
        (vec![], vec![], None),
    ] {
        let [mut a, mut b] = configs([WebrtcDtls, WebrtcDtls]);
        (a.srtp_profiles, b.srtp_profiles) = (client, server);
        let mut pair = Pair::new(a, b);
        pair.go();
        assert!(pair.connect_async().await, "{expected:?}");
        let keys = pair.a.dtls.srtp_keying_material();
        assert_eq!(keys.as_ref().map(|keys| keys.profile), expected);
        assert_eq!(keys, pair.b.dtls.srtp_keying_material());
    }
}

/// D09: the fingerprint is checked before keys and data whichever engine showed the certificate.
#[tokio::test(start_paused = true)]
async fn a_wrong_fingerprint_fails() {
    for engines in ENGINES {
        for side in [A, B] {
            let mut pair = pair(engines);
            let mut wrong = certificates()[side.other() as usize].fingerprint();
            wrong.value[0] ^= 1;
            let roles = if side == A {
                [DtlsRole::Client, DtlsRole::Server]
            } else {
                [DtlsRole::Server, DtlsRole::Client]
            };
            let now = pair.now;
            pair.peer(side).dtls.set_remote_parameters(now, vec![wrong], roles[0]).unwrap();
            pair.tell_parameters(side.other(), roles[1]).unwrap();
            pair.set_writable(A, true);
            pair.set_writable(B, true);
            let failed = |pair: &mut Pair| pair.peer(side).dtls.state() == Failed;
            assert!(pair.run_until_async(Duration::from_secs(5), failed).await, "{engines:?} {side:?}");
            assert_eq!(pair.peer(side).states(), [Connecting, Failed]);
            assert_eq!(pair.peer(side).dtls.srtp_keying_material(), None);
            assert!(pair.peer(side).data.is_empty());
        }
    }
}

/// D04: any one datagram lost, the server's last flight among them.
#[tokio::test(start_paused = true)]
async fn any_single_loss_is_recovered() {
    for engines in ENGINES {
        for side in [A, B] {
            for lost in 0..5 {
                let mut pair = pair(engines);
                pair.link.set_script(side, move |index, _| if index == lost { Drop } else { Deliver });
                let start = pair.now;
                pair.go();
                let what = format!("{engines:?} {side:?} {lost}");
                assert!(pair.connect_async().await, "{what}: {:?} {:?}", pair.a.told, pair.b.told);
                assert!(pair.now - start < Duration::from_secs(2), "{what}: {:?}", pair.now - start);
                pair.link.set_script(side, |_, _| Deliver);
                survives(&mut pair, &what).await;
            }
        }
    }
}

/// D04: the server's last flight is lost for a while.
#[tokio::test(start_paused = true)]
async fn a_lost_last_flight_comes_again() {
    for engines in [[WebrtcDtls, WebrtcDtls], [Dimpl, WebrtcDtls]] {
        let mut pair = pair(engines);
        pair.go();
        let done = |pair: &mut Pair| pair.b.dtls.state() == Connected;
        // What the server says from its Finished on does not arrive.
        pair.link.set_script(B, |_, bytes| if bytes.first() == Some(&20) { Drop } else { Deliver });
        assert!(pair.run_until_async(Duration::from_secs(5), done).await);
        pair.run_for_async(Duration::from_secs(3)).await;
        assert_eq!(pair.a.dtls.state(), Connecting);
        pair.link.set_script(B, |_, _| Deliver);
        assert!(pair.connect_async().await, "{engines:?}");
        survives(&mut pair, &format!("{engines:?}")).await;
    }
}

/// D04: the ClientHello in two datagrams, either of them lost, and cut elsewhere the next time.
#[tokio::test(start_paused = true)]
async fn a_client_hello_in_two_datagrams_with_either_lost() {
    for engines in [[Dimpl, WebrtcDtls], [WebrtcDtls, WebrtcDtls]] {
        for lost in [None, Some(0), Some(1)] {
            let mut pair = pair(engines);
            cut_hello(&mut pair, [93, 78], lost, [0, 1]);
            pair.go();
            let what = format!("{engines:?} {lost:?}");
            assert!(pair.connect_async().await, "{what}: {:?} {:?}", pair.a.told, pair.b.told);
            survives(&mut pair, &what).await;
        }
    }
}

/// D04: random loss both ways, 100 ms round trip.
#[tokio::test(start_paused = true)]
async fn random_loss_is_survived() {
    for engines in ENGINES {
        for percent in [5, 20] {
            let mut times = Vec::new();
            for seed in 0..15 {
                let mut pair = pair(engines);
                pair.link = FakeIceLink::new(Duration::from_millis(50));
                for side in [A, B] {
                    pair.peer(side).dtls.ice_mut().set_rtt(Some(Duration::from_millis(100)));
                    let mut random = Random::from_seed(seed * 2 + side as u64);
                    let loss = f64::from(percent) / 100.0;
                    pair.link.set_script(side, move |_, _| if random.chance(loss) { Drop } else { Deliver });
                }
                let start = pair.now;
                pair.go();
                let what = format!("{engines:?} {percent} % seed {seed}");
                assert!(pair.connect_async().await, "{what}: {:?} {:?}", pair.a.told, pair.b.told);
                times.push(pair.now - start);
            }
            times.sort_unstable();
            println!("{engines:?} {percent} %: median {:?} worst {:?}", times[7], times[14]);
        }
    }
}

/// D05: duplicates and reordering.
#[tokio::test(start_paused = true)]
async fn duplicates_and_reordering_are_survived() {
    for engines in ENGINES {
        for seed in 0..5 {
            let mut pair = pair(engines);
            for side in [A, B] {
                let mut random = Random::from_seed(seed * 2 + side as u64);
                pair.link.set_script(side, move |_, _| match random.below(3) {
                    0 => FakeIceFate::Duplicate,
                    1 => FakeIceFate::Delay(Duration::from_millis(random.below(30))),
                    _ => Deliver,
                });
            }
            pair.go();
            assert!(pair.connect_async().await, "{engines:?} {seed}");
            for side in [A, B] {
                pair.link.set_script(side, |_, _| Deliver);
            }
            survives(&mut pair, &format!("{engines:?} {seed}")).await;
            let sent = (pair.link.sent(A), pair.link.sent(B));
            pair.run_for_async(Duration::from_secs(20)).await;
            assert_eq!((pair.link.sent(A), pair.link.sent(B)), sent, "silent in the end");
        }
    }
}

/// Plaintext in the peer's name ends no connection: the crate alone dies of the first.
#[tokio::test(start_paused = true)]
async fn forged_plaintext_ends_no_connection() {
    for engines in ENGINES {
        let mut pair = connected(engines).await;
        for side in [A, B] {
            for content_type in [20, 21, 22, 23, 24, 25, 63] {
                for payload in [&[][..], &[1], &[1, 0], &[2, 0], &[2, 40], &[7; 9], &[7; 23], &[7; 60]] {
                    for epoch in [0, 1, 2, 255] {
                        let mut bytes = record(content_type, 200, payload);
                        bytes[4] = epoch;
                        let now = pair.now;
                        pair.peer(side).receive(now, bytes);
                    }
                }
                let now = pair.now;
                pair.peer(side).receive(now, record(content_type, 201, &fragment(16, 2, 2, 0, &[1, 1])));
                pair.peer(side).receive(now, vec![content_type; 5]);
            }
            pair.run_for_async(Duration::from_millis(200)).await;
            survives(&mut pair, &format!("{engines:?} {side:?}")).await;
        }
    }
}

/// Forty thousand one-byte fragments: the crate alone overflows the stack.
#[tokio::test(start_paused = true)]
async fn forty_thousand_fragments_of_a_byte() {
    for side in [A, B] {
        let mut pair = pair([WebrtcDtls, WebrtcDtls]);
        let roles = if side == A {
            [DtlsRole::Client, DtlsRole::Server]
        } else {
            [DtlsRole::Server, DtlsRole::Client]
        };
        pair.tell_parameters(side, roles[0]).unwrap();
        pair.set_writable(side, true);
        let message_type = if side == A { 2 } else { 1 };
        for length in [40_000, 7_000] {
            for offset in 0..length {
                let now = pair.now;
                let bytes = record(22, 0, &fragment(message_type, length, 0, offset, &[1]));
                pair.peer(side).receive(now, bytes);
            }
            pair.run_for_async(Duration::from_millis(50)).await;
        }
        assert_eq!(pair.peer(side).dtls.state(), Connecting);
        pair.tell_parameters(side.other(), roles[1]).unwrap();
        pair.set_writable(side.other(), true);
        assert!(pair.connect_async().await, "{side:?}: {:?} {:?}", pair.a.told, pair.b.told);
        survives(&mut pair, "afterwards").await;
    }
}

/// A stray byte in the extensions: the crate alone panics.
#[tokio::test(start_paused = true)]
async fn a_stray_byte_in_client_hello_extensions() {
    for stray in 1..4 {
        let mut pair = pair([Dimpl, WebrtcDtls]);
        let mut first = true;
        pair.link.set_script(A, move |_, bytes| {
            if !is_client_hello(bytes) || !std::mem::take(&mut first) {
                return Deliver;
            }
            Replace(vec![with_extensions(bytes, |body, at| {
                body.extend(vec![0; stray]);
                bump(body, at, i32::try_from(stray).unwrap());
            })])
        });
        pair.go();
        assert!(pair.connect_async().await, "{:?} {:?}", pair.a.told, pair.b.told);
        assert_eq!(pair.b.dtls.stats().restarts, 0, "nothing had to begin anew");
        survives(&mut pair, "afterwards").await;
    }
}

/// Mutated copies of everything: what is established goes on.
#[tokio::test(start_paused = true)]
async fn mutated_copies_at_every_stage() {
    let mut ended = 0;
    for (seed, engines) in (0..12).zip(ENGINES.into_iter().cycle()) {
        let mut pair = pair(engines);
        for side in [A, B] {
            let mut random = Random::from_seed(seed * 2 + side as u64);
            pair.link.set_script(side, move |_, bytes| {
                let mut all = vec![bytes.to_vec()];
                for _ in 0..random.below(5) {
                    let mut copy = bytes.to_vec();
                    mutate(&mut random, &mut copy);
                    all.insert(random.below(all.len() as u64 + 1) as usize, copy);
                }
                Replace(all)
            });
        }
        pair.go();
        if !pair.connect_async().await {
            ended += 1;
            continue;
        }
        for _ in 0..10 {
            // A copy with noise behind the genuine record may be the one that is read: the data is the same.
            assert!(pair.talk_async().await, "{engines:?} seed {seed}");
        }
        survives(&mut pair, &format!("{engines:?} seed {seed}")).await;
    }
    assert!(ended < 9, "{ended} of 12 handshakes broke");
}

/// Either engine's close_notify closes the other; after either's close nothing runs any more.
#[tokio::test(start_paused = true)]
async fn close_ends_the_association_and_its_tasks() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive(), 0);
    for engines in ENGINES {
        for side in [A, B] {
            let mut pair = connected(engines).await;
            assert!(alive() > 0);
            let now = pair.now;
            pair.peer(side).send(now, b"last words").unwrap();
            pair.run_for_async(Duration::from_millis(100)).await;
            let now = pair.now;
            pair.peer(side).dtls.close(now);
            assert_eq!(pair.peer(side).dtls.state(), Closed);
            pair.run_for_async(Duration::from_secs(1)).await;
            let other = side.other();
            assert_eq!(pair.peer(other).data, [b"last words"]);
            assert_eq!(pair.peer(other).dtls.state(), Closed, "{engines:?} {side:?}");
            let now = pair.now;
            pair.peer(other).dtls.close(now);
            pair.run_for_async(Duration::from_millis(10)).await;
            assert_eq!(alive(), 0, "{engines:?} {side:?}");
        }
    }
    // During the handshake, and by dropping.
    for engines in ENGINES {
        let mut pair = pair(engines);
        pair.go();
        pair.run_for_async(Duration::from_millis(15)).await;
        drop(pair);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(alive(), 0, "{engines:?}");
    }
}

/// J02: a new fingerprint begins a new association, and the old one's tasks end.
#[tokio::test(start_paused = true)]
async fn a_new_fingerprint_restarts_dtls() {
    let mut pair = connected([WebrtcDtls, WebrtcDtls]).await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, old) = (alive(), pair.a.dtls.srtp_keying_material());
    for (side, role) in [(A, DtlsRole::Server), (B, DtlsRole::Client)] {
        let der = certificates()[side.other() as usize].der();
        let fingerprint = crate::DtlsFingerprint::of_certificate("sha-384", der).unwrap();
        let now = pair.now;
        pair.peer(side).dtls.set_remote_parameters(now, vec![fingerprint], role).unwrap();
    }
    assert!(pair.connect_async().await, "{:?} {:?}", pair.a.told, pair.b.told);
    survives(&mut pair, "restarted").await;
    assert_ne!(pair.a.dtls.srtp_keying_material(), old);
    pair.run_for_async(Duration::from_secs(1)).await;
    assert_eq!(alive(), before);
}

/// The engine wakes the network task when it has something to say.
#[tokio::test(start_paused = true)]
async fn the_engine_wakes_the_network_task() {
    let mut pair = pair([WebrtcDtls, WebrtcDtls]);
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(pair.a.dtls.poll_wake(&mut context), Poll::Pending);
    pair.go();
    let wake = std::future::poll_fn(|cx| pair.a.dtls.poll_wake(cx));
    tokio::time::timeout(Duration::from_secs(1), wake).await.unwrap();
    let now = pair.now;
    pair.a.dtls.process(now);
    let sent = pair.a.dtls.ice_mut().take_sent();
    assert!(is_client_hello(&sent[0]), "what it wanted to say is said");
}

/// Nobody answers: thirty seconds, then it has failed.
#[tokio::test(start_paused = true)]
async fn nobody_answers() {
    let mut pair = pair([WebrtcDtls, WebrtcDtls]);
    pair.link.set_script(A, |_, _| Drop);
    pair.go();
    let start = pair.now;
    let failed = |pair: &mut Pair| pair.a.dtls.state() == Failed;
    assert!(pair.run_until_async(Duration::from_secs(31), failed).await);
    assert_eq!(pair.now - start, Duration::from_secs(30));
    // Every 50 ms, as ICE knows a round trip of 25 ms.
    assert!((500..=600).contains(&pair.link.sent(A)), "{}", pair.link.sent(A));
}

/// A thousand records at once: what the bridge cannot take is refused, not lost, and readiness is told.
#[tokio::test(start_paused = true)]
async fn a_busy_engine_says_so() {
    let mut pair = connected([WebrtcDtls, WebrtcDtls]).await;
    pair.a.told.clear();
    let now = pair.now;
    let taken = (0..1000_u16).take_while(|number| pair.a.send(now, &number.to_be_bytes()).is_ok()).count();
    assert!((100..1000).contains(&taken), "{taken}");
    pair.run_for_async(Duration::from_secs(1)).await;
    assert!(pair.a.told.contains(&DtlsTransportEvent::ReadyToSend));
    assert!(pair.b.data.len() >= 100 && pair.b.data.len() <= taken);
    survives(&mut pair, "afterwards").await;
}

/// What it cannot do is said at once.
#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_be_met_fails() {
    let [mut a, b] = configs([WebrtcDtls, WebrtcDtls]);
    a.min_version = DtlsVersion::Dtls13;
    let mut pair = Pair::new(a, b);
    pair.go();
    assert_eq!(pair.a.states(), [Failed]);
}

/// Without a runtime it fails with a reason and does not panic.
#[test]
fn without_a_runtime_it_fails() {
    let mut pair = pair([WebrtcDtls, Dimpl]);
    pair.go();
    assert_eq!(pair.a.states(), [Failed]);
    assert!(matches!(
        &pair.a.told[0],
        DtlsTransportEvent::HandshakeError(reason) if reason.to_string().contains("runtime")
    ));
}
