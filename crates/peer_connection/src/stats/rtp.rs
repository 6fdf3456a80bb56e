//! Statistics of RTP streams and their codecs.

use std::time::Duration;

use peerstack_jsep::Codec;
use peerstack_media as media;
use serde::Serialize;

use super::{StatsClock, milliseconds};
use crate::TrackKind;
use crate::media_stream_track::TakenFrames;

/// webrtc-stats, `RTCCodecStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CodecStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// The transport it is used on.
    pub transport_id: String,
    /// Payload type.
    pub payload_type: u8,
    /// `audio/opus` and the like.
    pub mime_type: String,
    /// RTP clock in Hz.
    pub clock_rate: u32,
    /// Audio channels; `None` for video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// The parameters of its `a=fmtp` line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp_fmtp_line: Option<String>,
}

pub(crate) fn codec_stats(
    id: String,
    clock: &StatsClock,
    transport_id: String,
    kind: &str,
    codec: &Codec,
) -> CodecStats {
    let parameters = codec.params.iter().map(|(name, value)| match name.is_empty() {
        true => value.clone(),
        false => format!("{name}={value}"),
    });
    let line = parameters.collect::<Vec<_>>().join(";");
    CodecStats {
        id,
        timestamp: clock.timestamp(),
        transport_id,
        payload_type: codec.payload_type,
        mime_type: format!("{kind}/{}", codec.name),
        clock_rate: codec.clock_rate,
        channels: (codec.channels > 0).then_some(codec.channels),
        sdp_fmtp_line: (!line.is_empty()).then_some(line),
    }
}

/// webrtc-stats, `RTCInboundRtpStreamStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct InboundRtpStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// SSRC.
    pub ssrc: u32,
    /// `audio` or `video`.
    pub kind: String,
    /// Its transport.
    pub transport_id: String,
    /// Its codec, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_id: Option<String>,
    /// Section; empty for a stream that none claims.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mid: String,
    /// RTP stream id (RFC 8852) where its packets carry one: which of the layers of a simulcast sender it is. Not
    /// W3C's, whose receivers get no simulcast.
    #[serde(skip)]
    pub rid: Option<String>,
    /// Id of its track.
    pub track_identifier: String,
    /// What the peer reports of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// Packets received, retransmissions among them.
    pub packets_received: u64,
    /// Payload bytes received, headers and padding left out.
    pub bytes_received: u64,
    /// Bytes of RTP headers and padding received.
    pub header_bytes_received: u64,
    /// Packets lost, negative where duplicates came (RFC 3550 section 6.4.1).
    pub packets_lost: i64,
    /// Jitter in seconds.
    pub jitter: f64,
    /// Packets of those that were sent again in a stream of their own (RFC 4588); `None` where that was not negotiated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmitted_packets_received: Option<u64>,
    /// Their payload bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmitted_bytes_received: Option<u64>,
    /// SSRC of its retransmissions, once one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtx_ssrc: Option<u32>,
    /// When the last packet came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_packet_received_timestamp: Option<f64>,
    /// NACK packets sent.
    pub nack_count: u32,
    /// Packets dropped because the application did not take them from the track in time.
    pub packets_discarded: u64,
    /// Video: picture loss indications sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pli_count: Option<u32>,
    /// Video: full intra requests sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fir_count: Option<u32>,
    /// Video: frames of which a packet came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_received: Option<u64>,
    /// Video: frames the application took from the track, since it is what decodes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_decoded: Option<u64>,
    /// Video: frames of which a packet was dropped because the application did not take it in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_dropped: Option<u64>,
    /// Video: frames of the last second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_per_second: Option<f64>,
    /// Audio: loudness now, 0 to 1, by the audio levels of its packets (RFC 6464); `None` where they carry none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_level: Option<f64>,
    /// Audio: sum of squared levels times seconds; 0 where packets carry no level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_audio_energy: Option<f64>,
    /// Audio: seconds of sound received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_samples_duration: Option<f64>,
}

impl InboundRtpStats {
    pub(crate) fn new(id: String, clock: &StatsClock, measured: &media::InboundRtpStats) -> Self {
        Self {
            id,
            timestamp: clock.timestamp(),
            ssrc: measured.ssrc,
            packets_received: measured.received.packets,
            bytes_received: measured.received.payload_bytes,
            header_bytes_received: measured.received.header_bytes,
            packets_lost: measured.packets_lost,
            jitter: measured.jitter,
            last_packet_received_timestamp: Some(clock.at(measured.last_packet_received)),
            nack_count: measured.feedback.nack,
            pli_count: Some(measured.feedback.pli),
            fir_count: Some(measured.feedback.fir),
            ..Self::default()
        }
    }

    /// With the streams of its retransmissions, which are counted here too (webrtc-stats, `RTCInboundRtpStreamStats`).
    pub(crate) fn with_retransmissions(
        mut self,
        repairs: impl Iterator<Item = media::InboundRtpStats>,
    ) -> Self {
        let (mut all, mut last) = (media::StreamCounter::default(), None);
        for repair in repairs {
            all += repair.received;
            last = last.max(Some((repair.last_packet_received, repair.ssrc)));
        }
        self.packets_received += all.packets;
        self.bytes_received += all.payload_bytes;
        self.header_bytes_received += all.header_bytes;
        self.retransmitted_packets_received = Some(all.packets);
        self.retransmitted_bytes_received = Some(all.payload_bytes);
        self.rtx_ssrc = last.map(|(_, ssrc)| ssrc);
        self
    }

    /// With what frames and levels tell: `counted` as they came, `taken` as the application took them.
    pub(crate) fn with_media(
        mut self,
        kind: TrackKind,
        counted: &media::MediaCounts,
        taken: &TakenFrames,
    ) -> Self {
        self.packets_discarded = taken.packets_dropped;
        match kind {
            TrackKind::Audio => {
                (self.pli_count, self.fir_count) = (None, None);
                self.audio_level = counted.audio_level;
                self.total_audio_energy = Some(counted.total_audio_energy);
                self.total_samples_duration = Some(counted.total_samples_duration);
            }
            TrackKind::Video => {
                self.frames_received = Some(counted.frames);
                self.frames_decoded = Some(taken.frames);
                self.frames_dropped = Some(taken.frames_dropped);
                self.frames_per_second = Some(counted.frames_per_second);
            }
        }
        self
    }
}

/// webrtc-stats, `RTCOutboundRtpStreamStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OutboundRtpStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// SSRC.
    pub ssrc: u32,
    /// `audio` or `video`.
    pub kind: String,
    /// Its transport.
    pub transport_id: String,
    /// Its codec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_id: Option<String>,
    /// Section.
    pub mid: String,
    /// RTP stream id, where the sender has several encodings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Place of the encoding among those of its sender.
    pub encoding_index: usize,
    /// What the peer reports of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// Whether the section is negotiated to send.
    pub active: bool,
    /// Packets sent, retransmissions among them.
    pub packets_sent: u64,
    /// Payload bytes sent, headers and padding left out.
    pub bytes_sent: u64,
    /// Bytes of RTP headers and padding sent.
    pub header_bytes_sent: u64,
    /// Packets of those that were sent again, under this SSRC or that of its retransmissions.
    pub retransmitted_packets_sent: u64,
    /// Their payload bytes.
    pub retransmitted_bytes_sent: u64,
    /// SSRC of its retransmissions, where these have a stream of their own (RFC 4588).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtx_ssrc: Option<u32>,
    /// The track it is made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_source_id: Option<String>,
    /// NACK packets received.
    pub nack_count: u32,
    /// Video: picture loss indications received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pli_count: Option<u32>,
    /// Video: full intra requests received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fir_count: Option<u32>,
    /// Video: frames the application handed over, since it is what encodes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_encoded: Option<u64>,
    /// Video: frames of which a packet was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_sent: Option<u64>,
    /// Video: frames of the last second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_per_second: Option<f64>,
}

impl OutboundRtpStats {
    pub(crate) fn new(id: String, clock: &StatsClock, measured: &media::OutboundRtpStats) -> Self {
        Self {
            id,
            timestamp: clock.timestamp(),
            ssrc: measured.ssrc,
            packets_sent: measured.sent.packets,
            bytes_sent: measured.sent.payload_bytes,
            header_bytes_sent: measured.sent.header_bytes,
            retransmitted_packets_sent: measured.retransmitted.packets,
            retransmitted_bytes_sent: measured.retransmitted.payload_bytes,
            nack_count: measured.feedback.nack,
            pli_count: Some(measured.feedback.pli),
            fir_count: Some(measured.feedback.fir),
            ..Self::default()
        }
    }

    /// With the stream of its retransmissions, which is counted here too (webrtc-stats, `RTCOutboundRtpStreamStats`).
    pub(crate) fn with_retransmissions(
        mut self,
        rtx_ssrc: u32,
        repair: Option<&media::OutboundRtpStats>,
    ) -> Self {
        let again = repair.map(|repair| repair.sent).unwrap_or_default();
        self.packets_sent += again.packets;
        self.bytes_sent += again.payload_bytes;
        self.header_bytes_sent += again.header_bytes;
        self.retransmitted_packets_sent += again.packets;
        self.retransmitted_bytes_sent += again.payload_bytes;
        self.rtx_ssrc = Some(rtx_ssrc);
        self
    }

    /// With what frames tell: those `handed` over and those `sent`.
    pub(crate) fn with_media(
        mut self,
        kind: TrackKind,
        handed: &media::MediaCounts,
        sent: &media::MediaCounts,
    ) -> Self {
        match kind {
            TrackKind::Audio => (self.pli_count, self.fir_count) = (None, None),
            TrackKind::Video => {
                self.frames_encoded = Some(handed.frames);
                self.frames_sent = Some(sent.frames);
                self.frames_per_second = Some(handed.frames_per_second);
            }
        }
        self
    }
}

/// webrtc-stats, `RTCRemoteInboundRtpStreamStats`: what the peer's receiver reports say.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemoteInboundRtpStats {
    /// Names the object.
    pub id: String,
    /// When the last report came.
    pub timestamp: f64,
    /// SSRC, ours.
    pub ssrc: u32,
    /// `audio` or `video`.
    pub kind: String,
    /// Its transport.
    pub transport_id: String,
    /// Its codec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_id: Option<String>,
    /// The stream we send.
    pub local_id: String,
    /// Packets received: those the peer should have by its report, less those lost.
    pub packets_received: u64,
    /// Packets lost.
    pub packets_lost: i64,
    /// Jitter in seconds.
    pub jitter: f64,
    /// Part of the packets lost since the report before, 0 to 1.
    pub fraction_lost: f64,
    /// The last round-trip time in seconds, by RTCP (RFC 3550 section 6.4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_time: Option<f64>,
    /// Sum of all round-trip times in seconds.
    pub total_round_trip_time: f64,
    /// How many were measured.
    pub round_trip_time_measurements: u64,
}

impl RemoteInboundRtpStats {
    pub(crate) fn new(id: String, clock: &StatsClock, measured: &media::RemoteInboundRtpStats) -> Self {
        Self {
            id,
            timestamp: clock.at(measured.received_at),
            ssrc: measured.ssrc,
            packets_received: measured.packets_received,
            packets_lost: i64::from(measured.packets_lost),
            jitter: measured.jitter,
            fraction_lost: measured.fraction_lost,
            round_trip_time: measured.round_trip_time.as_ref().map(Duration::as_secs_f64),
            total_round_trip_time: measured.total_round_trip_time.as_secs_f64(),
            round_trip_time_measurements: measured.round_trip_time_measurements,
            ..Self::default()
        }
    }
}

/// webrtc-stats, `RTCRemoteOutboundRtpStreamStats`: what the peer's sender reports say.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemoteOutboundRtpStats {
    /// Names the object.
    pub id: String,
    /// When the last report came.
    pub timestamp: f64,
    /// SSRC, the peer's.
    pub ssrc: u32,
    /// `audio` or `video`.
    pub kind: String,
    /// Its transport.
    pub transport_id: String,
    /// Its codec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_id: Option<String>,
    /// The stream we receive.
    pub local_id: String,
    /// Packets the peer sent.
    pub packets_sent: u64,
    /// Payload bytes the peer sent.
    pub bytes_sent: u64,
    /// The peer's date of its last report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_timestamp: Option<f64>,
    /// Reports that came.
    pub reports_sent: u64,
}

impl RemoteOutboundRtpStats {
    pub(crate) fn new(id: String, clock: &StatsClock, measured: &media::RemoteOutboundRtpStats) -> Self {
        Self {
            id,
            timestamp: clock.at(measured.received_at),
            ssrc: measured.ssrc,
            packets_sent: u64::from(measured.packets_sent),
            bytes_sent: u64::from(measured.bytes_sent),
            remote_timestamp: measured.remote_timestamp.map(milliseconds),
            reports_sent: measured.reports,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, UNIX_EPOCH};

    use super::*;

    #[test]
    fn codecs_are_told_as_the_description_does() {
        #[expect(clippy::disallowed_methods, reason = "tests count from one real instant")]
        let clock = StatsClock::new(Instant::now(), UNIX_EPOCH);
        let opus =
            Codec::audio(111, "opus", 48_000, 2).with_param("minptime", "10").with_param("useinbandfec", "1");
        let stats = codec_stats("C".to_owned(), &clock, "T0".to_owned(), "audio", &opus);
        assert_eq!((stats.mime_type.as_str(), stats.channels), ("audio/opus", Some(2)));
        assert_eq!(stats.sdp_fmtp_line.as_deref(), Some("minptime=10;useinbandfec=1"));
        let stats = codec_stats("C".to_owned(), &clock, "T0".to_owned(), "video", &Codec::video(96, "VP8"));
        assert_eq!((stats.channels, stats.sdp_fmtp_line), (None, None));
    }
}
