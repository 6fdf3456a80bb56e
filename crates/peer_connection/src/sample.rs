//! Samples: whole frames in and out, with RTP between (webrtc-encoded-transform has the browser's name for what passes
//! here). The application's side; packetizers and depacketizers are in `peerstack-media`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peerstack_base::Random;
use peerstack_jsep::Codec;
use peerstack_media::{FrameAssembler, FrameAssemblerStats, Packetizer, PayloadFormat};

use crate::rtp_packet::RtpPacket;
use crate::{RtcError, RtcErrorKind};

/// Bytes of payload at most, so that with all headers a packet keeps within 1,200 (libwebrtc's limit too).
const MAX_PAYLOAD: usize = 1_120;

/// A frame to send: an Opus or G.711 packet, a VP8 or VP9 frame, an access unit of H.264 or H.265 with start codes, a
/// temporal unit of AV1 in low-overhead format. Not W3C's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Sample {
    /// Its bytes.
    pub data: Bytes,
    /// How long it lasts: the next one's timestamp is as much later.
    pub duration: Duration,
    /// Its RTP timestamp; by default what the durations before it make.
    pub timestamp: Option<u32>,
    /// The encoding it belongs to, where the sender has several.
    pub rid: Option<Arc<str>>,
}

impl Sample {
    /// A frame that lasts `duration`.
    pub fn new(data: impl Into<Bytes>, duration: Duration) -> Self {
        Self { data: data.into(), duration, ..Self::default() }
    }

    /// Of this encoding.
    #[must_use]
    pub fn with_rid(mut self, rid: impl Into<Arc<str>>) -> Self {
        self.rid = Some(rid.into());
        self
    }

    /// At this RTP timestamp.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: u32) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// A frame that was received, whole. Not W3C's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedSample {
    /// Its bytes, in the form of [`Sample`].
    pub data: Bytes,
    /// RTP timestamp, in ticks of the codec's clock.
    pub timestamp: u32,
    /// Whether decoding can begin here; true for audio.
    pub key_frame: bool,
    /// Packets lost or dropped between the sample before and this one; not 0 means that video before the next key frame
    /// may not decode, and that H.264 and H.265 may lack the beginning of the frame.
    pub lost_packets: u64,
    /// The encoding it belongs to, where the peer sends several.
    pub rid: Option<Arc<str>>,
}

fn format_of(codec: &Codec) -> Result<PayloadFormat, RtcError> {
    let mode = codec.params.get("packetization-mode").map(String::as_str);
    PayloadFormat::of(&codec.name, mode).ok_or_else(|| {
        let text = format!("how {:?} stands in RTP is not known here: send and read RTP packets", codec.name);
        RtcError::new(RtcErrorKind::NotSupportedError, text)
    })
}

/// Not W3C's. Puts the packets of one encoding in order and gives out whole frames; what is late is waited for, what
/// is lost is said.
///
/// ```
/// use peerstack_peer_connection::{Codec, RtpPacket, SampleBuilder};
///
/// # fn main() -> Result<(), peerstack_peer_connection::RtcError> {
/// let mut builder = SampleBuilder::new(&Codec::audio(111, "opus", 48_000, 2))?;
/// builder.push(RtpPacket { payload_type: 111, payload: vec![0x78, 1, 2].into(), ..RtpPacket::default() });
/// assert_eq!(&builder.pop().unwrap().data[..], [0x78, 1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SampleBuilder {
    payload_type: u8,
    window: u16,
    format: PayloadFormat,
    assembler: FrameAssembler,
    ssrc: Option<u32>,
    rid: Option<Arc<str>>,
    other_packets: u64,
}

impl SampleBuilder {
    /// For packets of this codec, one of [`RtpReceiver::get_parameters`](crate::RtpReceiver::get_parameters). A missing
    /// packet is waited for until 64 packets of audio, or 512 of video, have come behind it.
    ///
    /// # Errors
    /// `NotSupportedError` for a codec whose payload format is not known.
    pub fn new(codec: &Codec) -> Result<Self, RtcError> {
        let window = if format_of(codec)?.is_video() { 512 } else { 64 };
        Self::with_window(codec, window)
    }

    /// As [`new`](Self::new), but a missing packet is waited for until `window` packets (1 to 8,192) have come behind
    /// it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_window(codec: &Codec, window: u16) -> Result<Self, RtcError> {
        let format = format_of(codec)?;
        let assembler = FrameAssembler::new(format, window);
        let payload_type = codec.payload_type;
        Ok(Self { payload_type, window, format, assembler, ssrc: None, rid: None, other_packets: 0 })
    }

    /// Takes a packet. One of another payload type is left out and counted; one of another SSRC begins anew.
    pub fn push(&mut self, packet: RtpPacket) {
        if packet.payload_type != self.payload_type {
            self.other_packets += 1;
            return;
        }
        if self.ssrc.is_some_and(|ssrc| ssrc != packet.ssrc) {
            self.assembler = FrameAssembler::new(self.format, self.window);
        }
        self.ssrc = Some(packet.ssrc);
        self.rid = packet.rid;
        self.assembler.push(packet.sequence_number, packet.timestamp, packet.marker, packet.payload);
    }

    /// The next frame, if it is whole.
    pub fn pop(&mut self) -> Option<ReceivedSample> {
        let frame = self.assembler.pop()?;
        Some(ReceivedSample {
            data: frame.data,
            timestamp: frame.timestamp,
            key_frame: frame.key_frame,
            lost_packets: frame.lost_packets,
            rid: self.rid.clone(),
        })
    }

    /// Packets that never came.
    pub fn packets_lost(&self) -> u64 {
        self.stats().lost
    }

    /// Packets left out: of another payload type, twice, too late, of frames that were not whole.
    pub fn packets_discarded(&self) -> u64 {
        let stats = self.stats();
        self.other_packets + stats.late + stats.dropped
    }

    fn stats(&self) -> FrameAssemblerStats {
        self.assembler.stats()
    }
}

/// The samples one sender sends: a packetizer for each encoding.
#[derive(Debug)]
pub(crate) struct SampleSender {
    random: Random,
    streams: BTreeMap<u32, Stream>,
}

#[derive(Debug)]
struct Stream {
    packetizer: Packetizer,
    payload_type: u8,
    clock_rate: u32,
    sequence_number: u16,
    /// Timestamp of the first sample of this clock, and what passed since.
    base: u32,
    elapsed: Duration,
}

impl Stream {
    fn timestamp(&self) -> u32 {
        let ticks = self.elapsed.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000;
        // Timestamps wrap.
        self.base.wrapping_add(ticks as u32)
    }
}

impl SampleSender {
    pub(crate) fn new(random: Random) -> Self {
        Self { random, streams: BTreeMap::new() }
    }

    /// The packets of a sample for the encoding of this SSRC, sent with `codec`.
    pub(crate) fn packets(
        &mut self,
        ssrc: u32,
        codec: &Codec,
        sample: Sample,
    ) -> Result<Vec<RtpPacket>, RtcError> {
        let format = format_of(codec)?;
        let Self { random, streams } = self;
        let stream = streams.entry(ssrc).or_insert_with(|| Stream {
            packetizer: Packetizer::new(format, MAX_PAYLOAD, random.u32() as u16),
            payload_type: codec.payload_type,
            clock_rate: codec.clock_rate,
            // Below the middle, as libwebrtc begins: the first loss must not look like a wrap (RFC 3711 section 3.3.1).
            sequence_number: random.u32() as u16 & 0x7FFF,
            base: random.u32(),
            elapsed: Duration::ZERO,
        });
        if stream.packetizer.format() != format {
            stream.packetizer = Packetizer::new(format, MAX_PAYLOAD, random.u32() as u16);
        }
        if stream.clock_rate != codec.clock_rate {
            (stream.base, stream.elapsed) = (stream.timestamp(), Duration::ZERO);
            stream.clock_rate = codec.clock_rate;
        }
        stream.payload_type = codec.payload_type;
        let payloads = stream.packetizer.packetize(&sample.data).map_err(|error| {
            RtcError::operation(format!("the sample is no {} to be sent: {error}", codec.name))
        })?;
        if let Some(timestamp) = sample.timestamp {
            (stream.base, stream.elapsed) = (timestamp, Duration::ZERO);
        }
        let timestamp = stream.timestamp();
        stream.elapsed += sample.duration;
        let last = payloads.len().saturating_sub(1);
        let packets = payloads.into_iter().enumerate().map(|(index, payload)| {
            let sequence_number = stream.sequence_number;
            stream.sequence_number = sequence_number.wrapping_add(1);
            RtpPacket {
                payload_type: stream.payload_type,
                marker: format.is_video() && index == last,
                sequence_number,
                timestamp,
                rid: sample.rid.clone(),
                payload,
                ..RtpPacket::default()
            }
        });
        Ok(packets.collect())
    }
}
