//! Networks: what an interface is to ICE (libwebrtc `rtc_base/network.h`).

use std::net::IpAddr;
use std::task::{Context, Poll};

/// What kind of adapter a network is reached through; it decides the network's cost. Not W3C's: libwebrtc's
/// `AdapterType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum AdapterType {
    /// Not known.
    #[default]
    Unknown,
    /// Wired.
    Ethernet,
    /// Wireless LAN.
    Wifi,
    /// Mobile network.
    Cellular,
    /// A tunnel.
    Vpn,
    /// The loopback interface.
    Loopback,
    /// Bound to the "any" address because interfaces could not be listed.
    Any,
}

impl AdapterType {
    /// The cost that candidates carry as `network-cost` (libwebrtc `kNetworkCost*`): 0 is best, 999 worst.
    pub fn cost(self) -> u16 {
        match self {
            Self::Ethernet | Self::Loopback => 0,
            Self::Wifi => 10,
            Self::Vpn | Self::Unknown | Self::Any => 50,
            Self::Cellular => 900,
        }
    }
}

/// One network: an interface's prefix with the addresses the host has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The interface's name, for example `eth0`.
    pub name: String,
    /// The adapter.
    pub adapter_type: AdapterType,
    /// The prefix's length in bits.
    pub prefix_len: u8,
    /// The host's addresses in this network, all of one family; the first is the best.
    pub ips: Vec<IpAddr>,
    /// The number candidates carry as `network-id`; stable while the network lives.
    pub id: u16,
    /// How much this network is preferred among all, higher is better (libwebrtc `Network::preference`):
    /// enters the local preference of candidates.
    pub preference: u8,
}

impl Network {
    /// The cost of using this network.
    pub fn cost(&self) -> u16 {
        self.adapter_type.cost()
    }

    /// The address to bind to, if there is any.
    pub fn best_ip(&self) -> Option<IpAddr> {
        self.ips.first().copied()
    }
}

/// Lists networks and tells when the list changed (libwebrtc `NetworkManager`).
pub trait NetworkManager: Send + std::fmt::Debug {
    /// The networks now, best first. Never fails: if interfaces cannot be listed the list is empty and ports
    /// bind to the "any" address.
    fn networks(&mut self) -> Vec<Network>;

    /// Ready when the list may have changed since the last reading.
    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}
