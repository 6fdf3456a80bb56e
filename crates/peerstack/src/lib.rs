//! A WebRTC PeerConnection engine: the browser's `RTCPeerConnection` as a Rust library.
//!
//! The names are W3C's without the prefix. Methods that return a promise in the browser are `async`, events are
//! one stream of one enum, errors carry W3C's names.
//!
//! ```no_run
//! use peerstack::{Configuration, DataChannelInit, OfferOptions, PeerConnection, PeerConnectionEvent};
//!
//! # async fn example() -> Result<(), peerstack::RtcError> {
//! let pc = PeerConnection::new(Configuration::new())?;
//! let mut events = pc.events();
//! let channel = pc.create_data_channel("chat", DataChannelInit::default())?;
//! let offer = pc.create_offer(OfferOptions::default()).await?;
//! pc.set_local_description(offer).await?;
//! while let Some(event) = events.next().await {
//!     if let PeerConnectionEvent::IceCandidate(candidate) = event {
//!         println!("to be signalled: {}", candidate.candidate);
//!     }
//! }
//! # drop(channel);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub use peerstack_peer_connection::*;

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
