//! The transport over a virtual network.

mod connecting;
mod gathering;
pub(crate) mod harness;
mod lifetime;
mod nat;
mod stun;
