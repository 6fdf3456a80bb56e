//! RTCP that came in: statistics, and events for the application. Answers to libwebrtc's
//! `modules/rtp_rtcp/source/rtcp_receiver.cc`.

use std::time::{Duration, Instant};

use super::{KeyFrameRequest, MAX_WAITING, RtcpEvent, RtcpReporter};
use crate::ntp_time::from_compact;
use crate::rtcp_packet::{ReportBlocks, RtcpPacket, SourceDescription, rtcp_packets};

/// CNAMEs longer than this are not kept.
const MAX_REMOTE_CNAME: usize = 255;
/// Sequence numbers of one NACK; a peer that asks for more has lost the connection.
const MAX_NACKED: usize = 1024;
/// Bytes of a packet that is handed up unread: no path carries more in a datagram.
const MAX_OPAQUE: usize = 2048;

impl RtcpReporter {
    /// Takes a compound packet that was authenticated. What is malformed ends it and is counted; what came before
    /// counts.
    pub fn on_rtcp_received(&mut self, now: Instant, compound: &[u8]) {
        self.counters.received += 1;
        let mut packets = rtcp_packets(compound);
        while let Some((packet, bytes)) = packets.next_with_bytes() {
            match packet {
                Ok(packet) => self.on_packet(now, packet, bytes),
                Err(error) => {
                    tracing::trace!(target: "peerstack::rtcp", %error, "malformed");
                    self.counters.malformed += 1;
                    return;
                }
            }
        }
    }

    fn on_packet(&mut self, now: Instant, packet: RtcpPacket<'_>, bytes: &[u8]) {
        match packet {
            RtcpPacket::SenderReport { ssrc, info, blocks } => {
                if let Some(stream) = self.receive.get_mut(&ssrc) {
                    stream.on_sender_report(now, info);
                }
                self.on_blocks(now, blocks);
            }
            RtcpPacket::ReceiverReport { blocks, .. } => self.on_blocks(now, blocks),
            RtcpPacket::SourceDescription(description) => self.on_description(&description),
            RtcpPacket::Bye(bye) => {
                for ssrc in bye.ssrcs.iter() {
                    if self.receive.contains_key(&ssrc) {
                        self.emit(RtcpEvent::Bye { ssrc });
                    }
                }
            }
            RtcpPacket::Nack { media_ssrc, packets, .. } => {
                let Some(stream) = self.send.get_mut(&media_ssrc) else {
                    self.counters.unknown_ssrc += 1;
                    return;
                };
                stream.feedback.nack = stream.feedback.nack.saturating_add(1);
                let sequence_numbers = packets.sequence_numbers().take(MAX_NACKED).collect();
                self.emit(RtcpEvent::Nack { ssrc: media_ssrc, sequence_numbers });
            }
            RtcpPacket::Pli { media_ssrc, .. } => self.on_pli(media_ssrc),
            RtcpPacket::Fir { sender_ssrc, entries } => {
                for (ssrc, number) in entries.iter() {
                    self.on_fir(sender_ssrc, ssrc, number);
                }
            }
            RtcpPacket::Remb { bitrate, ssrcs, .. } => {
                self.emit(RtcpEvent::Remb { bitrate, ssrcs: ssrcs.iter().collect() });
            }
            RtcpPacket::TransportFeedback { .. } | RtcpPacket::Other { .. } if bytes.len() > MAX_OPAQUE => {
                self.counters.events_dropped += 1;
            }
            RtcpPacket::TransportFeedback { media_ssrc, .. } => {
                self.emit(RtcpEvent::TransportFeedback { media_ssrc, packet: bytes.to_vec() });
            }
            RtcpPacket::Other { .. } => self.emit(RtcpEvent::Other(bytes.to_vec())),
        }
    }

    fn on_pli(&mut self, ssrc: u32) {
        let Some(stream) = self.send.get_mut(&ssrc) else {
            self.counters.unknown_ssrc += 1;
            return;
        };
        stream.feedback.pli = stream.feedback.pli.saturating_add(1);
        self.emit(RtcpEvent::KeyFrameRequested { ssrc, request: KeyFrameRequest::Pli });
    }

    /// A request with the number of the one before repeats it (RFC 5104 section 4.3.1.2).
    fn on_fir(&mut self, sender_ssrc: u32, ssrc: u32, number: u8) {
        let Some(stream) = self.send.get_mut(&ssrc) else {
            self.counters.unknown_ssrc += 1;
            return;
        };
        stream.feedback.fir = stream.feedback.fir.saturating_add(1);
        if stream.last_fir.replace((sender_ssrc, number)) != Some((sender_ssrc, number)) {
            self.emit(RtcpEvent::KeyFrameRequested { ssrc, request: KeyFrameRequest::Fir });
        }
    }

    fn on_blocks(&mut self, now: Instant, blocks: ReportBlocks<'_>) {
        let now_compact = self.clock.ntp(now).compact();
        for block in blocks.iter() {
            let Some(stream) = self.send.get_mut(&block.ssrc) else {
                self.counters.unknown_ssrc += 1;
                continue;
            };
            let round_trip_time = (block.last_sr != 0)
                .then(|| now_compact.wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr))
                .map(round_trip_time);
            stream.on_report(now, block, round_trip_time);
            self.emit(RtcpEvent::ReportReceived { ssrc: block.ssrc });
        }
    }

    fn on_description(&mut self, description: &SourceDescription<'_>) {
        for (ssrc, name) in description.cnames() {
            let Some(stream) = self.receive.get_mut(&ssrc) else { continue };
            if name.len() <= MAX_REMOTE_CNAME
                && let Ok(name) = std::str::from_utf8(name)
                && stream.cname.as_deref() != Some(name)
            {
                stream.cname = Some(name.to_owned());
            }
        }
    }

    fn emit(&mut self, event: RtcpEvent) {
        if self.events.len() >= MAX_WAITING {
            self.events.pop_front();
            self.counters.events_dropped += 1;
        }
        self.events.push_back(event);
    }
}

/// Clocks that differ in pace can make it negative: then it is as short as can be told (libwebrtc: 1 ms).
fn round_trip_time(units: u32) -> Duration {
    let shortest = Duration::from_millis(1);
    if (units as i32) <= 0 { shortest } else { from_compact(units).max(shortest) }
}
