//! What looks at DTLS datagrams before an engine does: records, pieces and fragments, the reassembly of handshake
//! messages, the guard of webrtc-dtls.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_dtls::DtlsRole;
use peerstack_dtls::fuzzing::{Guards, split};
use peerstack_fuzz::{Input, origin};

fuzz_target!(|data: &[u8]| {
    split(data);
    let mut input = Input::new(data);
    let role = if input.flag() { DtlsRole::Client } else { DtlsRole::Server };
    let mut guards = Guards::new(role);
    while !input.is_empty() {
        let action = input.byte();
        let datagram = match action & 1 {
            0 => input.chunk().to_vec(),
            _ => handshake(&mut input),
        };
        split(&datagram);
        match action % 16 {
            0..=5 => guards.reassemble(&datagram),
            6..=12 => guards.admit(origin(), &datagram),
            13..=14 => guards.observe_outgoing(&datagram),
            _ => guards.complete(),
        }
    }
});

/// A record with one fragment of a handshake message, lengths right.
fn handshake(input: &mut Input<'_>) -> Vec<u8> {
    let (kind, number, more, offset) = (input.byte() % 26, input.byte() % 18, input.u16(), input.byte());
    let body = input.chunk();
    let (len, offset) = (body.len() as u32, u32::from(offset));
    let mut datagram = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, number];
    datagram.extend(((body.len().min(65_000) + 12) as u16).to_be_bytes());
    datagram.push(kind);
    datagram.extend(&(len + offset + u32::from(more)).to_be_bytes()[1..]);
    datagram.extend([0, number]);
    datagram.extend(&offset.to_be_bytes()[1..]);
    datagram.extend(&len.to_be_bytes()[1..]);
    datagram.extend(body);
    datagram
}
