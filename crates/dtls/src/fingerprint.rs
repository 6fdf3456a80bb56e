//! Certificate fingerprints (RFC 8122 section 5). Answers to libwebrtc's `rtc_base/ssl_fingerprint.h`; owned
//! by whoever holds it.

use std::fmt;

use aws_lc_rs::digest;
use thiserror::Error;

use crate::DtlsFingerprint;

/// What is wrong with a fingerprint.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FingerprintError {
    /// Not `hash-func SP fingerprint`.
    #[error("a fingerprint is a hash function and a value, got {0:?}")]
    Syntax(String),
    /// A hash function that is not known, or is too weak to tell one certificate from another (MD5, SHA-1;
    /// RFC 8122 section 5 and RFC 8827 section 6.5 ask for SHA-256).
    #[error("the hash function {0:?} of a fingerprint is not known or too weak")]
    Algorithm(String),
    /// The value is not hexadecimal pairs parted by colons.
    #[error("the value of a {0} fingerprint is not hexadecimal pairs parted by colons")]
    Value(String),
    /// The value has not the length of its hash function.
    #[error("a {algorithm} fingerprint has {expected} bytes, got {actual}")]
    Length {
        /// The hash function.
        algorithm: String,
        /// Its length in bytes.
        expected: usize,
        /// The length given.
        actual: usize,
    },
}

impl DtlsFingerprint {
    /// The fingerprint of a certificate in DER.
    ///
    /// # Errors
    /// [`FingerprintError::Algorithm`] unless the hash function is `sha-256`, `sha-384` or `sha-512`.
    pub fn of_certificate(algorithm: &str, der: &[u8]) -> Result<Self, FingerprintError> {
        let algorithm = algorithm.to_ascii_lowercase();
        let value = digest::digest(hash(&algorithm)?, der).as_ref().to_vec();
        Ok(Self { algorithm, value })
    }

    /// Reads the value of an `a=fingerprint` attribute, for example `sha-256 AB:CD:..`; upper and lower case
    /// are alike (RFC 8122 section 5).
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, FingerprintError> {
        let (algorithm, value) = text
            .trim()
            .split_once(' ')
            .ok_or_else(|| FingerprintError::Syntax(text.chars().take(100).collect()))?;
        let algorithm = algorithm.to_ascii_lowercase();
        // First, so that no error repeats more of the text than an excerpt.
        hash(&algorithm)?;
        let bytes: Option<Vec<u8>> = value.trim().split(':').map(hex_pair).collect();
        let fingerprint = match bytes {
            Some(value) => Self { algorithm, value },
            None => return Err(FingerprintError::Value(algorithm)),
        };
        fingerprint.check()?;
        Ok(fingerprint)
    }

    /// Whether hash function and length are usable.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), FingerprintError> {
        let expected = hash(&self.algorithm)?.output_len();
        if self.value.len() != expected {
            return Err(FingerprintError::Length {
                algorithm: self.algorithm.clone(),
                expected,
                actual: self.value.len(),
            });
        }
        Ok(())
    }

    /// Whether this is the fingerprint of a certificate in DER. A hash function that is not usable matches
    /// nothing.
    pub fn matches(&self, der: &[u8]) -> bool {
        Self::of_certificate(&self.algorithm, der).is_ok_and(|actual| actual.value == self.value)
    }
}

impl fmt::Display for DtlsFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.algorithm)?;
        for (index, byte) in self.value.iter().enumerate() {
            let separator = if index == 0 { ' ' } else { ':' };
            write!(f, "{separator}{byte:02X}")?;
        }
        Ok(())
    }
}

fn hash(algorithm: &str) -> Result<&'static digest::Algorithm, FingerprintError> {
    match algorithm.to_ascii_lowercase().as_str() {
        "sha-256" => Ok(&digest::SHA256),
        "sha-384" => Ok(&digest::SHA384),
        "sha-512" => Ok(&digest::SHA512),
        other => Err(FingerprintError::Algorithm(other.chars().take(40).collect())),
    }
}

fn hex_pair(text: &str) -> Option<u8> {
    // `from_str_radix` alone would take "+f".
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u8::from_str_radix(text, 16).ok() } else { None }
}

/// Those of the peer's fingerprints that can be compared, each once.
///
/// # Errors
/// What is wrong with one of them, or with all.
pub(crate) fn usable_fingerprints(
    fingerprints: Vec<DtlsFingerprint>,
) -> Result<Vec<DtlsFingerprint>, String> {
    if fingerprints.is_empty() {
        return Err("the peer signalled no certificate fingerprint".into());
    }
    let mut usable = Vec::new();
    let mut refused = None;
    for mut fingerprint in fingerprints {
        fingerprint.algorithm.make_ascii_lowercase();
        match fingerprint.check() {
            Ok(()) if usable.contains(&fingerprint) => {}
            Ok(()) => usable.push(fingerprint),
            // RFC 8122 section 5.1: what is not known is passed over as long as something is known.
            Err(error @ FingerprintError::Algorithm(_)) => refused = Some(error),
            Err(error) => return Err(error.to_string()),
        }
    }
    match refused {
        Some(error) if usable.is_empty() => Err(error.to_string()),
        _ => Ok(usable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2's digest of "abc".
    const ABC: &str = "sha-256 BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD";

    #[test]
    fn text_round_trips_whatever_its_case() {
        let fingerprint = DtlsFingerprint::parse(ABC).unwrap();
        assert_eq!(fingerprint.to_string(), ABC);
        assert_eq!(DtlsFingerprint::parse(&ABC.to_lowercase()), Ok(fingerprint.clone()));
        assert_eq!(DtlsFingerprint::parse(&ABC.to_uppercase()), Ok(fingerprint.clone()));
        assert_eq!(DtlsFingerprint::of_certificate("SHA-256", b"abc"), Ok(fingerprint.clone()));
        assert!(fingerprint.matches(b"abc"));
        assert!(!fingerprint.matches(b"abd"));
    }

    #[test]
    fn every_strong_hash_has_its_length() {
        for (algorithm, length) in [("sha-256", 32), ("sha-384", 48), ("sha-512", 64)] {
            let fingerprint = DtlsFingerprint::of_certificate(algorithm, b"certificate").unwrap();
            assert_eq!(fingerprint.value.len(), length);
            assert_eq!(DtlsFingerprint::parse(&fingerprint.to_string()), Ok(fingerprint));
        }
    }

    /// D23: what is wrong with a fingerprint is said.
    #[test]
    fn wrong_fingerprints_are_refused_with_a_reason() {
        for text in ["", "sha-256", "sha-256 ", "sha-256 A:B", "sha-256 +F:00", "sha-256 AB:CD", "sha-256 é"]
        {
            assert!(DtlsFingerprint::parse(text).is_err(), "{text:?}");
        }
        for algorithm in ["md5", "sha-1", "sha1", "sha-224", "none"] {
            assert_eq!(
                DtlsFingerprint::of_certificate(algorithm, b""),
                Err(FingerprintError::Algorithm(algorithm.into()))
            );
            let hand_made = DtlsFingerprint { algorithm: algorithm.into(), value: vec![0; 20] };
            assert!(!hand_made.matches(b""));
        }
        let short = DtlsFingerprint { algorithm: "sha-256".into(), value: vec![1; 31] };
        assert_eq!(
            short.check(),
            Err(FingerprintError::Length { algorithm: "sha-256".into(), expected: 32, actual: 31 })
        );
        assert!(!short.matches(b"abc"));
        // Long names are not repeated, whatever follows them.
        let long = format!("{} x", "z".repeat(4000));
        assert_eq!(DtlsFingerprint::parse(&long), Err(FingerprintError::Algorithm("z".repeat(40))));
    }
}
