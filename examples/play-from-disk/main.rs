//! Plays audio.ogg (Opus) and video.ivf (VP8) to browsers, over and over: what save-to-disk writes, or
//! `ffmpeg -i FILE -c:v libvpx -g 30 video.ivf -c:a libopus -page_duration 20000 audio.ogg`.
//!
//! ```text
//! cargo run --example play-from-disk -- --folder /tmp/recordings     then open the address it prints
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has clocks and tasks of its own")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/ivf.rs"]
#[allow(dead_code, reason = "what writes is for save-to-disk")]
mod ivf;
#[path = "../common/ogg_opus.rs"]
#[allow(dead_code, reason = "what writes is for save-to-disk")]
mod ogg_opus;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use peerstack::{
    Codec, MediaStreamTrack, PeerConnection, PeerConnectionState, RtcError, RtcpFeedback, RtpSender,
    RtpTransceiverDirection, Sample, TrackKind,
};
use tokio::time::{Instant, sleep_until};

use crate::common::Flag;
use crate::common::signaling::{self, Description, Refusal};

const FLAGS: &[Flag] = &[Flag { name: "--folder", about: "where audio.ogg and video.ivf are", default: "." }];

/// A file in memory: frames and how long each lasts.
type Clip = Arc<[(Vec<u8>, Duration)]>;

#[tokio::main]
async fn main() -> ExitCode {
    common::run("play-from-disk", "Plays audio.ogg and video.ivf to browsers.", FLAGS, |args| {
        let folder = Path::new(args.value("--folder"));
        let (audio, video) = (read_audio(&folder.join("audio.ogg"))?, read_video(&folder.join("video.ivf"))?);
        let offers = signaling::offers(args, move |pc, offer| {
            let (audio, video) = (Clip::clone(&audio), Clip::clone(&video));
            async move { answer(&pc, offer, &audio, &video).await }
        })?;
        Ok(common::page(include_str!("page.html")).merge(offers))
    })
    .await
}

fn open(path: &Path) -> Result<BufReader<File>, String> {
    File::open(path).map(BufReader::new).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_audio(path: &Path) -> Result<Clip, String> {
    let packets = ogg_opus::read(open(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    let length = |packet: &[u8]| Duration::from_secs(ogg_opus::samples(packet)) / ogg_opus::CLOCK_RATE as u32;
    Ok(packets.into_iter().map(|packet| (packet.clone(), length(&packet))).collect())
}

fn read_video(path: &Path) -> Result<Clip, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = ivf::Reader::new(open(path)?).map_err(wrong)?;
    if &file.header.codec != b"VP80" {
        return Err(format!("{}: the codec is not VP8", path.display()));
    }
    let mut frames = Vec::new();
    while let Some(frame) = file.next_frame().map_err(wrong)? {
        frames.push(frame);
    }
    let rate = file.header.clock_rate;
    let next = frames.iter().skip(1).map(|(time, _)| Some(*time)).chain([None]);
    let lengths: Vec<_> = frames
        .iter()
        .zip(next)
        .map(|((time, _), next)| {
            // The last one lasts as long as one of thirty in a second.
            next.map_or(Duration::from_millis(33), |next| {
                Duration::from_secs_f64(next.saturating_sub(*time) as f64 / f64::from(rate))
            })
        })
        .collect();
    Ok(frames.into_iter().map(|(_, frame)| frame).zip(lengths).collect())
}

async fn answer(
    pc: &PeerConnection,
    offer: Description,
    audio: &Clip,
    video: &Clip,
) -> Result<Json<Description>, Refusal> {
    pc.set_remote_description(offer.try_into()?).await?;
    for transceiver in pc.transceivers() {
        let (codec, clip) = match transceiver.kind() {
            TrackKind::Audio => (Codec::audio(0, "opus", 48_000, 2), audio),
            TrackKind::Video => (Codec::video(0, "VP8"), video),
        };
        transceiver.set_codec_preferences(vec![codec])?;
        transceiver.sender().replace_track(Some(MediaStreamTrack::new(transceiver.kind())))?;
        transceiver.sender().set_streams(&["disk".to_owned()])?;
        transceiver.set_direction(RtpTransceiverDirection::Sendonly)?;
        tokio::spawn(play(pc.clone(), transceiver.sender(), Arc::clone(clip)));
    }
    tokio::spawn(signaling::run_until_over(pc.clone()));
    Ok(Json(signaling::answer(pc).await?.into()))
}

/// Sends a clip over and over, each frame at its time, from when the connection stands until it ends.
async fn play(pc: PeerConnection, sender: RtpSender, clip: Clip) -> Result<(), RtcError> {
    let mut events = pc.events();
    while pc.connection_state() != PeerConnectionState::Connected {
        if events.next().await.is_none() {
            return Ok(());
        }
    }
    let (mut at, mut due, mut since_start) = (0, Instant::now(), 0);
    while let Some((frame, length)) = clip.get(at) {
        sender.send_sample(Sample::new(frame.clone(), *length))?;
        due += *length;
        at = (at + 1) % clip.len();
        since_start += 1;
        tokio::select! {
            () = sleep_until(due) => {}
            // The first frame is a key frame: who needs one sees the clip from its start.
            feedback = sender.next_feedback() => match feedback {
                Some(RtcpFeedback::Pli { .. } | RtcpFeedback::Fir { .. }) if since_start > 30 => (at, since_start) = (0, 0),
                Some(_) => sleep_until(due).await,
                None => return Ok(()),
            }
        }
    }
    Ok(())
}
