//! Fingerprints (RFC 8122 section 5) and certificates as text: what is read is written in one form, which reads as
//! the same; a fingerprint matches what it was made of and nothing else.

#![no_main]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use peerstack_base::{Random, WallClock};
use peerstack_dtls::{Certificate, DtlsFingerprint, KeyAlgorithm};
use peerstack_fuzz::Input;

#[derive(Debug)]
struct Date;

impl WallClock for Date {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
}

fn pem() -> &'static str {
    static PEM: OnceLock<String> = OnceLock::new();
    PEM.get_or_init(|| {
        Certificate::generate(KeyAlgorithm::EcdsaP256, &Date, &mut Random::from_seed(1)).unwrap().to_pem()
    })
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => fingerprint(input.rest()),
        1 => certificate(&String::from_utf8_lossy(input.rest())),
        _ => {
            let mut text = pem().as_bytes().to_vec();
            input.mutate(&mut text);
            certificate(&String::from_utf8_lossy(&text));
        }
    }
});

fn fingerprint(bytes: &[u8]) {
    for algorithm in ["sha-256", "SHA-384", "sha-512"] {
        let ours = DtlsFingerprint::of_certificate(algorithm, bytes).unwrap();
        assert!(ours.matches(bytes) && ours.check().is_ok());
        assert!(!ours.matches(&[bytes, b"x"].concat()));
        assert_eq!(DtlsFingerprint::parse(&ours.to_string()), Ok(ours));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match DtlsFingerprint::parse(text) {
        Ok(fingerprint) => {
            assert!(fingerprint.check().is_ok() && (32..=64).contains(&fingerprint.value.len()));
            assert_eq!(DtlsFingerprint::parse(&fingerprint.to_string()), Ok(fingerprint));
        }
        Err(error) => assert!(error.to_string().len() < 1024, "an error repeats no more than an excerpt"),
    }
}

fn certificate(text: &str) {
    let Ok(certificate) = Certificate::from_pem(text, &Date) else { return };
    let again = Certificate::from_pem(&certificate.to_pem(), &Date).expect("what was written can be read");
    assert_eq!(again, certificate);
    assert!(certificate.fingerprint().matches(certificate.der()));
    assert!(!format!("{certificate:?}").contains("PRIVATE"));
}
