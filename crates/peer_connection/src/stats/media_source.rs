//! Statistics of the tracks that are sent: what the application hands to its senders.

use peerstack_media::MediaCounts;
use serde::Serialize;

use super::kind_word;
use crate::{MediaStreamTrack, TrackKind};

/// webrtc-stats, `RTCMediaSourceStats`, with the members of `RTCAudioSourceStats` or `RTCVideoSourceStats`.
///
/// The engine encodes nothing: a source is measured where its packets are handed over.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MediaSourceStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// Id of the track.
    pub track_identifier: String,
    /// `audio` or `video`.
    pub kind: String,
    /// Audio: loudness now, 0 to 1, by the audio levels of its packets (RFC 6464); `None` where they carry none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_level: Option<f64>,
    /// Audio: sum of squared levels times seconds; 0 where packets carry no level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_audio_energy: Option<f64>,
    /// Audio: seconds of sound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_samples_duration: Option<f64>,
    /// Video: width in pixels, as the application said ([`MediaStreamTrack::set_video_size`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Video: height in pixels, as the application said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Video: frames handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Video: frames of the last second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_per_second: Option<f64>,
}

impl MediaSourceStats {
    /// Of the track that the sender of the transceiver of this number has.
    pub(crate) fn new(
        number: u32,
        timestamp: f64,
        track: &MediaStreamTrack,
        measured: Option<&MediaCounts>,
    ) -> Self {
        let measured = measured.copied().unwrap_or_default();
        let letter = if track.kind() == TrackKind::Audio { 'A' } else { 'V' };
        let mut stats = Self {
            id: format!("S{letter}{number}"),
            timestamp,
            track_identifier: track.id(),
            kind: kind_word(track.kind()),
            ..Self::default()
        };
        match track.kind() {
            TrackKind::Audio => {
                stats.audio_level = measured.audio_level;
                stats.total_audio_energy = Some(measured.total_audio_energy);
                stats.total_samples_duration = Some(measured.total_samples_duration);
            }
            TrackKind::Video => {
                (stats.width, stats.height) = track.video_size().unzip();
                stats.frames = Some(measured.frames);
                stats.frames_per_second = Some(measured.frames_per_second);
            }
        }
        stats
    }
}
