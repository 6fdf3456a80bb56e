//! What several tests need.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use peerstack_base::{Ecn, ReceiveMeta, SocketId};

use crate::{RtpFields, write_rtp_header};

/// Bytes from hexadecimal digits, white space left out.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The instant a test begins at.
#[expect(clippy::disallowed_methods, reason = "tests count from one real instant")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// Where a datagram came from, when that does not matter.
pub(crate) fn meta() -> ReceiveMeta {
    ReceiveMeta {
        socket: SocketId::unique(),
        remote: SocketAddr::from(([192, 0, 2, 1], 1)),
        local_ip: None,
        ecn: Ecn::NotEct,
    }
}

/// An RTP packet without extensions.
pub(crate) fn rtp(ssrc: u32, sequence_number: u16, payload: &[u8]) -> Vec<u8> {
    rtp_with(ssrc, sequence_number, 96, &[], payload)
}

/// An RTP packet with extensions.
pub(crate) fn rtp_with(
    ssrc: u32,
    sequence_number: u16,
    payload_type: u8,
    extensions: &[(u8, &[u8])],
    payload: &[u8],
) -> Vec<u8> {
    let fields = RtpFields {
        payload_type,
        sequence_number,
        timestamp: u32::from(sequence_number) * 960,
        ssrc,
        ..RtpFields::default()
    };
    let mut packet = vec![0; 2048];
    let len = write_rtp_header(&mut packet, &fields, [].into_iter(), extensions.iter().copied()).unwrap();
    packet.truncate(len);
    packet.extend_from_slice(payload);
    packet
}

/// A receiver report without blocks, from `ssrc`.
pub(crate) fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet
}

/// The inputs of a corpus folder, none if it is not there.
pub(crate) fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let root = std::env::var_os("PEERSTACK_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return Vec::new() };
    entries.flatten().filter_map(|entry| std::fs::read(entry.path()).ok()).collect()
}
