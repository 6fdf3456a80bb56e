//! STUN and TURN messages, and the requests that wait for their answers. No I/O, no clock, no runtime.
//!
//! A received datagram is validated once by [`Message::parse`] and read through getters that borrow from it; a
//! message is written by [`MessageBuilder`]; [`StunRequestManager`] retransmits requests and matches responses
//! with them, told the time by its owner.
//!
//! ```
//! use peerstack_base::Random;
//! use peerstack_stun::{
//!     Class, FingerprintStatus, IntegrityStatus, Message, MessageBuilder, Method, TransactionId, short_term_key,
//! };
//!
//! let key = short_term_key("VOkJxbRl1RmTxUk/WvJxBt");
//! let id = TransactionId::new(&mut Random::from_seed(1));
//! let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
//! builder.add_username("evtj:h6vY").add_priority(1_845_501_695).add_ice_controlling(7);
//! builder.integrity(key).fingerprint();
//! let datagram = builder.finish();
//!
//! let message = Message::parse(&datagram)?;
//! assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
//! assert_eq!(message.check_integrity(key), IntegrityStatus::Valid);
//! assert_eq!(message.username(), Some("evtj:h6vY"));
//! assert_eq!(message.priority(), Some(1_845_501_695));
//! # Ok::<(), peerstack_stun::ParseError>(())
//! ```
//!
//! Whoever receives a message authenticates it before believing it: parsing proves nothing but its form.

#![forbid(unsafe_code)]

mod attribute;
mod builder;
mod channel_data;
mod credentials;
mod framing;
mod message;
mod stun_request;
mod url;

pub use attribute::{
    AddressFamily, AttributeType, ChangeRequest, ErrorCode, GoogNetworkInfo, Icmp, PasswordAlgorithm,
    error_code,
};
pub use builder::{BuildError, MessageBuilder};
pub use channel_data::{
    CHANNEL_DATA_HEADER_LEN, ChannelData, ChannelDataError, MAX_CHANNEL, MIN_CHANNEL, is_channel_number,
};
pub use credentials::{long_term_key_md5, long_term_key_sha256, short_term_key, userhash};
pub use framing::{Framing, FramingError, StreamDeframer, write_rfc4571_frame};
pub use message::{
    Attributes, Class, FingerprintStatus, HEADER_LEN, IntegrityStatus, MAGIC_COOKIE, MAX_ATTRIBUTES, Message,
    Method, ParseError, RawAttribute, TransactionId, is_stun,
};
pub use stun_request::{
    DEFAULT_MAX_PENDING, IgnoredResponses, RequestError, RequestTimeout, RequestTransmit, Response,
    ResponseResult, STUN_INITIAL_RTO, STUN_MAX_RETRANSMISSIONS, STUN_MAX_RTO, STUN_TOTAL_TIMEOUT,
    SendRequestError, StunRequest, StunRequestManager,
};
pub use url::{DEFAULT_PORT, DEFAULT_TLS_PORT, Host, Scheme, ServerUrl, UrlError, UrlTransport};
