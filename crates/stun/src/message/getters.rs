//! Typed getters of the attributes.

use std::net::{IpAddr, SocketAddr};

use super::{HEADER_LEN, Message, RawAttribute, TransactionId};
use crate::attribute::{
    AddressFamily, AttributeType, ChangeRequest, ErrorCode, GoogNetworkInfo, Icmp, PasswordAlgorithm,
};

/// USERNAME is shorter than 509 bytes (RFC 8489 section 14.3); libwebrtc and others accept 513, as RFC 5389 did.
pub(crate) const MAX_USERNAME: usize = 513;
/// REALM, NONCE, SOFTWARE and reason phrases are at most 763 bytes (RFC 8489 sections 14.8 to 14.10 and 14.14).
pub(crate) const MAX_TEXT: usize = 763;
/// ALTERNATE-DOMAIN is at most 255 bytes (RFC 8489 section 14.16).
pub(crate) const MAX_DOMAIN: usize = 255;

/// Reads an address; `mask` is XORed over port and address, and is the header from the magic cookie on, or zero.
fn read_address(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0 ^ mask[0], p1 ^ mask[1]]);
    let ip: IpAddr = match AddressFamily::from_byte(family)? {
        AddressFamily::Ipv4 => {
            let mut octets: [u8; 4] = address.try_into().ok()?;
            octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
            octets.into()
        }
        AddressFamily::Ipv6 => {
            let mut octets: [u8; 16] = address.try_into().ok()?;
            octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
            octets.into()
        }
    };
    Some(SocketAddr::new(ip, port))
}

fn read_password_algorithm(value: &[u8]) -> Option<(u16, &[u8])> {
    let (&[n0, n1, l0, l1], rest) = value.split_first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    rest.get(..len)?;
    // The last one's padding may be that of the attribute, which is not part of the value.
    let rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_be_bytes([n0, n1]), rest))
}

fn u16_list(value: &[u8]) -> impl Iterator<Item = u16> + '_ {
    value.chunks_exact(2).map(|pair| match *pair {
        [high, low] => u16::from_be_bytes([high, low]),
        _ => 0,
    })
}

impl<'a> Message<'a> {
    fn xor_mask(&self) -> [u8; 16] {
        let mut mask = [0; 16];
        if let Some(header) = self.bytes.get(4..HEADER_LEN).and_then(|bytes| bytes.first_chunk()) {
            mask = *header;
        }
        mask
    }

    fn fixed<const N: usize>(&self, kind: AttributeType) -> Option<[u8; N]> {
        self.attribute(kind)?.try_into().ok()
    }

    fn text(&self, kind: AttributeType, max: usize) -> Option<&'a str> {
        let value = self.attribute(kind)?;
        if value.len() > max { None } else { std::str::from_utf8(value).ok() }
    }

    fn u32(&self, kind: AttributeType) -> Option<u32> {
        self.fixed(kind).map(u32::from_be_bytes)
    }

    fn u64(&self, kind: AttributeType) -> Option<u64> {
        self.fixed(kind).map(u64::from_be_bytes)
    }

    fn address(&self, kind: AttributeType) -> Option<SocketAddr> {
        read_address(self.attribute(kind)?, &[0; 16])
    }

    fn xor_address(&self, kind: AttributeType) -> Option<SocketAddr> {
        read_address(self.attribute(kind)?, &self.xor_mask())
    }

    fn xor_addresses(&self, kind: AttributeType) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let mask = self.xor_mask();
        self.attributes()
            .filter(move |attribute| attribute.kind == kind)
            .filter_map(move |RawAttribute { value, .. }| read_address(value, &mask))
    }

    /// MAPPED-ADDRESS.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.address(AttributeType::MAPPED_ADDRESS)
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS)
    }

    /// ALTERNATE-SERVER.
    pub fn alternate_server(&self) -> Option<SocketAddr> {
        self.address(AttributeType::ALTERNATE_SERVER)
    }

    /// ALTERNATE-DOMAIN.
    pub fn alternate_domain(&self) -> Option<&'a str> {
        self.text(AttributeType::ALTERNATE_DOMAIN, MAX_DOMAIN)
    }

    /// USERNAME.
    pub fn username(&self) -> Option<&'a str> {
        self.text(AttributeType::USERNAME, MAX_USERNAME)
    }

    /// USERHASH.
    pub fn userhash(&self) -> Option<[u8; 32]> {
        self.fixed(AttributeType::USERHASH)
    }

    /// REALM.
    pub fn realm(&self) -> Option<&'a str> {
        self.text(AttributeType::REALM, MAX_TEXT)
    }

    /// NONCE.
    pub fn nonce(&self) -> Option<&'a str> {
        self.text(AttributeType::NONCE, MAX_TEXT)
    }

    /// SOFTWARE.
    pub fn software(&self) -> Option<&'a str> {
        self.text(AttributeType::SOFTWARE, MAX_TEXT)
    }

    /// ERROR-CODE. A reason that is not UTF-8 or too long reads as an empty one: the code is what counts.
    pub fn error_code(&self) -> Option<ErrorCode<'a>> {
        let (&[_, _, class, number], reason) =
            self.attribute(AttributeType::ERROR_CODE)?.split_first_chunk::<4>()?;
        // 21 reserved bits, which are ignored, then 3 bits of class.
        let class = class & 0x07;
        if !(3..=6).contains(&class) || number > 99 {
            return None;
        }
        let reason = if reason.len() > MAX_TEXT { "" } else { std::str::from_utf8(reason).unwrap_or("") };
        Some(ErrorCode { code: u16::from(class) * 100 + u16::from(number), reason })
    }

    /// UNKNOWN-ATTRIBUTES; empty if there is none.
    pub fn unknown_attributes(&self) -> impl Iterator<Item = AttributeType> + use<'a> {
        u16_list(self.attribute(AttributeType::UNKNOWN_ATTRIBUTES).unwrap_or_default()).map(AttributeType)
    }

    /// PASSWORD-ALGORITHM; `None` also for an algorithm that is not registered.
    pub fn password_algorithm(&self) -> Option<PasswordAlgorithm> {
        let (number, _) = read_password_algorithm(self.attribute(AttributeType::PASSWORD_ALGORITHM)?)?;
        PasswordAlgorithm::from_number(number)
    }

    /// PASSWORD-ALGORITHMS: those known here, in order; empty if there is none.
    pub fn password_algorithms(&self) -> impl Iterator<Item = PasswordAlgorithm> + use<'a> {
        let mut rest = self.attribute(AttributeType::PASSWORD_ALGORITHMS).unwrap_or_default();
        std::iter::from_fn(move || {
            let (number, next) = read_password_algorithm(rest)?;
            rest = next;
            Some(PasswordAlgorithm::from_number(number))
        })
        .flatten()
    }

    /// PRIORITY: what the peer-reflexive candidate learned from this check shall have.
    #[inline]
    pub fn priority(&self) -> Option<u32> {
        self.u32(AttributeType::PRIORITY)
    }

    /// Whether USE-CANDIDATE is there.
    #[inline]
    pub fn use_candidate(&self) -> bool {
        self.has(AttributeType::USE_CANDIDATE)
    }

    /// ICE-CONTROLLED: the tie-breaker.
    #[inline]
    pub fn ice_controlled(&self) -> Option<u64> {
        self.u64(AttributeType::ICE_CONTROLLED)
    }

    /// ICE-CONTROLLING: the tie-breaker.
    #[inline]
    pub fn ice_controlling(&self) -> Option<u64> {
        self.u64(AttributeType::ICE_CONTROLLING)
    }

    /// CHANNEL-NUMBER.
    pub fn channel_number(&self) -> Option<u16> {
        let [n0, n1, _, _] = self.fixed(AttributeType::CHANNEL_NUMBER)?;
        Some(u16::from_be_bytes([n0, n1]))
    }

    /// LIFETIME, in seconds.
    pub fn lifetime(&self) -> Option<u32> {
        self.u32(AttributeType::LIFETIME)
    }

    /// The first XOR-PEER-ADDRESS.
    pub fn xor_peer_address(&self) -> Option<SocketAddr> {
        self.xor_address(AttributeType::XOR_PEER_ADDRESS)
    }

    /// Every well-formed XOR-PEER-ADDRESS: CreatePermission may carry several (RFC 8656 section 10.1).
    pub fn xor_peer_addresses(&self) -> impl Iterator<Item = SocketAddr> + use<'a> {
        self.xor_addresses(AttributeType::XOR_PEER_ADDRESS)
    }

    /// DATA.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.attribute(AttributeType::DATA)
    }

    /// The first XOR-RELAYED-ADDRESS.
    pub fn xor_relayed_address(&self) -> Option<SocketAddr> {
        self.xor_address(AttributeType::XOR_RELAYED_ADDRESS)
    }

    /// Every well-formed XOR-RELAYED-ADDRESS: there are two if both families were asked for (RFC 8656
    /// section 7.3).
    pub fn xor_relayed_addresses(&self) -> impl Iterator<Item = SocketAddr> + use<'a> {
        self.xor_addresses(AttributeType::XOR_RELAYED_ADDRESS)
    }

    fn family(&self, kind: AttributeType) -> Option<AddressFamily> {
        let [family, ..] = self.fixed::<4>(kind)?;
        AddressFamily::from_byte(family)
    }

    /// REQUESTED-ADDRESS-FAMILY.
    pub fn requested_address_family(&self) -> Option<AddressFamily> {
        self.family(AttributeType::REQUESTED_ADDRESS_FAMILY)
    }

    /// ADDITIONAL-ADDRESS-FAMILY.
    pub fn additional_address_family(&self) -> Option<AddressFamily> {
        self.family(AttributeType::ADDITIONAL_ADDRESS_FAMILY)
    }

    /// EVEN-PORT: whether the next-higher port is to be reserved too.
    pub fn even_port(&self) -> Option<bool> {
        let [flags] = self.fixed(AttributeType::EVEN_PORT)?;
        Some(flags & 0x80 != 0)
    }

    /// REQUESTED-TRANSPORT: the protocol number of IP; 17 is UDP.
    pub fn requested_transport(&self) -> Option<u8> {
        let [protocol, ..] = self.fixed::<4>(AttributeType::REQUESTED_TRANSPORT)?;
        Some(protocol)
    }

    /// Whether DONT-FRAGMENT is there.
    pub fn dont_fragment(&self) -> bool {
        self.has(AttributeType::DONT_FRAGMENT)
    }

    /// RESERVATION-TOKEN.
    pub fn reservation_token(&self) -> Option<[u8; 8]> {
        self.fixed(AttributeType::RESERVATION_TOKEN)
    }

    /// ADDRESS-ERROR-CODE: the family that could not be allocated, and why.
    pub fn address_error_code(&self) -> Option<(AddressFamily, u16)> {
        let (&[family, _, class, number], _) =
            self.attribute(AttributeType::ADDRESS_ERROR_CODE)?.split_first_chunk::<4>()?;
        let class = class & 0x07;
        if !(3..=6).contains(&class) || number > 99 {
            return None;
        }
        Some((AddressFamily::from_byte(family)?, u16::from(class) * 100 + u16::from(number)))
    }

    /// ICMP.
    pub fn icmp(&self) -> Option<Icmp> {
        let [_, _, icmp_type, code, d0, d1, d2, d3] = self.fixed(AttributeType::ICMP)?;
        // RFC 8656 section 18.13: 16 reserved bits, 7 bits of type, 9 bits of code.
        let code = (u16::from(icmp_type & 1) << 8) | u16::from(code);
        Some(Icmp { icmp_type: icmp_type >> 1, code: u8::try_from(code).ok()?, data: [d0, d1, d2, d3] })
    }

    /// CHANGE-REQUEST.
    pub fn change_request(&self) -> Option<ChangeRequest> {
        let flags = self.u32(AttributeType::CHANGE_REQUEST)?;
        Some(ChangeRequest { change_ip: flags & 0x4 != 0, change_port: flags & 0x2 != 0 })
    }

    /// RESPONSE-PORT.
    pub fn response_port(&self) -> Option<u16> {
        let [p0, p1, ..] = *self.attribute(AttributeType::RESPONSE_PORT)? else { return None };
        Some(u16::from_be_bytes([p0, p1]))
    }

    /// PADDING: how many bytes of it.
    pub fn padding(&self) -> Option<usize> {
        self.attribute(AttributeType::PADDING).map(<[u8]>::len)
    }

    /// RESPONSE-ORIGIN.
    pub fn response_origin(&self) -> Option<SocketAddr> {
        self.address(AttributeType::RESPONSE_ORIGIN)
    }

    /// OTHER-ADDRESS.
    pub fn other_address(&self) -> Option<SocketAddr> {
        self.address(AttributeType::OTHER_ADDRESS)
    }

    /// NOMINATION (libwebrtc's renomination).
    #[inline]
    pub fn nomination(&self) -> Option<u32> {
        self.u32(AttributeType::NOMINATION)
    }

    /// GOOG-NETWORK-INFO.
    #[inline]
    pub fn goog_network_info(&self) -> Option<GoogNetworkInfo> {
        let [i0, i1, c0, c1] = self.fixed(AttributeType::GOOG_NETWORK_INFO)?;
        Some(GoogNetworkInfo {
            network_id: u16::from_be_bytes([i0, i1]),
            network_cost: u16::from_be_bytes([c0, c1]),
        })
    }

    /// GOOG-LAST-ICE-CHECK-RECEIVED.
    pub fn goog_last_ice_check_received(&self) -> Option<TransactionId> {
        self.fixed(AttributeType::GOOG_LAST_ICE_CHECK_RECEIVED).map(TransactionId::from_bytes)
    }

    /// GOOG-MISC-INFO: the numbers, of which the position says the meaning; `None` if absent or of odd length.
    pub fn goog_misc_info(&self) -> Option<impl Iterator<Item = u16> + use<'a>> {
        let value = self.attribute(AttributeType::GOOG_MISC_INFO)?;
        value.len().is_multiple_of(2).then(|| u16_list(value))
    }

    /// GOOG-DELTA.
    pub fn goog_delta(&self) -> Option<&'a [u8]> {
        self.attribute(AttributeType::GOOG_DELTA)
    }

    /// GOOG-DELTA-ACK.
    pub fn goog_delta_ack(&self) -> Option<u64> {
        self.u64(AttributeType::GOOG_DELTA_ACK)
    }

    /// META-DTLS-IN-STUN: a DTLS datagram.
    pub fn meta_dtls_in_stun(&self) -> Option<&'a [u8]> {
        self.attribute(AttributeType::META_DTLS_IN_STUN)
    }

    /// META-DTLS-IN-STUN-ACK: as it lies there; 32-bit hashes of datagrams received.
    pub fn meta_dtls_in_stun_ack(&self) -> Option<&'a [u8]> {
        self.attribute(AttributeType::META_DTLS_IN_STUN_ACK)
    }
}
