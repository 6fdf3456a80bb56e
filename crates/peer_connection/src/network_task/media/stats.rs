//! Statistics of RTP streams, from what the reporters counted.

use std::collections::BTreeMap;

use peerstack_jsep::{Codec, TransportId};
use peerstack_media::RtcpReporter;

use super::Media;
use crate::media_stream_track::TrackKind;
use crate::rtp_transceiver::TransceiverId;
use crate::stats::{
    InboundRtpStats, NetworkSnapshot, OutboundRtpStats, RemoteInboundRtpStats, RemoteOutboundRtpStats,
    StatsClock, codec_stats, kind_word, transport_id,
};

/// What all objects of one stream share.
struct Stream {
    transport_id: String,
    /// Behind the two letters that tell the objects of a stream apart.
    suffix: String,
    kind: String,
    codec_id: Option<String>,
}

impl Stream {
    fn new(transport: TransportId, ssrc: u32, kind: TrackKind) -> Self {
        let transport_id = transport_id(transport);
        let letter = match kind {
            TrackKind::Audio => 'A',
            TrackKind::Video => 'V',
        };
        let suffix = format!("{transport_id}{letter}{ssrc}");
        Self { transport_id, suffix, kind: kind_word(kind), codec_id: None }
    }
}

impl Media {
    /// Adds the streams of all transports, and the codecs they use.
    pub(in crate::network_task) fn add_stats(&self, snapshot: &mut NetworkSnapshot, clock: &StatsClock) {
        for (transport, reporter) in self.rtcp.reporters() {
            self.add_inbound(snapshot, clock, transport, reporter);
            self.add_outbound(snapshot, clock, transport, reporter);
        }
        for section in self.sections.values().map(|section| &section.config) {
            // Of several encodings the one that has the most of the source's frames.
            let encodings = section.encodings.iter();
            let counts = encodings.map(|encoding| self.counters.handed(clock.now(), encoding.ssrc));
            let counts = counts.max_by_key(|counts| counts.frames).unwrap_or_default();
            snapshot.media_sources.insert(section.mid.clone(), counts);
        }
    }

    fn add_inbound(
        &self,
        snapshot: &mut NetworkSnapshot,
        clock: &StatsClock,
        transport: TransportId,
        reporter: &RtcpReporter,
    ) {
        let mut streams = BTreeMap::new();
        for measured in reporter.inbound() {
            let ssrc = measured.ssrc;
            let Some(source) = self.rtcp.source(transport, ssrc) else { continue };
            let section = source.section.and_then(|id| self.sections.get(&id));
            let kind = section.map_or_else(|| self.kind_of(source.payload_type), |one| one.config.kind);
            let mut stream = Stream::new(transport, ssrc, kind);
            let codec = self.received_codec(source.section, source.payload_type);
            // Retransmissions are no stream of their own (webrtc-stats section 5).
            if codec.is_some_and(Codec::is_rtx) {
                continue;
            }
            stream.codec_id = add_codec(snapshot, clock, &stream, 'I', codec);
            let track = section.map_or_else(|| self.unsignaled.get(&ssrc), |one| Some(&one.config.track));
            let taken = track.map(|track| track.taken(ssrc)).unwrap_or_default();
            let counted = self.counters.received(clock.now(), ssrc);
            let inbound = InboundRtpStats::new(format!("I{}", stream.suffix), clock, &measured);
            snapshot.inbound_rtp.push(InboundRtpStats {
                kind: stream.kind.clone(),
                transport_id: stream.transport_id.clone(),
                codec_id: stream.codec_id.clone(),
                mid: section.map(|one| one.config.mid.clone()).unwrap_or_default(),
                track_identifier: track.map(|track| track.id()).unwrap_or_default(),
                ..inbound.with_media(kind, &counted, &taken)
            });
            streams.insert(ssrc, (stream, snapshot.inbound_rtp.len() - 1));
        }
        for measured in reporter.remote_outbound() {
            let Some((stream, index)) = streams.remove(&measured.ssrc) else { continue };
            let id = format!("RO{}", stream.suffix);
            if let Some(local) = snapshot.inbound_rtp.get_mut(index) {
                local.remote_id = Some(id.clone());
            }
            snapshot.remote_outbound_rtp.push(RemoteOutboundRtpStats {
                kind: stream.kind,
                transport_id: stream.transport_id,
                codec_id: stream.codec_id,
                local_id: format!("I{}", stream.suffix),
                ..RemoteOutboundRtpStats::new(id, clock, &measured)
            });
        }
    }

    fn add_outbound(
        &self,
        snapshot: &mut NetworkSnapshot,
        clock: &StatsClock,
        transport: TransportId,
        reporter: &RtcpReporter,
    ) {
        let mut streams = BTreeMap::new();
        let senders = self.rtcp.senders(transport);
        for measured in reporter.outbound() {
            let Some(section) = senders.get(&measured.ssrc).and_then(|id| self.sections.get(id)) else {
                continue;
            };
            let config = &section.config;
            if section.is_retransmission(measured.ssrc) {
                continue;
            }
            let mut encodings = config.encodings.iter().enumerate();
            let encoding = encodings.find(|(_, encoding)| encoding.ssrc == measured.ssrc);
            let mut stream = Stream::new(transport, measured.ssrc, config.kind);
            let payload_type = section.sent_payload_type;
            let codec = match payload_type {
                Some(sent) => config.send_codecs.iter().find(|codec| codec.payload_type == sent),
                None => config.send_codecs.first(),
            };
            stream.codec_id = add_codec(snapshot, clock, &stream, 'O', codec);
            let counters = &self.counters;
            let (handed, sent) =
                (counters.handed(clock.now(), measured.ssrc), counters.sent(clock.now(), measured.ssrc));
            let outbound = OutboundRtpStats::new(format!("O{}", stream.suffix), clock, &measured);
            snapshot.outbound_rtp.push(OutboundRtpStats {
                kind: stream.kind.clone(),
                transport_id: stream.transport_id.clone(),
                codec_id: stream.codec_id.clone(),
                mid: config.mid.clone(),
                rid: encoding.and_then(|(_, encoding)| encoding.rid.as_deref().map(str::to_owned)),
                encoding_index: encoding.map_or(0, |(index, _)| index),
                active: config.direction.sends(),
                ..outbound.with_media(config.kind, &handed, &sent)
            });
            streams.insert(measured.ssrc, (stream, snapshot.outbound_rtp.len() - 1));
        }
        for measured in reporter.remote_inbound() {
            let Some((stream, index)) = streams.remove(&measured.ssrc) else { continue };
            let id = format!("RI{}", stream.suffix);
            if let Some(local) = snapshot.outbound_rtp.get_mut(index) {
                local.remote_id = Some(id.clone());
            }
            snapshot.remote_inbound_rtp.push(RemoteInboundRtpStats {
                kind: stream.kind,
                transport_id: stream.transport_id,
                codec_id: stream.codec_id,
                local_id: format!("O{}", stream.suffix),
                ..RemoteInboundRtpStats::new(id, clock, &measured)
            });
        }
    }

    /// The codec of what a section receives, or, of a stream that no section claims, of any.
    fn received_codec(&self, section: Option<TransceiverId>, payload_type: u8) -> Option<&Codec> {
        let all = self.sections.values().filter(|one| section.is_none_or(|id| one.config.id == id));
        all.flat_map(|one| &one.config.receive_codecs).find(|codec| codec.payload_type == payload_type)
    }
}

/// Adds a codec unless it is there, and tells its id. `direction` is `I` or `O`: what is received and what is sent
/// may give one payload type different parameters.
fn add_codec(
    snapshot: &mut NetworkSnapshot,
    clock: &StatsClock,
    stream: &Stream,
    direction: char,
    codec: Option<&Codec>,
) -> Option<String> {
    let codec = codec?;
    let transport_id = stream.transport_id.clone();
    let base = format!("C{direction}{transport_id}_{}", codec.payload_type);
    let mut stats = codec_stats(base, clock, transport_id, &stream.kind, codec);
    // Sections of one transport may give a payload type different parameters.
    if let Some(line) = &stats.sdp_fmtp_line {
        stats.id = format!("{}_{line}", stats.id);
    }
    let id = stats.id.clone();
    if snapshot.codecs.iter().all(|known| known.id != id) {
        snapshot.codecs.push(stats);
    }
    Some(id)
}
