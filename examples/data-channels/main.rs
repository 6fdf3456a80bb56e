//! Data channels of each kind: one for a conversation, one that both sides make by agreement and that may lose
//! messages, one that brings more than fits into its queue.
//!
//! ```text
//! cargo run --example data-channels        then open the address it prints
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has clocks and tasks of its own")]

#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::Json;
use peerstack::{
    DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, PeerConnection, PeerConnectionEvent,
    RtcError,
};
use tracing::info;

use crate::common::signaling::{self, Description, Refusal};

/// The stream that both sides use for the clock without telling each other.
const CLOCK_ID: u16 = 100;
/// What the download waits for, and goes on at, in bytes.
const HIGH_WATER: usize = 1 << 20;
const LOW_WATER: usize = 256 << 10;

#[tokio::main]
async fn main() -> ExitCode {
    common::run("data-channels", "Data channels of each kind.", &[], |args| {
        let offers = signaling::offers(args, async |pc, offer| answer(&pc, offer).await)?;
        Ok(common::page(include_str!("page.html")).merge(offers))
    })
    .await
}

async fn answer(pc: &PeerConnection, offer: Description) -> Result<Json<Description>, Refusal> {
    let mut events = pc.events();
    // RTCDataChannelInit with `negotiated`: nothing is announced, the other side makes the same.
    let clock = DataChannelInit {
        negotiated: true,
        id: Some(CLOCK_ID),
        ordered: false,
        max_retransmits: Some(0),
        ..DataChannelInit::default()
    };
    tokio::spawn(tell_time(pc.create_data_channel("clock", clock)?));
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let PeerConnectionEvent::DataChannel(channel) = event else { continue };
            info!(label = channel.label(), protocol = channel.protocol(), id = channel.id(), "data channel");
            match channel.protocol() {
                "download" => tokio::spawn(download(channel)),
                _ => tokio::spawn(talk(channel)),
            };
        }
    });
    tokio::spawn(signaling::run_until_over(pc.clone()));
    pc.set_remote_description(offer.try_into()?).await?;
    Ok(Json(signaling::answer(pc).await?.into()))
}

/// Says how much came, in text; bytes go back reversed.
async fn talk(channel: DataChannel) {
    while let Some(event) = channel.next_event().await {
        let reply = match event {
            DataChannelEvent::Message(DataChannelMessage::Text(text)) => {
                DataChannelMessage::from(format!("{text:?} has {} characters", text.chars().count()))
            }
            DataChannelEvent::Message(DataChannelMessage::Binary(bytes)) => {
                DataChannelMessage::from(bytes.iter().rev().copied().collect::<Vec<u8>>())
            }
            _ => continue,
        };
        if channel.send(reply).is_err() {
            return;
        }
    }
}

/// The seconds since the connection was made, ten times a second: what is lost is not sent again, the next is better.
async fn tell_time(channel: DataChannel) {
    let start = Instant::now();
    while !matches!(channel.next_event().await, Some(DataChannelEvent::Open) | None) {}
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        // Fails once the channel is closed.
        if channel.send_text(format!("{:.1}", start.elapsed().as_secs_f64())).is_err() {
            return;
        }
    }
}

/// Sends so many bytes as the first message asks for, no faster than they go out.
async fn download(channel: DataChannel) {
    channel.set_buffered_amount_low_threshold(LOW_WATER);
    let mut left = 0;
    while let Some(event) = channel.next_event().await {
        match event {
            DataChannelEvent::Message(DataChannelMessage::Text(text)) => left = text.parse().unwrap_or(0),
            DataChannelEvent::BufferedAmountLow => {}
            _ => continue,
        }
        if let Err(error) = fill(&channel, &mut left) {
            info!(%error, "download");
            return;
        }
    }
}

fn fill(channel: &DataChannel, left: &mut usize) -> Result<(), RtcError> {
    while *left > 0 && channel.buffered_amount() < HIGH_WATER {
        let size = (*left).min(64 << 10);
        channel.send(vec![0; size])?;
        *left -= size;
    }
    Ok(())
}
