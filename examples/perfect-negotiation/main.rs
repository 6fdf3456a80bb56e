//! Both sides offer whenever they like, even at once: the perfect negotiation of webrtc-pc section 10.7 over a
//! WebSocket. What the page sends it sees come back.
//!
//! ```text
//! cargo run --example perfect-negotiation       then open the address it prints
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has tasks of its own")]

#[path = "../common/mod.rs"]
mod common;
mod negotiator;

use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{self, WebSocket};
use axum::routing::get;
use peerstack::{
    PeerConnection, PeerConnectionEvent, PeerConnectionFactory, RtpTransceiver, SignalingState, TrackKind,
};
use tracing::warn;

use crate::common::signaling::Refusal;
use crate::negotiator::{Message, Negotiator};

#[tokio::main]
async fn main() -> ExitCode {
    let about = "Both sides offer whenever they like, even at once.";
    common::run("perfect-negotiation", about, &[], |args| {
        let factory = Arc::new(PeerConnectionFactory::new().map_err(|error| error.to_string())?);
        let configuration = args.configuration();
        Ok(common::page(include_str!("page.html")).route(
            "/signaling",
            get(async move |upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(async move |socket| {
                    let Ok(pc) = factory.create_peer_connection(configuration.clone()) else { return };
                    if let Err(Refusal(why)) = negotiate(&pc, socket).await {
                        warn!(why, "negotiation ended");
                    }
                    pc.close();
                })
            }),
        ))
    })
    .await
}

/// The page is polite, this side is not.
async fn negotiate(pc: &PeerConnection, mut socket: WebSocket) -> Result<(), Refusal> {
    let mut events = pc.events();
    let mut negotiator = Negotiator::new(pc.clone(), false);
    loop {
        let reply = tokio::select! {
            Some(event) = events.next() => {
                if let PeerConnectionEvent::Track(event) = &event {
                    tokio::spawn(send_back(event.transceiver.clone()));
                }
                negotiator.on_event(&event).await?
            }
            message = socket.recv() => match message {
                // The page asks this side to offer too, while its own offer is on the way.
                Some(Ok(ws::Message::Text(text))) if text == "offer" => {
                    pc.restart_ice();
                    let stable = pc.signaling_state() == SignalingState::Stable;
                    if stable { Some(negotiator.describe().await?) } else { None }
                }
                Some(Ok(ws::Message::Text(text))) => {
                    let message: Message = serde_json::from_str(&text).map_err(|error| Refusal(error.to_string()))?;
                    negotiator.on_message(message).await?
                }
                Some(Ok(ws::Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => None,
            },
        };
        if let Some(reply) = reply {
            let text = serde_json::to_string(&reply).map_err(|error| Refusal(error.to_string()))?;
            if socket.send(ws::Message::text(text)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Packets as they come, and requests for key frames the other way.
async fn send_back(transceiver: RtpTransceiver) {
    let (track, sender) = (transceiver.receiver().track(), transceiver.sender());
    let mut last_ssrc = 0;
    loop {
        tokio::select! {
            packet = track.recv() => {
                let Some(packet) = packet else { return };
                // Retransmissions and error correction are made for one way only.
                let media = sender.codecs().iter().any(|codec| codec.payload_type == packet.payload_type && codec.is_media());
                if media {
                    last_ssrc = packet.ssrc;
                    // Not while the section does not send.
                    let _ = sender.send_rtp(packet);
                }
            }
            feedback = sender.next_feedback() => match feedback {
                Some(_) if track.kind() == TrackKind::Video => transceiver.receiver().send_pli(last_ssrc),
                Some(_) => {}
                None => return,
            },
        }
    }
}
