//! The transport over a virtual network.

mod asleep;
mod connecting;
mod default_route;
mod gathering;
mod goog_ping;
pub(crate) mod harness;
mod host_names;
mod lifetime;
mod lite;
mod moving;
mod nat;
mod nat_one_to_one;
mod pooled;
mod selection;
mod stun;
mod udp_mux;
