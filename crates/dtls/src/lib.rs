//! DTLS over ICE: handshake, certificates, fingerprints, application data.

#![forbid(unsafe_code)]

mod certificate;
mod dimpl_engine;
mod dtls_engine;
mod dtls_transport;
mod dtls_transport_config;
mod dtls_transport_internal;
mod fingerprint;
#[cfg(test)]
mod forged_handshake_tests;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod guard_tests;
mod handshake_reassembler;
mod handshake_record;
#[cfg(test)]
mod loss_tests;
mod pending_data;
#[cfg(test)]
mod refusal_tests;
#[cfg(feature = "webrtc-dtls")]
mod stream_interface_channel;
#[cfg(test)]
mod test_pair;
#[cfg(feature = "webrtc-dtls")]
mod webrtc_dtls_engine;
#[cfg(feature = "webrtc-dtls")]
mod webrtc_dtls_guard;
#[cfg(feature = "webrtc-dtls")]
mod webrtc_dtls_messages;
#[cfg(all(test, feature = "webrtc-dtls"))]
mod webrtc_dtls_tests;

pub use certificate::{Certificate, CertificateError, KeyAlgorithm};
pub use dtls_engine::{DtlsEngineError, DtlsEngineKind, DtlsVersion};
pub use dtls_transport::{DtlsTransport, DtlsTransportStats};
pub use dtls_transport_config::DtlsTransportConfig;
pub use fingerprint::FingerprintError;

pub use dtls_transport_internal::{
    DtlsFingerprint, DtlsRole, DtlsTransportEvent, DtlsTransportInternal, DtlsTransportState,
    SrtpKeyingMaterial, SrtpProtectionProfile,
};

#[cfg(any(test, feature = "test-util"))]
mod fake_dtls_transport;
#[cfg(any(test, feature = "test-util"))]
pub use fake_dtls_transport::{FakeDtlsTransport, FakeSentPacket};
