//! The long-term credential mechanism on the client's side (RFC 8489 sections 9.2.2 to 9.2.5). Owned by a
//! `TurnPort` on the network task; answers to `ComputeStunCredentialHash` and `OnAuthChallenge` of libwebrtc's
//! `p2p/base/turn_port.cc`, which knows MD5 alone.

use std::fmt;

use peerstack_stun::{
    AttributeType, Message, MessageBuilder, PasswordAlgorithm, long_term_key_md5, long_term_key_sha256,
    userhash,
};

/// What a nonce begins with whose server announces security features (RFC 8489 section 9.2).
const NONCE_COOKIE: &str = "obMatJos2";
/// The bits of the features, which follow the cookie as four characters of base64 (RFC 8489 section 18.1).
const PASSWORD_ALGORITHMS_BIT: u8 = 0x80;
const USERNAME_ANONYMITY_BIT: u8 = 0x40;

/// User name, password and what the server said of them.
#[derive(Default)]
pub(super) struct LongTermCredentials {
    username: String,
    password: String,
    realm: String,
    nonce: String,
    /// The server's PASSWORD-ALGORITHMS, returned as they came.
    offered: Vec<u8>,
    algorithm: Option<PasswordAlgorithm>,
    anonymous: bool,
    key: Option<Box<[u8]>>,
}

impl fmt::Debug for LongTermCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongTermCredentials")
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .field("challenged", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

impl LongTermCredentials {
    pub(super) fn new(username: &str, password: &str) -> Self {
        Self { username: username.to_owned(), password: password.to_owned(), ..Self::default() }
    }

    /// Whether both are there.
    pub(super) fn is_complete(&self) -> bool {
        !self.username.is_empty() && !self.password.is_empty()
    }

    /// Whether the server asked for them, so that requests carry them.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Forgets what the server said.
    pub(super) fn reset(&mut self) {
        *self = Self::new(&std::mem::take(&mut self.username), &std::mem::take(&mut self.password));
    }

    /// Takes the challenge of a 401 (RFC 8489 section 9.2.5).
    pub(super) fn challenge(&mut self, message: &Message<'_>) -> Result<(), &'static str> {
        let realm = message.realm().ok_or("the server asks for credentials without a realm")?;
        let nonce = message.nonce().ok_or("the server asks for credentials without a nonce")?;
        let features = security_features(nonce);
        let offered = message.attribute(AttributeType::PASSWORD_ALGORITHMS);
        if features & PASSWORD_ALGORITHMS_BIT != 0 && offered.is_none() {
            // Somebody took them out to make us use the weaker one (RFC 8489 section 9.2.5).
            return Err("the server's nonce announces password algorithms that are missing");
        }
        let algorithm = match offered {
            None => None,
            Some(_) => {
                Some(message.password_algorithms().next().ok_or("the server knows none of our algorithms")?)
            }
        };
        self.realm = realm.to_owned();
        self.nonce = nonce.to_owned();
        self.offered = offered.unwrap_or_default().to_vec();
        self.algorithm = algorithm;
        self.anonymous = features & USERNAME_ANONYMITY_BIT != 0;
        self.key = Some(match algorithm {
            Some(PasswordAlgorithm::Sha256) => {
                long_term_key_sha256(&self.username, realm, &self.password).into()
            }
            Some(PasswordAlgorithm::Md5) | None => {
                long_term_key_md5(&self.username, realm, &self.password).into()
            }
        });
        Ok(())
    }

    /// Takes the new nonce of a 438 (RFC 8489 section 9.2.5); whether there was one.
    pub(super) fn renew_nonce(&mut self, message: &Message<'_>) -> bool {
        let Some(nonce) = message.nonce() else { return false };
        if message.realm().is_some_and(|realm| realm != self.realm) && self.challenge(message).is_err() {
            return false;
        }
        self.nonce = nonce.to_owned();
        true
    }

    /// Adds what a request carries once the server asked for it, and the integrity (RFC 8489 section 9.2.3.2).
    pub(super) fn sign(&self, builder: &mut MessageBuilder) {
        let Some(key) = &self.key else { return };
        if self.anonymous {
            builder.add_userhash(&userhash(&self.username, &self.realm));
        } else {
            builder.add_username(&self.username);
        }
        builder.add_realm(&self.realm).add_nonce(&self.nonce);
        match self.algorithm {
            Some(algorithm) => {
                builder.add_attribute(AttributeType::PASSWORD_ALGORITHMS, &self.offered);
                builder.add_password_algorithm(algorithm).integrity_sha256(key);
            }
            None => {
                builder.integrity(key);
            }
        }
    }
}

/// The first byte of the security features that a nonce announces; 0 for none.
fn security_features(nonce: &str) -> u8 {
    let Some(&[first, second, ..]) =
        nonce.strip_prefix(NONCE_COOKIE).map(str::as_bytes).filter(|rest| rest.len() >= 4)
    else {
        return 0;
    };
    match (base64_value(first), base64_value(second)) {
        (Some(high), Some(low)) => (high << 2) | (low >> 4),
        _ => 0,
    }
}

fn base64_value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use peerstack_stun::{Class, IntegrityStatus, Method, TransactionId};

    use super::*;

    fn message(fill: impl FnOnce(&mut MessageBuilder)) -> Vec<u8> {
        let id = TransactionId::from_bytes([7; 12]);
        let mut builder = MessageBuilder::new(Class::ErrorResponse, Method::ALLOCATE, id);
        fill(&mut builder);
        builder.try_finish().unwrap()
    }

    fn challenged(
        nonce: &str,
        offered: Option<&[PasswordAlgorithm]>,
    ) -> Result<LongTermCredentials, &'static str> {
        let bytes = message(|builder| {
            builder.add_realm("example.org").add_nonce(nonce);
            if let Some(offered) = offered {
                builder.add_password_algorithms(offered);
            }
        });
        let mut credentials = LongTermCredentials::new("user", "pass");
        credentials.challenge(&Message::parse(&bytes).unwrap())?;
        Ok(credentials)
    }

    fn signed(credentials: &LongTermCredentials) -> Vec<u8> {
        message(|builder| credentials.sign(builder))
    }

    #[test]
    fn md5_without_password_algorithms() {
        let credentials = challenged("nonce", None).unwrap();
        let bytes = signed(&credentials);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.username(), Some("user"));
        assert_eq!((message.realm(), message.nonce()), (Some("example.org"), Some("nonce")));
        let key = long_term_key_md5("user", "example.org", "pass");
        assert_eq!(message.check_message_integrity(&key), IntegrityStatus::Valid);
        assert!(!message.has(AttributeType::PASSWORD_ALGORITHM));
    }

    /// RFC 8489 section 9.2.3.2: the first algorithm that we know, and SHA-256 for the integrity.
    #[test]
    fn sha256_if_the_server_prefers_it() {
        let offered = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];
        let credentials = challenged("obMatJos2gAAAnonce", Some(&offered)).unwrap();
        let bytes = signed(&credentials);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.password_algorithm(), Some(PasswordAlgorithm::Sha256));
        assert_eq!(message.password_algorithms().collect::<Vec<_>>(), offered);
        let key = long_term_key_sha256("user", "example.org", "pass");
        assert_eq!(message.check_message_integrity_sha256(&key), IntegrityStatus::Valid);
        assert!(!message.has(AttributeType::MESSAGE_INTEGRITY));
    }

    #[test]
    fn a_bid_down_is_refused() {
        assert!(challenged("obMatJos2gAAAnonce", None).is_err());
        assert!(challenged("obMatJos2AAAAnonce", None).is_ok());
        assert!(challenged("obMatJos2", None).is_ok());
        assert!(challenged("obMatJos2g\u{e9}A", None).is_ok(), "not base64: no features");
    }

    #[test]
    fn a_user_name_may_be_hidden() {
        let offered = [PasswordAlgorithm::Md5];
        let credentials = challenged("obMatJos2wAAAnonce", Some(&offered)).unwrap();
        let bytes = signed(&credentials);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.username(), None);
        assert_eq!(message.userhash(), Some(userhash("user", "example.org")));
    }

    #[test]
    fn a_challenge_needs_realm_and_nonce() {
        for fill in [
            (|builder: &mut MessageBuilder| {
                builder.add_realm("r");
            }) as fn(&mut MessageBuilder),
            |builder| {
                builder.add_nonce("n");
            },
        ] {
            let bytes = message(fill);
            let mut credentials = LongTermCredentials::new("user", "pass");
            assert!(credentials.challenge(&Message::parse(&bytes).unwrap()).is_err());
            assert!(credentials.key().is_none());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", challenged("nonce", None).unwrap());
        assert!(!shown.contains("pass\"") && !shown.contains("user"), "{shown}");
    }
}
