//! Reading RTCP: a compound packet is split, each packet's lengths are checked, and a typed, borrowed view of it
//! is given (RFC 3550 section 6, RFC 4585, RFC 5104, REMB). Runs on the network task; answers to libwebrtc's
//! `modules/rtp_rtcp/source/rtcp_packet/`.
//!
//! Total: any bytes either parse or give an [`RtcpError`]; nothing here panics, allocates or copies.

use thiserror::Error;

use crate::ntp_time::NtpTime;

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1, RFC 3611).
pub mod packet_type {
    /// Sender report.
    pub const SR: u8 = 200;
    /// Receiver report.
    pub const RR: u8 = 201;
    /// Source description.
    pub const SDES: u8 = 202;
    /// Goodbye.
    pub const BYE: u8 = 203;
    /// Application-defined.
    pub const APP: u8 = 204;
    /// Transport layer feedback.
    pub const RTPFB: u8 = 205;
    /// Payload-specific feedback.
    pub const PSFB: u8 = 206;
    /// Extended report.
    pub const XR: u8 = 207;
}

const RTPFB_NACK: u8 = 1;
const RTPFB_TRANSPORT_WIDE: u8 = 15;
const PSFB_PLI: u8 = 1;
const PSFB_FIR: u8 = 4;
const PSFB_APPLICATION: u8 = 15;
const REPORT_BLOCK_LEN: usize = 24;
const SENDER_INFO_LEN: usize = 20;
const SDES_CNAME: u8 = 1;

/// Why bytes are not RTCP.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtcpError {
    /// The bytes end within a packet.
    #[error("an RTCP packet of {need} bytes, {have} are left")]
    TooShort {
        /// Bytes the packet asks for.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// Not version 2.
    #[error("RTCP version {0} is not 2")]
    Version(u8),
    /// Padding of length 0, or longer than the packet.
    #[error("RTCP padding does not fit")]
    Padding,
    /// What the packet says of its content does not fit its length.
    #[error("RTCP packet of type {packet_type} is too short for its content")]
    Content {
        /// Its type.
        packet_type: u8,
    },
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// The words of a slice, a last one that is cut off left out.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + Clone + use<'_> {
    bytes.chunks_exact(4).filter_map(|chunk| u32_at(chunk, 0))
}

/// One report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source it is about.
    pub ssrc: u32,
    /// Part of the packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost in all, 24 bits; negative if more came than were expected.
    pub cumulative_lost: i32,
    /// Highest sequence number received, roll-overs in the upper half.
    pub extended_highest_sequence_number: u32,
    /// Interarrival jitter in the stream's clock.
    pub jitter: u32,
    /// Middle of the NTP time of the last sender report; 0 if there was none.
    pub last_sr: u32,
    /// Time since that came, in 65536ths of a second.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn read(block: &[u8]) -> Option<Self> {
        let lost = u32_at(block, 4)?;
        Some(Self {
            ssrc: u32_at(block, 0)?,
            fraction_lost: (lost >> 24) as u8,
            // Sign-extends 24 bits.
            cumulative_lost: ((lost << 8) as i32) >> 8,
            extended_highest_sequence_number: u32_at(block, 8)?,
            jitter: u32_at(block, 12)?,
            last_sr: u32_at(block, 16)?,
            delay_since_last_sr: u32_at(block, 20)?,
        })
    }
}

/// Report blocks of a sender or receiver report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + Clone + use<'a> {
        self.0.chunks_exact(REPORT_BLOCK_LEN).filter_map(ReportBlock::read)
    }
}

/// What a sender says of its stream (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// When the report was sent.
    pub ntp: NtpTime,
    /// The same moment in the stream's clock.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packet_count: u32,
    /// Bytes of payload sent.
    pub octet_count: u32,
}

/// One RTCP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtcpPacket<'a> {
    /// SR.
    SenderReport {
        /// Who sends.
        ssrc: u32,
        /// What it says of its stream.
        info: SenderInfo,
        /// What it says of others' streams.
        blocks: ReportBlocks<'a>,
    },
    /// RR.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// What it says of others' streams.
        blocks: ReportBlocks<'a>,
    },
    /// SDES.
    SourceDescription(SourceDescription<'a>),
    /// BYE.
    Bye(Bye<'a>),
    /// Generic NACK (RFC 4585 section 6.2.1).
    Nack {
        /// Who asks.
        sender_ssrc: u32,
        /// Whose packets are missing.
        media_ssrc: u32,
        /// Which.
        packets: NackItems<'a>,
    },
    /// Picture loss indication (RFC 4585 section 6.3.1).
    Pli {
        /// Who asks.
        sender_ssrc: u32,
        /// Of whom.
        media_ssrc: u32,
    },
    /// Full intra request (RFC 5104 section 4.3.1).
    Fir {
        /// Who asks.
        sender_ssrc: u32,
        /// Of whom, and the request's number.
        entries: FirEntries<'a>,
    },
    /// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb).
    Remb {
        /// Who estimates.
        sender_ssrc: u32,
        /// Bits per second.
        bitrate: u64,
        /// Streams it is about.
        ssrcs: Ssrcs<'a>,
    },
    /// Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions), not parsed.
    TransportFeedback {
        /// Who reports.
        sender_ssrc: u32,
        /// Any of the streams.
        media_ssrc: u32,
        /// What follows, padding left out.
        payload: &'a [u8],
    },
    /// Anything else.
    Other {
        /// Packet type.
        packet_type: u8,
        /// Count or format.
        format: u8,
        /// What follows the first word, padding left out.
        payload: &'a [u8],
    },
}

/// SSRCs in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssrcs<'a>(&'a [u8]);

impl<'a> Ssrcs<'a> {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        words(self.0)
    }
}

/// Items of a generic NACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NackItems<'a>(&'a [u8]);

impl<'a> NackItems<'a> {
    /// The missing sequence numbers, in the order asked for.
    pub fn sequence_numbers(&self) -> impl Iterator<Item = u16> + Clone + use<'a> {
        words(self.0).flat_map(|word| {
            let (first, mask) = ((word >> 16) as u16, word as u16);
            let following = (0..16).filter(move |bit| mask >> bit & 1 == 1);
            std::iter::once(first).chain(following.map(move |bit| first.wrapping_add(bit + 1)))
        })
    }
}

/// Entries of a full intra request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntries<'a>(&'a [u8]);

impl<'a> FirEntries<'a> {
    /// Media sender and the request's sequence number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u8)> + Clone + use<'a> {
        self.0.chunks_exact(8).filter_map(|entry| Some((u32_at(entry, 0)?, *entry.get(4)?)))
    }
}

/// A source description, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceDescription<'a> {
    chunks: &'a [u8],
    count: u8,
}

impl<'a> SourceDescription<'a> {
    /// Calls `each` with source, item type and text; returns whether the packet is well-formed (RFC 3550 section
    /// 6.5: each chunk ends with at least one zero and is padded to a word).
    fn walk(&self, mut each: impl FnMut(u32, u8, &'a [u8])) -> bool {
        let mut at = 0;
        for _ in 0..self.count {
            let Some(ssrc) = u32_at(self.chunks, at) else { return false };
            at += 4;
            loop {
                match self.chunks.get(at).copied() {
                    None => return false,
                    Some(0) => break,
                    Some(item) => {
                        let text = self.chunks.get(at + 1).map(|len| at + 2..at + 2 + usize::from(*len));
                        let Some((end, text)) =
                            text.and_then(|range| Some((range.end, self.chunks.get(range)?)))
                        else {
                            return false;
                        };
                        each(ssrc, item, text);
                        at = end;
                    }
                }
            }
            at = (at / 4 + 1) * 4;
        }
        at <= self.chunks.len()
    }

    /// Canonical names by source.
    pub fn cnames(&self) -> Vec<(u32, &'a [u8])> {
        let mut names = Vec::new();
        self.walk(|ssrc, item, text| {
            if item == SDES_CNAME {
                names.push((ssrc, text));
            }
        });
        names
    }
}

/// A goodbye, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bye<'a> {
    /// Who leaves.
    pub ssrcs: Ssrcs<'a>,
    /// Why, if it was said.
    pub reason: Option<&'a [u8]>,
}

/// Splits a compound packet. After an error it ends: nothing behind it can be found.
pub fn rtcp_packets(compound: &[u8]) -> RtcpPackets<'_> {
    RtcpPackets { rest: compound }
}

/// Iterator of [`rtcp_packets`].
#[derive(Debug, Clone)]
pub struct RtcpPackets<'a> {
    rest: &'a [u8],
}

impl<'a> RtcpPackets<'a> {
    /// The next packet, and its bytes with header and padding; no bytes with an error.
    pub fn next_with_bytes(&mut self) -> Option<(Result<RtcpPacket<'a>, RtcpError>, &'a [u8])> {
        if self.rest.is_empty() {
            return None;
        }
        match split(self.rest) {
            Ok(split) => {
                self.rest = split.rest;
                Some((read(split.packet_type, split.format, split.payload), split.packet))
            }
            Err(error) => {
                self.rest = &[];
                Some((Err(error), &[]))
            }
        }
    }
}

impl<'a> Iterator for RtcpPackets<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with_bytes().map(|(packet, _)| packet)
    }
}

/// One packet of a compound, not looked into.
struct Split<'a> {
    packet_type: u8,
    /// Count or format.
    format: u8,
    /// What follows the first word, without padding.
    payload: &'a [u8],
    /// All of it.
    packet: &'a [u8],
    /// What follows the packet.
    rest: &'a [u8],
}

fn split(bytes: &[u8]) -> Result<Split<'_>, RtcpError> {
    let have = bytes.len();
    let (&[first, packet_type, high, low], _) =
        bytes.split_first_chunk().ok_or(RtcpError::TooShort { need: 4, have })?;
    if first >> 6 != 2 {
        return Err(RtcpError::Version(first >> 6));
    }
    let need = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    let (packet, rest) = bytes.split_at_checked(need).ok_or(RtcpError::TooShort { need, have })?;
    let mut payload = packet.get(4..).unwrap_or_default();
    if first & 0x20 != 0 {
        let padding = payload.last().map_or(0, |last| usize::from(*last));
        // RFC 3550 section 6.4.1 wants a multiple of four, in the last packet only. There are peers that write
        // otherwise, and nothing depends on it (libwebrtc does not look either).
        let len = payload.len().checked_sub(padding).filter(|_| padding != 0).ok_or(RtcpError::Padding)?;
        payload = payload.get(..len).unwrap_or_default();
    }
    Ok(Split { packet_type, format: first & 0x1F, payload, packet, rest })
}

fn read(packet_type: u8, format: u8, payload: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let parsed = match packet_type {
        packet_type::SR => read_sender_report(format, payload),
        packet_type::RR => read_receiver_report(format, payload),
        packet_type::SDES => {
            let description = SourceDescription { chunks: payload, count: format };
            description.walk(|_, _, _| {}).then_some(RtcpPacket::SourceDescription(description))
        }
        packet_type::BYE => read_bye(format, payload),
        packet_type::RTPFB | packet_type::PSFB => read_feedback(packet_type, format, payload),
        _ => Some(RtcpPacket::Other { packet_type, format, payload }),
    };
    parsed.ok_or(RtcpError::Content { packet_type })
}

fn blocks(payload: &[u8], at: usize, count: u8) -> Option<ReportBlocks<'_>> {
    payload.get(at..at + REPORT_BLOCK_LEN * usize::from(count)).map(ReportBlocks)
}

fn read_sender_report(count: u8, payload: &[u8]) -> Option<RtcpPacket<'_>> {
    let ntp = u64::from(u32_at(payload, 4)?) << 32 | u64::from(u32_at(payload, 8)?);
    Some(RtcpPacket::SenderReport {
        ssrc: u32_at(payload, 0)?,
        info: SenderInfo {
            ntp: NtpTime(ntp),
            rtp_timestamp: u32_at(payload, 12)?,
            packet_count: u32_at(payload, 16)?,
            octet_count: u32_at(payload, 20)?,
        },
        blocks: blocks(payload, 4 + SENDER_INFO_LEN, count)?,
    })
}

fn read_receiver_report(count: u8, payload: &[u8]) -> Option<RtcpPacket<'_>> {
    Some(RtcpPacket::ReceiverReport { ssrc: u32_at(payload, 0)?, blocks: blocks(payload, 4, count)? })
}

fn read_bye(count: u8, payload: &[u8]) -> Option<RtcpPacket<'_>> {
    let (ssrcs, rest) = payload.split_at_checked(4 * usize::from(count))?;
    let reason = match rest.split_first() {
        None => None,
        Some((len, text)) => Some(text.get(..usize::from(*len))?),
    };
    Some(RtcpPacket::Bye(Bye { ssrcs: Ssrcs(ssrcs), reason }))
}

fn read_feedback(packet_type: u8, format: u8, payload: &[u8]) -> Option<RtcpPacket<'_>> {
    let (sender_ssrc, media_ssrc) = (u32_at(payload, 0)?, u32_at(payload, 4)?);
    let control = payload.get(8..)?;
    Some(match (packet_type, format) {
        (packet_type::RTPFB, RTPFB_NACK) => {
            // At least one item (RFC 4585 section 6.2.1).
            u32_at(control, 0)?;
            RtcpPacket::Nack { sender_ssrc, media_ssrc, packets: NackItems(control) }
        }
        (packet_type::RTPFB, RTPFB_TRANSPORT_WIDE) => {
            // Base sequence number, count, reference time: without these it says nothing.
            u32_at(control, 4)?;
            RtcpPacket::TransportFeedback { sender_ssrc, media_ssrc, payload: control }
        }
        (packet_type::PSFB, PSFB_PLI) => RtcpPacket::Pli { sender_ssrc, media_ssrc },
        (packet_type::PSFB, PSFB_FIR) => {
            u32_at(control, 4)?;
            RtcpPacket::Fir { sender_ssrc, entries: FirEntries(control) }
        }
        (packet_type::PSFB, PSFB_APPLICATION) if control.starts_with(b"REMB") => {
            let word = u32_at(control, 4)?;
            let count = usize::from(*control.get(4)?);
            let (exponent, mantissa) = (word >> 18 & 0x3F, u64::from(word & 0x3_FFFF));
            // Beyond 64 bits the estimate says nothing (as libwebrtc).
            let bitrate = mantissa.checked_shl(exponent).filter(|rate| rate >> exponent == mantissa)?;
            RtcpPacket::Remb { sender_ssrc, bitrate, ssrcs: Ssrcs(control.get(8..8 + 4 * count)?) }
        }
        _ => RtcpPacket::Other { packet_type, format, payload },
    })
}

#[cfg(test)]
#[path = "rtcp_packet_tests.rs"]
mod tests;
