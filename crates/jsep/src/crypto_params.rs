//! `a=crypto`: SRTP keys in SDP (SDES, RFC 4568; suites of RFC 4568 section 6.2 and RFC 7714 section 14).
//!
//! Plain data. Read from whatever a peer sends, and used by the JsepTransportController only where the configuration
//! asks for SDES by name: the keys are as safe as the signalling is. Answers to what libwebrtc had in
//! `pc/srtp_filter.cc` and `api/crypto_params.h`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use peerstack_base::Random;
use peerstack_dtls::SrtpProtectionProfile;
use peerstack_rtp_transport::SrtpKey;

/// Lines one section may have; a peer that sends more gains nothing.
pub(crate) const MAX_CRYPTO_LINES: usize = 16;
/// Suites that we offer, the best first; each is a line with a tag of its own.
const OFFERED: [SrtpProtectionProfile; 2] =
    [SrtpProtectionProfile::AeadAes128Gcm, SrtpProtectionProfile::Aes128CmSha1_80];

/// What offer and answer agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SrtpKeys {
    pub(crate) send: SrtpKey,
    pub(crate) receive: SrtpKey,
}

/// One `a=crypto` line. `Debug` does not show the key; it is overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct CryptoParams {
    /// Names the line: an answer repeats that of the line it takes (RFC 4568 section 4.1).
    pub tag: u32,
    /// Suite.
    pub profile: SrtpProtectionProfile,
    /// Master key and salt, one behind the other.
    key: Vec<u8>,
}

impl fmt::Debug for CryptoParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CryptoParams")
            .field("tag", &self.tag)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl Drop for CryptoParams {
    fn drop(&mut self) {
        self.key.fill(0);
        std::hint::black_box(&self.key);
    }
}

impl CryptoParams {
    /// A line with a new key.
    pub(crate) fn generate(tag: u32, profile: SrtpProtectionProfile, random: &mut Random) -> Self {
        let mut key = vec![0; profile.key_len() + profile.salt_len()];
        random.fill(&mut key);
        Self { tag, profile, key }
    }

    /// The lines of a first offer.
    pub(crate) fn offer(random: &mut Random) -> Vec<Self> {
        (1..).zip(OFFERED).map(|(tag, profile)| Self::generate(tag, profile, random)).collect()
    }

    /// The line of an answer: of the first that is offered in a suite there is. Our key is kept as long as the peer's is
    /// what was agreed on; otherwise it is a new one, since a session that begins anew must not repeat a key stream.
    pub(crate) fn answer(
        offered: &[Self],
        current: &[Self],
        agreed: Option<&SrtpKeys>,
        random: &mut Random,
    ) -> Option<Self> {
        let taken = offered.first()?;
        let kept = agreed
            .filter(|agreed| taken.srtp_key().as_ref() == Some(&agreed.receive))
            .and_then(|agreed| current.iter().find(|ours| ours.srtp_key().as_ref() == Some(&agreed.send)));
        Some(match kept {
            Some(kept) => Self { tag: taken.tag, profile: kept.profile, key: kept.key.clone() },
            None => Self::generate(taken.tag, taken.profile, random),
        })
    }

    /// Reads the value of the attribute; `None` for what is no line of RFC 4568, or asks for what is not supported:
    /// another suite or key method, several keys, an MKI, session parameters (RFC 4568 sections 6.1 and 6.3: such a line
    /// is not taken).
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let (tag, suite, key) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || tag.len() > 9 || !tag.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let tag = tag.parse().ok()?;
        let profile = profile_of(suite)?;
        let mut parts = key.strip_prefix("inline:")?.split('|');
        let encoded = parts.next()?;
        // What is left is the lifetime, `2^20` or a number; with a colon it is an MKI.
        let lifetime = parts.next();
        if parts.next().is_some() || lifetime.is_some_and(|lifetime| lifetime.contains(':')) {
            return None;
        }
        let key = STANDARD.decode(encoded).ok()?;
        (key.len() == profile.key_len() + profile.salt_len()).then_some(Self { tag, profile, key })
    }

    /// The value of the attribute: a secret.
    pub(crate) fn to_sdp(&self) -> String {
        format!("{} {} inline:{}", self.tag, suite_of(self.profile), STANDARD.encode(&self.key))
    }

    /// As the SRTP session takes it.
    pub(crate) fn srtp_key(&self) -> Option<SrtpKey> {
        let (key, salt) = self.key.split_at_checked(self.profile.key_len())?;
        SrtpKey::new(self.profile, key, salt).ok()
    }
}

fn suite_of(profile: SrtpProtectionProfile) -> &'static str {
    match profile {
        SrtpProtectionProfile::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        SrtpProtectionProfile::Aes128CmSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        SrtpProtectionProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProtectionProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}

fn profile_of(suite: &str) -> Option<SrtpProtectionProfile> {
    use SrtpProtectionProfile as Profile;
    [Profile::Aes128CmSha1_80, Profile::Aes128CmSha1_32, Profile::AeadAes128Gcm, Profile::AeadAes256Gcm]
        .into_iter()
        .find(|profile| suite_of(*profile) == suite)
}

/// The keys to send and to receive with, once offer and answer are known: the answer repeats one line of the offer by
/// tag and suite (RFC 4568 section 5.1.2).
pub(crate) fn negotiate(
    local_offers: bool,
    local: &[CryptoParams],
    remote: &[CryptoParams],
) -> Result<SrtpKeys, String> {
    let (offered, answered) = if local_offers { (local, remote) } else { (remote, local) };
    let [taken] = answered else {
        return Err(format!("an answer has one usable a=crypto line, got {}", answered.len()));
    };
    let same = |line: &&CryptoParams| line.tag == taken.tag && line.profile == taken.profile;
    let Some(line) = offered.iter().find(same) else {
        return Err(format!("the answer takes a=crypto:{}, which was not offered in that suite", taken.tag));
    };
    let (ours, theirs) = if local_offers { (line, taken) } else { (taken, line) };
    match (ours.srtp_key(), theirs.srtp_key()) {
        (Some(send), Some(receive)) if send != receive => Ok(SrtpKeys { send, receive }),
        // One key for both directions would repeat the key stream (RFC 4568 section 6.1).
        (Some(_), Some(_)) => Err("both sides say the same SRTP key".to_owned()),
        _ => Err("an SRTP key has not the length of its suite".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4568 section 9.1 and 6.1: what is read, and what is left out.
    #[test]
    fn lines_are_read_as_rfc_4568_writes_them() {
        let key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        let read = |value: &str| CryptoParams::parse(value);
        let plain = read(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}")).unwrap();
        assert_eq!((plain.tag, plain.profile), (1, SrtpProtectionProfile::Aes128CmSha1_80));
        assert_eq!(read(&plain.to_sdp()), Some(plain.clone()));
        assert!(plain.srtp_key().is_some());
        assert!(!format!("{plain:?}").contains("key"));
        let lifetime = read(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20"));
        assert_eq!(lifetime, Some(plain));
        for bad in [
            String::new(),
            "1".to_owned(),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{key}"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{key}"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{key}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 uri:{key}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|1:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key};inline:{key}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key} UNENCRYPTED_SRTP"),
            format!("1 AEAD_AES_256_GCM inline:{key}"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80 inline:\u{20ac}".to_owned(),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    /// RFC 4568 section 5.1: the first line offered is taken, and both sides read the same keys, crossed.
    #[test]
    fn offer_and_answer_agree_on_keys() {
        let random = &mut Random::from_seed(1);
        let offer = CryptoParams::offer(random);
        assert_eq!(offer.iter().map(|line| line.tag).collect::<Vec<_>>(), [1, 2]);
        let answer = vec![CryptoParams::answer(&offer[1..], &[], None, random).unwrap()];
        assert_eq!((answer[0].tag, answer[0].profile), (2, SrtpProtectionProfile::Aes128CmSha1_80));
        let keys = negotiate(true, &offer, &answer).unwrap();
        let theirs = SrtpKeys { send: keys.receive.clone(), receive: keys.send.clone() };
        assert_eq!(negotiate(false, &answer, &offer), Ok(theirs.clone()));
        // Asked again, the key stays as long as the peer's does.
        let again = CryptoParams::answer(&offer[1..], &answer, Some(&theirs), random);
        assert_eq!(again.as_ref(), answer.first());
        let other = [CryptoParams::generate(2, SrtpProtectionProfile::Aes128CmSha1_80, random)];
        assert_ne!(CryptoParams::answer(&other, &answer, Some(&theirs), random).as_ref(), answer.first());
        assert_eq!(CryptoParams::answer(&[], &answer, Some(&theirs), random), None);

        assert!(negotiate(true, &offer, &[]).is_err());
        assert!(negotiate(true, &offer, &offer).is_err());
        assert!(negotiate(true, &offer, &offer[..1]).is_err(), "the key is reflected");
        let other = CryptoParams::generate(9, SrtpProtectionProfile::AeadAes128Gcm, random);
        assert!(negotiate(true, &offer, &[other]).is_err());
        let other = CryptoParams::generate(1, SrtpProtectionProfile::AeadAes256Gcm, random);
        assert!(negotiate(true, &offer, &[other]).is_err());
    }
}
