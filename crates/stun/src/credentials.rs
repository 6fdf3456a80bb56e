//! Keys of the two credential mechanisms (RFC 8489 section 9) and the HMACs made with them.
//!
//! Runs where a message is read or written; keeps no secret. Answers to `ComputeStunCredentialHash` of
//! libwebrtc's `api/transport/stun.h`.
//!
//! Passwords are taken as they are: ICE's are ASCII, and OpaqueString preparation (RFC 8265) of a TURN
//! password with other characters is the caller's.

use aws_lc_rs::{constant_time, digest, hmac};
use md5::{Digest, Md5};

/// The key of the short-term mechanism: the password's bytes (RFC 8489 section 9.1.1).
#[inline]
pub fn short_term_key(password: &str) -> &[u8] {
    password.as_bytes()
}

/// The key of the long-term mechanism with the MD5 password algorithm: MD5 of `user:realm:password` (RFC 8489
/// section 18.5.1.1).
pub fn long_term_key_md5(username: &str, realm: &str, password: &str) -> [u8; 16] {
    let mut md5 = Md5::new();
    for part in [username, ":", realm, ":", password] {
        md5.update(part.as_bytes());
    }
    md5.finalize().into()
}

/// The key of the long-term mechanism with the SHA-256 password algorithm (RFC 8489 section 18.5.1.2).
pub fn long_term_key_sha256(username: &str, realm: &str, password: &str) -> [u8; 32] {
    sha256(&[username, ":", realm, ":", password])
}

/// The value of USERHASH: SHA-256 of `user:realm` (RFC 8489 section 14.4).
pub fn userhash(username: &str, realm: &str) -> [u8; 32] {
    sha256(&[username, ":", realm])
}

fn sha256(parts: &[&str]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    let mut value = [0; 32];
    if let Some(full) = context.finish().as_ref().first_chunk() {
        value = *full;
    }
    value
}

/// Which HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
}

/// HMAC over a message whose header says `length` instead of what it says (RFC 8489 section 14.5).
/// `text` begins with the header's first two bytes and ends before the attribute that carries the value.
pub(crate) fn message_hmac(hash: Hash, key: &[u8], text: &[u8], length: u16) -> hmac::Tag {
    let algorithm = match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
    };
    let key = hmac::Key::new(algorithm, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(text.get(..2).unwrap_or_default());
    context.update(&length.to_be_bytes());
    context.update(text.get(4..).unwrap_or_default());
    context.sign()
}

/// Whether `value` is the beginning of `tag`, in constant time.
pub(crate) fn tag_matches(tag: &hmac::Tag, value: &[u8]) -> bool {
    tag.as_ref()
        .get(..value.len())
        .is_some_and(|expected| constant_time::verify_slices_are_equal(expected, value).is_ok())
}
