//! `RTCDtlsTransport` (webrtc-pc section 5.5): a view of one DTLS transport. Answers to libwebrtc's
//! `pc/dtls_transport.cc`.

use std::sync::Arc;

use peerstack_dtls::DtlsTransportState;

use crate::RtcError;
use crate::ice_transport::{IceTransport, TransportObject};

/// A view of one DTLS transport (`RTCDtlsTransport`, webrtc-pc section 5.5): that of a sender and a receiver, several
/// of which share one when they are bundled, and of the data channels. Changes are told by
/// [`DtlsTransportStateChange`](crate::PeerConnectionEvent::DtlsTransportStateChange).
#[derive(Debug, Clone)]
#[doc(alias = "RTCDtlsTransport")]
pub struct DtlsTransport(Arc<TransportObject>);

impl PartialEq for DtlsTransport {
    /// Whether it is the same transport.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for DtlsTransport {}

impl DtlsTransport {
    pub(crate) fn new(object: &Arc<TransportObject>) -> Self {
        Self(Arc::clone(object))
    }

    /// The ICE transport below.
    pub fn ice_transport(&self) -> IceTransport {
        IceTransport::new(&self.0)
    }

    /// The state.
    pub fn state(&self) -> DtlsTransportState {
        self.0.slots().dtls_state
    }

    /// Why the handshake failed, while the state is `Failed`: what
    /// [`DtlsTransportError`](crate::PeerConnectionEvent::DtlsTransportError) told.
    pub fn error(&self) -> Option<RtcError> {
        self.0.slots().dtls_error.clone()
    }

    /// The peer's certificates in DER, its own first; empty until DTLS connects.
    pub fn remote_certificates(&self) -> Vec<Vec<u8>> {
        self.0.slots().remote_certificates.clone()
    }
}
