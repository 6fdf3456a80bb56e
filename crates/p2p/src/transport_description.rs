//! What offer and answer say of ICE. Answers to libwebrtc's `p2p/base/transport_description.h`.

use std::fmt;

/// User fragment and password of one side (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IceParameters {
    /// `ice-ufrag`, 4 to 256 characters.
    pub ufrag: String,
    /// `ice-pwd`, 22 to 256 characters; a secret.
    pub pwd: String,
    /// `ice-options: renomination` (libwebrtc).
    pub renomination: bool,
}

impl fmt::Debug for IceParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceParameters")
            .field("ufrag", &self.ufrag)
            .field("renomination", &self.renomination)
            .finish_non_exhaustive()
    }
}

impl IceParameters {
    /// Whether lengths and characters are those of RFC 8839 section 5.4 (4 to 256 and 22 to 256 ice-chars).
    pub fn is_valid(&self) -> bool {
        let ice_chars = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
        };
        (4..=256).contains(&self.ufrag.len())
            && (22..=256).contains(&self.pwd.len())
            && ice_chars(&self.ufrag)
            && ice_chars(&self.pwd)
    }
}

/// Which side nominates (RFC 8445 section 6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IceRole {
    /// Nominates.
    Controlling,
    /// Follows.
    Controlled,
}

impl IceRole {
    /// The other role.
    pub fn reversed(self) -> Self {
        match self {
            Self::Controlling => Self::Controlled,
            Self::Controlled => Self::Controlling,
        }
    }
}

/// Whether an agent is a lite one (RFC 8445 section 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IceMode {
    /// Checks and is checked.
    #[default]
    Full,
    /// Only answers checks.
    Lite,
}

/// The `setup` attribute (RFC 4145 section 4, RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionRole {
    /// Will be the DTLS client.
    Active,
    /// Will be the DTLS server.
    Passive,
    /// Either; only in offers.
    Actpass,
    /// Not now.
    Holdconn,
}

impl ConnectionRole {
    /// The word of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Actpass => "actpass",
            Self::Holdconn => "holdconn",
        }
    }

    /// Reads the word of the attribute.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "active" => Some(Self::Active),
            "passive" => Some(Self::Passive),
            "actpass" => Some(Self::Actpass),
            "holdconn" => Some(Self::Holdconn),
            _ => None,
        }
    }
}
