//! A port against a server of the virtual network, and against forged and refusing ones.

mod client;
mod ipv6;
mod transport;
