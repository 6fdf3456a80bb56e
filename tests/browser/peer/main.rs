//! The peer that the browser tests drive: a WebSocket is a connection, negotiated as the example perfect-negotiation
//! does, whose tracks and channels come back as the echo example sends them; a test asks for the rest by name.
//!
//! `--port` and `--bind` as the examples have them; `/peer?polite` is polite.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has clocks and tasks of its own")]

mod calls;
#[path = "../../../examples/common/mod.rs"]
mod common;
#[path = "../../../examples/echo/counters.rs"]
#[allow(dead_code, reason = "a part is needed here")]
mod counters;
#[path = "../../../examples/echo/echo_channel.rs"]
mod echo_channel;
#[path = "../../../examples/echo/echo_stream.rs"]
#[allow(dead_code, reason = "a part is needed here")]
mod echo_stream;
#[path = "../../../examples/echo/echo_track.rs"]
mod echo_track;
#[path = "../../../examples/echo/gap_detector.rs"]
#[allow(dead_code, reason = "a part is needed here")]
mod gap_detector;
#[path = "../../../examples/perfect-negotiation/negotiator.rs"]
mod negotiator;
#[path = "../../../examples/echo/packet_history.rs"]
#[allow(dead_code, reason = "a part is needed here")]
mod packet_history;

use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::ws::{self, WebSocket};
use axum::extract::{RawQuery, WebSocketUpgrade};
use axum::routing::get;
use peerstack::PeerConnectionFactory;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{debug, warn};

use crate::calls::Session;
use crate::negotiator::Message;

/// What comes over the WebSocket: signalling, or a call by name.
#[derive(Debug, Deserialize)]
struct Incoming {
    #[serde(flatten)]
    message: Message,
    call: Option<u64>,
    #[serde(default)]
    method: String,
    #[serde(default)]
    args: Value,
}

#[tokio::main]
async fn main() -> ExitCode {
    common::run("test-peer", "The peer that the browser tests drive.", &[], |args| {
        let factory = Arc::new(PeerConnectionFactory::new().map_err(|error| error.to_string())?);
        let configuration = args.configuration();
        Ok(common::page("").route(
            "/peer",
            get(async move |RawQuery(query): RawQuery, upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(async move |socket| {
                    match factory.create_peer_connection(configuration.clone()) {
                        Ok(pc) => serve(Session::new(pc, query.as_deref() == Some("polite")), socket).await,
                        Err(error) => warn!(%error, "no connection"),
                    }
                })
            }),
        ))
    })
    .await
}

async fn serve(mut session: Session, mut socket: WebSocket) {
    let mut events = session.pc.events();
    loop {
        let reply = tokio::select! {
            biased;
            incoming = socket.recv() => match incoming {
                Some(Ok(ws::Message::Text(text))) => on_text(&mut session, &text).await,
                Some(Ok(ws::Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => Vec::new(),
            },
            Some(event) = events.next() => {
                debug!(?event, "event");
                session.on_event(event).await
            }
        };
        for value in reply {
            if socket.send(ws::Message::text(value.to_string())).await.is_err() {
                break;
            }
        }
    }
    session.pc.close();
}

/// What goes back: an answer, a call's result, an error for the test to fail by.
async fn on_text(session: &mut Session, text: &str) -> Vec<Value> {
    let incoming: Incoming = match serde_json::from_str(text) {
        Ok(incoming) => incoming,
        Err(error) => return vec![json!({ "error": format!("{error}: {text}") })],
    };
    let Some(number) = incoming.call else { return session.on_message(incoming.message).await };
    let mut replies = Vec::new();
    match session.call(&incoming.method, &incoming.args, &mut replies).await {
        Ok(result) => replies.push(json!({ "reply": number, "result": result })),
        Err(error) => {
            replies.push(json!({ "reply": number, "error": format!("{}: {}", incoming.method, error.0) }))
        }
    }
    replies
}
