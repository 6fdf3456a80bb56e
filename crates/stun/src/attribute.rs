//! Attribute numbers and the value types of attributes.
//!
//! Runs wherever a message is read or written; owns nothing. RFC 8489 section 14 (STUN), RFC 8445 section
//! 16.1 (ICE), RFC 8656 section 18 (TURN), RFC 5780 section 7 (NAT behaviour discovery), and libwebrtc's own.
//! Answers to the enums of libwebrtc's `api/transport/stun.h`.

use std::fmt;

/// The number of an attribute.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeType(pub u16);

macro_rules! attribute_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl AttributeType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The registered name, if the number is known here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

attribute_types! {
    /// RFC 8489 section 14.1.
    MAPPED_ADDRESS = 0x0001;
    /// RFC 5780 section 7.2.
    CHANGE_REQUEST = 0x0003;
    /// RFC 8489 section 14.3.
    USERNAME = 0x0006;
    /// RFC 8489 section 14.5.
    MESSAGE_INTEGRITY = 0x0008;
    /// RFC 8489 section 14.8.
    ERROR_CODE = 0x0009;
    /// RFC 8489 section 14.13.
    UNKNOWN_ATTRIBUTES = 0x000A;
    /// RFC 8656 section 18.1.
    CHANNEL_NUMBER = 0x000C;
    /// RFC 8656 section 18.2.
    LIFETIME = 0x000D;
    /// RFC 8656 section 18.3.
    XOR_PEER_ADDRESS = 0x0012;
    /// RFC 8656 section 18.4.
    DATA = 0x0013;
    /// RFC 8489 section 14.9.
    REALM = 0x0014;
    /// RFC 8489 section 14.10.
    NONCE = 0x0015;
    /// RFC 8656 section 18.5.
    XOR_RELAYED_ADDRESS = 0x0016;
    /// RFC 8656 section 18.6.
    REQUESTED_ADDRESS_FAMILY = 0x0017;
    /// RFC 8656 section 18.7.
    EVEN_PORT = 0x0018;
    /// RFC 8656 section 18.8.
    REQUESTED_TRANSPORT = 0x0019;
    /// RFC 8656 section 18.9.
    DONT_FRAGMENT = 0x001A;
    /// RFC 8489 section 14.6.
    MESSAGE_INTEGRITY_SHA256 = 0x001C;
    /// RFC 8489 section 14.12.
    PASSWORD_ALGORITHM = 0x001D;
    /// RFC 8489 section 14.4.
    USERHASH = 0x001E;
    /// RFC 8489 section 14.2.
    XOR_MAPPED_ADDRESS = 0x0020;
    /// RFC 8656 section 18.10.
    RESERVATION_TOKEN = 0x0022;
    /// RFC 8445 section 16.1.
    PRIORITY = 0x0024;
    /// RFC 8445 section 16.1.
    USE_CANDIDATE = 0x0025;
    /// RFC 5780 section 7.6.
    PADDING = 0x0026;
    /// RFC 5780 section 7.5.
    RESPONSE_PORT = 0x0027;
    /// RFC 6062 section 6.2.1.
    CONNECTION_ID = 0x002A;
    /// RFC 8656 section 18.11.
    ADDITIONAL_ADDRESS_FAMILY = 0x8000;
    /// RFC 8656 section 18.12.
    ADDRESS_ERROR_CODE = 0x8001;
    /// RFC 8489 section 14.11.
    PASSWORD_ALGORITHMS = 0x8002;
    /// RFC 8489 section 14.16.
    ALTERNATE_DOMAIN = 0x8003;
    /// RFC 8656 section 18.13.
    ICMP = 0x8004;
    /// RFC 8489 section 14.14.
    SOFTWARE = 0x8022;
    /// RFC 8489 section 14.15.
    ALTERNATE_SERVER = 0x8023;
    /// RFC 8489 section 14.7.
    FINGERPRINT = 0x8028;
    /// RFC 8445 section 16.1.
    ICE_CONTROLLED = 0x8029;
    /// RFC 8445 section 16.1.
    ICE_CONTROLLING = 0x802A;
    /// RFC 5780 section 7.3.
    RESPONSE_ORIGIN = 0x802B;
    /// RFC 5780 section 7.4.
    OTHER_ADDRESS = 0x802C;
    /// libwebrtc: renomination value.
    NOMINATION = 0xC001;
    /// libwebrtc: network id and network cost.
    GOOG_NETWORK_INFO = 0xC057;
    /// libwebrtc: transaction id of the last check received.
    GOOG_LAST_ICE_CHECK_RECEIVED = 0xC058;
    /// libwebrtc: list of 16-bit numbers that announce features.
    GOOG_MISC_INFO = 0xC059;
    /// libwebrtc: number of a connection.
    GOOG_CONNECTION_ID = 0xC05B;
    /// libwebrtc: change of the dictionary of attributes.
    GOOG_DELTA = 0xC05C;
    /// libwebrtc: acknowledges such a change.
    GOOG_DELTA_ACK = 0xC05D;
    /// libwebrtc: asks for the whole dictionary.
    GOOG_DELTA_SYNC_REQ = 0xC05E;
    /// libwebrtc: MESSAGE-INTEGRITY cut to 32 bits, of GOOG_PING.
    GOOG_MESSAGE_INTEGRITY_32 = 0xC060;
    /// libwebrtc: a DTLS datagram carried by a check.
    META_DTLS_IN_STUN = 0xC070;
    /// libwebrtc: acknowledges carried DTLS datagrams.
    META_DTLS_IN_STUN_ACK = 0xC071;
}

impl AttributeType {
    /// Whether who does not know the attribute must refuse the message: the lower half of the number space
    /// (RFC 8489 section 14).
    #[inline]
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }

    /// What a STUN client or server of the Binding method understands (RFC 8489).
    pub const KNOWN_STUN: &'static [Self] = &[
        Self::MAPPED_ADDRESS,
        Self::USERNAME,
        Self::MESSAGE_INTEGRITY,
        Self::ERROR_CODE,
        Self::UNKNOWN_ATTRIBUTES,
        Self::REALM,
        Self::NONCE,
        Self::MESSAGE_INTEGRITY_SHA256,
        Self::PASSWORD_ALGORITHM,
        Self::USERHASH,
        Self::XOR_MAPPED_ADDRESS,
    ];

    /// What an ICE agent understands in a connectivity check (RFC 8489, RFC 8445).
    pub const KNOWN_ICE: &'static [Self] = &[
        Self::MAPPED_ADDRESS,
        Self::USERNAME,
        Self::MESSAGE_INTEGRITY,
        Self::ERROR_CODE,
        Self::UNKNOWN_ATTRIBUTES,
        Self::REALM,
        Self::NONCE,
        Self::MESSAGE_INTEGRITY_SHA256,
        Self::PASSWORD_ALGORITHM,
        Self::USERHASH,
        Self::XOR_MAPPED_ADDRESS,
        Self::PRIORITY,
        Self::USE_CANDIDATE,
    ];

    /// What a TURN client or server understands (RFC 8489, RFC 8656).
    pub const KNOWN_TURN: &'static [Self] = &[
        Self::MAPPED_ADDRESS,
        Self::USERNAME,
        Self::MESSAGE_INTEGRITY,
        Self::ERROR_CODE,
        Self::UNKNOWN_ATTRIBUTES,
        Self::CHANNEL_NUMBER,
        Self::LIFETIME,
        Self::XOR_PEER_ADDRESS,
        Self::DATA,
        Self::REALM,
        Self::NONCE,
        Self::XOR_RELAYED_ADDRESS,
        Self::REQUESTED_ADDRESS_FAMILY,
        Self::EVEN_PORT,
        Self::REQUESTED_TRANSPORT,
        Self::DONT_FRAGMENT,
        Self::MESSAGE_INTEGRITY_SHA256,
        Self::PASSWORD_ALGORITHM,
        Self::USERHASH,
        Self::XOR_MAPPED_ADDRESS,
        Self::RESERVATION_TOKEN,
    ];
}

impl fmt::Debug for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A registered error code (RFC 8489 section 18.3, RFC 8656 section 19, RFC 8445 section 16.2).
pub mod error_code {
    /// Try Alternate.
    pub const TRY_ALTERNATE: u16 = 300;
    /// Bad Request.
    pub const BAD_REQUEST: u16 = 400;
    /// Unauthenticated.
    pub const UNAUTHENTICATED: u16 = 401;
    /// Forbidden.
    pub const FORBIDDEN: u16 = 403;
    /// Unknown Attribute.
    pub const UNKNOWN_ATTRIBUTE: u16 = 420;
    /// Allocation Mismatch.
    pub const ALLOCATION_MISMATCH: u16 = 437;
    /// Stale Nonce.
    pub const STALE_NONCE: u16 = 438;
    /// Address Family not Supported.
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: u16 = 440;
    /// Wrong Credentials.
    pub const WRONG_CREDENTIALS: u16 = 441;
    /// Unsupported Transport Protocol.
    pub const UNSUPPORTED_TRANSPORT_PROTOCOL: u16 = 442;
    /// Peer Address Family Mismatch.
    pub const PEER_ADDRESS_FAMILY_MISMATCH: u16 = 443;
    /// Allocation Quota Reached.
    pub const ALLOCATION_QUOTA_REACHED: u16 = 486;
    /// Role Conflict.
    pub const ROLE_CONFLICT: u16 = 487;
    /// Server Error.
    pub const SERVER_ERROR: u16 = 500;
    /// Insufficient Capacity.
    pub const INSUFFICIENT_CAPACITY: u16 = 508;

    /// The phrase registered for a code, for the reason of an ERROR-CODE attribute; empty if unknown.
    pub const fn reason(code: u16) -> &'static str {
        match code {
            TRY_ALTERNATE => "Try Alternate",
            BAD_REQUEST => "Bad Request",
            UNAUTHENTICATED => "Unauthenticated",
            FORBIDDEN => "Forbidden",
            UNKNOWN_ATTRIBUTE => "Unknown Attribute",
            ALLOCATION_MISMATCH => "Allocation Mismatch",
            STALE_NONCE => "Stale Nonce",
            ADDRESS_FAMILY_NOT_SUPPORTED => "Address Family not Supported",
            WRONG_CREDENTIALS => "Wrong Credentials",
            UNSUPPORTED_TRANSPORT_PROTOCOL => "Unsupported Transport Protocol",
            PEER_ADDRESS_FAMILY_MISMATCH => "Peer Address Family Mismatch",
            ALLOCATION_QUOTA_REACHED => "Allocation Quota Reached",
            ROLE_CONFLICT => "Role Conflict",
            SERVER_ERROR => "Server Error",
            INSUFFICIENT_CAPACITY => "Insufficient Capacity",
            _ => "",
        }
    }
}

/// The value of ERROR-CODE (RFC 8489 section 14.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300 to 699; [`error_code`] names the registered ones.
    pub code: u16,
    /// The phrase for a human reader; not to be trusted.
    pub reason: &'a str,
}

/// The family byte of an address (RFC 8489 section 14.1, RFC 8656 section 18.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressFamily {
    /// 0x01.
    Ipv4,
    /// 0x02.
    Ipv6,
}

impl AddressFamily {
    /// The byte on the wire.
    #[inline]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }

    /// From the byte on the wire; `None` for any but 1 and 2.
    #[inline]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Ipv4),
            2 => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// How a password becomes the key of the long-term mechanism (RFC 8489 section 18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// 1: MD5.
    Md5,
    /// 2: SHA-256.
    Sha256,
}

impl PasswordAlgorithm {
    /// The number on the wire.
    #[inline]
    pub const fn number(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }

    /// From the number on the wire.
    #[inline]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Md5),
            2 => Some(Self::Sha256),
            _ => None,
        }
    }
}

/// The flags of CHANGE-REQUEST (RFC 5780 section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ChangeRequest {
    /// Answer from the other address.
    pub change_ip: bool,
    /// Answer from the other port.
    pub change_port: bool,
}

/// The value of ICMP (RFC 8656 section 18.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub code: u8,
    /// ICMP error data, for example the next-hop MTU.
    pub data: [u8; 4],
}

/// The value of GOOG-NETWORK-INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct GoogNetworkInfo {
    /// Number of the network at the sender.
    pub network_id: u16,
    /// What using that network costs, 0 to 999.
    pub network_cost: u16,
}
