//! For tests/fuzz alone (Cargo feature `fuzzing`): what looks at datagrams before an engine does, by itself. Owned
//! by the fuzz target.

#[cfg(feature = "webrtc-dtls")]
use std::time::{Duration, Instant};

use crate::DtlsRole;
use crate::handshake_reassembler::HandshakeReassembler;
use crate::handshake_record::{
    HANDSHAKE_HEADER, RECORD_HEADER, fragments, is_client_hello, pieces, records, server_hello_cipher_suite,
    shift_plaintext_numbers,
};

/// Splits one datagram every way there is, and checks that nothing is lost or made.
pub fn split(datagram: &[u8]) {
    let mut length = 0;
    for record in records(datagram) {
        assert_eq!(record.bytes.len(), RECORD_HEADER + record.payload.len());
        length += record.bytes.len();
        let mut inner = 0;
        for fragment in fragments(record.payload) {
            assert!(fragment.offset + fragment.body.len() <= fragment.length);
            inner += HANDSHAKE_HEADER + fragment.body.len();
        }
        assert!(inner <= record.payload.len());
    }
    assert!(length <= datagram.len());
    assert!(pieces(datagram).flatten().eq(datagram), "the pieces are all of it");
    let _ = (is_client_hello(datagram), server_hello_cipher_suite(datagram));
    let mut shifted = datagram.to_vec();
    shift_plaintext_numbers(&mut shifted, 7);
    assert_eq!(records(&shifted).count(), records(datagram).count());
    shift_plaintext_numbers(&mut shifted, 0_u64.wrapping_sub(7));
    assert_eq!(shifted, datagram);
}

/// What one association's guards keep between datagrams.
#[derive(Debug)]
pub struct Guards {
    reassembler: HandshakeReassembler,
    #[cfg(feature = "webrtc-dtls")]
    webrtc: crate::webrtc_dtls_guard::WebrtcDtlsGuard,
}

impl Guards {
    /// For an association in this role.
    pub fn new(role: DtlsRole) -> Self {
        #[cfg(not(feature = "webrtc-dtls"))]
        let _ = role;
        Self {
            reassembler: HandshakeReassembler::new(8_000),
            #[cfg(feature = "webrtc-dtls")]
            webrtc: crate::webrtc_dtls_guard::WebrtcDtlsGuard::new(role, Duration::from_millis(50)),
        }
    }

    /// Puts the datagram's handshake messages together: each comes out as one record with one whole message.
    pub fn reassemble(&mut self, datagram: &[u8]) {
        for record in records(datagram) {
            for fragment in fragments(record.payload) {
                let Some(whole) = self.reassembler.push(&record, &fragment) else { continue };
                let mut again = records(&whole);
                let inner = again.next().map(|record| record.payload);
                assert!(again.next().is_none());
                let message = inner.and_then(|payload| fragments(payload).next());
                assert!(message.is_some_and(|message| {
                    message.offset == 0
                        && message.body.len() == fragment.length
                        && message.message_seq == fragment.message_seq
                        && message.message_type == fragment.message_type
                }));
            }
        }
    }

    /// What `webrtc-dtls` would see of the datagram: whole records, no longer than one read of it.
    #[cfg(feature = "webrtc-dtls")]
    pub fn admit(&mut self, now: Instant, datagram: &[u8]) {
        if let Some(admitted) = self.webrtc.admit(datagram) {
            let length: usize = records(&admitted).map(|record| record.bytes.len()).sum();
            assert_eq!(length, admitted.len(), "whole records");
        }
        if let Some(flight) = self.webrtc.answer(now, datagram) {
            assert!(!flight.is_empty());
        }
    }

    /// A datagram of ours goes out.
    #[cfg(feature = "webrtc-dtls")]
    pub fn observe_outgoing(&mut self, datagram: &[u8]) {
        self.webrtc.observe_outgoing(datagram);
    }

    /// The handshake is done.
    #[cfg(feature = "webrtc-dtls")]
    pub fn complete(&mut self) {
        self.webrtc.complete();
    }
}
