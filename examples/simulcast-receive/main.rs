//! Receives a picture in three sizes at once, told apart by RID, and sends back the one that the page asks for: what an
//! SFU does for each of its viewers.
//!
//! ```text
//! cargo run --example simulcast-receive       then open the address it prints, in Chromium
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has clocks and tasks of its own")]

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use axum::Json;
use peerstack::{
    Codec, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, MediaStreamTrack,
    PeerConnection, PeerConnectionEvent, RtpPacket, RtpTransceiver, RtpTransceiverDirection,
};
use serde_json::json;
use tokio::time::interval;

use crate::common::signaling::{self, Description, Refusal};

/// What the peer may send, in bits a second: an SFU would measure the way instead.
const BITRATE: u32 = 4_000_000;
/// How often the peer is told.
const ESTIMATE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> ExitCode {
    common::run("simulcast-receive", "Receives three layers and sends one of them back.", &[], |args| {
        let offers = signaling::offers(args, async |pc, offer| answer(&pc, offer).await)?;
        Ok(common::page(include_str!("page.html")).merge(offers))
    })
    .await
}

async fn answer(pc: &PeerConnection, offer: Description) -> Result<Json<Description>, Refusal> {
    let mut events = pc.events();
    let control = pc.create_data_channel(
        "layers",
        DataChannelInit { negotiated: true, id: Some(0), ..DataChannelInit::default() },
    )?;
    pc.set_remote_description(offer.try_into()?).await?;
    for transceiver in pc.transceivers() {
        // One codec, so that a change of layers is one of sizes alone.
        transceiver.set_codec_preferences(vec![Codec::video(0, "VP8")])?;
        transceiver.sender().replace_track(Some(MediaStreamTrack::new(transceiver.kind())))?;
        transceiver.set_direction(RtpTransceiverDirection::Sendrecv)?;
    }
    tokio::spawn(signaling::run_until_over(pc.clone()));
    let answer = signaling::answer(pc).await?;
    let pc = pc.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let PeerConnectionEvent::Track(event) = event {
                tokio::spawn(select(pc.clone(), event.transceiver, control.clone()));
            }
        }
    });
    Ok(Json(answer.into()))
}

/// Passes the packets of one layer on. The page names it on the data channel, and is told there each time it does what the
/// statistics say of each layer.
async fn select(pc: PeerConnection, transceiver: RtpTransceiver, control: DataChannel) {
    let (track, sender, receiver) =
        (transceiver.receiver().track(), transceiver.sender(), transceiver.receiver());
    // Their SSRCs by RID.
    let mut layers: BTreeMap<String, u32> = BTreeMap::new();
    let mut wanted = String::new();
    let mut switch = Switch::default();
    let mut estimate = interval(ESTIMATE);
    loop {
        tokio::select! {
            packet = track.recv() => {
                let Some(packet) = packet else { return };
                let rid = packet.rid.as_deref().unwrap_or_default().to_owned();
                let media = sender.codecs().iter().any(|codec| codec.payload_type == packet.payload_type && codec.is_media());
                if !media {
                    continue;
                }
                layers.insert(rid.clone(), packet.ssrc);
                if rid == wanted && let Some(packet) = switch.pass(packet) {
                    // Not before the connection is there.
                    let _ = sender.send_rtp(packet);
                }
            }
            event = control.next_event() => match event {
                Some(DataChannelEvent::Message(DataChannelMessage::Text(rid))) => {
                    if let Some(ssrc) = layers.get(&rid).filter(|_| rid != wanted) {
                        wanted = rid;
                        switch.begin();
                        // The new layer can be shown from its next key frame on.
                        receiver.send_pli(*ssrc);
                    }
                    let Ok(report) = receiver.stats().await else { return };
                    let counts: BTreeMap<_, _> = report.inbound_rtp.iter()
                        .map(|one| (one.rid.as_deref().unwrap_or_default(), json!({
                            "ssrc": one.ssrc, "packets": one.packets_received, "bytes": one.bytes_received,
                            "frames": one.frames_received, "again": one.retransmitted_packets_received,
                        })))
                        .collect();
                    let _ = control.send_text(json!(counts).to_string());
                }
                Some(_) => {}
                None => return,
            },
            // Browsers send the larger layers only where they know that there is room.
            _ = estimate.tick() => if let Some(mid) = transceiver.mid() {
                let ssrcs: Vec<u32> = layers.values().copied().collect();
                let _ = pc.send_rtcp(&mid, remb(BITRATE, &ssrcs).into());
            },
            feedback = sender.next_feedback() => {
                if feedback.is_none() { return }
                if let Some(ssrc) = layers.get(&wanted) {
                    receiver.send_pli(*ssrc);
                }
            }
        }
    }
}

/// "Receiver estimated maximum bitrate" (draft-alvestrand-rmcat-remb section 2.2), behind an empty receiver report: a
/// compound begins with a report (RFC 3550 section 6.1).
fn remb(bitrate: u32, ssrcs: &[u32]) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
    // 18 bits of mantissa, the exponent before them.
    let exponent = (32 - bitrate.leading_zeros()).saturating_sub(18);
    packet.extend([0x8f, 206, 0, 4 + ssrcs.len() as u8]);
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    packet.extend(b"REMB");
    packet.extend(((ssrcs.len() as u32) << 24 | exponent << 18 | bitrate >> exponent).to_be_bytes());
    packet.extend(ssrcs.iter().flat_map(|ssrc| ssrc.to_be_bytes()));
    packet
}

/// Makes one stream of parts of several: sequence numbers and timestamps go on where the last layer ended.
#[derive(Debug, Default)]
struct Switch {
    /// Waits for a key frame before it passes anything on.
    waiting: bool,
    started: bool,
    last: (u16, u32),
    offset: (u16, u32),
}

impl Switch {
    fn begin(&mut self) {
        self.waiting = true;
    }

    fn pass(&mut self, mut packet: RtpPacket) -> Option<RtpPacket> {
        if self.waiting {
            if !begins_key_frame(&packet.payload) {
                return None;
            }
            self.waiting = false;
            if self.started {
                let (sequence_number, timestamp) = self.last;
                self.offset = (
                    sequence_number.wrapping_add(1).wrapping_sub(packet.sequence_number),
                    // A frame later, at 30 in a second.
                    timestamp.wrapping_add(3_000).wrapping_sub(packet.timestamp),
                );
            }
            self.started = true;
        }
        packet.sequence_number = packet.sequence_number.wrapping_add(self.offset.0);
        packet.timestamp = packet.timestamp.wrapping_add(self.offset.1);
        // One encoding goes out, whatever came in.
        packet.rid = None;
        self.last = (packet.sequence_number, packet.timestamp);
        Some(packet)
    }
}

/// Whether a payload of VP8 begins a key frame (RFC 7741 section 4.2, RFC 6386 section 9.1).
fn begins_key_frame(payload: &[u8]) -> bool {
    let Some(&first) = payload.first() else { return false };
    let begins = first & 0x10 != 0 && first & 0x07 == 0;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extensions = payload.get(1).copied().unwrap_or_default();
        at += 1;
        if extensions & 0x80 != 0 {
            at += if payload.get(at).is_some_and(|id| id & 0x80 != 0) { 2 } else { 1 };
        }
        at += usize::from(extensions & 0x40 != 0) + usize::from(extensions & 0x30 != 0);
    }
    begins && payload.get(at).is_some_and(|frame| frame & 1 == 0)
}
