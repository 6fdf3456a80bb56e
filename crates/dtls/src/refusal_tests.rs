//! What a peer learns whose certificate is refused.

use std::time::Duration;

use peerstack_p2p::FakeIceSide::{A, B};

use crate::test_pair::{Pair, certificates};
use crate::{DtlsRole, DtlsTransportInternal, DtlsTransportState};

/// D09: a DTLS 1.3 client is done before the server has seen its certificate (RFC 8446 section 2). Refused, it
/// learns so at once, and no data has passed.
#[test]
fn a_refused_dtls_13_client_is_told() {
    let mut pair = Pair::with_defaults();
    let mut wrong = certificates()[0].fingerprint();
    wrong.value[0] ^= 1;
    pair.b.dtls.set_remote_parameters(pair.now, vec![wrong], DtlsRole::Server).unwrap();
    pair.tell_parameters(A, DtlsRole::Client).unwrap();
    pair.set_writable(A, true);
    pair.set_writable(B, true);
    let over = |pair: &mut Pair| pair.a.dtls.state() == DtlsTransportState::Closed;
    assert!(pair.run_until(Duration::from_secs(1), over), "{:?}", pair.a.told);
    assert_eq!(pair.b.states(), [DtlsTransportState::Connecting, DtlsTransportState::Failed]);
    assert_eq!(pair.b.dtls.tls_version(), None);
    assert_eq!(pair.a.states().get(1), Some(&DtlsTransportState::Connected));
    assert!(pair.a.data.is_empty() && pair.b.data.is_empty());
}
