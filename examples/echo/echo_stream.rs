//! What becomes of each RTP packet that is to be sent back, without a task or a socket: retransmissions are
//! unwrapped, repetitions left out, a new stream continues the numbers of the one before.

use std::time::{Duration, Instant};

use peerstack::{Codec, RtpPacket};

use crate::gap_detector::{Arrival, GapDetector};
use crate::packet_history::PacketHistory;

/// A second stream on the same section (another layer of a simulcast) is echoed only once the first was
/// silent for so long.
const SILENCE: Duration = Duration::from_millis(500);

/// Header extensions that speak of one hop, not of the media: the sender adds its own.
const HOP_EXTENSIONS: [&str; 5] = [
    "urn:ietf:params:rtp-hdrext:sdes:mid",
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
];

/// What a payload type of the section means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Media; whether lost packets may be asked for.
    Media { nack: bool },
    /// Retransmission of another payload type (RFC 4588).
    Rtx { associated: u8 },
    /// Error correction in a stream of its own: means nothing for another receiver.
    Repair,
}

/// One transceiver's echo.
#[derive(Debug)]
pub(crate) struct EchoStream {
    formats: Vec<(u8, Format)>,
    ssrc: Option<u32>,
    last_arrival: Option<Instant>,
    gaps: GapDetector,
    history: PacketHistory,
    sequence_offset: u16,
    timestamp_offset: u32,
    last_sent: Option<(u16, u32)>,
}

impl EchoStream {
    pub(crate) fn new() -> Self {
        Self {
            formats: Vec::new(),
            ssrc: None,
            last_arrival: None,
            gaps: GapDetector::new(),
            history: PacketHistory::new(),
            sequence_offset: 0,
            timestamp_offset: 0,
            last_sent: None,
        }
    }

    /// Whether a payload type came that the codecs given last do not name.
    pub(crate) fn knows(&self, payload_type: u8) -> bool {
        self.formats.iter().any(|(known, _)| *known == payload_type)
    }

    /// The codecs negotiated for the section.
    pub(crate) fn set_codecs(&mut self, codecs: &[Codec]) {
        self.formats = codecs.iter().map(|codec| (codec.payload_type, format(codec))).collect();
    }

    fn format(&self, payload_type: u8) -> Format {
        let found = self.formats.iter().find(|(known, _)| *known == payload_type);
        found.map_or(Format::Media { nack: false }, |(_, format)| *format)
    }

    /// The peer's SSRC of the stream that is echoed.
    pub(crate) fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// Takes a packet and gives the one to send back, if any.
    pub(crate) fn on_packet(&mut self, now: Instant, packet: RtpPacket) -> Option<RtpPacket> {
        let mut packet = match self.format(packet.payload_type) {
            Format::Media { .. } => packet,
            Format::Rtx { associated } => unwrap_rtx(packet, associated, self.ssrc?)?,
            Format::Repair => return None,
        };
        if self.ssrc != Some(packet.ssrc) && !self.switch_to(now, &packet) {
            return None;
        }
        self.last_arrival = Some(now);
        let arrival = self.gaps.on_packet(now, packet.sequence_number);
        packet.sequence_number = packet.sequence_number.wrapping_add(self.sequence_offset);
        packet.timestamp = packet.timestamp.wrapping_add(self.timestamp_offset);
        if arrival == Arrival::Late && self.history.contains(&packet) {
            return None;
        }
        packet.header_extensions.retain(|extension| !HOP_EXTENSIONS.contains(&&*extension.uri));
        if matches!(arrival, Arrival::Next | Arrival::Gap(_) | Arrival::Restart) {
            self.last_sent = Some((packet.sequence_number, packet.timestamp));
        }
        self.history.insert(packet.clone());
        Some(packet)
    }

    /// Another SSRC: echoed in the place of the one before if that fell silent.
    fn switch_to(&mut self, now: Instant, packet: &RtpPacket) -> bool {
        let silent = |last: Instant| now.saturating_duration_since(last) >= SILENCE;
        if !self.last_arrival.is_none_or(silent) {
            return false;
        }
        self.ssrc = Some(packet.ssrc);
        self.gaps = GapDetector::new();
        self.history.clear();
        if let Some((sequence_number, timestamp)) = self.last_sent {
            self.sequence_offset = sequence_number.wrapping_add(1).wrapping_sub(packet.sequence_number);
            // Any later instant will do; 3,000 ticks are a frame of video and 63 ms of audio.
            self.timestamp_offset = timestamp.wrapping_add(3_000).wrapping_sub(packet.timestamp);
        }
        true
    }

    /// The packets to ask the peer for now, by its numbers.
    pub(crate) fn requests(&mut self, now: Instant) -> Vec<u16> {
        let numbers = self.gaps.requests(now);
        let wanted = self.formats.iter().any(|(_, format)| *format == Format::Media { nack: true });
        if wanted { numbers } else { Vec::new() }
    }

    /// When [`requests`](Self::requests) has something to say.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.gaps.next_due()
    }

    /// Packets of the stream that never came.
    pub(crate) fn lost(&self) -> u64 {
        self.gaps.lost()
    }

    /// A packet that was sent back, by the number it was sent with.
    pub(crate) fn sent(&self, sequence_number: u16) -> Option<&RtpPacket> {
        self.history.get(sequence_number)
    }
}

fn format(codec: &Codec) -> Format {
    let name = codec.name.to_ascii_lowercase();
    match name.as_str() {
        "rtx" => match codec.params.get("apt").and_then(|apt| apt.parse().ok()) {
            Some(associated) => Format::Rtx { associated },
            None => Format::Repair,
        },
        "flexfec-03" | "flexfec" => Format::Repair,
        _ => {
            let nack = codec.feedback.iter().any(|entry| entry.id == "nack" && entry.param.is_empty());
            Format::Media { nack }
        }
    }
}

/// RFC 4588 section 4: the original sequence number stands before the payload. A packet without it is padding
/// that probes the way.
fn unwrap_rtx(mut packet: RtpPacket, associated: u8, ssrc: u32) -> Option<RtpPacket> {
    let (number, _) = packet.payload.split_first_chunk::<2>()?;
    packet.sequence_number = u16::from_be_bytes(*number);
    packet.payload = packet.payload.slice(2..);
    packet.payload_type = associated;
    packet.ssrc = ssrc;
    (!packet.payload.is_empty()).then_some(packet)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use peerstack::{FeedbackParam, RtpHeaderExtension};

    use super::*;

    fn codec(payload_type: u8, name: &str, params: &[(&str, &str)], nack: bool) -> Codec {
        let params: BTreeMap<String, String> =
            params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let feedback = nack.then(|| FeedbackParam { id: "nack".to_owned(), param: String::new() });
        let feedback = feedback.into_iter().collect();
        Codec { payload_type, name: name.to_owned(), clock_rate: 90_000, channels: 0, params, feedback }
    }

    fn stream() -> EchoStream {
        let mut stream = EchoStream::new();
        stream.set_codecs(&[
            codec(96, "VP8", &[], true),
            codec(97, "rtx", &[("apt", "96")], false),
            codec(98, "flexfec-03", &[], false),
        ]);
        stream
    }

    fn packet(ssrc: u32, sequence_number: u16) -> RtpPacket {
        RtpPacket {
            payload_type: 96,
            ssrc,
            sequence_number,
            timestamp: u32::from(sequence_number) * 10,
            payload: Bytes::from_static(b"media"),
            ..RtpPacket::default()
        }
    }

    #[test]
    fn numbers_pass_and_repetitions_do_not() {
        let (now, mut stream) = (Instant::now(), stream());
        assert_eq!(stream.on_packet(now, packet(1, 5)), Some(packet(1, 5)));
        assert_eq!(stream.on_packet(now, packet(1, 7)).map(|sent| sent.sequence_number), Some(7));
        assert_eq!(stream.on_packet(now, packet(1, 5)), None);
        assert_eq!(stream.on_packet(now, packet(1, 6)).map(|sent| sent.sequence_number), Some(6));
        assert_eq!(stream.sent(6), Some(&packet(1, 6)));
        assert_eq!(stream.ssrc(), Some(1));
    }

    #[test]
    fn a_retransmission_fills_its_gap_and_padding_goes_nowhere() {
        let (now, mut stream) = (Instant::now(), stream());
        let rtx = |payload: &'static [u8]| RtpPacket {
            payload_type: 97,
            ssrc: 2,
            payload: Bytes::from_static(payload),
            timestamp: 60,
            ..packet(2, 900)
        };
        assert_eq!(stream.on_packet(now, rtx(&[0, 6, 1])), None, "nothing to repair yet");
        stream.on_packet(now, packet(1, 5));
        stream.on_packet(now, packet(1, 7));
        let due = stream.next_due().unwrap();
        assert_eq!(stream.requests(due), [6]);
        let repaired = stream.on_packet(now, rtx(&[0, 6, b'x'])).unwrap();
        assert_eq!((repaired.payload_type, repaired.sequence_number, repaired.ssrc), (96, 6, 1));
        assert_eq!(repaired.payload, Bytes::from_static(b"x"));
        assert_eq!(stream.next_due(), None);
        for padding in [&[][..], &[0], &[0, 8]] {
            let padding = Bytes::copy_from_slice(padding);
            assert_eq!(stream.on_packet(now, RtpPacket { payload: padding, ..rtx(&[]) }), None);
        }
        assert_eq!(stream.on_packet(now, RtpPacket { payload_type: 98, ..packet(3, 1) }), None);
    }

    #[test]
    fn a_second_stream_waits_for_silence_and_continues_the_numbers() {
        let (now, mut stream) = (Instant::now(), stream());
        stream.on_packet(now, packet(1, 100));
        assert_eq!(stream.on_packet(now, packet(2, 40_000)), None);
        let sent = stream.on_packet(now + SILENCE, packet(2, 40_000)).unwrap();
        assert_eq!((sent.sequence_number, sent.timestamp), (101, 4_000));
        assert_eq!(stream.on_packet(now + SILENCE, packet(2, 40_002)).unwrap().sequence_number, 103);
        let due = stream.next_due().unwrap();
        assert_eq!(stream.requests(due), [40_001], "asked for by the peer's number");
        assert_eq!(stream.on_packet(now + SILENCE, packet(1, 101)), None);
    }

    #[test]
    fn what_was_not_negotiated_with_nack_is_not_asked_for() {
        let (now, mut stream) = (Instant::now(), EchoStream::new());
        stream.set_codecs(&[codec(111, "opus", &[], false)]);
        stream.on_packet(now, RtpPacket { payload_type: 111, ..packet(1, 1) });
        stream.on_packet(now, RtpPacket { payload_type: 111, ..packet(1, 3) });
        let due = stream.next_due().unwrap();
        assert_eq!(stream.requests(due), Vec::<u16>::new());
        assert!(stream.knows(111) && !stream.knows(96));
    }

    #[test]
    fn extensions_of_the_hop_are_left_out() {
        let (now, mut stream) = (Instant::now(), stream());
        let extension = |uri: &str| RtpHeaderExtension { uri: uri.into(), value: Bytes::from_static(b"1") };
        let kept = extension("urn:3gpp:video-orientation");
        let header_extensions =
            HOP_EXTENSIONS.iter().map(|uri| extension(uri)).chain([kept.clone()]).collect();
        let sent = stream.on_packet(now, RtpPacket { header_extensions, ..packet(1, 1) }).unwrap();
        assert_eq!(sent.header_extensions, [kept]);
    }
}
