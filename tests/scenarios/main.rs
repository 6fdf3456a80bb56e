//! Scenarios: what happens to a call when the network under it changes. Two PeerConnections on netsim under the
//! paused clock, a data channel and audio going both ways all the time; each file is one thing that happens,
//! with several seeds, and says for how long nothing may arrive because of it. The bounds are reckoned from
//! libwebrtc's timers (`docs/behaviours.md`, T01 to T13), not measured and rounded up.
//!
//! `PEERSTACK_SCENARIO_SEEDS` sets the number of seeds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "applications of a test: they run tasks, and wait by its clock"
)]

#[path = "../support/mod.rs"]
mod support;

mod both_controlling;
mod call;
mod change_of_network;
mod duplicated_and_reordered;
mod fail_over;
mod interface_lost_and_found;
mod loss_20_percent;
mod nat_rebinding;
mod round_trip_300_ms;
mod sleep_and_clocks;
mod turn_server_restarted;
