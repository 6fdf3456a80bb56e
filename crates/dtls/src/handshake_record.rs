//! A look at DTLS records and handshake fragments that nobody has authenticated yet (RFC 6347 section 4.3,
//! RFC 9147 section 4). Total: any bytes give an answer. Owned by whoever calls.

/// Bytes of a DTLS 1.2 record header, which DTLS 1.3 uses for plaintext records too.
pub(crate) const RECORD_HEADER: usize = 13;
/// Bytes of a handshake message header.
pub(crate) const HANDSHAKE_HEADER: usize = 12;

/// change_cipher_spec(20).
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
/// alert(21).
pub(crate) const ALERT: u8 = 21;
/// handshake(22).
pub(crate) const HANDSHAKE: u8 = 22;
/// application_data(23).
#[cfg(feature = "webrtc-dtls")]
pub(crate) const APPLICATION_DATA: u8 = 23;

/// client_hello(1).
pub(crate) const CLIENT_HELLO: u8 = 1;
/// server_hello(2).
pub(crate) const SERVER_HELLO: u8 = 2;
/// certificate(11).
pub(crate) const CERTIFICATE: u8 = 11;
/// certificate_verify(15).
pub(crate) const CERTIFICATE_VERIFY: u8 = 15;
/// client_key_exchange(16).
pub(crate) const CLIENT_KEY_EXCHANGE: u8 = 16;

/// The first byte of DTLS 1.3's unified header: 001CSLEE (RFC 9147 section 4).
const UNIFIED_HEADER: u8 = 0b0010_0000;

/// One record with the long header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Its type.
    pub content_type: u8,
    /// Its epoch; 0 is plaintext.
    pub epoch: u16,
    /// Its sequence number.
    pub sequence: u64,
    /// What it carries.
    pub payload: &'a [u8],
    /// Header and payload.
    pub bytes: &'a [u8],
}

/// The records of a datagram (D03) as far as they parse.
pub(crate) fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (record, rest) = split_record(datagram)?;
        datagram = rest;
        Some(record)
    })
}

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let header = bytes.get(..RECORD_HEADER)?;
    let &[content_type, major, _, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1] = header else { return None };
    // 254 is DTLS's major version, but also what one in 256 sealed numbers begins with behind DTLS 1.3's unified
    // header: types are smaller than 001xxxxx (RFC 9147 section 4.1).
    if major != 254 || !(CHANGE_CIPHER_SPEC..UNIFIED_HEADER).contains(&content_type) {
        return None;
    }
    let end = RECORD_HEADER + usize::from(u16::from_be_bytes([l0, l1]));
    let record = Record {
        content_type,
        epoch: u16::from_be_bytes([e0, e1]),
        sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
        payload: bytes.get(RECORD_HEADER..end)?,
        bytes: bytes.get(..end)?,
    };
    Some((record, bytes.get(end..)?))
}

/// A datagram's records of either header form, one a piece; what has no readable length is one piece with all
/// that follows.
pub(crate) fn pieces(mut datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = match split_record(datagram) {
            Some((record, _)) => record.bytes.len(),
            None => unified_record(datagram).unwrap_or(datagram.len()),
        };
        let piece = datagram.get(..length).filter(|piece| !piece.is_empty())?;
        datagram = datagram.get(length..).unwrap_or_default();
        Some(piece)
    })
}

/// Bytes of a record with DTLS 1.3's unified header (RFC 9147 section 4), if the header says so.
fn unified_record(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    // 001CSLEE: no connection id is negotiated here, and the length must be present.
    if first & 0b1111_0100 != 0b0010_0100 {
        return None;
    }
    let at = if first & 0b1000 == 0 { 2 } else { 3 };
    let &[high, low] = bytes.get(at..at + 2)? else { return None };
    let end = at + 2 + usize::from(u16::from_be_bytes([high, low]));
    (end <= bytes.len()).then_some(end)
}

/// Adds `by` to the numbers of the plaintext records of a datagram. Nothing authenticates them.
pub(crate) fn shift_plaintext_numbers(datagram: &mut [u8], by: u64) {
    let mut at = 0;
    while let Some((record, _)) = datagram.get(at..).and_then(split_record) {
        let (length, epoch, number) = (record.bytes.len(), record.epoch, record.sequence.wrapping_add(by));
        if epoch == 0
            && let (Some(slot), Some(number)) =
                (datagram.get_mut(at + 5..at + 11), number.to_be_bytes().get(2..))
        {
            slot.copy_from_slice(number);
        }
        at += length;
    }
}

/// One fragment of a handshake message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    /// The message's type.
    pub message_type: u8,
    /// The message's length.
    pub length: usize,
    /// The message's number.
    pub message_seq: u16,
    /// Where the fragment begins.
    pub offset: usize,
    /// The fragment.
    pub body: &'a [u8],
}

/// The fragments of a plaintext handshake record, as far as they parse.
pub(crate) fn fragments(mut payload: &[u8]) -> impl Iterator<Item = Fragment<'_>> {
    std::iter::from_fn(move || {
        let (fragment, rest) = split_fragment(payload)?;
        payload = rest;
        Some(fragment)
    })
}

fn split_fragment(bytes: &[u8]) -> Option<(Fragment<'_>, &[u8])> {
    let &[message_type, l0, l1, l2, s0, s1, o0, o1, o2, f0, f1, f2] = bytes.get(..HANDSHAKE_HEADER)? else {
        return None;
    };
    let u24 = |high: u8, mid: u8, low: u8| u32::from_be_bytes([0, high, mid, low]) as usize;
    let (length, offset, fragment_length) = (u24(l0, l1, l2), u24(o0, o1, o2), u24(f0, f1, f2));
    if offset + fragment_length > length {
        return None;
    }
    let end = HANDSHAKE_HEADER + fragment_length;
    let fragment = Fragment {
        message_type,
        length,
        message_seq: u16::from_be_bytes([s0, s1]),
        offset,
        body: bytes.get(HANDSHAKE_HEADER..end)?,
    };
    Some((fragment, bytes.get(end..)?))
}

/// Whether a datagram begins with a piece of a plaintext ClientHello.
pub(crate) fn is_client_hello(datagram: &[u8]) -> bool {
    let Some(record) = records(datagram).next() else { return false };
    record.content_type == HANDSHAKE
        && record.epoch == 0
        && fragments(record.payload).next().is_some_and(|fragment| fragment.message_type == CLIENT_HELLO)
}

/// The random of a ClientHello that begins in this datagram. It is the same in all that a client sends of one handshake,
/// the ClientHello after a HelloVerifyRequest or HelloRetryRequest included (RFC 6347 section 4.2.1, RFC 8446 section
/// 4.1.2), and another one in the next.
pub(crate) fn client_hello_random(datagram: &[u8]) -> Option<[u8; 32]> {
    records(datagram)
        .filter(|record| record.content_type == HANDSHAKE && record.epoch == 0)
        .flat_map(|record| fragments(record.payload))
        .filter(|fragment| fragment.message_type == CLIENT_HELLO && fragment.offset == 0)
        // client_version(2) random(32)
        .find_map(|fragment| fragment.body.get(2..34)?.try_into().ok())
}

/// The cipher suite a plaintext ServerHello in this datagram names. Unauthenticated: for statistics alone.
pub(crate) fn server_hello_cipher_suite(datagram: &[u8]) -> Option<u16> {
    records(datagram)
        .filter(|record| record.content_type == HANDSHAKE && record.epoch == 0)
        .flat_map(|record| fragments(record.payload))
        .filter(|fragment| fragment.message_type == SERVER_HELLO && fragment.offset == 0)
        .find_map(|fragment| {
            // server_version(2) random(32) session_id<0..32> cipher_suite(2)
            let session_id = usize::from(*fragment.body.get(34)?);
            match fragment.body.get(35 + session_id..37 + session_id)? {
                &[high, low] => Some(u16::from_be_bytes([high, low])),
                _ => None,
            }
        })
}

/// IANA's name of the cipher suites that can be negotiated.
pub(crate) fn cipher_suite_name(suite: u16) -> Option<&'static str> {
    Some(match suite {
        0x1301 => "TLS_AES_128_GCM_SHA256",
        0x1302 => "TLS_AES_256_GCM_SHA384",
        0x1303 => "TLS_CHACHA20_POLY1305_SHA256",
        0xC00A => "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        0xC014 => "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        0xC02B => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        0xC02C => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        0xC02F => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        0xC0AC => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
        0xC0AE => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
        0xCCA8 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        0xCCA9 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with a handshake fragment in it.
    fn datagram(message_type: u8, length: u8, offset: u8, body: &[u8]) -> Vec<u8> {
        let fragment_length = u8::try_from(body.len()).unwrap();
        let mut payload = vec![message_type, 0, 0, length, 0, 7, 0, 0, offset, 0, 0, fragment_length];
        payload.extend_from_slice(body);
        let mut bytes = vec![HANDSHAKE, 254, 253, 0, 0, 0, 0, 0, 0, 0, 5, 0];
        bytes.push(u8::try_from(payload.len()).unwrap());
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// D03: several records in one datagram.
    #[test]
    fn every_record_and_fragment_is_seen() {
        let mut bytes = datagram(CLIENT_HELLO, 5, 0, &[1, 2, 3]);
        bytes.extend(datagram(CLIENT_HELLO, 5, 3, &[4, 5]));
        let records: Vec<_> = records(&bytes).collect();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].epoch, records[0].sequence), (0, 5));
        let fragment = fragments(records[1].payload).next().unwrap();
        assert_eq!((fragment.message_seq, fragment.length, fragment.offset), (7, 5, 3));
        assert_eq!(fragment.body, &[4, 5]);
        assert!(is_client_hello(&bytes));
    }

    #[test]
    fn plaintext_records_are_numbered_anew() {
        let mut bytes = datagram(CLIENT_HELLO, 3, 0, &[1, 2, 3]);
        let mut sealed = bytes.clone();
        sealed[4] = 1;
        bytes.extend(sealed);
        shift_plaintext_numbers(&mut bytes, 300);
        let numbers: Vec<_> = records(&bytes).map(|record| record.sequence).collect();
        assert_eq!(numbers, [305, 5]);
        shift_plaintext_numbers(&mut [22; 5], 1);
    }

    /// D03: a sealed number that looks like a version, before bytes that look like a length, cuts nothing off.
    #[test]
    fn a_sealed_number_is_no_version() {
        for first in [0x2C, 0x2D, 0x2E, 0x2F] {
            let mut sealed = vec![first, 254, 253, 0, 40, 7, 7, 7, 7, 7, 7, 0, 9];
            sealed.resize(45, 7);
            assert_eq!(records(&sealed).count(), 0);
            assert_eq!(pieces(&sealed).collect::<Vec<_>>(), [&sealed[..]]);
            let two = [sealed.clone(), sealed.clone()].concat();
            assert_eq!(pieces(&two).count(), 2);
        }
    }

    /// D03: whatever their header is.
    #[test]
    fn records_of_both_forms_are_told_apart() {
        let long = datagram(CLIENT_HELLO, 3, 0, &[1, 2, 3]);
        let short = [0x2C, 0, 1, 0, 2, 9, 9];
        let shorter = [0x24, 1, 0, 1, 9];
        let without_length = [0x28, 0, 1, 9, 9, 9];
        let all = [&long[..], &short, &shorter, &without_length].concat();
        let expected = [&long[..], &short, &shorter, &without_length];
        assert!(pieces(&all).eq(expected));
        assert!(pieces(&[0x2C, 0, 1, 255, 255, 9]).eq([&[0x2C, 0, 1, 255, 255, 9][..]]));
        assert_eq!(pieces(&[]).count(), 0);
    }

    #[test]
    fn any_cut_and_any_byte_give_an_answer() {
        let whole = datagram(SERVER_HELLO, 40, 0, &[0; 40]);
        for cut in 0..whole.len() {
            assert!(records(&whole[..cut]).next().is_none());
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7F, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                let _ = server_hello_cipher_suite(&bytes);
                let _ = is_client_hello(&bytes);
            }
        }
        assert!(split_fragment(&[1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 9]).is_none());
    }

    #[test]
    fn a_server_hello_tells_its_cipher_suite() {
        let mut body = vec![254, 253];
        body.extend([7; 32]);
        body.extend([2, 9, 9, 0xC0, 0x2B, 0]);
        let hello = datagram(SERVER_HELLO, u8::try_from(body.len()).unwrap(), 0, &body);
        assert_eq!(server_hello_cipher_suite(&hello), Some(0xC02B));
        assert_eq!(cipher_suite_name(0xC02B), Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
        assert_eq!(server_hello_cipher_suite(&datagram(CLIENT_HELLO, 40, 0, &[0; 40])), None);
    }
}
