//! Shows what a browser's webrtc-internals page would show of the peer in this program, each second, and writes it to a
//! file in the format of that page's dump.
//!
//! ```text
//! cargo run --example stats -- --file /tmp/dump.json       then open the address it prints
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has clocks and tasks of its own")]

#[path = "../common/mod.rs"]
mod common;
mod dump;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use peerstack::{
    DataChannelEvent, PeerConnection, PeerConnectionEvent, PeerConnectionFactory, RtpTransceiver,
    RtpTransceiverDirection,
};
use serde_json::{Value, json};
use tokio::time::interval;

use crate::common::signaling::{self, Description, Refusal};
use crate::common::{Args, Flag};
use crate::dump::Dump;

const FLAGS: &[Flag] =
    &[Flag { name: "--file", about: "where the dump is written", default: "webrtc_internals_dump.txt" }];
/// How often the connection is measured, as webrtc-internals does.
const PERIOD: Duration = Duration::from_secs(1);

struct Server {
    factory: PeerConnectionFactory,
    args: Args,
    /// The last of each connection, for the page.
    shown: Mutex<BTreeMap<u64, Value>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    common::run("stats", "Shows what webrtc-internals would show of this peer.", FLAGS, |args| {
        let factory = PeerConnectionFactory::new().map_err(|error| error.to_string())?;
        let server = Arc::new(Server { factory, args: args.clone(), shown: Mutex::default() });
        let router = Router::new()
            .route("/offer", post(offer))
            .route("/stats/{number}", get(shown))
            .with_state(server);
        Ok(common::page(include_str!("page.html")).merge(router))
    })
    .await
}

async fn shown(State(server): State<Arc<Server>>, Path(number): Path<u64>) -> Json<Value> {
    Json(
        server.shown.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned().unwrap_or_default(),
    )
}

async fn offer(
    State(server): State<Arc<Server>>,
    Json(offer): Json<Description>,
) -> Result<Json<Value>, Refusal> {
    let pc = server.factory.create_peer_connection(server.args.configuration())?;
    let number = {
        let mut shown = server.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let number = shown.last_key_value().map_or(0, |(last, _)| last + 1);
        shown.insert(number, Value::Null);
        number
    };
    let mut dump = Dump::new(number, dump::now());
    dump.note("setRemoteDescription", json!(offer));
    pc.set_remote_description(offer.try_into()?).await?;
    for transceiver in pc.transceivers() {
        transceiver.set_direction(RtpTransceiverDirection::Sendrecv)?;
        tokio::spawn(send_back(transceiver));
    }
    tokio::spawn(measure(Arc::clone(&server), pc.clone(), dump, number));
    let answer: Description = signaling::answer(&pc).await?.into();
    Ok(Json(json!({ "type": answer.kind, "sdp": answer.sdp, "number": number })))
}

/// Samples until the connection is over, then writes the dump.
async fn measure(server: Arc<Server>, pc: PeerConnection, mut dump: Dump, number: u64) {
    let (mut events, mut tick) = (pc.events(), interval(PERIOD));
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let Ok(report) = pc.stats().await else { break };
                let report = serde_json::to_value(&report).unwrap_or_default();
                dump.sample(dump::now(), &report);
                server.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(number, report);
            }
            Some(event) = events.next() => {
                if let Some((name, value)) = dump::told(&event) {
                    dump.note(name, value);
                }
                if signaling::is_over(&pc, &event) {
                    break;
                }
                if let PeerConnectionEvent::DataChannel(channel) = event {
                        tokio::spawn(async move {
                            while let Some(event) = channel.next_event().await {
                                if let DataChannelEvent::Message(message) = event {
                                    let _ = channel.send(message);
                                }
                            }
                        });
                }
            }
        }
    }
    pc.close();
    server.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    let path = PathBuf::from(server.args.value("--file"));
    match std::fs::write(&path, dump.to_json().to_string()) {
        Ok(()) => println!("{} is written", path.display()),
        Err(error) => eprintln!("{}: {error}", path.display()),
    }
}

/// What comes goes back, so that there is something to measure both ways.
async fn send_back(transceiver: RtpTransceiver) {
    let (track, sender) = (transceiver.receiver().track(), transceiver.sender());
    while let Some(packet) = track.recv().await {
        if sender.codecs().iter().any(|codec| codec.payload_type == packet.payload_type && codec.is_media()) {
            // Not before the connection is there.
            let _ = sender.send_rtp(packet);
        }
    }
}
