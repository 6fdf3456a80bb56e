//! RTP of one connection on the network task: from the demuxer to tracks, from senders to the transport.
//! Answers to libwebrtc's `pc/channel.cc`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use peerstack_base::{Counter, PacketKind};
use peerstack_rtp_transport::{
    FIXED_HEADER_LEN, RtpDemuxerCriteria, RtpError, RtpExtensionType, RtpFields, RtpPacket as RtpPacketView,
    SinkId, StreamId, write_rtp_header,
};

use super::commands::MediaSection;
use super::rtcp_feedback;
use crate::media_stream_track::{MediaStreamTrack, TrackKind};
use crate::rtp_packet::{RtcpFeedback, RtpHeaderExtension, RtpPacket};
use crate::rtp_transceiver::TransceiverId;
use crate::stats::{InboundRtpStats, NetworkSnapshot, OutboundRtpStats, kind_word};

/// SSRCs that no section claims and that surface as tracks of their own; a peer that makes up more gains
/// nothing.
const MAX_UNSIGNALED: usize = 32;
/// SSRCs of one section that are counted apart.
const MAX_COUNTED: usize = 32;

/// One section.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) config: MediaSection,
    receive_uris: BTreeMap<u8, Arc<str>>,
    send_ids: BTreeMap<String, u8>,
    sent: Counter,
    received: BTreeMap<u32, Counter>,
}

/// All sections, and what came unannounced.
#[derive(Debug, Default)]
pub(super) struct Media {
    sections: BTreeMap<TransceiverId, Section>,
    unsignaled: BTreeMap<u32, MediaStreamTrack>,
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
    /// The sections of an answer replace those before.
    pub(super) fn configure(&mut self, sections: Vec<MediaSection>) {
        let mut counters: BTreeMap<_, _> = std::mem::take(&mut self.sections)
            .into_iter()
            .map(|(id, section)| (id, (section.sent, section.received)))
            .collect();
        self.sections = sections
            .into_iter()
            .map(|config| {
                let receive_uris = config
                    .receive_extensions
                    .iter()
                    .map(|extension| (extension.id, Arc::from(extension.uri.as_str())))
                    .collect();
                let send_ids = config
                    .send_extensions
                    .iter()
                    .map(|extension| (extension.uri.clone(), extension.id))
                    .collect();
                let (sent, received) = counters.remove(&config.id).unwrap_or_default();
                (config.id, Section { config, receive_uris, send_ids, sent, received })
            })
            .collect();
    }

    /// RTCP of the peer: feedback goes to the sender it is about.
    pub(super) fn receive_rtcp(&mut self, packet: &[u8]) {
        rtcp_feedback::read(packet, |feedback| {
            let ssrc = match &feedback {
                RtcpFeedback::Pli { ssrc } | RtcpFeedback::Fir { ssrc } | RtcpFeedback::Nack { ssrc, .. } => {
                    *ssrc
                }
                RtcpFeedback::Remb { .. } => return,
            };
            if let Some(section) = self.sections.values().find(|section| section.config.ssrc == ssrc) {
                section.config.feedback.push(feedback);
            }
        });
    }

    /// Feedback of the application, and the section whose transport carries it.
    pub(super) fn feedback_packet(
        &self,
        id: TransceiverId,
        feedback: &RtcpFeedback,
    ) -> Option<(String, Vec<u8>)> {
        let section = self.sections.get(&id)?;
        let packet = rtcp_feedback::write(section.config.ssrc, feedback)?;
        Some((section.config.mid.clone(), packet))
    }

    /// Counts what was sent.
    pub(super) fn note_sent(&mut self, id: TransceiverId, packet: &RtpPacket, sent: bool) {
        if !sent {
            self.dropped += 1;
        } else if let Some(section) = self.sections.get_mut(&id) {
            section.sent.add(packet.payload.len());
        }
    }

    /// What was counted, for statistics.
    pub(super) fn snapshot(&self, snapshot: &mut NetworkSnapshot) {
        for section in self.sections.values() {
            let config = &section.config;
            let (mid, kind) = (config.mid.clone(), kind_word(config.kind));
            if config.direction.sends() {
                snapshot.outbound.push(OutboundRtpStats {
                    ssrc: config.ssrc,
                    mid: mid.clone(),
                    kind: kind.clone(),
                    packets_sent: section.sent.packets,
                    bytes_sent: section.sent.bytes,
                });
            }
            for (ssrc, counter) in &section.received {
                snapshot.inbound.push(InboundRtpStats {
                    ssrc: *ssrc,
                    mid: mid.clone(),
                    kind: kind.clone(),
                    packets_received: counter.packets,
                    bytes_received: counter.bytes,
                    ..InboundRtpStats::default()
                });
            }
        }
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

    pub(super) fn mids(&self) -> Vec<String> {
        self.sections.values().map(|section| section.config.mid.clone()).collect()
    }

    pub(super) fn section(&self, id: TransceiverId) -> Option<&Section> {
        self.sections.get(&id)
    }

    /// A packet that the demuxer gave to a section.
    pub(super) fn receive(&mut self, sink: SinkId, packet: &RtpPacketView<'_>) {
        let id = u32::try_from(sink.0).map(TransceiverId);
        let Some(section) = id.ok().and_then(|id| self.sections.get_mut(&id)) else { return };
        let ssrc = packet.header().ssrc();
        if section.received.len() < MAX_COUNTED || section.received.contains_key(&ssrc) {
            section.received.entry(ssrc).or_default().add(packet.payload().len());
        }
        section.config.track.push(to_owned(packet, &section.receive_uris));
    }

    /// A packet that no section claims. The first of its SSRC makes a track.
    pub(super) fn receive_unsignaled(
        &mut self,
        packet: &RtpPacketView<'_>,
        capacity: usize,
    ) -> Option<Unsignaled> {
        let (ssrc, payload_type) = (packet.header().ssrc(), packet.header().payload_type());
        let empty = BTreeMap::new();
        let uris = self.sections.values().next().map_or(&empty, |section| &section.receive_uris);
        let owned = to_owned(packet, uris);
        if let Some(track) = self.unsignaled.get(&ssrc) {
            track.push(owned);
            return None;
        }
        if self.unsignaled.len() >= MAX_UNSIGNALED {
            self.dropped += 1;
            return None;
        }
        let track = MediaStreamTrack::remote(self.kind_of(payload_type), format!("ssrc-{ssrc}"), capacity);
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
    /// The most bytes a packet takes once written, before SRTP's trailer.
    pub(super) fn len_bound(&self, packet: &RtpPacket) -> usize {
        let extensions: usize =
            packet.header_extensions.iter().map(|extension| 2 + extension.value.len()).sum();
        // MID, the header of extensions and their padding.
        FIXED_HEADER_LEN
            + 4 * packet.csrcs.len()
            + extensions
            + StreamId::MAX_LEN
            + 2
            + 8
            + packet.payload.len()
    }

    pub(super) fn packet_kind(&self) -> PacketKind {
        match self.config.kind {
            TrackKind::Audio => PacketKind::Audio,
            TrackKind::Video => PacketKind::Video,
        }
    }

    /// Writes a packet of the application into `slot`: SSRC and extension ids are the section's, MID is added.
    ///
    /// # Errors
    /// The slot is too small, or an extension cannot be written.
    pub(super) fn write(&self, packet: &RtpPacket, slot: &mut [u8]) -> Result<usize, RtpError> {
        let fields = RtpFields {
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence_number: packet.sequence_number,
            timestamp: packet.timestamp,
            ssrc: self.config.ssrc,
            padding: false,
        };
        let mid_uri = RtpExtensionType::Mid.uri();
        let mid = self.send_ids.get(mid_uri).map(|id| (*id, self.config.mid.as_bytes()));
        let others = packet.header_extensions.iter().filter_map(|extension| {
            if self.is_own(&extension.uri) {
                return None;
            }
            let id = self.send_ids.get(&*extension.uri)?;
            Some((*id, &extension.value[..]))
        });
        let header_len =
            write_rtp_header(slot, &fields, packet.csrcs.iter().copied(), mid.into_iter().chain(others))?;
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

fn to_owned(packet: &RtpPacketView<'_>, uris: &BTreeMap<u8, Arc<str>>) -> RtpPacket {
    let header = packet.header();
    RtpPacket {
        payload_type: header.payload_type(),
        marker: header.marker(),
        sequence_number: header.sequence_number(),
        timestamp: header.timestamp(),
        ssrc: header.ssrc(),
        csrcs: header.csrcs().collect(),
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
