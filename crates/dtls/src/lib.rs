//! DTLS over ICE: handshake, certificates, fingerprints, application data.

#![forbid(unsafe_code)]

mod dtls_transport_internal;

pub use dtls_transport_internal::{
    DtlsFingerprint, DtlsRole, DtlsTransportEvent, DtlsTransportInternal, DtlsTransportState,
    SrtpKeyingMaterial, SrtpProtectionProfile,
};

#[cfg(any(test, feature = "test-util"))]
mod fake_dtls_transport;
#[cfg(any(test, feature = "test-util"))]
pub use fake_dtls_transport::{FakeDtlsIce, FakeDtlsTransport, FakeSentPacket};
