//! `RTCPeerConnection.generateCertificate` (webrtc-pc section 4.9). Answers to libwebrtc's
//! `rtc_base/rtc_certificate_generator.cc`.

use std::time::Duration;

use peerstack_base::{Random, SystemWallClock};
use peerstack_dtls::{Certificate, KeyAlgorithm};

use crate::{RtcError, RtcErrorKind};

/// What keys a certificate is to have (`AlgorithmIdentifier`, webrtc-pc section 4.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeygenAlgorithm {
    /// ECDSA on one of the curves; P-256 is what every peer takes (RFC 8827 section 6.5).
    Ecdsa(KeyAlgorithm),
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2) with a modulus of so many bits. W3C asks for 2,048; no DTLS engine of
    /// ours takes RSA keys, so it is refused with `NotSupportedError`.
    Rsa {
        /// Bits of the modulus.
        modulus_length: u32,
    },
}

impl Default for KeygenAlgorithm {
    fn default() -> Self {
        Self::Ecdsa(KeyAlgorithm::EcdsaP256)
    }
}

/// Makes a certificate for [`Configuration::with_certificate`](crate::Configuration::with_certificate), valid for 30
/// days, or for `expires`, at most one year (webrtc-pc section 4.9.1).
///
/// A connection that gets none makes one of its own; an application that keeps one, by
/// [`to_pem`](Certificate::to_pem) and [`from_pem`](Certificate::from_pem), is known to peers by the same fingerprint
/// after a restart.
///
/// # Errors
/// `NotSupportedError` for RSA, `OperationError` with what the generator said.
///
/// ```
/// use peerstack_peer_connection::{Configuration, KeygenAlgorithm, generate_certificate};
///
/// let certificate = generate_certificate(KeygenAlgorithm::default(), None)?;
/// assert_eq!(certificate.fingerprints()[0].algorithm, "sha-256");
/// let configuration = Configuration::new().with_certificate(certificate);
/// # drop(configuration);
/// # Ok::<(), peerstack_peer_connection::RtcError>(())
/// ```
#[doc(alias = "generateCertificate")]
pub fn generate_certificate(
    algorithm: KeygenAlgorithm,
    expires: Option<Duration>,
) -> Result<Certificate, RtcError> {
    let KeygenAlgorithm::Ecdsa(key) = algorithm else {
        let text =
            "RSA keys cannot be used: no DTLS engine of peerstack takes one, use ECDSA on P-256 or P-384";
        return Err(RtcError::new(RtcErrorKind::NotSupportedError, text));
    };
    let random = &mut Random::from_system();
    let made = match expires {
        Some(lifetime) => Certificate::generate_with_lifetime(key, &SystemWallClock, random, lifetime),
        None => Certificate::generate(key, &SystemWallClock, random),
    };
    made.map_err(|error| RtcError::operation(error.to_string()))
}

#[cfg(test)]
mod tests {
    use peerstack_base::WallClock;

    use super::*;

    /// ECDSA on both curves, valid for as long as asked; RSA is refused with the reason.
    #[test]
    fn certificates_are_as_asked_for() {
        for key in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384] {
            let made = generate_certificate(KeygenAlgorithm::Ecdsa(key), None).unwrap();
            assert_eq!(made.algorithm(), key);
        }
        let hour = Duration::from_secs(3_600);
        let before = SystemWallClock.now();
        let made = generate_certificate(KeygenAlgorithm::default(), Some(hour)).unwrap();
        assert!(made.expires() <= SystemWallClock.now() + hour);
        assert!(made.expires() + Duration::from_secs(1) >= before + hour);
        let refused = generate_certificate(KeygenAlgorithm::Rsa { modulus_length: 2_048 }, None).unwrap_err();
        assert_eq!(refused.kind, RtcErrorKind::NotSupportedError);
        assert!(refused.message.contains("RSA"));
    }
}
