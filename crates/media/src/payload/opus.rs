//! How long an Opus packet lasts (RFC 6716 section 3.1): what a file or a timestamp needs to know of it.

use std::time::Duration;

/// The longest packet, in units of 2.5 ms: 120 ms (RFC 6716 section 3.4, R5).
const MAX_UNITS: u32 = 48;

/// The duration of an Opus packet by its first bytes (RFC 6716 section 3.1); `None` if it is malformed.
pub fn opus_packet_duration(packet: &[u8]) -> Option<Duration> {
    let first = *packet.first()?;
    let config = first >> 3;
    // In units of 2.5 ms.
    let frame = match config {
        0..=11 => [4, 8, 16, 24].get(usize::from(config & 3)),
        12..=15 => [4, 8].get(usize::from(config & 1)),
        _ => [1, 2, 4, 8].get(usize::from(config & 3)),
    }?;
    let count = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3F),
    };
    let units = frame * count;
    (1..=MAX_UNITS).contains(&units).then(|| Duration::from_micros(2_500) * units)
}
