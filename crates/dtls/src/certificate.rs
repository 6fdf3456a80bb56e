//! A certificate with its private key (W3C `RTCCertificate`). Answers to libwebrtc's
//! `rtc_base/rtc_certificate.h`; shared, immutable.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use peerstack_base::{Random, WallClock};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use thiserror::Error;
use x509_cert::der::Decode;

use crate::DtlsFingerprint;

/// A certificate is valid from this long before it was made, for clocks that are not set well (libwebrtc
/// `kCertificateWindowInSeconds`: one day).
const BACKDATE: Duration = Duration::from_secs(24 * 3600);
/// Default lifetime (libwebrtc `kDefaultCertificateLifetimeInSeconds`: 30 days).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest lifetime taken, as W3C's `generateCertificate` allows: one year.
const MAX_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// What a `CertificateParams` holds at most, in bytes of PEM text.
const MAX_PEM: usize = 64 << 10;

/// What keys a certificate may have (RFC 8827 section 6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256, which every peer must support (RFC 8827 section 6.5).
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
}

impl KeyAlgorithm {
    fn signature_algorithm(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// Why a certificate was not made or not read. Not W3C's.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// The generator failed.
    #[error("the certificate could not be generated: {0}")]
    Generate(String),
    /// The text is not what [`Certificate::to_pem`] writes.
    #[error("the certificate could not be read: {0}")]
    Pem(String),
    /// A key other than ECDSA on P-256 or P-384.
    #[error("only ECDSA keys on P-256 and P-384 can be used")]
    UnsupportedKey,
    /// The certificate was not made for this key.
    #[error("the certificate does not belong to the private key")]
    KeyMismatch,
    /// The certificate's validity is over.
    #[error("the certificate has expired")]
    Expired,
}

struct Inner {
    der: Vec<u8>,
    /// PKCS#8.
    private_key: Vec<u8>,
    algorithm: KeyAlgorithm,
    expires: SystemTime,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.private_key.fill(0);
        std::hint::black_box(&self.private_key);
    }
}

/// A self-signed certificate and its key. Cheap to clone; `Debug` never shows the key (`RTCCertificate`,
/// webrtc-pc section 4.9.2).
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("algorithm", &self.0.algorithm)
            .field("expires", &self.0.expires)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Certificate {
    /// Whether it is the same certificate (the key follows from it).
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl Certificate {
    /// A new self-signed certificate, valid for 30 days. The subject is random: a certificate must not tell
    /// two sessions of a user to be one (RFC 8827 section 6.5).
    ///
    /// # Errors
    /// [`CertificateError::Generate`] with what the generator said.
    pub fn generate(
        algorithm: KeyAlgorithm,
        clock: &dyn WallClock,
        random: &mut Random,
    ) -> Result<Self, CertificateError> {
        Self::generate_with_lifetime(algorithm, clock, random, DEFAULT_LIFETIME)
    }

    /// As [`generate`](Self::generate), valid for `lifetime` from now, at most one year. Not W3C's.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_with_lifetime(
        algorithm: KeyAlgorithm,
        clock: &dyn WallClock,
        random: &mut Random,
        lifetime: Duration,
    ) -> Result<Self, CertificateError> {
        let generate = |error: rcgen::Error| CertificateError::Generate(error.to_string());
        let key = KeyPair::generate_for(algorithm.signature_algorithm()).map_err(generate)?;
        let now = clock.now();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, format!("WebRTC-{}", random.ice_string(8)));
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = name;
        parameters.not_before = now.checked_sub(BACKDATE).unwrap_or(now).into();
        parameters.not_after = (now + lifetime.min(MAX_LIFETIME)).into();
        // Firefox takes two certificates of one serial number for one.
        let mut serial = random.bytes::<16>();
        serial[0] = (serial[0] & 0x7F) | 0x40;
        parameters.serial_number = Some(serial.to_vec().into());
        let certificate = parameters.self_signed(&key).map_err(generate)?;
        Self::from_der(certificate.der().to_vec(), &key)
    }

    /// Reads what [`to_pem`](Self::to_pem) wrote: a `PRIVATE KEY` block (PKCS#8) and a `CERTIFICATE` block,
    /// in any order. Further certificates are ignored. Not W3C's.
    ///
    /// # Errors
    /// What is missing or wrong, and [`CertificateError::Expired`] by `clock`.
    pub fn from_pem(text: &str, clock: &dyn WallClock) -> Result<Self, CertificateError> {
        if text.len() > MAX_PEM {
            return Err(CertificateError::Pem("the text is too long".into()));
        }
        let blocks = pem::parse_many(text).map_err(|error| CertificateError::Pem(error.to_string()))?;
        let find = |tag: &str| {
            let block = blocks.iter().find(|block| block.tag() == tag);
            block.ok_or_else(|| CertificateError::Pem(format!("there is no {tag} block")))
        };
        let (key, der) = (find("PRIVATE KEY")?, find("CERTIFICATE")?);
        let key = KeyPair::try_from(key.contents()).map_err(|_| CertificateError::UnsupportedKey)?;
        let certificate = Self::from_der(der.contents().to_vec(), &key)?;
        if certificate.expires() <= clock.now() {
            return Err(CertificateError::Expired);
        }
        Ok(certificate)
    }

    /// The private key in PKCS#8 and the certificate as text: a secret, to be kept by the application so that
    /// its fingerprint stays the same. Not W3C's.
    pub fn to_pem(&self) -> String {
        let blocks = [
            pem::Pem::new("PRIVATE KEY", self.0.private_key.clone()),
            pem::Pem::new("CERTIFICATE", self.0.der.clone()),
        ];
        pem::encode_many(&blocks)
    }

    fn from_der(der: Vec<u8>, key: &KeyPair) -> Result<Self, CertificateError> {
        let algorithm = [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384]
            .into_iter()
            .find(|algorithm| key.algorithm() == algorithm.signature_algorithm())
            .ok_or(CertificateError::UnsupportedKey)?;
        let parsed = x509_cert::Certificate::from_der(&der)
            .map_err(|error| CertificateError::Pem(error.to_string()))?;
        let contents = parsed.tbs_certificate();
        let public_key = contents.subject_public_key_info().subject_public_key.raw_bytes();
        if public_key != key.der_bytes() {
            return Err(CertificateError::KeyMismatch);
        }
        let expires = SystemTime::UNIX_EPOCH + contents.validity().not_after.to_unix_duration();
        Ok(Self(Arc::new(Inner { der, private_key: key.serialize_der(), algorithm, expires })))
    }

    /// A certificate that need not fit its key, to see what peers make of it.
    #[cfg(test)]
    pub(crate) fn from_parts(der: Vec<u8>, key: &KeyPair) -> Self {
        let private_key = key.serialize_der();
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33);
        Self(Arc::new(Inner { der, private_key, algorithm: KeyAlgorithm::EcdsaP256, expires }))
    }

    /// The certificate in DER. Not W3C's.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The private key in PKCS#8.
    pub(crate) fn private_key(&self) -> &[u8] {
        &self.0.private_key
    }

    /// What kind of key it has. Not W3C's.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm
    }

    /// When its validity ends (W3C `RTCCertificate.expires`).
    pub fn expires(&self) -> SystemTime {
        self.0.expires
    }

    /// Its fingerprints, SHA-256 first (W3C `RTCCertificate.getFingerprints`).
    pub fn fingerprints(&self) -> Vec<DtlsFingerprint> {
        ["sha-256", "sha-384", "sha-512"]
            .into_iter()
            .filter_map(|algorithm| DtlsFingerprint::of_certificate(algorithm, &self.0.der).ok())
            .collect()
    }

    /// Its SHA-256 fingerprint, the one that goes into SDP.
    pub fn fingerprint(&self) -> DtlsFingerprint {
        let value = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0.der).as_ref().to_vec();
        DtlsFingerprint { algorithm: "sha-256".into(), value }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[derive(Debug)]
    struct Fixed(u64);

    impl WallClock for Fixed {
        fn now(&self) -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(self.0)
        }
    }

    const NOW: u64 = 1_800_000_000;

    fn make(algorithm: KeyAlgorithm) -> Certificate {
        Certificate::generate(algorithm, &Fixed(NOW), &mut Random::from_seed(1)).unwrap()
    }

    /// D08: the local certificate is there before the connection is.
    #[test]
    fn validity_and_fingerprints_are_those_asked_for() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384] {
            let certificate = make(algorithm);
            assert_eq!(certificate.algorithm(), algorithm);
            assert_eq!(certificate.expires(), UNIX_EPOCH + Duration::from_secs(NOW) + DEFAULT_LIFETIME);
            let fingerprints = certificate.fingerprints();
            assert_eq!(fingerprints.len(), 3);
            assert_eq!(fingerprints[0], certificate.fingerprint());
            assert!(fingerprints.iter().all(|fingerprint| fingerprint.matches(certificate.der())));
        }
        let lifetime = Duration::from_secs(10 * 365 * 24 * 3600);
        let random = &mut Random::from_seed(1);
        let long =
            Certificate::generate_with_lifetime(KeyAlgorithm::EcdsaP256, &Fixed(NOW), random, lifetime)
                .unwrap();
        assert_eq!(long.expires(), UNIX_EPOCH + Duration::from_secs(NOW) + MAX_LIFETIME);
    }

    #[test]
    fn text_round_trips_and_debug_hides_the_key() {
        let certificate = make(KeyAlgorithm::EcdsaP256);
        let text = certificate.to_pem();
        let read = Certificate::from_pem(&text, &Fixed(NOW)).unwrap();
        assert_eq!(read, certificate);
        assert_eq!(read.private_key(), certificate.private_key());
        let shown = format!("{certificate:?}");
        assert!(!shown.contains("key") && shown.len() < 200, "{shown}");
    }

    #[test]
    fn wrong_text_is_refused_with_a_reason() {
        let (one, other) = (make(KeyAlgorithm::EcdsaP256), make(KeyAlgorithm::EcdsaP256));
        let late = Fixed(NOW + 31 * 24 * 3600);
        assert_eq!(Certificate::from_pem(&one.to_pem(), &late), Err(CertificateError::Expired));
        let split = |text: &str| {
            let at = text.find("-----BEGIN CERTIFICATE").unwrap();
            (text[..at].to_owned(), text[at..].to_owned())
        };
        let ((key, certificate), (_, foreign)) = (split(&one.to_pem()), split(&other.to_pem()));
        let read = |text: &str| Certificate::from_pem(text, &Fixed(NOW));
        assert_eq!(read(&format!("{certificate}{key}")), Ok(one));
        assert_eq!(read(&format!("{key}{foreign}")), Err(CertificateError::KeyMismatch));
        for text in ["", "nonsense", key.as_str(), certificate.as_str()] {
            assert!(matches!(read(text), Err(CertificateError::Pem(_))), "{text}");
        }
        let rsa = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(read(&format!("{rsa}{certificate}")), Err(CertificateError::UnsupportedKey));
        assert!(matches!(read(&"x".repeat(MAX_PEM + 1)), Err(CertificateError::Pem(_))));
    }
}
