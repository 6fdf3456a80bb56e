//! Writes what a browser sends into files that players play: Opus in Ogg, VP8 in IVF.
//!
//! ```text
//! cargo run --example save-to-disk -- --folder /tmp/recordings     then open the address it prints
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has tasks of its own")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/ivf.rs"]
#[allow(dead_code, reason = "what reads is for play-from-disk")]
mod ivf;
#[path = "../common/ogg_opus.rs"]
#[allow(dead_code, reason = "what reads is for play-from-disk")]
mod ogg_opus;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use axum::Json;
use peerstack::{
    Codec, PeerConnection, PeerConnectionEvent, ReceivedSample, RtpTransceiver, RtpTransceiverDirection,
    SampleBuilder, TrackKind,
};
use tracing::error;

use crate::common::Flag;
use crate::common::signaling::{self, Description, Refusal};

const FLAGS: &[Flag] =
    &[Flag { name: "--folder", about: "where audio.ogg and video.ivf are written", default: "." }];
/// A key frame is asked for as long as there is none.
const KEY_FRAME: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> ExitCode {
    common::run("save-to-disk", "Writes what a browser sends into files.", FLAGS, |args| {
        let folder = PathBuf::from(args.value("--folder"));
        if !folder.is_dir() {
            return Err(format!("--folder: {} is no folder", folder.display()));
        }
        let offers = signaling::offers(args, move |pc, offer| {
            let folder = folder.clone();
            async move { answer(&pc, offer, &folder).await }
        })?;
        Ok(common::page(include_str!("page.html")).merge(offers))
    })
    .await
}

async fn answer(
    pc: &PeerConnection,
    offer: Description,
    folder: &Path,
) -> Result<Json<Description>, Refusal> {
    let mut events = pc.events();
    pc.set_remote_description(offer.try_into()?).await?;
    for transceiver in pc.transceivers() {
        // The codecs whose files are written here.
        let codec = match transceiver.kind() {
            TrackKind::Audio => Codec::audio(0, "opus", 48_000, 2),
            TrackKind::Video => Codec::video(0, "VP8"),
        };
        transceiver.set_codec_preferences(vec![codec])?;
        transceiver.set_direction(RtpTransceiverDirection::Recvonly)?;
    }
    let answer = signaling::answer(pc).await?;
    let folder = folder.to_owned();
    tokio::spawn(signaling::run_until_over(pc.clone()));
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let PeerConnectionEvent::Track(event) = event else { continue };
            let folder = folder.clone();
            tokio::spawn(async move {
                if let Err(error) = save(event.transceiver, &folder).await {
                    error!(%error, "recording ended");
                }
            });
        }
    });
    Ok(Json(answer.into()))
}

/// Writes one track until it ends.
async fn save(transceiver: RtpTransceiver, folder: &Path) -> io::Result<()> {
    let receiver = transceiver.receiver();
    let track = receiver.track();
    let Some(codec) = receiver.get_parameters().codecs.into_iter().find(Codec::is_media) else {
        return Ok(());
    };
    let mut samples = SampleBuilder::new(&codec).map_err(io::Error::other)?;
    let mut recording = None;
    let mut key_frame = tokio::time::interval(KEY_FRAME);
    let mut ssrc = None;
    loop {
        let packet = tokio::select! {
            packet = track.recv() => packet,
            // Files of video begin with a key frame.
            _ = key_frame.tick() => {
                if let (None, Some(ssrc), TrackKind::Video) = (&recording, ssrc, track.kind()) {
                    receiver.send_pli(ssrc);
                }
                continue;
            }
        };
        let Some(packet) = packet else { break };
        ssrc = Some(packet.ssrc);
        samples.push(packet);
        while let Some(sample) = samples.pop() {
            if sample.lost_packets > 0
                && track.kind() == TrackKind::Video
                && let Some(ssrc) = ssrc
            {
                receiver.send_pli(ssrc);
            }
            if recording.is_none() && sample.key_frame {
                recording = Some(Recording::new(folder, track.kind(), &sample)?);
            }
            if let Some(recording) = &mut recording {
                recording.write(&sample)?;
            }
        }
    }
    recording.map_or(Ok(()), |mut recording| recording.finish())
}

/// A file of one kind.
enum Recording {
    Audio(ogg_opus::Writer<BufWriter<File>>),
    Video { file: ivf::Writer<BufWriter<File>>, last: u32, time: u64 },
}

impl Recording {
    fn new(folder: &Path, kind: TrackKind, first: &ReceivedSample) -> io::Result<Self> {
        if kind == TrackKind::Audio {
            let file = BufWriter::new(File::create(folder.join("audio.ogg"))?);
            return Ok(Self::Audio(ogg_opus::Writer::new(file, 1, 2)?));
        }
        let (width, height) = vp8_size(&first.data).unwrap_or_default();
        let header = ivf::Header { codec: *b"VP80", width, height, clock_rate: 90_000 };
        let file = ivf::Writer::new(BufWriter::new(File::create(folder.join("video.ivf"))?), header)?;
        Ok(Self::Video { file, last: first.timestamp, time: 0 })
    }

    fn write(&mut self, sample: &ReceivedSample) -> io::Result<()> {
        match self {
            Self::Audio(file) => file.write(&sample.data),
            Self::Video { file, last, time } => {
                // Timestamps wrap.
                *time += u64::from(sample.timestamp.wrapping_sub(*last));
                *last = sample.timestamp;
                file.write(*time, &sample.data)
            }
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Audio(file) => file.finish(),
            Self::Video { file, .. } => file.finish().map(|frames| println!("video.ivf: {frames} frames")),
        }
    }
}

/// Width and height in the header of a key frame (RFC 6386 section 9.1).
fn vp8_size(frame: &[u8]) -> Option<(u16, u16)> {
    let size = frame.get(3..10)?.strip_prefix(&[0x9d, 0x01, 0x2a])?;
    let side = |at: usize| Some(u16::from_le_bytes([*size.get(at)?, *size.get(at + 1)?]) & 0x3fff);
    Some((side(0)?, side(2)?))
}
