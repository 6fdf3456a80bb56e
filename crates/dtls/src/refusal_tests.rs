//! What a peer learns whose certificate is refused.

use std::time::Duration;

use peerstack_p2p::FakeIceSide::{self, A, B};

use crate::test_pair::{Pair, certificates, config};
use crate::{DtlsRole, DtlsTransportInternal, DtlsTransportState, DtlsVersion};

use DtlsTransportState::{Closed, Connected, Connecting, Failed};

/// A pair, A being the client, in which this side expects another certificate than the other has.
fn refusing(side: FakeIceSide, version: DtlsVersion) -> Pair {
    let (mut a, b) = (config(A), config(B));
    a.max_version = version;
    let mut pair = Pair::new(a, b);
    let role = |side| if side == A { DtlsRole::Client } else { DtlsRole::Server };
    let mut wrong = certificates()[side.other() as usize].fingerprint();
    wrong.value[0] ^= 1;
    let now = pair.now;
    pair.peer(side).dtls.set_remote_parameters(now, vec![wrong], role(side)).unwrap();
    pair.tell_parameters(side.other(), role(side.other())).unwrap();
    pair.set_writable(A, true);
    pair.set_writable(B, true);
    assert!(pair.run_until(Duration::from_secs(1), |pair| pair.peer(side).dtls.state() == Failed));
    pair
}

/// D09: a DTLS 1.3 client is done before the server has seen its certificate (RFC 8446 section 2). Refused, it
/// learns so at once, and no data has passed.
#[test]
fn a_refused_dtls_13_client_is_told() {
    let mut pair = refusing(B, DtlsVersion::Dtls13);
    let over = |pair: &mut Pair| pair.a.dtls.state() == Closed;
    assert!(pair.run_until(Duration::from_secs(1), over), "{:?}", pair.a.told);
    assert_eq!(pair.a.states(), [Connecting, Connected, Closed]);
    assert_eq!(pair.b.states(), [Connecting, Failed]);
    assert!(pair.a.data.is_empty() && pair.b.data.is_empty());
}

/// D09: every other peer that is refused is never connected: the flight it waits for does not leave.
#[test]
fn a_refused_peer_is_never_connected() {
    for (side, version) in [(A, DtlsVersion::Dtls12), (A, DtlsVersion::Dtls13), (B, DtlsVersion::Dtls12)] {
        let mut pair = refusing(side, version);
        pair.run_for(Duration::from_secs(40));
        let other = pair.peer(side.other());
        assert!(!other.states().contains(&Connected), "{side:?} {version}: {:?}", other.told);
    }
}
