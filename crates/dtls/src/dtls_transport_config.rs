//! How to build a [`DtlsTransport`](crate::DtlsTransport). Answers to `CryptoOptions` and `SSLConfig` of
//! libwebrtc.

use std::sync::Arc;

use peerstack_base::WallClock;

use crate::{Certificate, DtlsEngineKind, DtlsVersion, SrtpProtectionProfile};

/// Bytes of a handshake datagram: IPv6's minimum of 1,280 less the headers of IP, UDP and TURN.
const MTU: usize = 1200;

/// Configuration of a [`DtlsTransport`](crate::DtlsTransport).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DtlsTransportConfig {
    /// Ours.
    pub certificate: Certificate,
    /// Which implementation speaks.
    pub engine: DtlsEngineKind,
    /// SRTP profiles offered and accepted, best first. `dimpl` has an order of its own (GCM-256, GCM-128,
    /// SHA1-80; as a DTLS 1.3 server the client's order) and takes this as a set; it has no SHA1-32.
    pub srtp_profiles: Vec<SrtpProtectionProfile>,
    /// The lowest version accepted.
    pub min_version: DtlsVersion,
    /// The highest version offered. `webrtc-dtls` speaks 1.2 whatever is said here.
    pub max_version: DtlsVersion,
    /// Bytes of a handshake datagram at most.
    pub mtu: usize,
    /// Tells whether our certificate is still valid when the handshake starts; `None` to not look.
    pub wall_clock: Option<Arc<dyn WallClock>>,
    /// For simulations alone: seeds retransmission jitter and hello randoms, so that two runs are alike. Key
    /// exchange and signatures stay random.
    pub seed: Option<u64>,
}

impl DtlsTransportConfig {
    /// The default engine and versions with this certificate: DTLS 1.2 and 1.3, AES-GCM before AES-CM.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate,
            engine: DtlsEngineKind::default(),
            srtp_profiles: vec![
                SrtpProtectionProfile::AeadAes256Gcm,
                SrtpProtectionProfile::AeadAes128Gcm,
                SrtpProtectionProfile::Aes128CmSha1_80,
            ],
            min_version: DtlsVersion::Dtls12,
            max_version: DtlsVersion::Dtls13,
            mtu: MTU,
            wall_clock: None,
            seed: None,
        }
    }
}
