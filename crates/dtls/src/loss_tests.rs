//! D04, D05 and the handshake on bad networks: losses, duplicates, reordering, fragments in any cut. For each
//! engine against each, as far as the Cargo features have them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerstack_base::Random;
use peerstack_p2p::{FakeIceFate, FakeIceLink, FakeIceSide};

use crate::handshake_record::{HANDSHAKE_HEADER, RECORD_HEADER, is_client_hello, records};
use crate::test_pair::{Pair, config};
use crate::{DtlsTransportInternal, DtlsTransportState, DtlsVersion};

use FakeIceFate::{Deliver, Drop, Duplicate, Replace};
use FakeIceSide::{A, B};

const VERSIONS: [DtlsVersion; 2] = [DtlsVersion::Dtls12, DtlsVersion::Dtls13];

/// A pair whose client offers at most `version`.
fn pair(version: DtlsVersion) -> Pair {
    let mut a = config(A);
    a.max_version = version;
    let mut pair = Pair::new(a, config(B));
    pair.a.dtls.ice_mut().set_rtt(Some(Duration::from_millis(20)));
    pair.b.dtls.ice_mut().set_rtt(Some(Duration::from_millis(20)));
    pair
}

fn works_within(mut pair: Pair, limit: Duration, what: &str) -> Pair {
    let start = pair.now;
    pair.go();
    assert!(pair.connect(), "{what}: {:?} {:?}", pair.a.told, pair.b.told);
    let took = pair.now - start;
    assert!(took <= limit, "{what} took {took:?}");
    assert!(pair.talk(), "{what}");
    pair
}

/// Gives plaintext records of one sender rising numbers again, after some of them were cut in two.
#[derive(Debug, Default)]
pub(crate) struct Renumber(u8);

impl Renumber {
    pub(crate) fn datagram(&mut self, datagram: &[u8]) -> Vec<u8> {
        let (mut renumbered, mut rest) = (Vec::new(), datagram);
        for record in records(datagram) {
            let mut bytes = record.bytes.to_vec();
            if record.epoch == 0 {
                bytes[10] = self.0;
                self.0 += 1;
            }
            renumbered.extend(bytes);
            rest = &rest[record.bytes.len()..];
        }
        renumbered.extend_from_slice(rest);
        renumbered
    }
}

/// Cuts an unfragmented handshake record into two datagrams, as a peer with a smaller MTU does.
pub(crate) fn refragment(datagram: &[u8], cut: usize) -> [Vec<u8>; 2] {
    let body = &datagram[RECORD_HEADER + HANDSHAKE_HEADER..];
    let piece = |offset: usize, body: &[u8]| {
        let mut bytes = datagram[..RECORD_HEADER + HANDSHAKE_HEADER].to_vec();
        let u24 = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
        bytes[11..13].copy_from_slice(&u16::try_from(HANDSHAKE_HEADER + body.len()).unwrap().to_be_bytes());
        bytes[19..22].copy_from_slice(&u24(offset)[1..]);
        bytes[22..25].copy_from_slice(&u24(body.len())[1..]);
        bytes.extend_from_slice(body);
        bytes
    };
    [piece(0, &body[..cut]), piece(cut, &body[cut..])]
}

/// Makes the client's hello come in two pieces, cut at `cuts` percent the first time and later; one piece of
/// the first is lost, and the pieces of each come in `order`.
pub(crate) fn cut_hello(pair: &mut Pair, cuts: [usize; 2], lost: Option<usize>, order: [usize; 2]) {
    let (mut hellos, mut renumber) = (0, Renumber::default());
    pair.link.set_script(A, move |_, bytes| {
        if !is_client_hello(bytes) {
            return Replace(vec![renumber.datagram(bytes)]);
        }
        let size = bytes.len() - RECORD_HEADER - HANDSHAKE_HEADER;
        let cut = cuts[usize::from(hellos > 0)];
        let pieces = refragment(bytes, size * cut / 100).map(|piece| renumber.datagram(&piece));
        let first = hellos == 0;
        hellos += 1;
        let kept = order.iter().filter(|&&index| !first || Some(index) != lost);
        Replace(kept.map(|&index| pieces[index].clone()).collect())
    });
}

/// D04: any one of the first datagrams of either side is lost, the last flight among them.
#[test]
fn any_single_loss_is_recovered() {
    for version in VERSIONS {
        for side in [A, B] {
            for lost in 0..6 {
                let mut pair = pair(version);
                pair.link.set_script(side, move |index, _| if index == lost { Drop } else { Deliver });
                pair.go();
                let start = pair.now;
                assert!(pair.connect(), "{version} {side:?} {lost}");
                assert!(pair.now - start < Duration::from_secs(1), "{version} {side:?} {lost}");
                pair.link.set_script(side, |_, _| Deliver);
                assert!(pair.talk(), "{version} {side:?} {lost}");
            }
        }
    }
}

/// D04: the server's last flight is lost again and again; the client's retransmissions bring it back, long
/// after the server was done.
#[test]
fn a_lost_last_flight_comes_again() {
    for version in VERSIONS {
        let mut pair = pair(version);
        pair.go();
        pair.link.set_script(B, |_, _| Deliver);
        let done =
            pair.run_until(Duration::from_secs(5), |pair| pair.b.dtls.srtp_keying_material().is_some());
        assert!(done);
        // The server is done: all it says is lost for a while.
        pair.link.set_script(B, |_, _| Drop);
        pair.run_for(Duration::from_secs(2));
        pair.link.set_script(B, |_, _| Deliver);
        assert!(pair.connect(), "{version}");
        assert!(pair.talk(), "{version}");
    }
}

/// Who is done stays so though nobody acknowledges its last flight: consent ends what is dead (RFC 7675), not DTLS.
#[test]
fn an_unanswered_last_flight_ends_nothing() {
    let mut pair = pair(DtlsVersion::Dtls13);
    pair.link.set_script(A, |index, _| if index == 0 { Deliver } else { Drop });
    pair.go();
    let connected = |pair: &mut Pair| pair.a.dtls.state() == DtlsTransportState::Connected;
    assert!(pair.run_until(Duration::from_secs(5), connected));
    pair.run_for(Duration::from_secs(600));
    assert_eq!(pair.a.dtls.state(), DtlsTransportState::Connected);
    assert_eq!(pair.a.dtls.next_timeout(), None, "nothing is left to be done");
    assert_eq!(pair.b.dtls.state(), DtlsTransportState::Failed);
}

/// D04: a ClientHello as large as post-quantum key shares make it, in two datagrams, either of them lost, and
/// cut elsewhere the next time, as Firefox does.
#[test]
fn a_client_hello_in_two_datagrams_with_either_lost() {
    for version in VERSIONS {
        for lost in [None, Some(0), Some(1)] {
            for order in [[0, 1], [1, 0]] {
                let mut pair = pair(version);
                // 1,408 + 103 bytes the first time, 1,188 + 323 bytes then.
                cut_hello(&mut pair, [93, 78], lost, order);
                works_within(pair, Duration::from_secs(1), &format!("{version} {lost:?} {order:?}"));
            }
        }
    }
}

/// D04: the same to a server that speaks 1.2 alone.
#[test]
fn a_client_hello_in_pieces_reaches_a_server_of_one_version() {
    for version in VERSIONS {
        for lost in [None, Some(0), Some(1)] {
            let mut b = config(B);
            (b.min_version, b.max_version) = (version, version);
            let mut pair = Pair::new(config(A), b);
            cut_hello(&mut pair, [75, 60], lost, [0, 1]);
            works_within(pair, Duration::from_secs(1), &format!("{version} {lost:?}"));
        }
    }
}

/// D05: duplicates cause no storm.
#[test]
fn duplicates_cause_no_storm() {
    for version in VERSIONS {
        let mut quiet = works_within(pair(version), Duration::from_secs(1), "quiet");
        quiet.run_for(Duration::from_secs(10));
        let mut pair = pair(version);
        for side in [A, B] {
            pair.link.set_script(side, |_, _| Duplicate);
        }
        let mut pair = works_within(pair, Duration::from_secs(1), "duplicates");
        pair.run_for(Duration::from_secs(10));
        for side in [A, B] {
            let (usual, now) = (quiet.link.sent(side), pair.link.sent(side));
            assert!(now <= 4 * usual + 4, "{version} {side:?}: {now} datagrams instead of {usual}");
        }
        assert_eq!(pair.a.data.len(), 1, "a duplicate record is not delivered twice");
        let sent = (pair.link.sent(A), pair.link.sent(B));
        pair.run_for(Duration::from_secs(60));
        assert_eq!((pair.link.sent(A), pair.link.sent(B)), sent, "silent in the end");
    }
}

/// D05: a ClientHello that comes again and again is not answered with a flight each time, and does not use up
/// the retransmissions that a loss may need.
#[test]
fn copies_of_a_client_hello_are_not_amplified() {
    for version in VERSIONS {
        let mut pair = pair(version);
        let hello = Arc::new(Mutex::new(Vec::new()));
        let copy = Arc::clone(&hello);
        pair.link.set_script(A, move |index, bytes| {
            if index == 0 {
                *copy.lock().unwrap() = bytes.to_vec();
            }
            Replace(vec![bytes.to_vec(); 200])
        });
        pair.link.set_script(B, |_, _| Drop);
        pair.go();
        pair.run_for(Duration::from_millis(15));
        let flight = pair.link.sent(B);
        assert!((1..6).contains(&flight), "{version}: {flight}");
        let hello = hello.lock().unwrap().clone();
        for _ in 0..1000 {
            pair.link.inject(pair.now, B, hello.clone());
            pair.run_for(Duration::from_millis(5));
        }
        let sent = pair.link.sent(B);
        assert!(sent <= 300 * flight, "{version}: {sent} datagrams in answer to 1000");
        pair.link.set_script(A, |_, _| Deliver);
        pair.link.set_script(B, |_, _| Deliver);
        assert!(pair.connect(), "{version}: {:?} {:?}", pair.a.told, pair.b.told);
        assert!(pair.talk(), "{version}");
    }
}

/// D05: while a part of a flight is missing, what came of it is acknowledged, and not without end.
#[test]
fn a_gap_in_a_flight_causes_no_storm() {
    for ((side, sender), lost) in [((A, B), 1), ((A, B), 2), ((B, A), 1), ((B, A), 2)] {
        let mut configs = [config(A), config(B)];
        configs[sender as usize].mtu = 512;
        let [a, b] = configs;
        let mut pair = Pair::new(a, b);
        // The receiver's retransmissions would come soon, the sender's would not.
        pair.peer(side).dtls.ice_mut().set_rtt(Some(Duration::from_millis(20)));
        pair.peer(sender).dtls.ice_mut().set_rtt(Some(Duration::from_millis(1500)));
        // One of the datagrams that begin with a sealed record.
        let mut sealed = 0;
        pair.link.set_script(sender, move |_, bytes| {
            let is_sealed = records(bytes).next().is_none_or(|record| record.epoch != 0);
            sealed += usize::from(is_sealed);
            if is_sealed && sealed == lost { Drop } else { Deliver }
        });
        let end = pair.now + Duration::from_secs(2);
        pair.go();
        let connected = pair.run_until(Duration::from_secs(20), |pair| {
            let sent = pair.link.sent(side);
            assert!(pair.now > end || sent < 30, "{side:?} sent {sent} datagrams in 2 s");
            pair.connected()
        });
        assert!(connected, "{side:?} {lost}: {:?} {:?}", pair.a.told, pair.b.told);
        assert!(pair.talk());
    }
}

/// Handshake datagrams in any order: each later than the next by chance.
#[test]
fn reordering_is_survived() {
    for version in VERSIONS {
        for seed in 0..20 {
            let mut pair = pair(version);
            for side in [A, B] {
                let mut random = Random::from_seed(seed * 2 + side as u64);
                pair.link.set_script(side, move |_, _| {
                    FakeIceFate::Delay(Duration::from_millis(random.below(40)))
                });
            }
            works_within(pair, Duration::from_secs(3), &format!("{version} seed {seed}"));
        }
    }
}

/// Random loss, both ways, 100 ms round trip, with ICE knowing the round-trip time.
#[test]
fn random_loss_is_survived() {
    for version in VERSIONS {
        for percent in [5, 10, 30] {
            let mut times = Vec::new();
            for seed in 0..100 {
                let mut pair = pair(version);
                pair.link = FakeIceLink::new(Duration::from_millis(50));
                for side in [A, B] {
                    let peer = pair.peer(side);
                    peer.dtls.ice_mut().set_rtt(Some(Duration::from_millis(100)));
                    let mut random = Random::from_seed(seed * 2 + side as u64);
                    let loss = f64::from(percent) / 100.0;
                    pair.link.set_script(side, move |_, _| if random.chance(loss) { Drop } else { Deliver });
                }
                let start = pair.now;
                pair.go();
                assert!(pair.connect(), "{version} {percent} % seed {seed}");
                times.push(pair.now - start);
            }
            times.sort_unstable();
            println!(
                "{version} {percent:2} %: median {:?} 90 % {:?} worst {:?}",
                times[50], times[90], times[99]
            );
            assert!(times[99] < Duration::from_secs(20), "{version} {percent} %: {:?}", times[99]);
        }
    }
}

/// Two runs with one seed send the same at the same times (lengths within 8 bytes, as signatures vary).
#[test]
fn a_seeded_run_repeats() {
    let run = || {
        let mut pair = pair(DtlsVersion::Dtls13);
        let mut log = Vec::new();
        for side in [A, B] {
            let mut random = Random::from_seed(5 + side as u64);
            pair.link.set_script(side, move |_, _| if random.chance(0.4) { Drop } else { Deliver });
        }
        pair.go();
        let start = pair.now;
        pair.run_until(Duration::from_secs(30), |pair| {
            log.push((pair.now - start, pair.link.sent(A), pair.link.sent(B)));
            pair.connected()
        });
        log
    };
    assert_eq!(run(), run());
}
