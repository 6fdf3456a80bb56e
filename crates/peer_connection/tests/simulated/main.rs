//! Whole PeerConnections over the virtual network, under tokio's paused clock: virtual minutes in milliseconds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests that fail")]

mod data_channel_ids;
mod data_channels;
mod descriptions;
mod dtls_restart;
mod errors;
mod harness;
mod header_extensions;
mod host_names;
mod ice;
mod lifetime;
mod negotiation;
mod networks;
mod perfect;
mod protection;
mod random_negotiation;
mod receptive;
mod rtcp;
mod rtcp_mux;
mod samples;
mod sdp_corpora;
mod signaling_states;
mod simulcast;
mod specification;
mod stats;
mod stats_members;
mod stats_streams;
mod taken_back;
mod transceivers;
mod transports;
mod udp_mux;
mod unbundled;
mod unread_events;
