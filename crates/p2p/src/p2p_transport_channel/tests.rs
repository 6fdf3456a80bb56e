//! The transport over a virtual network.

mod connecting;
mod default_route;
mod gathering;
mod goog_ping;
pub(crate) mod harness;
mod lifetime;
mod lite;
mod nat;
mod pooled;
mod selection;
mod stun;
mod udp_mux;
