//! The transport over a virtual network.

mod connecting;
mod harness;
