//! The transport over a virtual network.

mod connecting;
mod gathering;
mod harness;
mod lifetime;
mod nat;
mod stun;
