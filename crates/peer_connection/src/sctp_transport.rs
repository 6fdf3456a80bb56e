//! `RTCSctpTransport` (webrtc-pc section 6.1.1): a view of the association that carries the data channels. Answers to
//! libwebrtc's `pc/sctp_transport.cc`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peerstack_sctp::SctpTransportState;

use crate::dtls_transport::DtlsTransport;

/// What stands behind a [`SctpTransport`].
#[derive(Debug)]
pub(crate) struct SctpSlots {
    pub(crate) transport: DtlsTransport,
    pub(crate) state: SctpTransportState,
    pub(crate) max_message_size: usize,
    pub(crate) max_channels: Option<u16>,
}

/// A view of the SCTP transport (`RTCSctpTransport`, webrtc-pc section 6.1.1). Changes are told by
/// [`SctpTransportStateChange`](crate::PeerConnectionEvent::SctpTransportStateChange).
#[derive(Debug, Clone)]
#[doc(alias = "RTCSctpTransport")]
pub struct SctpTransport(Arc<Mutex<SctpSlots>>);

impl PartialEq for SctpTransport {
    /// Whether it is the same association.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SctpTransport {}

impl SctpTransport {
    pub(crate) fn new(slots: SctpSlots) -> Self {
        Self(Arc::new(Mutex::new(slots)))
    }

    pub(crate) fn slots(&self) -> MutexGuard<'_, SctpSlots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The DTLS transport over which the association runs.
    pub fn transport(&self) -> DtlsTransport {
        self.slots().transport.clone()
    }

    /// The state.
    pub fn state(&self) -> SctpTransportState {
        self.slots().state
    }

    /// The largest message that can be sent, in bytes: what the peer takes (RFC 8841 section 6), and our own limit.
    pub fn max_message_size(&self) -> usize {
        self.slots().max_message_size
    }

    /// How many channels there may be at once; `None` until the association is connected.
    pub fn max_channels(&self) -> Option<u16> {
        self.slots().max_channels
    }
}
