//! Statistics of RTP streams and their codecs.

use std::time::Duration;

use peerstack_jsep::Codec;
use peerstack_media as media;

use super::{StatsClock, milliseconds};

/// `RTCCodecStats`.
#[derive(Debug, Clone, PartialEq, Default)]
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
    pub channels: Option<u8>,
    /// The parameters of its `a=fmtp` line.
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

/// `RTCInboundRtpStreamStats`.
#[derive(Debug, Clone, PartialEq, Default)]
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
    pub codec_id: Option<String>,
    /// Section; empty for a stream that none claims.
    pub mid: String,
    /// Id of its track.
    pub track_identifier: String,
    /// What the peer reports of it.
    pub remote_id: Option<String>,
    /// Packets received.
    pub packets_received: u64,
    /// Payload bytes received, headers and padding left out.
    pub bytes_received: u64,
    /// Bytes of RTP headers and padding received.
    pub header_bytes_received: u64,
    /// Packets lost, negative where duplicates came (RFC 3550 section 6.4.1).
    pub packets_lost: i64,
    /// Jitter in seconds.
    pub jitter: f64,
    /// When the last packet came.
    pub last_packet_received_timestamp: Option<f64>,
    /// NACK packets sent.
    pub nack_count: u32,
    /// Picture loss indications sent.
    pub pli_count: u32,
    /// Full intra requests sent.
    pub fir_count: u32,
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
            pli_count: measured.feedback.pli,
            fir_count: measured.feedback.fir,
            ..Self::default()
        }
    }
}

/// `RTCOutboundRtpStreamStats`.
#[derive(Debug, Clone, PartialEq, Default)]
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
    pub codec_id: Option<String>,
    /// Section.
    pub mid: String,
    /// What the peer reports of it.
    pub remote_id: Option<String>,
    /// Whether the section is negotiated to send.
    pub active: bool,
    /// Packets sent.
    pub packets_sent: u64,
    /// Payload bytes sent, headers and padding left out.
    pub bytes_sent: u64,
    /// Bytes of RTP headers and padding sent.
    pub header_bytes_sent: u64,
    /// NACK packets received.
    pub nack_count: u32,
    /// Picture loss indications received.
    pub pli_count: u32,
    /// Full intra requests received.
    pub fir_count: u32,
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
            nack_count: measured.feedback.nack,
            pli_count: measured.feedback.pli,
            fir_count: measured.feedback.fir,
            ..Self::default()
        }
    }
}

/// `RTCRemoteInboundRtpStreamStats`: what the peer's receiver reports say.
#[derive(Debug, Clone, PartialEq, Default)]
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
    pub codec_id: Option<String>,
    /// The stream we send.
    pub local_id: String,
    /// Packets lost.
    pub packets_lost: i64,
    /// Jitter in seconds.
    pub jitter: f64,
    /// Part of the packets lost since the report before, 0 to 1.
    pub fraction_lost: f64,
    /// The last round-trip time in seconds, by RTCP (RFC 3550 section 6.4.1).
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

/// `RTCRemoteOutboundRtpStreamStats`: what the peer's sender reports say.
#[derive(Debug, Clone, PartialEq, Default)]
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
    pub codec_id: Option<String>,
    /// The stream we receive.
    pub local_id: String,
    /// Packets the peer sent.
    pub packets_sent: u64,
    /// Payload bytes the peer sent.
    pub bytes_sent: u64,
    /// The peer's date of its last report.
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
