//! Writes STUN messages into a buffer that may be used again and again.
//!
//! Runs where a message is sent; one buffer, no allocation besides its growth. RFC 8489 sections 5 and 14.
//! Answers to the writing half of libwebrtc's `StunMessage` (`api/transport/stun.h`).

use std::borrow::BorrowMut;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::attribute::{
    AddressFamily, AttributeType, ChangeRequest, GoogNetworkInfo, Icmp, PasswordAlgorithm,
};
use crate::credentials::{Hash, message_hmac};
use crate::message::{
    Class, FINGERPRINT_LEN, FINGERPRINT_XOR, HEADER_LEN, MAGIC_COOKIE, MAX_ATTRIBUTES, MAX_DOMAIN, MAX_TEXT,
    MAX_USERNAME, Message, Method, TransactionId, message_type,
};

/// Bytes of attributes that the length field can say, a multiple of four.
const MAX_LENGTH: usize = 65_532;

/// Why an attribute was left out of a message.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The value is longer than its RFC allows.
    #[error("{attribute} of {len} bytes is longer than the limit of {limit}")]
    ValueTooLong {
        /// Which.
        attribute: AttributeType,
        /// Bytes of the value.
        len: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// The value is not one that the attribute can carry, for example an error code of 200.
    #[error("{attribute} cannot carry this value")]
    InvalidValue {
        /// Which.
        attribute: AttributeType,
    },
    /// The message would be longer than its length field can say, or have more than 64 attributes.
    #[error("no room for {attribute} in the message")]
    MessageTooLong {
        /// Which.
        attribute: AttributeType,
    },
    /// Nothing but the stronger integrity attribute and FINGERPRINT may follow an integrity attribute (RFC 8489
    /// sections 14.5 to 14.7).
    #[error("{attribute} must not follow an integrity attribute or FINGERPRINT")]
    OutOfOrder {
        /// Which.
        attribute: AttributeType,
    },
}

/// What was written last, which says what may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    Integrity,
    IntegritySha256,
    Fingerprint,
}

/// Writes one message. `B` is the buffer: a `Vec<u8>` of its own, or `&mut Vec<u8>` to append to.
///
/// An attribute that cannot be written is left out, and the first [`BuildError`] is kept for
/// [`try_finish`](Self::try_finish).
#[derive(Debug)]
pub struct MessageBuilder<B = Vec<u8>> {
    buffer: B,
    start: usize,
    attributes: usize,
    stage: Stage,
    error: Option<BuildError>,
}

impl MessageBuilder {
    /// A message in a new buffer.
    pub fn new(class: Class, method: Method, transaction_id: TransactionId) -> Self {
        Self::reuse(Vec::with_capacity(192), class, method, transaction_id)
    }

    /// A message in a buffer used before: what it held is cleared, its memory kept.
    pub fn reuse(mut buffer: Vec<u8>, class: Class, method: Method, transaction_id: TransactionId) -> Self {
        buffer.clear();
        Self::start(buffer, class, method, transaction_id)
    }

    /// A response to a request, in a new buffer: the method and transaction id are the request's.
    pub fn response_to(request: &Message<'_>, class: Class) -> Self {
        Self::new(class, request.method(), request.transaction_id())
    }
}

impl<'b> MessageBuilder<&'b mut Vec<u8>> {
    /// A message behind what the buffer already holds.
    pub fn append_to(
        buffer: &'b mut Vec<u8>,
        class: Class,
        method: Method,
        transaction_id: TransactionId,
    ) -> Self {
        Self::start(buffer, class, method, transaction_id)
    }
}

impl<B: BorrowMut<Vec<u8>>> MessageBuilder<B> {
    fn start(mut buffer: B, class: Class, method: Method, transaction_id: TransactionId) -> Self {
        let bytes = buffer.borrow_mut();
        let start = bytes.len();
        bytes.extend_from_slice(&message_type(class, method).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        bytes.extend_from_slice(transaction_id.as_bytes());
        Self { buffer, start, attributes: 0, stage: Stage::Open, error: None }
    }

    /// The message so far; the length field is right only after [`finish`](Self::finish).
    fn message(&self) -> &[u8] {
        self.buffer.borrow().get(self.start..).unwrap_or_default()
    }

    fn set_length(&mut self, length: usize) {
        let start = self.start;
        if let (Ok(length), Some(field)) =
            (u16::try_from(length), self.buffer.borrow_mut().get_mut(start + 2..start + 4))
        {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    /// Appends header, value (in parts) and padding; leaves the attribute out if it may not come here.
    fn push(&mut self, attribute: AttributeType, parts: &[&[u8]]) {
        let stage = match attribute {
            AttributeType::MESSAGE_INTEGRITY => Stage::Integrity,
            AttributeType::MESSAGE_INTEGRITY_SHA256 => Stage::IntegritySha256,
            AttributeType::FINGERPRINT => Stage::Fingerprint,
            _ => Stage::Open,
        };
        if self.stage > stage || (self.stage == stage && stage != Stage::Open) {
            return self.fail(BuildError::OutOfOrder { attribute });
        }
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let padding = len.next_multiple_of(4) - len;
        let total = self.message().len() - HEADER_LEN + 4 + len + padding;
        let Some(field) = u16::try_from(len).ok().filter(|_| total <= MAX_LENGTH) else {
            return self.fail(BuildError::MessageTooLong { attribute });
        };
        if self.attributes == MAX_ATTRIBUTES {
            return self.fail(BuildError::MessageTooLong { attribute });
        }
        let buffer = self.buffer.borrow_mut();
        buffer.extend_from_slice(&attribute.0.to_be_bytes());
        buffer.extend_from_slice(&field.to_be_bytes());
        parts.iter().for_each(|part| buffer.extend_from_slice(part));
        buffer.extend_from_slice([0; 3].get(..padding).unwrap_or_default());
        self.attributes += 1;
        self.stage = stage;
    }

    fn push_limited(&mut self, attribute: AttributeType, value: &[u8], limit: usize) {
        if value.len() > limit {
            return self.fail(BuildError::ValueTooLong { attribute, len: value.len(), limit });
        }
        self.push(attribute, &[value]);
    }

    fn push_address(&mut self, attribute: AttributeType, address: SocketAddr, mask: &[u8; 16]) {
        let [p0, p1] = address.port().to_be_bytes();
        let port = [p0 ^ mask[0], p1 ^ mask[1]];
        match address.ip() {
            IpAddr::V4(ip) => {
                let mut octets = ip.octets();
                octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
                self.push(attribute, &[&[0, AddressFamily::Ipv4.to_byte()], &port, &octets]);
            }
            IpAddr::V6(ip) => {
                let mut octets = ip.octets();
                octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
                self.push(attribute, &[&[0, AddressFamily::Ipv6.to_byte()], &port, &octets]);
            }
        }
    }

    fn push_xor_address(&mut self, attribute: AttributeType, address: SocketAddr) {
        let mut mask = [0; 16];
        if let Some(header) = self.message().get(4..HEADER_LEN).and_then(|bytes| bytes.first_chunk()) {
            mask = *header;
        }
        self.push_address(attribute, address, &mask);
    }

    /// Any attribute, as bytes. Not for integrity attributes and FINGERPRINT, which are computed.
    pub fn add_attribute(&mut self, attribute: AttributeType, value: &[u8]) -> &mut Self {
        let computed = matches!(
            attribute,
            AttributeType::MESSAGE_INTEGRITY
                | AttributeType::MESSAGE_INTEGRITY_SHA256
                | AttributeType::GOOG_MESSAGE_INTEGRITY_32
                | AttributeType::FINGERPRINT
        );
        if computed {
            self.fail(BuildError::InvalidValue { attribute });
        } else {
            self.push(attribute, &[value]);
        }
        self
    }

    /// MAPPED-ADDRESS.
    pub fn add_mapped_address(&mut self, address: SocketAddr) -> &mut Self {
        self.push_address(AttributeType::MAPPED_ADDRESS, address, &[0; 16]);
        self
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn add_xor_mapped_address(&mut self, address: SocketAddr) -> &mut Self {
        self.push_xor_address(AttributeType::XOR_MAPPED_ADDRESS, address);
        self
    }

    /// ALTERNATE-SERVER.
    pub fn add_alternate_server(&mut self, address: SocketAddr) -> &mut Self {
        self.push_address(AttributeType::ALTERNATE_SERVER, address, &[0; 16]);
        self
    }

    /// ALTERNATE-DOMAIN, at most 255 bytes.
    pub fn add_alternate_domain(&mut self, domain: &str) -> &mut Self {
        self.push_limited(AttributeType::ALTERNATE_DOMAIN, domain.as_bytes(), MAX_DOMAIN);
        self
    }

    /// USERNAME, at most 513 bytes.
    pub fn add_username(&mut self, username: &str) -> &mut Self {
        self.push_limited(AttributeType::USERNAME, username.as_bytes(), MAX_USERNAME);
        self
    }

    /// USERHASH, which [`userhash`](crate::userhash) computes.
    pub fn add_userhash(&mut self, userhash: &[u8; 32]) -> &mut Self {
        self.push(AttributeType::USERHASH, &[userhash]);
        self
    }

    /// REALM, at most 763 bytes.
    pub fn add_realm(&mut self, realm: &str) -> &mut Self {
        self.push_limited(AttributeType::REALM, realm.as_bytes(), MAX_TEXT);
        self
    }

    /// NONCE, at most 763 bytes.
    pub fn add_nonce(&mut self, nonce: &str) -> &mut Self {
        self.push_limited(AttributeType::NONCE, nonce.as_bytes(), MAX_TEXT);
        self
    }

    /// SOFTWARE, at most 763 bytes.
    pub fn add_software(&mut self, software: &str) -> &mut Self {
        self.push_limited(AttributeType::SOFTWARE, software.as_bytes(), MAX_TEXT);
        self
    }

    /// ERROR-CODE, 300 to 699, with a reason of at most 763 bytes;
    /// [`error_code::reason`](crate::error_code::reason) has the registered ones.
    pub fn add_error_code(&mut self, code: u16, reason: &str) -> &mut Self {
        let attribute = AttributeType::ERROR_CODE;
        match error_code_bytes(code) {
            None => self.fail(BuildError::InvalidValue { attribute }),
            Some(_) if reason.len() > MAX_TEXT => {
                self.fail(BuildError::ValueTooLong { attribute, len: reason.len(), limit: MAX_TEXT });
            }
            Some([class, number]) => self.push(attribute, &[&[0, 0, class, number], reason.as_bytes()]),
        }
        self
    }

    /// UNKNOWN-ATTRIBUTES, of which [`MAX_ATTRIBUTES`] at most are written.
    pub fn add_unknown_attributes(&mut self, unknown: &[u16]) -> &mut Self {
        let mut value = [0; 2 * MAX_ATTRIBUTES];
        let len = 2 * unknown.len().min(MAX_ATTRIBUTES);
        for (pair, number) in value.chunks_exact_mut(2).zip(unknown) {
            pair.copy_from_slice(&number.to_be_bytes());
        }
        self.push(AttributeType::UNKNOWN_ATTRIBUTES, &[value.get(..len).unwrap_or_default()]);
        self
    }

    /// PASSWORD-ALGORITHM, without parameters.
    pub fn add_password_algorithm(&mut self, algorithm: PasswordAlgorithm) -> &mut Self {
        self.push(AttributeType::PASSWORD_ALGORITHM, &[&algorithm.number().to_be_bytes(), &[0, 0]]);
        self
    }

    /// PASSWORD-ALGORITHMS, in order of preference, without parameters.
    pub fn add_password_algorithms(&mut self, algorithms: &[PasswordAlgorithm]) -> &mut Self {
        let value: Vec<u8> = algorithms
            .iter()
            .flat_map(|algorithm| {
                let [n0, n1] = algorithm.number().to_be_bytes();
                [n0, n1, 0, 0]
            })
            .collect();
        self.push(AttributeType::PASSWORD_ALGORITHMS, &[&value]);
        self
    }

    /// PRIORITY.
    pub fn add_priority(&mut self, priority: u32) -> &mut Self {
        self.push(AttributeType::PRIORITY, &[&priority.to_be_bytes()]);
        self
    }

    /// USE-CANDIDATE.
    pub fn add_use_candidate(&mut self) -> &mut Self {
        self.push(AttributeType::USE_CANDIDATE, &[]);
        self
    }

    /// ICE-CONTROLLED with the tie-breaker.
    pub fn add_ice_controlled(&mut self, tie_breaker: u64) -> &mut Self {
        self.push(AttributeType::ICE_CONTROLLED, &[&tie_breaker.to_be_bytes()]);
        self
    }

    /// ICE-CONTROLLING with the tie-breaker.
    pub fn add_ice_controlling(&mut self, tie_breaker: u64) -> &mut Self {
        self.push(AttributeType::ICE_CONTROLLING, &[&tie_breaker.to_be_bytes()]);
        self
    }

    /// CHANNEL-NUMBER.
    pub fn add_channel_number(&mut self, channel: u16) -> &mut Self {
        self.push(AttributeType::CHANNEL_NUMBER, &[&channel.to_be_bytes(), &[0, 0]]);
        self
    }

    /// LIFETIME, in seconds.
    pub fn add_lifetime(&mut self, seconds: u32) -> &mut Self {
        self.push(AttributeType::LIFETIME, &[&seconds.to_be_bytes()]);
        self
    }

    /// XOR-PEER-ADDRESS; may be added several times.
    pub fn add_xor_peer_address(&mut self, address: SocketAddr) -> &mut Self {
        self.push_xor_address(AttributeType::XOR_PEER_ADDRESS, address);
        self
    }

    /// DATA.
    pub fn add_data(&mut self, data: &[u8]) -> &mut Self {
        self.push(AttributeType::DATA, &[data]);
        self
    }

    /// XOR-RELAYED-ADDRESS; may be added once a family.
    pub fn add_xor_relayed_address(&mut self, address: SocketAddr) -> &mut Self {
        self.push_xor_address(AttributeType::XOR_RELAYED_ADDRESS, address);
        self
    }

    /// REQUESTED-ADDRESS-FAMILY.
    pub fn add_requested_address_family(&mut self, family: AddressFamily) -> &mut Self {
        self.push(AttributeType::REQUESTED_ADDRESS_FAMILY, &[&[family.to_byte(), 0, 0, 0]]);
        self
    }

    /// ADDITIONAL-ADDRESS-FAMILY.
    pub fn add_additional_address_family(&mut self, family: AddressFamily) -> &mut Self {
        self.push(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[&[family.to_byte(), 0, 0, 0]]);
        self
    }

    /// EVEN-PORT; `reserve_next` asks for the next-higher port too.
    pub fn add_even_port(&mut self, reserve_next: bool) -> &mut Self {
        self.push(AttributeType::EVEN_PORT, &[&[u8::from(reserve_next) << 7]]);
        self
    }

    /// REQUESTED-TRANSPORT: the protocol number of IP; 17 is UDP.
    pub fn add_requested_transport(&mut self, protocol: u8) -> &mut Self {
        self.push(AttributeType::REQUESTED_TRANSPORT, &[&[protocol, 0, 0, 0]]);
        self
    }

    /// DONT-FRAGMENT.
    pub fn add_dont_fragment(&mut self) -> &mut Self {
        self.push(AttributeType::DONT_FRAGMENT, &[]);
        self
    }

    /// RESERVATION-TOKEN.
    pub fn add_reservation_token(&mut self, token: &[u8; 8]) -> &mut Self {
        self.push(AttributeType::RESERVATION_TOKEN, &[token]);
        self
    }

    /// ADDRESS-ERROR-CODE, with a reason of at most 763 bytes.
    pub fn add_address_error_code(&mut self, family: AddressFamily, code: u16, reason: &str) -> &mut Self {
        let attribute = AttributeType::ADDRESS_ERROR_CODE;
        match error_code_bytes(code) {
            None => self.fail(BuildError::InvalidValue { attribute }),
            Some(_) if reason.len() > MAX_TEXT => {
                self.fail(BuildError::ValueTooLong { attribute, len: reason.len(), limit: MAX_TEXT });
            }
            Some([class, number]) => {
                self.push(attribute, &[&[family.to_byte(), 0, class, number], reason.as_bytes()]);
            }
        }
        self
    }

    /// ICMP.
    pub fn add_icmp(&mut self, icmp: Icmp) -> &mut Self {
        // 16 reserved bits, 7 bits of type, 9 bits of code (RFC 8656 section 18.13).
        if icmp.icmp_type > 0x7F {
            self.fail(BuildError::InvalidValue { attribute: AttributeType::ICMP });
        } else {
            self.push(AttributeType::ICMP, &[&[0, 0, icmp.icmp_type << 1, icmp.code], &icmp.data]);
        }
        self
    }

    /// CHANGE-REQUEST.
    pub fn add_change_request(&mut self, change: ChangeRequest) -> &mut Self {
        let flags = (u8::from(change.change_ip) << 2) | (u8::from(change.change_port) << 1);
        self.push(AttributeType::CHANGE_REQUEST, &[&[0, 0, 0, flags]]);
        self
    }

    /// RESPONSE-PORT.
    pub fn add_response_port(&mut self, port: u16) -> &mut Self {
        self.push(AttributeType::RESPONSE_PORT, &[&port.to_be_bytes(), &[0, 0]]);
        self
    }

    /// PADDING of `len` zero bytes.
    pub fn add_padding(&mut self, len: usize) -> &mut Self {
        // Refused before a buffer of that length is made.
        if len > MAX_LENGTH {
            self.fail(BuildError::MessageTooLong { attribute: AttributeType::PADDING });
        } else {
            self.push(AttributeType::PADDING, &[&vec![0; len]]);
        }
        self
    }

    /// RESPONSE-ORIGIN.
    pub fn add_response_origin(&mut self, address: SocketAddr) -> &mut Self {
        self.push_address(AttributeType::RESPONSE_ORIGIN, address, &[0; 16]);
        self
    }

    /// OTHER-ADDRESS.
    pub fn add_other_address(&mut self, address: SocketAddr) -> &mut Self {
        self.push_address(AttributeType::OTHER_ADDRESS, address, &[0; 16]);
        self
    }

    /// NOMINATION (libwebrtc's renomination).
    pub fn add_nomination(&mut self, nomination: u32) -> &mut Self {
        self.push(AttributeType::NOMINATION, &[&nomination.to_be_bytes()]);
        self
    }

    /// GOOG-NETWORK-INFO.
    pub fn add_goog_network_info(&mut self, info: GoogNetworkInfo) -> &mut Self {
        let (id, cost) = (info.network_id.to_be_bytes(), info.network_cost.to_be_bytes());
        self.push(AttributeType::GOOG_NETWORK_INFO, &[&id, &cost]);
        self
    }

    /// GOOG-LAST-ICE-CHECK-RECEIVED.
    pub fn add_goog_last_ice_check_received(&mut self, id: TransactionId) -> &mut Self {
        self.push(AttributeType::GOOG_LAST_ICE_CHECK_RECEIVED, &[id.as_bytes()]);
        self
    }

    /// GOOG-MISC-INFO.
    pub fn add_goog_misc_info(&mut self, numbers: &[u16]) -> &mut Self {
        let value: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        self.push(AttributeType::GOOG_MISC_INFO, &[&value]);
        self
    }

    /// GOOG-DELTA.
    pub fn add_goog_delta(&mut self, delta: &[u8]) -> &mut Self {
        self.push(AttributeType::GOOG_DELTA, &[delta]);
        self
    }

    /// GOOG-DELTA-ACK.
    pub fn add_goog_delta_ack(&mut self, version: u64) -> &mut Self {
        self.push(AttributeType::GOOG_DELTA_ACK, &[&version.to_be_bytes()]);
        self
    }

    /// META-DTLS-IN-STUN: a DTLS datagram.
    pub fn add_meta_dtls_in_stun(&mut self, datagram: &[u8]) -> &mut Self {
        self.push(AttributeType::META_DTLS_IN_STUN, &[datagram]);
        self
    }

    /// META-DTLS-IN-STUN-ACK.
    pub fn add_meta_dtls_in_stun_ack(&mut self, ack: &[u8]) -> &mut Self {
        self.push(AttributeType::META_DTLS_IN_STUN_ACK, &[ack]);
        self
    }

    fn push_hmac(&mut self, attribute: AttributeType, hash: Hash, key: &[u8], len: usize) {
        // The length field counts the integrity attribute before it is there (RFC 8489 section 14.5).
        let length = self.message().len() - HEADER_LEN + 4 + len;
        let Ok(length) = u16::try_from(length) else {
            return self.fail(BuildError::MessageTooLong { attribute });
        };
        let tag = message_hmac(hash, key, self.message(), length);
        self.push(attribute, &[tag.as_ref().get(..len).unwrap_or_default()]);
    }

    /// MESSAGE-INTEGRITY: HMAC-SHA1 over all before it.
    pub fn integrity(&mut self, key: &[u8]) -> &mut Self {
        self.push_hmac(AttributeType::MESSAGE_INTEGRITY, Hash::Sha1, key, 20);
        self
    }

    /// MESSAGE-INTEGRITY-SHA256, in full length; may follow MESSAGE-INTEGRITY.
    pub fn integrity_sha256(&mut self, key: &[u8]) -> &mut Self {
        self.push_hmac(AttributeType::MESSAGE_INTEGRITY_SHA256, Hash::Sha256, key, 32);
        self
    }

    /// MESSAGE-INTEGRITY-SHA256 cut to `len` bytes: 16 to 32, a multiple of four.
    pub fn integrity_sha256_truncated(&mut self, key: &[u8], len: usize) -> &mut Self {
        let attribute = AttributeType::MESSAGE_INTEGRITY_SHA256;
        if (16..=32).contains(&len) && len.is_multiple_of(4) {
            self.push_hmac(attribute, Hash::Sha256, key, len);
        } else {
            self.fail(BuildError::InvalidValue { attribute });
        }
        self
    }

    /// GOOG-MESSAGE-INTEGRITY-32, for GOOG_PING alone.
    pub fn goog_integrity_32(&mut self, key: &[u8]) -> &mut Self {
        self.push_hmac(AttributeType::GOOG_MESSAGE_INTEGRITY_32, Hash::Sha1, key, 4);
        self
    }

    /// FINGERPRINT: a CRC-32 over all before it. The last attribute.
    pub fn fingerprint(&mut self) -> &mut Self {
        self.set_length(self.message().len() - HEADER_LEN + FINGERPRINT_LEN);
        let crc = crc32fast::hash(self.message()) ^ FINGERPRINT_XOR;
        self.push(AttributeType::FINGERPRINT, &[&crc.to_be_bytes()]);
        self
    }

    /// Whether an attribute had to be left out, and why.
    pub fn error(&self) -> Option<BuildError> {
        self.error
    }

    /// The buffer with the message; without the attributes that had to be left out.
    pub fn finish(mut self) -> B {
        self.set_length(self.message().len() - HEADER_LEN);
        self.buffer
    }

    /// The buffer with the message.
    ///
    /// # Errors
    /// The first [`BuildError`], if an attribute had to be left out.
    pub fn try_finish(self) -> Result<B, BuildError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.finish()),
        }
    }
}

/// Class and number of an error code (RFC 8489 section 14.8).
fn error_code_bytes(code: u16) -> Option<[u8; 2]> {
    if !(300..700).contains(&code) {
        return None;
    }
    Some([u8::try_from(code / 100).ok()?, u8::try_from(code % 100).ok()?])
}

#[cfg(test)]
mod tests;
