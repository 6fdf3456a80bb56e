//! Statistics of RTP streams, from what the reporters counted.

use peerstack_jsep::{Codec, TransportId};
use peerstack_media::{self as media, RtcpReporter};

use super::{Media, Section};
use crate::media_stream_track::TrackKind;
use crate::network_task::TransceiverId;
use crate::stats::{
    InboundRtpStats, NetworkSnapshot, OutboundRtpStats, RemoteInboundRtpStats, RemoteOutboundRtpStats,
    StatsClock, codec_stats, kind_word, transport_id,
};

/// What the objects about one SSRC share: one for what we measured, one for what the peer reports.
struct Stream {
    transport_id: String,
    /// Behind the letters that tell the objects of a stream apart.
    suffix: String,
    kind: TrackKind,
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
        Self { transport_id, suffix, kind, codec_id: None }
    }

    fn id(&self, letters: &str) -> String {
        format!("{letters}{}", self.suffix)
    }
}

impl Media {
    /// Adds the streams of all transports, each SSRC with objects of its own, and the codecs they use. The reporters
    /// track at most [`MAX_STREAMS`](peerstack_media::MAX_STREAMS) SSRCs of a transport each way, as many as the
    /// demuxer, so a peer that makes up SSRCs makes no more objects.
    pub(in crate::network_task) fn add_stats(&self, snapshot: &mut NetworkSnapshot, clock: &StatsClock) {
        for (transport, reporter) in self.rtcp.reporters() {
            for measured in reporter.inbound() {
                self.add_inbound(snapshot, clock, (transport, reporter), &measured);
            }
            let senders = self.rtcp.senders(transport);
            for measured in reporter.outbound() {
                let section = senders.get(&measured.ssrc).and_then(|id| self.sections.get(id));
                if let Some(section) = section {
                    self.add_outbound(snapshot, clock, (transport, reporter), section, &measured);
                }
            }
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
        (transport, reporter): (TransportId, &RtcpReporter),
        measured: &media::InboundRtpStats,
    ) {
        let ssrc = measured.ssrc;
        let Some(source) = self.rtcp.source(transport, ssrc) else { return };
        let section = source.section.and_then(|id| self.sections.get(&id));
        let codec = self.received_codec(source.section, source.payload_type);
        // Retransmissions are counted with what they repeat (webrtc-stats, `retransmittedPacketsReceived`).
        if codec.is_some_and(Codec::is_rtx) {
            return;
        }
        let kind = section.map_or_else(|| self.kind_of(source.payload_type), |one| one.config.kind);
        let mut stream = Stream::new(transport, ssrc, kind);
        stream.codec_id = add_codec(snapshot, clock, &stream, 'I', codec);
        let track = section.map_or_else(|| self.unsignaled.get(&ssrc), |one| Some(&one.config.track));
        let taken = track.map(|track| track.taken(ssrc)).unwrap_or_default();
        let counted = self.counters.received(clock.now(), ssrc);
        let mut inbound = InboundRtpStats {
            kind: kind_word(kind),
            transport_id: stream.transport_id.clone(),
            codec_id: stream.codec_id.clone(),
            mid: section.map(|one| one.config.mid.clone()).unwrap_or_default(),
            rid: section.and_then(|one| one.layers.rid(ssrc)).map(|rid| rid.to_string()),
            track_identifier: track.map(|track| track.id()).unwrap_or_default(),
            ..InboundRtpStats::new(stream.id("I"), clock, measured).with_media(kind, &counted, &taken)
        };
        if let Some(section) = section.filter(|section| section.receives_rtx()) {
            let repairs = section.repairs_of(ssrc).filter_map(|repair| reporter.inbound_of(repair));
            inbound = inbound.with_retransmissions(repairs);
        }
        if let Some(reported) = reporter.remote_outbound_of(ssrc) {
            let remote = RemoteOutboundRtpStats {
                kind: inbound.kind.clone(),
                transport_id: stream.transport_id.clone(),
                codec_id: stream.codec_id.clone(),
                local_id: inbound.id.clone(),
                ..RemoteOutboundRtpStats::new(stream.id("RO"), clock, &reported)
            };
            inbound.remote_id = Some(remote.id.clone());
            snapshot.remote_outbound_rtp.push(remote);
        }
        snapshot.inbound_rtp.push(inbound);
    }

    fn add_outbound(
        &self,
        snapshot: &mut NetworkSnapshot,
        clock: &StatsClock,
        (transport, reporter): (TransportId, &RtcpReporter),
        section: &Section,
        measured: &media::OutboundRtpStats,
    ) {
        let (ssrc, config) = (measured.ssrc, &section.config);
        let mut encodings = config.encodings.iter().enumerate();
        // Retransmissions are counted with what they repeat (webrtc-stats, `retransmittedPacketsSent`).
        let Some((encoding_index, encoding)) = encodings.find(|(_, encoding)| encoding.ssrc == ssrc) else {
            return;
        };
        let mut stream = Stream::new(transport, ssrc, config.kind);
        stream.codec_id = add_codec(snapshot, clock, &stream, 'O', section.sent_codec(ssrc));
        let counters = &self.counters;
        let (handed, sent) = (counters.handed(clock.now(), ssrc), counters.sent(clock.now(), ssrc));
        let mut outbound = OutboundRtpStats {
            kind: kind_word(config.kind),
            transport_id: stream.transport_id.clone(),
            codec_id: stream.codec_id.clone(),
            mid: config.mid.clone(),
            rid: encoding.rid.as_deref().map(str::to_owned),
            encoding_index,
            active: config.direction.sends(),
            ..OutboundRtpStats::new(stream.id("O"), clock, measured).with_media(config.kind, &handed, &sent)
        };
        if section.sends_rtx() {
            let repair = reporter.outbound_of(encoding.rtx_ssrc);
            outbound = outbound.with_retransmissions(encoding.rtx_ssrc, repair.as_ref());
        }
        if let Some(reported) = reporter.remote_inbound_of(ssrc) {
            let remote = RemoteInboundRtpStats {
                kind: outbound.kind.clone(),
                transport_id: stream.transport_id.clone(),
                codec_id: stream.codec_id.clone(),
                local_id: outbound.id.clone(),
                ..RemoteInboundRtpStats::new(stream.id("RI"), clock, &reported)
            };
            outbound.remote_id = Some(remote.id.clone());
            snapshot.remote_inbound_rtp.push(remote);
        }
        snapshot.outbound_rtp.push(outbound);
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
    let mut stats = codec_stats(base, clock, transport_id, stream.kind.as_str(), codec);
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

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
