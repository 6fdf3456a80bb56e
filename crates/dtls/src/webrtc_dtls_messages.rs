//! Whether a plaintext handshake message of DTLS 1.2 parses exactly (RFC 5246 section 7.4, RFC 6347 section
//! 4.2, RFC 8422 section 5): `webrtc-dtls` indexes beyond the end of some that do not. Total.

use crate::DtlsRole;
use crate::handshake_record::{
    CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_HELLO, CLIENT_KEY_EXCHANGE, SERVER_HELLO,
};

const HELLO_VERIFY_REQUEST: u8 = 3;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;

/// Whether the peer of a side in this role sends messages of this type in plaintext.
pub(crate) fn may_come_from_peer(role: DtlsRole, message_type: u8) -> bool {
    match role {
        DtlsRole::Server => {
            matches!(message_type, CLIENT_HELLO | CERTIFICATE | CLIENT_KEY_EXCHANGE | CERTIFICATE_VERIFY)
        }
        DtlsRole::Client => matches!(
            message_type,
            SERVER_HELLO
                | HELLO_VERIFY_REQUEST
                | CERTIFICATE
                | SERVER_KEY_EXCHANGE
                | CERTIFICATE_REQUEST
                | SERVER_HELLO_DONE
        ),
    }
}

/// Whether a message's body is exactly what its type says; `curve` is the group of the key exchange.
pub(crate) fn parses_exactly(message_type: u8, body: &[u8], curve: Option<u16>) -> bool {
    let mut reader = Reader(body);
    let parsed = match message_type {
        CLIENT_HELLO => client_hello(&mut reader),
        SERVER_HELLO => server_hello(&mut reader),
        HELLO_VERIFY_REQUEST => reader.take(2).and_then(|_| reader.vector8()).map(|_| ()),
        CERTIFICATE => certificate(&mut reader),
        SERVER_KEY_EXCHANGE => server_key_exchange(&mut reader).map(|_| ()),
        CERTIFICATE_REQUEST => certificate_request(&mut reader),
        SERVER_HELLO_DONE => Some(()),
        CERTIFICATE_VERIFY => reader.take(2).and_then(|_| reader.vector16()).map(|_| ()),
        CLIENT_KEY_EXCHANGE => client_key_exchange(&mut reader, curve),
        _ => None,
    };
    parsed.is_some() && reader.0.is_empty()
}

/// The group a ServerKeyExchange names, if the message is one and parses.
pub(crate) fn server_key_exchange_curve(message_type: u8, body: &[u8]) -> Option<u16> {
    if message_type != SERVER_KEY_EXCHANGE {
        return None;
    }
    server_key_exchange(&mut Reader(body))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = (self.0.get(..length)?, self.0.get(length..)?);
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.number(1)?;
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.number(2)?;
        self.take(length)
    }
}

fn client_hello(reader: &mut Reader<'_>) -> Option<()> {
    reader.take(2 + 32)?;
    // webrtc-dtls takes the session id for empty whatever its length says.
    if !reader.vector8()?.is_empty() {
        return None;
    }
    reader.vector8()?;
    let suites = reader.vector16()?;
    let compression = reader.vector8()?;
    (!suites.is_empty() && suites.len().is_multiple_of(2) && !compression.is_empty()).then_some(())?;
    extensions(reader)
}

fn server_hello(reader: &mut Reader<'_>) -> Option<()> {
    reader.take(2 + 32)?;
    (reader.vector8()?.len() <= 32).then_some(())?;
    reader.take(2 + 1)?;
    extensions(reader)
}

fn extensions(reader: &mut Reader<'_>) -> Option<()> {
    let mut list = Reader(reader.vector16()?);
    while !list.0.is_empty() {
        list.take(2)?;
        list.vector16()?;
    }
    Some(())
}

fn certificate(reader: &mut Reader<'_>) -> Option<()> {
    let length = reader.number(3)?;
    let mut list = Reader(reader.take(length)?);
    while !list.0.is_empty() {
        let length = list.number(3)?;
        list.take(length)?;
    }
    Some(())
}

fn server_key_exchange(reader: &mut Reader<'_>) -> Option<u16> {
    // named_curve(3)
    (reader.number(1)? == 3).then_some(())?;
    let curve = u16::try_from(reader.number(2)?).ok()?;
    (reader.vector8()?.len() == key_length(curve)?).then_some(())?;
    reader.take(2)?;
    reader.vector16()?;
    Some(curve)
}

fn client_key_exchange(reader: &mut Reader<'_>, curve: Option<u16>) -> Option<()> {
    let expected = key_length(curve?)?;
    (reader.vector8()?.len() == expected).then_some(())
}

fn certificate_request(reader: &mut Reader<'_>) -> Option<()> {
    reader.vector8()?;
    reader.vector16()?.len().is_multiple_of(2).then_some(())?;
    reader.vector16().map(|_| ())
}

/// Bytes of a public key: secp256r1(23), secp384r1(24), x25519(29).
fn key_length(curve: u16) -> Option<usize> {
    match curve {
        23 => Some(65),
        24 => Some(97),
        29 => Some(32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![254, 253];
        body.extend([7; 32]);
        body.extend([0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend_from_slice(extensions);
        body
    }

    fn key_exchange(curve: u8, length: u8) -> Vec<u8> {
        let mut body = vec![3, 0, curve, length];
        body.extend(vec![4; usize::from(length)]);
        body.extend([4, 3, 0, 2, 9, 9]);
        body
    }

    #[test]
    fn what_is_right_parses_and_no_cut_of_it_does() {
        let mut server_hello = vec![254, 253];
        server_hello.extend([7; 32]);
        server_hello.extend([1, 9, 0xC0, 0x2B, 0, 0, 4, 0, 23, 0, 0]);
        let mut client_key = vec![32];
        client_key.extend([1; 32]);
        let right = [
            (CLIENT_HELLO, hello(&[0, 23, 0, 0, 0, 14, 0, 3, 0, 0, 0])),
            (SERVER_HELLO, server_hello),
            (HELLO_VERIFY_REQUEST, vec![254, 253, 2, 1, 1]),
            (CERTIFICATE, vec![0, 0, 5, 0, 0, 2, 9, 9]),
            (SERVER_KEY_EXCHANGE, key_exchange(29, 32)),
            (CERTIFICATE_REQUEST, vec![1, 64, 0, 2, 4, 3, 0, 0]),
            (SERVER_HELLO_DONE, vec![]),
            (CERTIFICATE_VERIFY, vec![4, 3, 0, 1, 9]),
            (CLIENT_KEY_EXCHANGE, client_key),
        ];
        for (kind, body) in right {
            assert!(parses_exactly(kind, &body, Some(29)), "{kind}");
            for cut in 0..body.len() {
                assert!(!parses_exactly(kind, &body[..cut], Some(29)), "{kind} cut at {cut}");
            }
            let mut longer = body.clone();
            longer.push(0);
            assert!(!parses_exactly(kind, &longer, Some(29)), "{kind} with a stray byte");
        }
    }

    #[test]
    fn crafted_messages_do_not_parse() {
        for extensions in [&[0][..], &[0, 23], &[0, 23, 0], &[0, 23, 0, 1], &[0, 23, 255, 255]] {
            assert!(!parses_exactly(CLIENT_HELLO, &hello(extensions), None), "{extensions:?}");
        }
        // Keys of the wrong length, which x25519's conversion panics on.
        for (curve, length) in [(29, 31), (29, 33), (29, 0), (23, 32), (24, 65), (25, 133), (0, 32)] {
            assert!(!parses_exactly(SERVER_KEY_EXCHANGE, &key_exchange(curve, length), None));
        }
        for body in [&[][..], &[32], &[0], &[65, 4]] {
            assert!(!parses_exactly(CLIENT_KEY_EXCHANGE, body, Some(29)));
        }
        let mut key = vec![32];
        key.extend([1; 32]);
        assert!(!parses_exactly(CLIENT_KEY_EXCHANGE, &key, Some(23)));
        assert!(!parses_exactly(CLIENT_KEY_EXCHANGE, &key, None));
        assert!(!parses_exactly(CERTIFICATE, &[0, 0, 4, 0, 0, 2, 9], None));
        assert!(!parses_exactly(200, &[], None));
    }

    #[test]
    fn each_role_has_its_messages() {
        for kind in 0..=255 {
            let both =
                may_come_from_peer(DtlsRole::Client, kind) && may_come_from_peer(DtlsRole::Server, kind);
            assert_eq!(both, kind == CERTIFICATE);
        }
    }
}
