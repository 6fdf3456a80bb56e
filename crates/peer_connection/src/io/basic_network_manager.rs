//! Lists the system's interfaces as networks, and looks whether they changed when the system says so, and every two
//! seconds. Answers to libwebrtc's `BasicNetworkManager` (`rtc_base/network.cc`); owned by the network task.

use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use if_addrs::{IfAddr, Interface};
use peerstack_base::{AdapterType, Network, NetworkManager};
use tokio::time::{Interval, MissedTickBehavior};

use super::network_monitor::NetworkMonitor;

/// How often the list is compared (libwebrtc `kNetworksUpdateIntervalMs`), also where the system tells of changes, as
/// libwebrtc does.
const UPDATE_INTERVAL: Duration = Duration::from_secs(2);

/// The first preference, which the best network gets; the next ones get one less each (libwebrtc
/// `kHighestNetworkPreference`).
const HIGHEST_NETWORK_PREFERENCE: u8 = 127;

/// The system's interfaces, listed anew at each reading.
pub struct BasicNetworkManager {
    list: Box<dyn Fn() -> io::Result<Vec<Interface>> + Send>,
    /// Names and prefixes in order of their first sight: the position is the network's id, less one.
    seen: Vec<(String, u8, IpAddr)>,
    /// As of the last reading.
    networks: Vec<Network>,
    watch: Watch,
}

/// How changes come to be known.
#[derive(Debug)]
enum Watch {
    /// Nobody has asked for changes.
    NotYet {
        /// Whether to ask the system.
        by_system: bool,
    },
    /// Made when changes are first asked for, within a runtime.
    Running { interval: Interval, monitor: Option<NetworkMonitor> },
}

impl Watch {
    fn start(by_system: bool) -> Self {
        let mut interval = tokio::time::interval(UPDATE_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is now: something may have changed since the list was read.
        let monitor = match by_system.then(NetworkMonitor::new) {
            Some(Ok(monitor)) => Some(monitor),
            Some(Err(error)) => {
                tracing::debug!(target: "peerstack::network", %error, "the system does not tell of changes");
                None
            }
            None => None,
        };
        Self::Running { interval, monitor }
    }

    /// Whether it is time to look.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if let Self::NotYet { by_system } = *self {
            *self = Self::start(by_system);
        }
        let Self::Running { interval, monitor } = self else { return false };
        let told = match monitor.as_mut().map(|monitor| monitor.poll_changed(cx)) {
            Some(Poll::Ready(Ok(()))) => true,
            Some(Poll::Ready(Err(error))) => {
                tracing::debug!(target: "peerstack::network", %error, "the system tells of no more changes");
                *monitor = None;
                true
            }
            Some(Poll::Pending) | None => false,
        };
        // Both are asked, so that both wake.
        interval.poll_tick(cx).is_ready() || told
    }
}

impl std::fmt::Debug for BasicNetworkManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicNetworkManager").field("networks", &self.networks).finish_non_exhaustive()
    }
}

impl Default for BasicNetworkManager {
    fn default() -> Self {
        Self::new()
    }
}

impl BasicNetworkManager {
    /// A manager that has seen nothing yet.
    pub fn new() -> Self {
        Self { watch: Watch::NotYet { by_system: true }, ..Self::with_list(if_addrs::get_if_addrs) }
    }

    fn with_list(list: impl Fn() -> io::Result<Vec<Interface>> + Send + 'static) -> Self {
        let watch = Watch::NotYet { by_system: false };
        Self { list: Box::new(list), seen: Vec::new(), networks: Vec::new(), watch }
    }

    fn read(&mut self) -> Vec<Network> {
        match (self.list)() {
            Ok(interfaces) => self.networks_of(&interfaces),
            Err(error) => {
                tracing::warn!(target: "peerstack::network", %error, "interfaces cannot be listed");
                Vec::new()
            }
        }
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
        self.networks = self.read();
        self.networks.clone()
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.watch.poll(cx) {
            if self.read() != self.networks {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// Cheap adapters first, IPv6 before IPv4 (libwebrtc `SortNetworks`), then the order of first sight.
fn rank(network: &Network) -> (u16, bool, u16) {
    (network.cost(), network.best_ip().is_some_and(|ip| ip.is_ipv4()), network.id)
}

/// A link that is down keeps its addresses: they count when it is up (libwebrtc looks at `IFF_RUNNING` too).
fn usable(interface: &Interface) -> bool {
    if !interface.is_oper_up() {
        return false;
    }
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

    fn interface(name: &str, ip: [u8; 4]) -> Interface {
        Interface {
            name: name.to_owned(),
            addr: IfAddr::V4(if_addrs::Ifv4Addr {
                ip: ip.into(),
                netmask: [255, 255, 255, 0].into(),
                prefixlen: 24,
                broadcast: None,
            }),
            index: None,
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
        }
    }

    /// Nothing is told while nothing changes; a change within one interval, once.
    #[tokio::test(start_paused = true)]
    async fn changes_are_seen_within_two_seconds() {
        use std::sync::{Arc, Mutex};

        let listed = Arc::new(Mutex::new(vec![interface("eth0", [192, 168, 7, 9])]));
        let list = Arc::clone(&listed);
        let mut manager = BasicNetworkManager::with_list(move || Ok(list.lock().unwrap().clone()));
        assert_eq!(manager.networks().len(), 1);
        let hour = Duration::from_secs(3_600);
        let changed = std::future::poll_fn(|cx| manager.poll_changed(cx));
        assert!(tokio::time::timeout(hour, changed).await.is_err());

        listed.lock().unwrap().push(interface("wlan0", [10, 0, 0, 9]));
        let changed = std::future::poll_fn(|cx| manager.poll_changed(cx));
        assert!(tokio::time::timeout(UPDATE_INTERVAL, changed).await.is_ok());
        let networks = manager.networks();
        assert_eq!((networks.len(), networks[0].id, networks[1].id), (2, 1, 2));
        let changed = std::future::poll_fn(|cx| manager.poll_changed(cx));
        assert!(tokio::time::timeout(hour, changed).await.is_err());
    }

    /// A link that goes down takes its network away, although it keeps its address.
    #[test]
    fn a_link_that_is_down_is_no_network() {
        let mut down = interface("wlan0", [10, 0, 0, 9]);
        down.oper_status = if_addrs::IfOperStatus::Down;
        let listed = vec![interface("eth0", [192, 168, 7, 9]), down];
        let mut manager = BasicNetworkManager::with_list(move || Ok(listed.clone()));
        let networks = manager.networks();
        assert_eq!(networks.iter().map(|network| network.name.as_str()).collect::<Vec<_>>(), ["eth0"]);
    }

    #[test]
    fn this_machine_has_a_loopback_network() {
        let networks = BasicNetworkManager::new().networks();
        assert!(networks.iter().any(|network| network.adapter_type == AdapterType::Loopback));
    }
}
