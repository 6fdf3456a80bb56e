//! What several tests need.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peerstack_base::WallClock;
use peerstack_rtp_transport::{RtpFields, write_rtp_header};

/// Always the same date.
#[derive(Debug)]
pub(crate) struct FixedClock;

impl WallClock for FixedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }
}

/// The instant a test begins at.
#[expect(clippy::disallowed_methods, reason = "tests count from one real instant")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// Bytes from hexadecimal digits, white space left out.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// An RTP packet of 100 bytes of payload.
pub(crate) fn rtp(ssrc: u32, sequence_number: u16, timestamp: u32) -> Vec<u8> {
    let fields = RtpFields { payload_type: 96, sequence_number, timestamp, ssrc, ..RtpFields::default() };
    let mut packet = vec![0; 112];
    write_rtp_header(&mut packet, &fields, [].into_iter(), [].into_iter()).unwrap();
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
