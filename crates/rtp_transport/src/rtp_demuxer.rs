//! Finds whose an RTP packet is: by MID, RID, SSRC and payload type (RFC 9143 section 9.2). Runs on the network
//! task; answers to libwebrtc's `call/rtp_demuxer.h`.
//!
//! A sink is named by a small value of the layer above; packets are handed out by the caller. What is learned
//! from packets (SSRC to MID, RID and sink) is bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use thiserror::Error;

use crate::header_extension_map::{RtpExtensionType, RtpHeaderExtensionMap};
use crate::rtp_packet::RtpHeaderView;
use crate::stream_id::StreamId;

/// SSRCs that are learned from packets, at most (libwebrtc `kMaxSsrcBindings`).
pub const MAX_SSRC_BINDINGS: usize = 1000;

/// Which packets a sink wants. A packet is its if it matches by what ranks first: MID with RID, MID, RID, SSRC,
/// payload type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtpDemuxerCriteria {
    /// MID of the media section.
    pub mid: Option<StreamId>,
    /// RID of an encoding; repaired RIDs match too.
    pub rsid: Option<StreamId>,
    /// SSRCs that were signalled.
    pub ssrcs: BTreeSet<u32>,
    /// Payload types; one that several sinks claim belongs to none.
    pub payload_types: BTreeSet<u8>,
}

impl RtpDemuxerCriteria {
    /// By MID.
    pub fn mid(mid: StreamId) -> Self {
        Self { mid: Some(mid), ..Self::default() }
    }
}

/// Why criteria were not added.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DemuxerError {
    /// Criteria that match nothing.
    #[error("the criteria match no packet")]
    Empty,
    /// Another sink has this MID.
    #[error("MID {0} is another sink's")]
    Mid(StreamId),
    /// Another sink has this RID.
    #[error("RID {0} is another sink's")]
    Rid(StreamId),
    /// Another sink has this SSRC.
    #[error("SSRC {0:#010x} is another sink's")]
    Ssrc(u32),
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demuxed<S> {
    /// To this sink.
    Sink(S),
    /// No sink claims it; the layer above may make one.
    Unclaimed {
        /// MID it carries, or that its SSRC carried before.
        mid: Option<StreamId>,
        /// RID (or repaired RID) it carries, or that its SSRC carried before.
        rsid: Option<StreamId>,
    },
    /// Its MID is nobody's: to be dropped (RFC 9143 section 9.2).
    UnknownMid(StreamId),
}

/// The identification of one SSRC, learned from its packets.
#[derive(Debug, Clone, Copy, Default)]
struct Latched {
    mid: Option<StreamId>,
    rsid: Option<StreamId>,
}

/// The demultiplexer.
#[derive(Debug)]
pub struct RtpDemuxer<S> {
    by_mid: BTreeMap<StreamId, S>,
    by_mid_and_rsid: BTreeMap<(StreamId, StreamId), S>,
    by_rsid: BTreeMap<StreamId, S>,
    /// Signalled, so not bounded here.
    by_ssrc: BTreeMap<u32, S>,
    by_payload_type: BTreeMap<u8, Vec<S>>,
    latched: HashMap<u32, Latched>,
    learned: HashMap<u32, S>,
}

impl<S> Default for RtpDemuxer<S> {
    fn default() -> Self {
        Self {
            by_mid: BTreeMap::new(),
            by_mid_and_rsid: BTreeMap::new(),
            by_rsid: BTreeMap::new(),
            by_ssrc: BTreeMap::new(),
            by_payload_type: BTreeMap::new(),
            latched: HashMap::new(),
            learned: HashMap::new(),
        }
    }
}

impl<S: Copy + Eq + Debug> RtpDemuxer<S> {
    /// Adds a sink, or criteria to one that is there.
    ///
    /// # Errors
    /// The criteria are empty, or would take packets from another sink; nothing is added then. Payload types
    /// never conflict.
    pub fn add_sink(&mut self, criteria: &RtpDemuxerCriteria, sink: S) -> Result<(), DemuxerError> {
        let RtpDemuxerCriteria { mid, rsid, ssrcs, payload_types } = criteria;
        if mid.is_none() && rsid.is_none() && ssrcs.is_empty() && payload_types.is_empty() {
            return Err(DemuxerError::Empty);
        }
        self.check_conflict(criteria, sink)?;
        match (*mid, *rsid) {
            (Some(mid), Some(rsid)) => {
                self.by_mid_and_rsid.insert((mid, rsid), sink);
            }
            (Some(mid), None) => {
                self.by_mid.insert(mid, sink);
            }
            (None, Some(rsid)) => {
                self.by_rsid.insert(rsid, sink);
            }
            (None, None) => {}
        }
        for ssrc in ssrcs {
            self.by_ssrc.insert(*ssrc, sink);
            self.learned.remove(ssrc);
        }
        for payload_type in payload_types {
            let sinks = self.by_payload_type.entry(*payload_type).or_default();
            if !sinks.contains(&sink) {
                sinks.push(sink);
            }
        }
        Ok(())
    }

    fn check_conflict(&self, criteria: &RtpDemuxerCriteria, sink: S) -> Result<(), DemuxerError> {
        let other = |found: Option<&S>| found.is_some_and(|found| *found != sink);
        match (criteria.mid, criteria.rsid) {
            (Some(mid), None) => {
                let layers = (mid, StreamId::LOWEST)..=(mid, StreamId::HIGHEST);
                if other(self.by_mid.get(&mid)) || self.by_mid_and_rsid.range(layers).next().is_some() {
                    return Err(DemuxerError::Mid(mid));
                }
            }
            (Some(mid), Some(rsid)) => {
                if self.by_mid.contains_key(&mid) {
                    return Err(DemuxerError::Mid(mid));
                }
                if other(self.by_mid_and_rsid.get(&(mid, rsid))) {
                    return Err(DemuxerError::Rid(rsid));
                }
            }
            (None, Some(rsid)) if other(self.by_rsid.get(&rsid)) => return Err(DemuxerError::Rid(rsid)),
            (None, _) => {}
        }
        match criteria.ssrcs.iter().find(|ssrc| other(self.by_ssrc.get(ssrc))) {
            Some(ssrc) => Err(DemuxerError::Ssrc(*ssrc)),
            None => Ok(()),
        }
    }

    /// Removes a sink and what was learned of it. Returns whether it was there.
    pub fn remove_sink(&mut self, sink: S) -> bool {
        let rules = |demuxer: &Self| {
            demuxer.by_mid.len()
                + demuxer.by_mid_and_rsid.len()
                + demuxer.by_rsid.len()
                + demuxer.by_ssrc.len()
                + demuxer.by_payload_type.values().map(Vec::len).sum::<usize>()
                + demuxer.learned.len()
        };
        let before = rules(self);
        self.by_mid.retain(|_, other| *other != sink);
        self.by_mid_and_rsid.retain(|_, other| *other != sink);
        self.by_rsid.retain(|_, other| *other != sink);
        self.by_ssrc.retain(|_, other| *other != sink);
        self.by_payload_type.retain(|_, sinks| {
            sinks.retain(|other| *other != sink);
            !sinks.is_empty()
        });
        let latched = &mut self.latched;
        self.learned.retain(|ssrc, other| {
            let keep = *other != sink;
            if !keep {
                latched.remove(ssrc);
            }
            keep
        });
        rules(self) != before
    }

    /// Gives an SSRC that no sink claimed to a sink. Returns whether there was room.
    pub fn bind_ssrc(&mut self, ssrc: u32, sink: S) -> bool {
        if self.learned.len() >= MAX_SSRC_BINDINGS && !self.learned.contains_key(&ssrc) {
            return false;
        }
        self.learned.insert(ssrc, sink);
        true
    }

    /// Forgets an SSRC that was learned.
    pub fn forget_ssrc(&mut self, ssrc: u32) {
        self.learned.remove(&ssrc);
        self.latched.remove(&ssrc);
    }

    /// SSRCs that were learned for a sink, in order.
    pub fn ssrcs_of(&self, sink: S) -> Vec<u32> {
        let mut ssrcs: Vec<u32> = self
            .learned
            .iter()
            .chain(&self.by_ssrc)
            .filter(|(_, s)| **s == sink)
            .map(|(ssrc, _)| *ssrc)
            .collect();
        ssrcs.sort_unstable();
        ssrcs.dedup();
        ssrcs
    }

    /// Whose a packet is. Call it only for packets that were authenticated: it learns from them.
    pub fn demux(&mut self, header: &RtpHeaderView<'_>, extensions: &RtpHeaderExtensionMap) -> Demuxed<S> {
        let ssrc = header.ssrc();
        let carried = Self::identification(header, extensions);
        if let Some(mid) = carried.mid.filter(|mid| !self.knows_mid(*mid)) {
            return Demuxed::UnknownMid(mid);
        }
        // Fast path: a packet that carries nothing new, of a source that is known.
        let learned = self.learned.get(&ssrc).copied();
        if let (None, None, Some(sink)) = (carried.mid, carried.rsid, learned) {
            return Demuxed::Sink(sink);
        }
        let Latched { mid, rsid } = self.latch(ssrc, carried);
        let by_identification = match (mid, rsid) {
            (Some(mid), Some(rsid)) => {
                Some(self.by_mid_and_rsid.get(&(mid, rsid)).or_else(|| self.by_mid.get(&mid)))
            }
            (Some(mid), None) => Some(self.by_mid.get(&mid)),
            // Without MID a RID serves as long as it is unique.
            (None, Some(rsid)) => self.by_rsid.get(&rsid).map(Some),
            (None, None) => None,
        };
        let sink = match by_identification {
            Some(sink) => sink.copied().or(learned),
            None => learned
                .or_else(|| self.by_ssrc.get(&ssrc).copied())
                .or_else(|| self.by_payload_type(header.payload_type())),
        };
        match sink {
            Some(sink) => {
                // Signalled SSRCs need no memory, unless the packet's identification contradicts them.
                if self.by_ssrc.get(&ssrc) != Some(&sink) && learned != Some(sink) {
                    self.bind_ssrc(ssrc, sink);
                }
                Demuxed::Sink(sink)
            }
            None => Demuxed::Unclaimed { mid, rsid },
        }
    }

    fn identification(header: &RtpHeaderView<'_>, extensions: &RtpHeaderExtensionMap) -> Latched {
        if !header.has_extension() || extensions.is_empty() {
            return Latched::default();
        }
        let (mid_id, rid_id, repaired_id) = (
            extensions.id(RtpExtensionType::Mid),
            extensions.id(RtpExtensionType::RtpStreamId),
            extensions.id(RtpExtensionType::RepairedRtpStreamId),
        );
        let (mut mid, mut rid, mut repaired) = (None, None, None);
        for element in header.extensions() {
            let id = Some(element.id);
            if id == mid_id {
                mid = StreamId::from_extension(element.value);
            } else if id == repaired_id {
                repaired = StreamId::from_extension(element.value);
            } else if id == rid_id {
                rid = StreamId::from_extension(element.value);
            }
        }
        // A retransmission goes where what it repairs goes.
        Latched { mid, rsid: repaired.or(rid) }
    }

    fn knows_mid(&self, mid: StreamId) -> bool {
        self.by_mid.contains_key(&mid)
            || self.by_mid_and_rsid.range((mid, StreamId::LOWEST)..=(mid, StreamId::HIGHEST)).next().is_some()
    }

    /// What is known of an SSRC with what this packet says; a packet's MID replaces the one before.
    fn latch(&mut self, ssrc: u32, carried: Latched) -> Latched {
        let known = self.latched.get(&ssrc).copied().unwrap_or_default();
        let latched = Latched { mid: carried.mid.or(known.mid), rsid: carried.rsid.or(known.rsid) };
        let news = carried.mid.is_some() || carried.rsid.is_some();
        if news && (self.latched.len() < MAX_SSRC_BINDINGS || self.latched.contains_key(&ssrc)) {
            self.latched.insert(ssrc, latched);
        }
        latched
    }

    /// The one sink of a payload type.
    fn by_payload_type(&self, payload_type: u8) -> Option<S> {
        match self.by_payload_type.get(&payload_type).map(Vec::as_slice) {
            Some([sink]) => Some(*sink),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "rtp_demuxer_tests.rs"]
mod tests;
