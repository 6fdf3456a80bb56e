//! A WebRTC PeerConnection engine: the browser's `RTCPeerConnection` as a Rust library.
//!
//! The names are W3C's without the prefix. Methods that return a promise in the browser are `async`, events are
//! one stream of one enum, errors carry W3C's names.
//!
//! # Two peers
//!
//! Offer and answer carry all candidates here, so that two descriptions are all signalling; an application sends each
//! [`PeerConnectionEvent::IceCandidate`] as it comes.
//!
//! ```
//! use peerstack::{
//!     Configuration, DataChannelEvent, DataChannelInit, IceGatheringState, PeerConnection, PeerConnectionEvent,
//!     RtcError, SessionDescription, Settings,
//! };
//!
//! /// Makes the offer or answer that is asked for, with its candidates.
//! async fn describe(pc: &PeerConnection) -> Result<SessionDescription, RtcError> {
//!     let mut events = pc.events();
//!     pc.set_local_description(None).await?;
//!     while pc.ice_gathering_state() != IceGatheringState::Complete {
//!         events.next().await;
//!     }
//!     Ok(pc.local_description().expect("it was just set"))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), RtcError> {
//!     let mut settings = Settings::default();
//!     settings.allow_loopback = true; // Both are on this machine.
//!     let configuration = Configuration::new().with_settings(settings);
//!     let caller = PeerConnection::new(configuration.clone())?;
//!     let callee = PeerConnection::new(configuration)?;
//!     let mut incoming = callee.events();
//!
//!     let channel = caller.create_data_channel("chat", DataChannelInit::default())?;
//!     callee.set_remote_description(describe(&caller).await?).await?;
//!     caller.set_remote_description(describe(&callee).await?).await?;
//!
//!     let greeting = async {
//!         while channel.next_event().await? != DataChannelEvent::Open {}
//!         channel.send_text("hello").ok()
//!     };
//!     let heard = async {
//!         loop {
//!             let PeerConnectionEvent::DataChannel(channel) = incoming.next().await? else { continue };
//!             loop {
//!                 let DataChannelEvent::Message(message) = channel.next_event().await? else { continue };
//!                 return Some(message);
//!             }
//!         }
//!     };
//!     let (sent, heard) = tokio::join!(greeting, heard);
//!     assert_eq!((sent, heard), (Some(()), Some("hello".into())));
//!     caller.close();
//!     Ok(())
//! }
//! ```
//!
//! `docs/guide.md` puts each member of the browser's API beside its counterpart here; `examples/` has a page of code for
//! each of the usual programs.

#![forbid(unsafe_code)]

pub use peerstack_peer_connection::*;

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The guide's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;
