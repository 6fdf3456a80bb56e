//! Lists the system's interfaces as networks. Answers to libwebrtc's `BasicNetworkManager`
//! (`rtc_base/network.cc`); owned by the network task.

use std::net::IpAddr;
use std::task::{Context, Poll};

use if_addrs::{IfAddr, Interface};
use peerstack_base::{AdapterType, Network, NetworkManager};

/// The first preference, which the best network gets; the next ones get one less each (libwebrtc
/// `kHighestNetworkPreference`).
const HIGHEST_NETWORK_PREFERENCE: u8 = 127;

/// The system's interfaces, listed anew at each reading.
#[derive(Debug, Default)]
pub struct BasicNetworkManager {
    /// Names and prefixes in order of their first sight: the position is the network's id, less one.
    seen: Vec<(String, u8, IpAddr)>,
}

impl BasicNetworkManager {
    /// A manager that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn id_of(&mut self, name: &str, prefix_len: u8, prefix: IpAddr) -> u16 {
        let key = (name.to_owned(), prefix_len, prefix);
        let index = self.seen.iter().position(|seen| *seen == key).unwrap_or_else(|| {
            self.seen.push(key);
            self.seen.len() - 1
        });
        u16::try_from(index + 1).unwrap_or(u16::MAX)
    }

    fn networks_of(&mut self, interfaces: &[Interface]) -> Vec<Network> {
        let mut networks: Vec<Network> = Vec::new();
        for interface in interfaces.iter().filter(|interface| usable(interface)) {
            let (ip, prefix_len) = address_of(interface);
            let id = self.id_of(&interface.name, prefix_len, mask(ip, prefix_len));
            match networks.iter_mut().find(|network| network.id == id) {
                Some(network) => network.ips.push(ip),
                None => networks.push(Network {
                    name: interface.name.clone(),
                    adapter_type: adapter_type(&interface.name, interface.is_loopback()),
                    prefix_len,
                    ips: vec![ip],
                    id,
                    preference: 0,
                }),
            }
        }
        networks.sort_by_key(rank);
        for (index, network) in networks.iter_mut().enumerate() {
            network.preference =
                HIGHEST_NETWORK_PREFERENCE.saturating_sub(u8::try_from(index).unwrap_or(u8::MAX));
        }
        networks
    }
}

impl NetworkManager for BasicNetworkManager {
    fn networks(&mut self) -> Vec<Network> {
        match if_addrs::get_if_addrs() {
            Ok(interfaces) => self.networks_of(&interfaces),
            Err(error) => {
                tracing::warn!(target: "peerstack::network", %error, "interfaces cannot be listed");
                Vec::new()
            }
        }
    }

    fn poll_changed(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Cheap adapters first, IPv6 before IPv4 (libwebrtc `SortNetworks`), then the order of first sight.
fn rank(network: &Network) -> (u16, bool, u16) {
    (network.cost(), network.best_ip().is_some_and(|ip| ip.is_ipv4()), network.id)
}

fn usable(interface: &Interface) -> bool {
    match interface.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_link_local(),
        // Link-local IPv6 needs a scope id, which candidates cannot carry.
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_unicast_link_local(),
    }
}

fn address_of(interface: &Interface) -> (IpAddr, u8) {
    match &interface.addr {
        IfAddr::V4(v4) => (IpAddr::V4(v4.ip), u32::from(v4.netmask).leading_ones() as u8),
        IfAddr::V6(v6) => (IpAddr::V6(v6.ip), u128::from(v6.netmask).leading_ones() as u8),
    }
}

fn mask(ip: IpAddr, prefix_len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// By the interface's name, as libwebrtc does where the system does not tell (`GetAdapterTypeFromName`).
fn adapter_type(name: &str, loopback: bool) -> AdapterType {
    if loopback {
        return AdapterType::Loopback;
    }
    const PREFIXES: &[(&str, AdapterType)] = &[
        ("eth", AdapterType::Ethernet),
        ("en", AdapterType::Ethernet),
        ("wl", AdapterType::Wifi),
        ("wifi", AdapterType::Wifi),
        ("rmnet", AdapterType::Cellular),
        ("wwan", AdapterType::Cellular),
        ("ww", AdapterType::Cellular),
        ("pdp_ip", AdapterType::Cellular),
        ("tun", AdapterType::Vpn),
        ("tap", AdapterType::Vpn),
        ("utun", AdapterType::Vpn),
        ("wg", AdapterType::Vpn),
        ("ppp", AdapterType::Vpn),
        ("ipsec", AdapterType::Vpn),
    ];
    PREFIXES
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map_or(AdapterType::Unknown, |(_, adapter_type)| *adapter_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapter_types_come_from_names() {
        for (name, expected) in [
            ("eth0", AdapterType::Ethernet),
            ("enp3s0", AdapterType::Ethernet),
            ("wlan0", AdapterType::Wifi),
            ("wlp2s0", AdapterType::Wifi),
            ("rmnet0", AdapterType::Cellular),
            ("tun0", AdapterType::Vpn),
            ("docker0", AdapterType::Unknown),
        ] {
            assert_eq!(adapter_type(name, false), expected, "{name}");
        }
        assert_eq!(adapter_type("lo", true), AdapterType::Loopback);
    }

    #[test]
    fn ids_stay_and_prefixes_are_masked() {
        let mut manager = BasicNetworkManager::new();
        let prefix = mask(IpAddr::from([192, 168, 7, 9]), 24);
        assert_eq!(prefix, IpAddr::from([192, 168, 7, 0]));
        assert_eq!(mask(IpAddr::from([192, 168, 7, 9]), 0), IpAddr::from([0, 0, 0, 0]));
        let first = manager.id_of("eth0", 24, prefix);
        assert_eq!(manager.id_of("eth1", 24, prefix), first + 1);
        assert_eq!(manager.id_of("eth0", 24, prefix), first);
    }

    #[test]
    fn this_machine_has_a_loopback_network() {
        let networks = BasicNetworkManager::new().networks();
        assert!(networks.iter().any(|network| network.adapter_type == AdapterType::Loopback));
    }
}
