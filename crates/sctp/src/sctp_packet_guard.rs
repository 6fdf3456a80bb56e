//! What stands before the association: packets are looked at before they are believed. Owned by the
//! association, on the network task. RFC 9260 sections 3, 6.2 and 8.5.
//!
//! The association behind this takes a peer at its word in places where that costs a panic, an association or
//! unbounded work and memory; each rule below names what it prevents. What a conforming peer sends passes
//! untouched.
//! - INIT without a server configuration is an `unwrap` of nothing, and in an established association closes
//!   it: INIT never comes this far (see `SctpProtoAssociation`).
//! - Sequence numbers spread over more than half their space make its comparison function no total order,
//!   which `sort_by` answers with a panic: TSN and SSN must lie in a window.
//! - Chunks without payload count nothing in the receive window, one-byte chunks hardly anything.
//! - Gap blocks are walked number by number; TSNs that were never sent, ERROR, and unknown parameters of
//!   RE-CONFIG close the association.
//! - An unknown chunk makes it drop all others of the packet, where section 3.2 wants them processed.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::sctp_packet::{
    CHUNK_HEADER, COMMON_HEADER, ChunkRef, CommonHeader, chunk_type, chunks, crc32c, tsn_after, u16_at,
    u32_at,
};
use crate::{sctp_packet, sctp_packet::DataHeader};

/// Larger packets are not SCTP over DTLS over UDP.
const MAX_PACKET: usize = 4096;
/// How far a TSN may be ahead of what was acknowledged: gap blocks (section 3.3.4) reach no further.
const TSN_WINDOW: u32 = 65_535;
/// How far an SSN may be ahead of the oldest message that may still wait to be read.
const SSN_WINDOW: u16 = 16_384;
/// Chunks that may wait to be read or completed.
const MAX_BUFFERED_CHUNKS: u64 = 32_768;
/// HEARTBEATs are sent back as they are; larger ones would not fit.
const MAX_HEARTBEAT: usize = 1024;
/// The cause "Unrecognized Chunk Type" (section 3.3.10.6) quotes no more than this.
const MAX_QUOTED: usize = 128;

/// RE-CONFIG parameters (RFC 6525 section 4).
const OUTGOING_RESET: u16 = 13;
const RECONFIG_RESPONSE: u16 = 16;

/// What to do with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nothing to be said against it.
    Pass,
    /// Some chunks were taken out.
    Rewritten(Bytes),
    /// Nothing is left.
    Refused,
}

/// Which SSNs may wait in a stream: those from `low` on, [`SSN_WINDOW`] of them.
#[derive(Debug, Default, Clone, Copy)]
struct SsnWindow {
    /// No message with an older SSN waits; `None` while no ordered message came since nothing waited.
    low: Option<u16>,
    /// Unordered messages came too, so that what is read cannot be counted.
    mixed: bool,
    /// When nothing waited last.
    epoch: u64,
}

impl SsnWindow {
    fn admit(&mut self, ssn: u16) -> bool {
        // Nothing waits: any window will do, so one around what comes.
        let low = *self.low.get_or_insert(ssn.wrapping_sub(SSN_WINDOW / 2));
        ssn.wrapping_sub(low) < SSN_WINDOW
    }
}

/// The state needed to judge.
#[derive(Debug)]
pub(crate) struct PacketGuard {
    max_streams: u16,
    receive_buffer: u32,
    /// The tag the peer must use; known once our INIT or INIT ACK was written.
    pub(crate) local_tag: Option<u32>,
    /// The highest TSN of ours that the peer can know.
    pub(crate) highest_sent: Option<u32>,
    /// The cumulative TSN that the peer was told last; before that its initial TSN less one.
    acknowledged: Option<u32>,
    /// The window that the peer was told last.
    pub(crate) advertised_window: u32,
    buffered_chunks: u64,
    streams: BTreeMap<u16, SsnWindow>,
    /// Each time nothing at all waited.
    epoch: u64,
    /// The peer's last reset: nothing of these streams (none: of all) beyond that TSN until it is performed.
    pending_reset: Option<(u32, Vec<u16>)>,
    /// PPIDs that the association does not hand out, by stream.
    odd_ppids: BTreeMap<u16, u32>,
    /// DATA is taken out whatever it says: there is no room for it.
    pub(crate) refuses_data: bool,
    /// An ERROR chunk to send: a chunk was not known and asked to be reported (section 3.2).
    pub(crate) report: Option<Vec<u8>>,
}

impl PacketGuard {
    pub(crate) fn new(max_streams: u16, receive_buffer: u32) -> Self {
        Self {
            max_streams,
            receive_buffer,
            local_tag: None,
            highest_sent: None,
            acknowledged: None,
            advertised_window: receive_buffer,
            buffered_chunks: 0,
            streams: BTreeMap::new(),
            epoch: 0,
            pending_reset: None,
            odd_ppids: BTreeMap::new(),
            refuses_data: false,
            report: None,
        }
    }

    /// The peer's INIT or INIT ACK: its first DATA has this TSN.
    pub(crate) fn set_peer_initial_tsn(&mut self, initial_tsn: u32) {
        self.acknowledged = Some(initial_tsn.wrapping_sub(1));
    }

    /// The last TSN that the peer was told we have.
    pub(crate) fn acknowledged(&self) -> Option<u32> {
        self.acknowledged
    }

    /// We write a SACK.
    pub(crate) fn on_sack_sent(&mut self, cumulative: u32, window: u32) {
        if let Some(before) = self.acknowledged {
            self.buffered_chunks += u64::from(cumulative.wrapping_sub(before).min(TSN_WINDOW));
        }
        self.acknowledged = Some(cumulative);
        self.advertised_window = window;
        if window == self.receive_buffer {
            self.buffered_chunks = 0;
            self.epoch += 1;
        }
        if self.pending_reset.as_ref().is_some_and(|(last, _)| !tsn_after(*last, cumulative)) {
            self.pending_reset = None;
        }
    }

    /// A message of so many chunks was read.
    pub(crate) fn on_read(&mut self, sid: u16, chunks: usize) {
        self.buffered_chunks = self.buffered_chunks.saturating_sub(chunks as u64);
        if let Some(window) = self.streams.get_mut(&sid)
            && !window.mixed
            && let Some(low) = &mut window.low
        {
            // Messages are read in the order of their SSNs, so what is left is newer by one at least.
            *low = low.wrapping_add(1);
        }
    }

    /// The stream was reset: its numbers begin anew.
    pub(crate) fn forget_stream(&mut self, sid: u16) {
        self.streams.remove(&sid);
        self.odd_ppids.remove(&sid);
    }

    /// The last PPID of the stream that the association has no name for.
    pub(crate) fn odd_ppid(&self, sid: u16) -> u32 {
        self.odd_ppids.get(&sid).copied().unwrap_or_default()
    }

    /// Judges one packet that is no INIT.
    pub(crate) fn admit(&mut self, packet: &[u8]) -> Admission {
        let (Some(header), Some(chunks)) = (CommonHeader::parse(packet), chunks(packet)) else {
            return Admission::Refused;
        };
        if packet.len() > MAX_PACKET || self.local_tag != Some(header.verification_tag) {
            return Admission::Refused;
        }
        let mut kept: Vec<&[u8]> = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            match self.judge(chunk, chunks.len()) {
                Verdict::Keep => kept.push(chunk.bytes),
                Verdict::Skip => {}
                Verdict::Stop => break,
            }
        }
        let padded = packet.len().is_multiple_of(4);
        if kept.len() == chunks.len() && padded && !kept.is_empty() {
            return Admission::Pass;
        }
        if kept.is_empty() || !checksum_matches(packet) {
            return Admission::Refused;
        }
        Admission::Rewritten(sctp_packet::build(header, kept))
    }

    fn judge(&mut self, chunk: &ChunkRef<'_>, in_packet: usize) -> Verdict {
        let keep = match chunk.kind {
            chunk_type::DATA => !self.refuses_data && chunk.data().is_some_and(|data| self.judge_data(&data)),
            chunk_type::SACK => self.judge_sack(chunk),
            chunk_type::FORWARD_TSN => self.judge_forward_tsn(chunk),
            chunk_type::RECONFIG => self.judge_reconfig(chunk),
            // Section 3.2: INIT ACK is alone in its packet; INIT does not come here.
            chunk_type::INIT_ACK => in_packet == 1,
            chunk_type::HEARTBEAT => chunk.bytes.len() <= MAX_HEARTBEAT,
            chunk_type::ABORT
            | chunk_type::COOKIE_ECHO
            | chunk_type::COOKIE_ACK
            | chunk_type::SHUTDOWN
            | chunk_type::SHUTDOWN_ACK
            | chunk_type::SHUTDOWN_COMPLETE => true,
            chunk_type::INIT => false,
            // HEARTBEAT ACK: we send no HEARTBEAT. ERROR: not fatal in itself (section 3.3.10).
            5 | chunk_type::ERROR => false,
            _ => return self.unknown(chunk),
        };
        if keep { Verdict::Keep } else { Verdict::Skip }
    }

    /// Section 3.2: the two highest bits say whether to go on and whether to report.
    fn unknown(&mut self, chunk: &ChunkRef<'_>) -> Verdict {
        if chunk.kind & 0x40 != 0 {
            let quoted = chunk.bytes.get(..chunk.bytes.len().min(MAX_QUOTED)).unwrap_or_default();
            let cause_len = (CHUNK_HEADER + quoted.len()) as u16;
            let mut error = vec![chunk_type::ERROR, 0];
            error.extend_from_slice(&(cause_len + CHUNK_HEADER as u16).to_be_bytes());
            error.extend_from_slice(&[0, 6]);
            error.extend_from_slice(&cause_len.to_be_bytes());
            error.extend_from_slice(quoted);
            self.report = Some(error);
        }
        if chunk.kind & 0x80 == 0 { Verdict::Stop } else { Verdict::Skip }
    }

    fn judge_data(&mut self, data: &DataHeader) -> bool {
        let Some(acknowledged) = self.acknowledged else { return false };
        if data.len == 0 || data.sid >= self.max_streams {
            return false;
        }
        if !matches!(data.ppid, 50 | 51 | 53 | 56 | 57) {
            self.odd_ppids.insert(data.sid, data.ppid);
        }
        if !tsn_after(data.tsn, acknowledged) {
            // A duplicate: changes nothing, but must be acknowledged again.
            return true;
        }
        if data.tsn.wrapping_sub(acknowledged) > TSN_WINDOW
            || self.buffered_chunks >= MAX_BUFFERED_CHUNKS
            || self.beyond_pending_reset(data)
        {
            return false;
        }
        let epoch = self.epoch;
        let window = self.streams.entry(data.sid).or_default();
        if window.epoch != epoch {
            *window = SsnWindow { epoch, ..SsnWindow::default() };
        }
        window.mixed |= data.unordered;
        data.unordered || window.admit(data.ssn)
    }

    fn beyond_pending_reset(&self, data: &DataHeader) -> bool {
        self.pending_reset.as_ref().is_some_and(|(last, sids)| {
            tsn_after(data.tsn, *last) && (sids.is_empty() || sids.contains(&data.sid))
        })
    }

    /// Nothing may be acknowledged that was not sent, and blocks rise.
    fn judge_sack(&self, chunk: &ChunkRef<'_>) -> bool {
        let (Some((cumulative, _)), Some(gaps), Some(highest)) =
            (chunk.sack(), u16_at(chunk.bytes, 12), self.highest_sent)
        else {
            return false;
        };
        if tsn_after(cumulative, highest) {
            return false;
        }
        let mut previous_end = 0;
        for gap in 0..usize::from(gaps) {
            let (Some(start), Some(end)) =
                (u16_at(chunk.bytes, 16 + 4 * gap), u16_at(chunk.bytes, 18 + 4 * gap))
            else {
                return false;
            };
            if start <= previous_end || end < start {
                return false;
            }
            previous_end = end;
        }
        !tsn_after(cumulative.wrapping_add(u32::from(previous_end)), highest)
    }

    fn judge_forward_tsn(&self, chunk: &ChunkRef<'_>) -> bool {
        let (Some(acknowledged), Some(to)) = (self.acknowledged, u32_at(chunk.bytes, 4)) else {
            return false;
        };
        !tsn_after(to, acknowledged) || to.wrapping_sub(acknowledged) <= TSN_WINDOW
    }

    /// Parameters we have no use for, and orders of them the association has no rule for, are left out.
    fn judge_reconfig(&mut self, chunk: &ChunkRef<'_>) -> bool {
        let Some(acknowledged) = self.acknowledged else { return false };
        let mut rest = chunk.bytes.get(CHUNK_HEADER..).unwrap_or_default();
        let mut kinds = Vec::with_capacity(2);
        let mut reset: Option<(u32, Vec<u16>)> = None;
        while !rest.is_empty() {
            let (Some(kind), Some(len)) = (u16_at(rest, 0), u16_at(rest, 2)) else { return false };
            let Some(parameter) = rest.get(..usize::from(len)) else { return false };
            match kind {
                OUTGOING_RESET if len >= 16 && len.is_multiple_of(2) => {
                    let Some(last) = u32_at(parameter, 12) else { return false };
                    if tsn_after(last, acknowledged) && last.wrapping_sub(acknowledged) > TSN_WINDOW {
                        return false;
                    }
                    let sids = parameter.get(16..).unwrap_or_default();
                    reset = Some((last, sids.chunks_exact(2).filter_map(|sid| u16_at(sid, 0)).collect()));
                }
                // The optional TSNs at its end would be taken for the next parameter.
                RECONFIG_RESPONSE if len == 12 => {}
                _ => return false,
            }
            kinds.push(kind);
            rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
        }
        let known = matches!(
            kinds[..],
            [OUTGOING_RESET]
                | [RECONFIG_RESPONSE]
                | [RECONFIG_RESPONSE, OUTGOING_RESET]
                | [RECONFIG_RESPONSE, RECONFIG_RESPONSE]
        );
        if known
            && let Some((last, _)) = &reset
            && tsn_after(*last, acknowledged)
        {
            self.pending_reset = reset;
        }
        known
    }

    /// The streams of the peer's last reset while it is not performed.
    pub(crate) fn reset_streams(packet: &[u8]) -> Option<Vec<u16>> {
        for chunk in chunks(packet)?.iter().filter(|chunk| chunk.kind == chunk_type::RECONFIG) {
            let mut rest = chunk.bytes.get(CHUNK_HEADER..)?;
            while let (Some(kind), Some(len)) = (u16_at(rest, 0), u16_at(rest, 2)) {
                let parameter = rest.get(..usize::from(len))?;
                if kind == OUTGOING_RESET {
                    let sids = parameter.get(16..)?;
                    return Some(sids.chunks_exact(2).filter_map(|sid| u16_at(sid, 0)).collect());
                }
                rest = rest.get(usize::from(len.max(4)).next_multiple_of(4)..)?;
            }
        }
        None
    }
}

enum Verdict {
    Keep,
    Skip,
    Stop,
}

fn checksum_matches(packet: &[u8]) -> bool {
    let Some(stored) = packet.get(8..COMMON_HEADER) else { return false };
    let mut zeroed = packet.to_vec();
    if let Some(field) = zeroed.get_mut(8..COMMON_HEADER) {
        field.fill(0);
    }
    stored == crc32c(&zeroed).to_le_bytes()
}

#[cfg(test)]
#[path = "sctp_packet_guard_tests.rs"]
mod tests;
