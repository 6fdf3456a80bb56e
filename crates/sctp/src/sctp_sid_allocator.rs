//! Which stream identifiers are in use. Owned by the data channels of one transport, on the network task.
//! RFC 8832 section 6 (even for the DTLS client, odd for the server); answers to libwebrtc's
//! `pc/sctp_data_channel.h`, class `SctpSidAllocator`.

use std::collections::BTreeSet;

use peerstack_dtls::DtlsRole;

/// Stream identifiers a WebRTC endpoint uses: 0 to 1,023 (libwebrtc `kMaxSctpStreams`).
pub const MAX_SCTP_STREAMS: u16 = 1024;

/// Hands out stream identifiers, each for as long as its channel lives in both directions.
///
/// Numbers rise until the limit and only then begin anew: an identifier that was just closed rests for as long
/// as possible, because a late packet of its old channel would end the new one.
#[derive(Debug)]
pub(crate) struct SctpSidAllocator {
    used: BTreeSet<u16>,
    limit: u16,
    next_even: u16,
    next_odd: u16,
}

impl SctpSidAllocator {
    /// An allocator for identifiers below `limit`.
    pub(crate) fn new(limit: u16) -> Self {
        Self { used: BTreeSet::new(), limit: limit.min(MAX_SCTP_STREAMS), next_even: 0, next_odd: 1 }
    }

    /// What both sides agreed on, once the association stands (RFC 9260 section 5.1.1).
    pub(crate) fn set_limit(&mut self, limit: u16) {
        self.limit = limit.min(MAX_SCTP_STREAMS);
    }

    /// Identifiers below this number exist.
    pub(crate) fn limit(&self) -> u16 {
        self.limit
    }

    /// An identifier of our parity that nobody uses, or `None`.
    pub(crate) fn allocate(&mut self, role: DtlsRole) -> Option<u16> {
        let (first, next) = match role {
            DtlsRole::Client => (0, &mut self.next_even),
            DtlsRole::Server => (1, &mut self.next_odd),
        };
        let mut candidate = *next;
        for _ in 0..=self.limit / 2 {
            if candidate >= self.limit {
                candidate = first;
            }
            if candidate < self.limit && self.used.insert(candidate) {
                *next = candidate + 2;
                return Some(candidate);
            }
            candidate += 2;
        }
        None
    }

    /// Takes a given identifier; `false` if it is in use or beyond the limit.
    pub(crate) fn reserve(&mut self, sid: u16) -> bool {
        sid < self.limit && self.used.insert(sid)
    }

    /// Gives an identifier back.
    pub(crate) fn release(&mut self, sid: u16) {
        self.used.remove(&sid);
    }

    /// Identifiers in use.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K03: even identifiers for the DTLS client, odd for the server, and an occupied one is passed over.
    #[test]
    fn parity_follows_the_dtls_role() {
        let mut sids = SctpSidAllocator::new(MAX_SCTP_STREAMS);
        assert_eq!(sids.allocate(DtlsRole::Client), Some(0));
        assert_eq!(sids.allocate(DtlsRole::Server), Some(1));
        assert!(sids.reserve(2));
        assert!(!sids.reserve(2));
        assert_eq!(sids.allocate(DtlsRole::Client), Some(4));
        assert_eq!(sids.allocate(DtlsRole::Server), Some(3));
    }

    /// T19: 1,024 identifiers, then nothing; what is given back is handed out again.
    #[test]
    fn all_are_handed_out_once_and_again_after_release() {
        let mut sids = SctpSidAllocator::new(MAX_SCTP_STREAMS);
        for expected in (0..MAX_SCTP_STREAMS).step_by(2) {
            assert_eq!(sids.allocate(DtlsRole::Client), Some(expected));
        }
        assert_eq!(sids.allocate(DtlsRole::Client), None);
        for expected in (1..MAX_SCTP_STREAMS).step_by(2) {
            assert_eq!(sids.allocate(DtlsRole::Server), Some(expected));
        }
        assert_eq!(sids.allocate(DtlsRole::Server), None);
        assert_eq!(sids.in_use(), 1024);
        sids.release(512);
        assert_eq!(sids.allocate(DtlsRole::Client), Some(512));
        assert!(!sids.reserve(1024));
    }

    /// K15: a limit set by the peer holds.
    #[test]
    fn the_limit_holds() {
        let mut sids = SctpSidAllocator::new(MAX_SCTP_STREAMS);
        sids.set_limit(3);
        assert_eq!(sids.allocate(DtlsRole::Client), Some(0));
        assert_eq!(sids.allocate(DtlsRole::Client), Some(2));
        assert_eq!(sids.allocate(DtlsRole::Client), None);
        assert_eq!(sids.allocate(DtlsRole::Server), Some(1));
        assert_eq!(sids.allocate(DtlsRole::Server), None);
        assert!(!sids.reserve(3));
    }

    /// K03: an identifier that was just closed rests while others are free.
    #[test]
    fn a_closed_identifier_rests() {
        let mut sids = SctpSidAllocator::new(6);
        assert_eq!(sids.allocate(DtlsRole::Client), Some(0));
        sids.release(0);
        assert_eq!(sids.allocate(DtlsRole::Client), Some(2));
        assert_eq!(sids.allocate(DtlsRole::Client), Some(4));
        assert_eq!(sids.allocate(DtlsRole::Client), Some(0));
    }
}
