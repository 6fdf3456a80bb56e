//! What is learnt from packets, ours and the peer's: tags, TSNs, windows, the round trip; part of
//! [`SctpProtoAssociation`], owned by its `SctpTransport` on the network task. RFC 9260 section 6; answers to
//! libwebrtc's `net/dcsctp/tx/retransmission_queue.cc`.

use std::time::Instant;

use sctp_proto::{Association, Payload};

use super::{NOT_USER_BYTES, Phase, SctpProtoAssociation};
use crate::sctp_association::SctpCloseReason;
use crate::sctp_packet::{self, CommonHeader, chunk_type, tsn_after};
use crate::sctp_packet_guard::PacketGuard;

impl SctpProtoAssociation {
    pub(super) fn queue(&mut self, now: Instant, payload: Payload) {
        let Payload::RawEncode(packets) = payload else { return };
        let mut out = std::mem::take(&mut self.out);
        for packet in packets {
            self.on_egress(now, &packet);
            sctp_packet::fit(packet, self.config.max_packet_size, |packet| out.push_back(packet));
        }
        self.out = out;
    }

    /// Learns from what is sent: tags, TSNs, what was told to the peer, what left the queue.
    pub(super) fn on_egress(&mut self, now: Instant, packet: &[u8]) {
        let (Some(header), Some(chunks)) = (CommonHeader::parse(packet), sctp_packet::chunks(packet)) else {
            return;
        };
        if header.verification_tag != 0 {
            self.header = Some(header);
        }
        for chunk in chunks {
            if let Some(data) = chunk.data() {
                self.on_data_sent(now, &data);
            } else if let Some((cumulative, window)) = chunk.sack() {
                self.guard.on_sack_sent(cumulative, window);
                self.freed = 0;
            } else if let Some(init) = chunk.init() {
                self.guard.local_tag = Some(init.initiate_tag);
                self.guard.highest_sent = Some(init.initial_tsn.wrapping_sub(1));
            } else if chunk.kind == chunk_type::COOKIE_ECHO && self.phase == Phase::Connecting(false) {
                self.phase = Phase::Connecting(true);
            } else if chunk.kind == chunk_type::FORWARD_TSN
                && let Some(to) = sctp_packet::u32_at(chunk.bytes, 4)
                && self.guard.highest_sent.is_none_or(|highest| tsn_after(to, highest))
            {
                self.guard.highest_sent = Some(to);
            }
        }
    }

    pub(super) fn on_data_sent(&mut self, now: Instant, data: &sctp_packet::DataHeader) {
        if self.guard.highest_sent.is_some_and(|highest| !tsn_after(data.tsn, highest)) {
            self.stats.retransmissions += 1;
            if self.rtt_probe.is_some_and(|(tsn, _)| tsn == data.tsn) {
                // Karn: whether the first or the second was acknowledged cannot be told (section 6.3.1 C5).
                self.rtt_probe = None;
            }
            return;
        }
        self.guard.highest_sent = Some(data.tsn);
        self.rtt_probe.get_or_insert((data.tsn, now));
        if !NOT_USER_BYTES.contains(&data.ppid)
            && let Some(unsent) = self.unsent.get_mut(&data.sid)
        {
            let sent = data.len.min(*unsent);
            *unsent -= sent;
            self.total_unsent = self.total_unsent.saturating_sub(sent);
        }
    }

    pub(super) fn on_sack_received(&mut self, now: Instant, cumulative: u32, window: u32) {
        self.stats.receiver_window = Some(window);
        if let Some((tsn, sent)) = self.rtt_probe
            && !tsn_after(tsn, cumulative)
        {
            let measured = now.saturating_duration_since(sent);
            self.stats.rtt = Some(self.stats.rtt.map_or(measured, |rtt| (rtt * 7 + measured) / 8));
            self.rtt_probe = None;
        }
    }

    /// Section 6.2: a receiver whose window opened again says so, or the peer waits for its own timer.
    pub(super) fn offer_window(&mut self, now: Instant) {
        let quarter = (self.config.receive_buffer / 4) as usize;
        if self.phase != Phase::Established
            || self.freed < quarter
            || self.guard.advertised_window >= self.config.receive_buffer / 2
        {
            return;
        }
        let (Some(received), Some(tag)) = (self.guard.acknowledged(), self.guard.local_tag) else { return };
        let header = CommonHeader {
            source_port: self.config.remote_port,
            destination_port: self.config.local_port,
            verification_tag: tag,
        };
        self.freed = 0;
        self.feed(now, sctp_packet::duplicate_data(header, received));
    }

    /// Learns from what the peer sends, after it was judged.
    pub(super) fn observe(&mut self, now: Instant, packet: &[u8]) {
        for chunk in sctp_packet::chunks(packet).unwrap_or_default() {
            match chunk.kind {
                chunk_type::INIT_ACK if self.phase == Phase::Connecting(false) => {
                    if let Some(init) = chunk.init() {
                        self.learn_peer(&init);
                    }
                }
                chunk_type::SACK => {
                    if let Some((cumulative, window)) = chunk.sack() {
                        self.on_sack_received(now, cumulative, window);
                    }
                }
                chunk_type::ABORT => {
                    // Section 3.3.7: the causes follow the chunk's header, each with its code first.
                    let cause_code = sctp_packet::u16_at(chunk.bytes, sctp_packet::CHUNK_HEADER);
                    self.end = Some(SctpCloseReason::PeerAborted { cause_code });
                }
                chunk_type::SHUTDOWN => self.end = Some(SctpCloseReason::PeerShutdown),
                chunk_type::RECONFIG => {
                    if let Some(sids) = PacketGuard::reset_streams(packet) {
                        self.resetting = if sids.is_empty() {
                            self.association.as_ref().map(Association::stream_ids).unwrap_or_default()
                        } else {
                            sids
                        };
                        self.resetting.sort_unstable();
                    }
                }
                _ => {}
            }
        }
    }
}
