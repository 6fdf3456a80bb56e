//! RTP of one connection on the network task: from the demuxer to tracks, from senders to the transport.
//! Answers to libwebrtc's `pc/channel.cc`.

mod counters;
mod retransmission;
mod sources;
mod stats;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use peerstack_base::PacketKind;
use peerstack_jsep::{Codec, TransportId};
use peerstack_media::{MediaKind, RtpPacketInfo};
use peerstack_rtp_transport::{
    FIXED_HEADER_LEN, RtpDemuxerCriteria, RtpError, RtpExtensionType, RtpFields, RtpPacket as RtpPacketView,
    SinkId, StreamId, write_rtp_header,
};

use self::counters::Counters;
use self::retransmission::ReceivedLayers;
use self::sources::{Heard, Sources};
use super::commands::{MediaSection, SectionEncoding};
use super::rtcp::{Incoming, Rtcp, SectionStreams, Source};
use crate::media_stream_track::{MediaStreamTrack, TrackKind};
use crate::network_task::TransceiverId;
use crate::rtp_packet::{RtpHeaderExtension, RtpPacket};

/// SSRCs that no section claims and that surface as tracks of their own; a peer that makes up more gains
/// nothing.
const MAX_UNSIGNALED: usize = 32;

/// One section.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) config: MediaSection,
    receive_uris: BTreeMap<u8, Arc<str>>,
    send_ids: BTreeMap<String, u8>,
    /// Of the last packet of each encoding, by its SSRC.
    sent_payload_types: BTreeMap<u32, u8>,
    /// RIDs of the peer's streams, learned from their packets.
    layers: ReceivedLayers,
    sources: Sources,
    /// Next sequence numbers of the retransmissions sent, by their SSRC.
    rtx_sequence: BTreeMap<u32, u16>,
}

/// All sections, and what came unannounced.
#[derive(Debug)]
pub(super) struct Media {
    sections: BTreeMap<TransceiverId, Section>,
    unsignaled: BTreeMap<u32, MediaStreamTrack>,
    pub(super) rtcp: Rtcp,
    counters: Counters,
    /// Packets of SSRCs beyond the limit, and packets that could not be sent.
    pub(super) dropped: u64,
}

/// An SSRC that no section claims sent its first packet.
#[derive(Debug)]
pub(super) struct Unsignaled {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) track: MediaStreamTrack,
}

impl Media {
    pub(super) fn new(rtcp: Rtcp) -> Self {
        Self {
            sections: BTreeMap::new(),
            unsignaled: BTreeMap::new(),
            rtcp,
            counters: Counters::default(),
            dropped: 0,
        }
    }

    /// The sections of an answer replace those before. `transport_of` a mid, among those that are `alive`.
    pub(super) fn configure(
        &mut self,
        now: Instant,
        sections: Vec<MediaSection>,
        transport_of: impl Fn(&str) -> Option<TransportId>,
        alive: &BTreeSet<TransportId>,
    ) {
        let mut before = std::mem::take(&mut self.sections);
        self.sections = sections
            .into_iter()
            .map(|config| {
                let old = before.remove(&config.id);
                (config.id, Section::new(config, old))
            })
            .collect();
        let streams = self.sections.values().filter_map(|section| {
            let config = &section.config;
            Some(SectionStreams {
                id: config.id,
                transport: transport_of(&config.mid)?,
                kind: media_kind(config.kind),
                ssrcs: section.sent_ssrcs().map(|ssrc| (ssrc, section.send_clock_rate(ssrc))).collect(),
                sends: config.direction.sends(),
                reduced_size: config.reduced_size,
            })
        });
        self.rtcp.configure(now, streams.collect(), alive);
    }

    /// RTCP of the peer: feedback goes to the sender it is about, what is not read here to `raw`.
    pub(super) fn receive_rtcp(
        &mut self,
        now: Instant,
        transport: TransportId,
        packet: &[u8],
        mut raw: impl FnMut(Bytes),
    ) {
        let Self { rtcp, sections, .. } = self;
        rtcp.on_rtcp(now, transport, packet, |incoming| match incoming {
            Incoming::Feedback(id, feedback) => {
                if let Some(section) = sections.get(&id) {
                    section.config.feedback.push(feedback);
                }
            }
            Incoming::Raw(packet) => raw(packet),
        });
    }

    /// Counts what was sent, or sent `again`; `header_len` is `None` if it was not.
    pub(super) fn note_sent(
        &mut self,
        now: Instant,
        id: TransceiverId,
        packet: &RtpPacket,
        again: bool,
        header_len: Option<usize>,
    ) {
        let Some(section) = self.sections.get_mut(&id) else { return };
        let ssrc = section.ssrc_of(packet);
        let clock_rate = clock_rate(&section.config.send_codecs, packet.payload_type, section.config.kind);
        // What is sent again is no frame more.
        if !again {
            self.counters.on_handed(now, ssrc, packet, clock_rate, header_len.is_some());
        }
        let Some(header_len) = header_len else {
            self.dropped += 1;
            return;
        };
        if !again {
            section.sent_payload_types.insert(ssrc, packet.payload_type);
        }
        let info = RtpPacketInfo {
            ssrc,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            header_len,
            payload_len: packet.payload.len(),
            padding_len: 0,
            retransmission: again,
        };
        self.rtcp.on_sent(now, id, &info, clock_rate);
    }

    /// What the demuxer is told: who wants which packets, by section.
    pub(super) fn criteria(&self) -> BTreeMap<String, Vec<(SinkId, RtpDemuxerCriteria)>> {
        let receiving = self.sections.values().filter(|section| section.config.direction.receives());
        receiving
            .map(|section| {
                let config = &section.config;
                let criteria = RtpDemuxerCriteria {
                    mid: StreamId::new(&config.mid),
                    rsid: None,
                    ssrcs: config.remote_ssrcs.iter().copied().collect(),
                    payload_types: config.receive_codecs.iter().map(|codec| codec.payload_type).collect(),
                };
                (config.mid.clone(), vec![(SinkId(u64::from(config.id.0)), criteria)])
            })
            .collect()
    }

    /// Who was heard in a section lately: contributing sources, or synchronization sources.
    pub(super) fn sources(&self, now: Instant, id: TransceiverId, contributing: bool) -> Vec<(u32, Heard)> {
        self.sections.get(&id).map(|section| section.sources.since(now, contributing)).unwrap_or_default()
    }

    pub(super) fn mids(&self) -> Vec<String> {
        self.sections.values().map(|section| section.config.mid.clone()).collect()
    }

    pub(super) fn section(&self, id: TransceiverId) -> Option<&Section> {
        self.sections.get(&id)
    }

    /// A packet that the demuxer gave to a section.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        transport: TransportId,
        sink: SinkId,
        packet: &RtpPacketView<'_>,
    ) {
        let id = u32::try_from(sink.0).map(TransceiverId);
        let Some(section) = id.ok().and_then(|id| self.sections.get_mut(&id)) else { return };
        let payload_type = packet.header().payload_type();
        let kind = section.config.kind;
        let clock_rate = clock_rate(&section.config.receive_codecs, payload_type, kind);
        let source = Source { section: Some(section.config.id), payload_type };
        let info = RtpPacketInfo::from(packet);
        self.rtcp.on_received(now, transport, source, &info, media_kind(kind), clock_rate);
        self.counters.on_received(now, packet, &section.receive_uris, clock_rate);
        let mut owned = to_owned(packet, &section.receive_uris);
        if section.identify(&mut owned) {
            section.sources.note(now, &owned);
            section.config.track.push(owned);
        }
    }

    /// A packet that no section claims. The first of its SSRC makes a track.
    pub(super) fn receive_unsignaled(
        &mut self,
        now: Instant,
        transport: TransportId,
        packet: &RtpPacketView<'_>,
        capacity: usize,
    ) -> Option<Unsignaled> {
        let (ssrc, payload_type) = (packet.header().ssrc(), packet.header().payload_type());
        let known = self.unsignaled.contains_key(&ssrc);
        if !known && self.unsignaled.len() >= MAX_UNSIGNALED {
            self.dropped += 1;
            return None;
        }
        let kind = self.kind_of(payload_type);
        let codecs = self.sections.values().flat_map(|section| &section.config.receive_codecs);
        let clock_rate = clock_rate(codecs, payload_type, kind);
        let source = Source { section: None, payload_type };
        let info = RtpPacketInfo::from(packet);
        self.rtcp.on_received(now, transport, source, &info, media_kind(kind), clock_rate);
        let empty = BTreeMap::new();
        let uris = self.sections.values().next().map_or(&empty, |section| &section.receive_uris);
        self.counters.on_received(now, packet, uris, clock_rate);
        let owned = to_owned(packet, uris);
        if let Some(track) = self.unsignaled.get(&ssrc) {
            track.push(owned);
            return None;
        }
        let track = MediaStreamTrack::remote(kind, format!("ssrc-{ssrc}"), capacity);
        track.push(owned);
        self.unsignaled.insert(ssrc, track.clone());
        Some(Unsignaled { ssrc, payload_type, track })
    }

    fn kind_of(&self, payload_type: u8) -> TrackKind {
        let claims = |section: &&Section| {
            section.config.receive_codecs.iter().any(|codec| codec.payload_type == payload_type)
        };
        self.sections.values().find(claims).map_or(TrackKind::Video, |section| section.config.kind)
    }

    /// No packet comes any more.
    pub(super) fn end(&mut self) {
        for track in std::mem::take(&mut self.unsignaled).into_values() {
            track.end();
        }
        self.sections.clear();
    }
}

impl Section {
    fn new(config: MediaSection, before: Option<Self>) -> Self {
        let receive = config.receive_extensions.iter();
        let receive_uris = receive.map(|one| (one.id, Arc::from(one.uri.as_str()))).collect();
        let send_ids = config.send_extensions.iter().map(|one| (one.uri.clone(), one.id)).collect();
        let section = Self {
            config,
            receive_uris,
            send_ids,
            sent_payload_types: BTreeMap::new(),
            layers: ReceivedLayers::default(),
            sources: Sources::default(),
            rtx_sequence: BTreeMap::new(),
        };
        let Some(before) = before else { return section };
        // What was learned of packets outlives a negotiation.
        let Self { mut sent_payload_types, layers, sources, rtx_sequence, .. } = before;
        let encodings = &section.config.encodings;
        sent_payload_types.retain(|ssrc, _| encodings.iter().any(|encoding| encoding.ssrc == *ssrc));
        Self { sent_payload_types, layers, sources, rtx_sequence, ..section }
    }

    /// SSRCs we send with: those of encodings, then of their retransmissions where these were negotiated.
    fn sent_ssrcs(&self) -> impl Iterator<Item = u32> {
        let encodings = &self.config.encodings;
        let repairs = encodings.iter().filter(|_| self.sends_rtx()).map(|encoding| encoding.rtx_ssrc);
        encodings.iter().map(|encoding| encoding.ssrc).chain(repairs)
    }

    /// The encoding of a packet, by its SSRC; the first for a packet of another source.
    fn encoding_of(&self, packet: &RtpPacket) -> Option<&SectionEncoding> {
        let encodings = &self.config.encodings;
        let own = encodings.iter().find(|one| one.ssrc == packet.ssrc || one.rtx_ssrc == packet.ssrc);
        own.or_else(|| encodings.first())
    }

    fn ssrc_of(&self, packet: &RtpPacket) -> u32 {
        match self.encoding_of(packet) {
            Some(encoding) if encoding.rtx_ssrc == packet.ssrc => packet.ssrc,
            Some(encoding) => encoding.ssrc,
            None => 0,
        }
    }

    /// The codec that an encoding was sent with last; before, the one the peer prefers.
    fn sent_codec(&self, ssrc: u32) -> Option<&Codec> {
        let codecs = &self.config.send_codecs;
        match self.sent_payload_types.get(&ssrc) {
            Some(sent) => codecs.iter().find(|codec| codec.payload_type == *sent),
            None => codecs.first(),
        }
    }

    /// The clock of an SSRC of ours in Hz; retransmissions have that of what they repeat.
    fn send_clock_rate(&self, ssrc: u32) -> u32 {
        let encoding = self.config.encodings.iter().find(|encoding| encoding.rtx_ssrc == ssrc);
        let codec = self.sent_codec(encoding.map_or(ssrc, |encoding| encoding.ssrc));
        clock_rate(codec, codec.map_or(0, |codec| codec.payload_type), self.config.kind)
    }

    /// The most bytes a packet takes once written, before SRTP's trailer.
    pub(super) fn len_bound(&self, packet: &RtpPacket) -> usize {
        let extensions: usize =
            packet.header_extensions.iter().map(|extension| 2 + extension.value.len()).sum();
        // MID and RID, the header of extensions and their padding.
        FIXED_HEADER_LEN
            + 4 * packet.csrcs.len()
            + extensions
            + 2 * (StreamId::MAX_LEN + 2)
            + 8
            + packet.payload.len()
    }

    pub(super) fn packet_kind(&self) -> PacketKind {
        match self.config.kind {
            TrackKind::Audio => PacketKind::Audio,
            TrackKind::Video => PacketKind::Video,
        }
    }

    /// Writes a packet of the application into `slot`: SSRC and extension ids are the section's, MID
    /// and, where the encoding has one, RID are added.
    ///
    /// # Errors
    /// The slot is too small, or an extension cannot be written.
    pub(super) fn write(&self, packet: &RtpPacket, slot: &mut [u8]) -> Result<usize, RtpError> {
        let fields = RtpFields {
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            ssrc: self.ssrc_of(packet),
            padding: false,
        };
        let encoding = self.encoding_of(packet);
        let rid = encoding.and_then(|encoding| encoding.rid.as_deref());
        // RFC 8852: a retransmission says whose it is under another name.
        let rid_uri = match encoding.is_some_and(|encoding| encoding.rtx_ssrc == fields.ssrc) {
            true => RtpExtensionType::RepairedRtpStreamId.uri(),
            false => RtpExtensionType::RtpStreamId.uri(),
        };
        let rid = rid.and_then(|rid| Some((*self.send_ids.get(rid_uri)?, rid.as_bytes())));
        let mid_uri = RtpExtensionType::Mid.uri();
        let mid = self.send_ids.get(mid_uri).map(|id| (*id, self.config.mid.as_bytes()));
        let others = packet.header_extensions.iter().filter_map(|extension| {
            if self.is_own(&extension.uri) {
                return None;
            }
            let id = self.send_ids.get(&*extension.uri)?;
            // Values that need the two-byte form go only where the forms may be mixed (RFC 8285 section 4.1.2).
            let fits = self.config.extmap_allow_mixed || (1..=16).contains(&extension.value.len());
            fits.then_some((*id, &extension.value[..]))
        });
        let header_len = write_rtp_header(
            slot,
            &fields,
            packet.csrcs.iter().copied(),
            mid.into_iter().chain(rid).chain(others),
        )?;
        let end = header_len + packet.payload.len();
        let have = slot.len();
        let payload = slot.get_mut(header_len..end).ok_or(RtpError::BufferTooSmall { need: end, have })?;
        payload.copy_from_slice(&packet.payload);
        Ok(end)
    }

    /// Identification that a packet carried where it came from means nothing where it goes.
    fn is_own(&self, uri: &str) -> bool {
        [RtpExtensionType::Mid, RtpExtensionType::RtpStreamId, RtpExtensionType::RepairedRtpStreamId]
            .iter()
            .any(|extension| extension.uri() == uri)
    }
}

fn media_kind(kind: TrackKind) -> MediaKind {
    match kind {
        TrackKind::Audio => MediaKind::Audio,
        TrackKind::Video => MediaKind::Video,
    }
}

/// A payload type's clock in Hz; of one that was not negotiated, what is usual for its kind.
fn clock_rate<'c>(codecs: impl IntoIterator<Item = &'c Codec>, payload_type: u8, kind: TrackKind) -> u32 {
    let mut codecs = codecs.into_iter();
    codecs.find(|codec| codec.payload_type == payload_type && codec.clock_rate > 0).map_or(
        match kind {
            TrackKind::Audio => 48_000,
            TrackKind::Video => 90_000,
        },
        |codec| codec.clock_rate,
    )
}

fn to_owned(packet: &RtpPacketView<'_>, uris: &BTreeMap<u8, Arc<str>>) -> RtpPacket {
    let header = packet.header();
    RtpPacket {
        payload_type: header.payload_type(),
        marker: header.marker(),
        sequence_number: header.sequence_number(),
        timestamp: header.timestamp(),
        ssrc: header.ssrc(),
        csrcs: header.csrcs().collect(),
        rid: None,
        header_extensions: header
            .extensions()
            .filter_map(|element| {
                let uri = Arc::clone(uris.get(&element.id)?);
                Some(RtpHeaderExtension { uri, value: Bytes::copy_from_slice(element.value) })
            })
            .collect(),
        payload: Bytes::copy_from_slice(packet.payload()),
    }
}
