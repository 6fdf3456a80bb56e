//! Writing RTCP: compound packets (RFC 3550 section 6.1) and feedback (RFC 4585, RFC 5104, REMB), through the rtcp
//! crate's structures. Runs on the network task; answers to libwebrtc's `modules/rtp_rtcp/source/rtcp_packet/`.
//!
//! The crate's parsers are not used on bytes from the network, where they panic; its writers only see what this
//! engine made.

use rtcp::packet::Packet;
use rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::raw_packet::RawPacket;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use thiserror::Error;

use crate::rtcp_packet::{ReportBlock, SenderInfo, packet_type};

/// Report blocks, chunks and sources of one packet: five bits count them.
pub const MAX_BLOCKS: usize = 31;

/// Why a packet was not written.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the RTCP packet cannot be written: {0}")]
pub struct RtcpWriteError(&'static str);

/// A compound packet in the making. What does not fit one packet is split by the caller.
#[derive(Default)]
pub struct RtcpBuilder {
    packets: Vec<Box<dyn Packet + Send + Sync>>,
}

impl std::fmt::Debug for RtcpBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtcpBuilder").field("packets", &self.packets.len()).finish()
    }
}

fn reports(blocks: &[ReportBlock]) -> Vec<ReceptionReport> {
    blocks
        .iter()
        .take(MAX_BLOCKS)
        .map(|block| ReceptionReport {
            ssrc: block.ssrc,
            fraction_lost: block.fraction_lost,
            // 24 bits, two's complement.
            total_lost: block.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF,
            last_sequence_number: block.extended_highest_sequence_number,
            jitter: block.jitter,
            last_sender_report: block.last_sr,
            delay: block.delay_since_last_sr,
        })
        .collect()
}

impl RtcpBuilder {
    /// An empty packet.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, packet: impl Packet + Send + Sync + 'static) -> &mut Self {
        self.packets.push(Box::new(packet));
        self
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Adds a sender report with up to 31 blocks (RFC 3550 section 6.4.1).
    pub fn sender_report(&mut self, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) -> &mut Self {
        self.push(SenderReport {
            ssrc,
            ntp_time: info.ntp.0,
            rtp_time: info.rtp_timestamp,
            packet_count: info.packet_count,
            octet_count: info.octet_count,
            reports: reports(blocks),
            ..Default::default()
        })
    }

    /// Adds a receiver report with up to 31 blocks (RFC 3550 section 6.4.2).
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> &mut Self {
        self.push(ReceiverReport { ssrc, reports: reports(blocks), ..Default::default() })
    }

    /// Adds the canonical name of up to 31 sources (RFC 3550 section 6.5.1); it is cut to 255 bytes.
    pub fn cname(&mut self, ssrcs: &[u32], cname: &str) -> &mut Self {
        let text = cname.as_bytes().get(..cname.len().min(255)).unwrap_or_default();
        let chunk = |ssrc: &u32| SourceDescriptionChunk {
            source: *ssrc,
            items: vec![SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: text.to_vec().into() }],
        };
        self.push(SourceDescription { chunks: ssrcs.iter().take(MAX_BLOCKS).map(chunk).collect() })
    }

    /// Adds a goodbye of up to 31 sources (RFC 3550 section 6.6).
    pub fn bye(&mut self, ssrcs: &[u32]) -> &mut Self {
        // The crate's own writes an empty reason and three bytes of padding, which is no multiple of four (RFC 3550
        // section 6.4.1).
        let count = ssrcs.len().min(MAX_BLOCKS) as u8;
        let mut bytes = vec![0x80 | count, packet_type::BYE, 0, count];
        ssrcs.iter().take(MAX_BLOCKS).for_each(|ssrc| bytes.extend(ssrc.to_be_bytes()));
        self.push(RawPacket(bytes.into()))
    }

    /// Adds a picture loss indication (RFC 4585 section 6.3.1).
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) -> &mut Self {
        self.push(PictureLossIndication { sender_ssrc, media_ssrc })
    }

    /// Adds a full intra request with its sequence number (RFC 5104 section 4.3.1).
    pub fn fir(&mut self, sender_ssrc: u32, media_ssrc: u32, sequence_number: u8) -> &mut Self {
        // The media SSRC of the header is unused and 0 (RFC 5104 section 4.3.1.2).
        let fir = vec![FirEntry { ssrc: media_ssrc, sequence_number }];
        self.push(FullIntraRequest { sender_ssrc, media_ssrc: 0, fir })
    }

    /// Adds a generic NACK of these sequence numbers, which follow each other (RFC 4585 section 6.2.1). Nothing is
    /// added for none.
    pub fn nack(&mut self, sender_ssrc: u32, media_ssrc: u32, sequence_numbers: &[u16]) -> &mut Self {
        let mut nacks: Vec<NackPair> = Vec::new();
        for sequence_number in sequence_numbers {
            if let Some(pair) = nacks.last_mut() {
                let behind = sequence_number.wrapping_sub(pair.packet_id);
                if behind == 0 {
                    continue;
                }
                if behind <= 16 {
                    pair.lost_packets |= 1 << (behind - 1);
                    continue;
                }
            }
            nacks.push(NackPair { packet_id: *sequence_number, lost_packets: 0 });
        }
        if nacks.is_empty() {
            return self;
        }
        self.push(TransportLayerNack { sender_ssrc, media_ssrc, nacks })
    }

    /// Adds an estimate in bits per second for up to 31 streams.
    pub fn remb(&mut self, sender_ssrc: u32, bitrate: u64, ssrcs: &[u32]) -> &mut Self {
        self.push(ReceiverEstimatedMaximumBitrate {
            sender_ssrc,
            bitrate: bitrate as f32,
            ssrcs: ssrcs.iter().take(MAX_BLOCKS).copied().collect(),
        })
    }

    /// The bytes.
    ///
    /// # Errors
    /// Nothing was added, or the crate refuses it.
    pub fn build(&self) -> Result<Vec<u8>, RtcpWriteError> {
        if self.packets.is_empty() {
            return Err(RtcpWriteError("it is empty"));
        }
        match rtcp::packet::marshal(&self.packets) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(_) => Err(RtcpWriteError("the rtcp crate refuses it")),
        }
    }
}

#[cfg(test)]
#[path = "rtcp_builder_tests.rs"]
mod tests;
