//! Hosts: interfaces, addresses, port tables, servers; their socket factory and network manager.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use peerstack_base::{
    AdapterType, AsyncStreamListener, AsyncStreamSocket, AsyncUdpSocket, Network, NetworkManager,
    PacketSocketFactory, PortRange, Random, StreamOptions,
};

use crate::lab::Shared;
use crate::link::Link;
use crate::packet::{Packet, Transport};
use crate::router::Segment;
use crate::socket::{HostSocket, SocketKey, SocketState};
use crate::world::{LinkId, NodeId, World, plain};

/// Ports given out when none is asked for (RFC 6335 section 6).
const EPHEMERAL: PortRange = PortRange { min: 49_152, max: 65_535 };
/// The preference of the best network (libwebrtc `kHighestNetworkPreference`); each next one has one less.
const HIGHEST_PREFERENCE: u8 = 127;

/// A server on a host: called with the time and each packet that comes in, it returns what to send.
pub type Service = Box<dyn FnMut(Instant, &Packet) -> Vec<Packet> + Send>;
/// Its transport and address, and its port or all ports that nothing else is bound to.
type ServiceKey = (Transport, IpAddr, Option<u16>);

/// What sockets bound from now on are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// Bytes of datagrams that may wait to be received; more are dropped and counted.
    pub receive_buffer: usize,
    /// Datagrams of one transmit (GSO); 1 is without.
    pub max_transmit_segments: usize,
    /// Datagrams of one receive buffer (GRO); 1 is without.
    pub max_receive_segments: usize,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { receive_buffer: 4 << 20, max_transmit_segments: 64, max_receive_segments: 64 }
    }
}

#[derive(Debug)]
struct InterfaceState {
    name: String,
    adapter_type: AdapterType,
    ips: Vec<IpAddr>,
    link: LinkId,
    up: bool,
    bind_error: Option<io::ErrorKind>,
}

pub(crate) struct HostState {
    pub(crate) name: Arc<str>,
    interfaces: Vec<InterfaceState>,
    pub(crate) sockets: BTreeMap<(Transport, SocketAddr), SocketKey>,
    pub(crate) services: BTreeMap<ServiceKey, Service>,
    options: SocketOptions,
    random: Random,
    pub(crate) send_blocked: bool,
    pub(crate) writable_wakers: BTreeMap<SocketKey, Waker>,
    /// Raised at each change of networks, for those who wait for one.
    generation: u64,
    network_wakers: Vec<Waker>,
    listed: bool,
    list_loopback: bool,
    network_ids: BTreeMap<(String, IpAddr), u16>,
}

impl fmt::Debug for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("name", &self.name)
            .field("interfaces", &self.interfaces)
            .finish_non_exhaustive()
    }
}

impl HostState {
    pub(crate) fn new(name: Arc<str>, random: Random) -> Self {
        Self {
            name,
            interfaces: Vec::new(),
            sockets: BTreeMap::new(),
            services: BTreeMap::new(),
            options: SocketOptions::default(),
            random,
            send_blocked: false,
            writable_wakers: BTreeMap::new(),
            generation: 0,
            network_wakers: Vec::new(),
            listed: true,
            list_loopback: false,
            network_ids: BTreeMap::new(),
        }
    }

    /// Whether the host has this address now.
    pub(crate) fn owns(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.interface_with(ip).is_some()
    }

    fn interface_with(&self, ip: IpAddr) -> Option<&InterfaceState> {
        self.interfaces.iter().find(|interface| interface.up && interface.ips.contains(&ip))
    }

    pub(crate) fn link_from(&self, source: IpAddr) -> Option<LinkId> {
        self.interface_with(source).map(|interface| interface.link)
    }

    /// The source address of a packet of a socket bound to `local`: that address while the host has it, and for
    /// the any-address that of the first interface that is up and of this family.
    pub(crate) fn source_for(&self, local: IpAddr, destination: IpAddr) -> Option<IpAddr> {
        if !local.is_unspecified() {
            let leaves = !local.is_loopback() || self.owns(destination);
            return (self.owns(local) && leaves).then_some(local);
        }
        if self.owns(destination) {
            return Some(destination);
        }
        let mut ips = self.interfaces.iter().filter(|interface| interface.up).flat_map(|i| &i.ips);
        ips.find(|ip| ip.is_ipv4() == destination.is_ipv4()).copied()
    }

    /// The socket that a packet is for: one bound to exactly this address before one bound to any.
    pub(crate) fn socket_for(&self, transport: Transport, destination: SocketAddr) -> Option<SocketKey> {
        let any = SocketAddr::new(unspecified(destination.ip()), destination.port());
        let exact = self.sockets.get(&(transport, destination));
        exact.or_else(|| self.sockets.get(&(transport, any))).copied()
    }

    /// Takes out the server of an address and port, or the one of all ports that nothing is bound to; the
    /// caller puts it back.
    pub(crate) fn take_service(
        &mut self,
        transport: Transport,
        destination: SocketAddr,
    ) -> Option<(ServiceKey, Service)> {
        let exact = (transport, destination.ip(), Some(destination.port()));
        let all = (transport, destination.ip(), None);
        let key = if self.services.contains_key(&exact) { exact } else { all };
        if key == all && self.socket_for(transport, destination).is_some() {
            return None;
        }
        self.services.remove(&key).map(|service| (key, service))
    }

    fn is_taken(&self, address: SocketAddr) -> bool {
        let clashes = |ip: IpAddr| {
            ip.is_ipv4() == address.is_ipv4()
                && (ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified())
        };
        let sockets = self.sockets.keys();
        sockets.clone().any(|(_, bound)| bound.port() == address.port() && clashes(bound.ip()))
            || self.services.keys().any(|(_, ip, port)| *port == Some(address.port()) && clashes(*ip))
    }

    /// The port to bind to.
    pub(crate) fn choose(&mut self, local: SocketAddr, ports: Option<PortRange>) -> io::Result<SocketAddr> {
        let local = plain(local);
        let ip = local.ip();
        if !ip.is_unspecified() && !self.owns(ip) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if let Some(kind) = self.interface_with(ip).and_then(|interface| interface.bind_error) {
            return Err(kind.into());
        }
        if local.port() != 0 {
            return if self.is_taken(local) { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(local) };
        }
        let range = ports.filter(|range| (range.min, range.max) != (0, 0));
        let (range, first) = match range {
            // libwebrtc tries a given range from its first port upwards.
            Some(range) => (range, range.min.max(1)),
            None => {
                let offset = self.random.below(u64::from(EPHEMERAL.max - EPHEMERAL.min) + 1);
                (EPHEMERAL, EPHEMERAL.min + offset as u16)
            }
        };
        let mut candidates = (first..=range.max).chain(range.min.max(1)..first);
        let free = candidates.find(|port| !self.is_taken(SocketAddr::new(ip, *port)));
        free.map(|port| SocketAddr::new(ip, port)).ok_or_else(|| io::ErrorKind::AddrInUse.into())
    }

    fn networks_changed(&mut self) -> Vec<Waker> {
        self.generation += 1;
        std::mem::take(&mut self.network_wakers)
    }

    /// By interface and prefix, as libwebrtc numbers them (`MakeNetworkKey`).
    fn network_id(&mut self, interface: &str, ips: &[IpAddr]) -> u16 {
        let prefix = match ips.first() {
            Some(IpAddr::V4(ip)) => IpAddr::V4((u32::from(*ip) & !0xff).into()),
            Some(IpAddr::V6(ip)) => IpAddr::V6((u128::from(*ip) & (!0 << 64)).into()),
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let next = self.network_ids.len() as u16 + 1;
        *self.network_ids.entry((interface.to_owned(), prefix)).or_insert(next)
    }

    /// One network for each interface and family, sorted as libwebrtc sorts (`SortNetworks`): by adapter type,
    /// IPv6 before IPv4, then in order of their adding.
    fn networks(&mut self) -> Vec<Network> {
        if !self.listed {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut add = |name: &str, adapter_type, ips: &[IpAddr]| {
            for ipv4 in [false, true] {
                let ips: Vec<IpAddr> = ips.iter().copied().filter(|ip| ip.is_ipv4() == ipv4).collect();
                if !ips.is_empty() {
                    found.push((name.to_owned(), adapter_type, ipv4, ips));
                }
            }
        };
        for interface in self.interfaces.iter().filter(|interface| interface.up) {
            add(&interface.name, interface.adapter_type, &interface.ips);
        }
        if self.list_loopback {
            let ips = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            add("lo", AdapterType::Loopback, &ips);
        }
        found.sort_by_key(|(_, adapter_type, ipv4, _)| (*adapter_type, *ipv4));
        let networks =
            found.into_iter().enumerate().map(|(index, (name, adapter_type, ipv4, ips))| Network {
                id: self.network_id(&name, &ips),
                name,
                adapter_type,
                prefix_len: match (adapter_type, ipv4) {
                    (AdapterType::Loopback, true) => 8,
                    (AdapterType::Loopback, false) => 128,
                    (_, true) => 24,
                    (_, false) => 64,
                },
                ips,
                preference: HIGHEST_PREFERENCE.saturating_sub(u8::try_from(index).unwrap_or(u8::MAX)),
            });
        networks.collect()
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

impl World {
    fn bind(
        &mut self,
        node: NodeId,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<(SocketKey, SocketAddr, SocketOptions)> {
        let key = SocketKey(self.next_socket + 1);
        let host = self.host(node).ok_or(io::ErrorKind::NotFound)?;
        let local = host.choose(local, ports)?;
        host.sockets.insert((Transport::Udp, local), key);
        let options = host.options;
        self.next_socket = key.0;
        self.sockets.insert(key, SocketState::new(node, local, options.receive_buffer));
        Ok((key, local, options))
    }

    fn change_networks(&mut self, node: NodeId, change: impl FnOnce(&mut HostState)) {
        if let Some(host) = self.host(node) {
            change(host);
            let wakers = host.networks_changed();
            self.wakers.extend(wakers);
        }
    }
}

/// A virtual host. It always has a loopback interface (127.0.0.0/8 and ::1).
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) shared: Shared,
    pub(crate) node: NodeId,
}

impl Host {
    fn with<R>(&self, f: impl FnOnce(&mut HostState) -> R) -> R {
        self.shared.with(|world| {
            #[expect(clippy::expect_used, reason = "a handle names a host that was made, and hosts stay")]
            let host = world.host(self.node).expect("a host");
            f(host)
        })
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.with(|host| host.name.to_string())
    }

    /// Attaches it to a network by one more interface.
    pub fn add_interface(
        &self,
        name: &str,
        adapter_type: AdapterType,
        segment: &impl Segment,
        ips: &[IpAddr],
    ) -> Interface {
        let router = segment.as_router().node;
        let index = self.shared.with(|world| {
            let link = world.attach(self.node, name, router, ips);
            let (name, ips) = (name.to_owned(), ips.to_vec());
            let interface = InterfaceState { name, adapter_type, ips, link, up: true, bind_error: None };
            let mut index = 0;
            world.change_networks(self.node, |host| {
                index = host.interfaces.len();
                host.interfaces.push(interface);
            });
            index
        });
        Interface { host: self.clone(), index }
    }

    /// Its interfaces, in order of their adding.
    pub fn interfaces(&self) -> Vec<Interface> {
        let count = self.with(|host| host.interfaces.len());
        (0..count).map(|index| Interface { host: self.clone(), index }).collect()
    }

    /// Binds a UDP socket; port 0 takes any free one.
    ///
    /// # Errors
    /// `AddrNotAvailable` if the address is not one of this host's now, `AddrInUse` if the port is taken, or
    /// what [`Interface::set_bind_error`] says.
    pub fn bind(&self, local: SocketAddr) -> io::Result<HostSocket> {
        self.bind_in(local, None)
    }

    /// Binds a UDP socket; port 0 takes the first free one of a range.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); `AddrInUse` if the whole range is taken.
    pub fn bind_in(&self, local: SocketAddr, ports: Option<PortRange>) -> io::Result<HostSocket> {
        let (key, local, options) = self.shared.with(|world| world.bind(self.node, local, ports))?;
        Ok(HostSocket {
            shared: self.shared.clone(),
            key,
            local,
            transmit_segments: options.max_transmit_segments.max(1),
            receive_segments: options.max_receive_segments.max(1),
        })
    }

    /// For `PeerConnectionDependencies`.
    pub fn packet_socket_factory(&self) -> Box<dyn PacketSocketFactory> {
        Box::new(HostSocketFactory { host: self.clone() })
    }

    /// For `PeerConnectionDependencies`.
    pub fn network_manager(&self) -> Box<dyn NetworkManager> {
        let seen = self.with(|host| host.generation);
        Box::new(HostNetworkManager { host: self.clone(), seen })
    }

    /// What sockets bound from now on are like.
    pub fn set_socket_options(&self, options: SocketOptions) {
        self.with(|host| host.options = options);
    }

    /// Makes all sends say `WouldBlock` until it is lifted, as a full socket buffer does.
    pub fn set_send_blocked(&self, blocked: bool) {
        self.shared.with(|world| {
            if let Some(host) = world.host(self.node) {
                host.send_blocked = blocked;
                let wakers =
                    if blocked { BTreeMap::new() } else { std::mem::take(&mut host.writable_wakers) };
                world.wakers.extend(wakers.into_values());
            }
        });
    }

    /// Whether interfaces can be listed at all; if not, the network manager's list is empty.
    pub fn set_listed(&self, listed: bool) {
        self.shared.with(|world| world.change_networks(self.node, |host| host.listed = listed));
    }

    /// Whether the network manager lists the loopback interface too; not at first.
    pub fn set_list_loopback(&self, list: bool) {
        self.shared.with(|world| world.change_networks(self.node, |host| host.list_loopback = list));
    }

    /// Runs a server at an address of this host; port 0 stands for all ports that nothing else is bound to. It replaces a server that was there. The closure must not call into the lab.
    pub fn serve(
        &self,
        at: SocketAddr,
        service: impl FnMut(Instant, &Packet) -> Vec<Packet> + Send + 'static,
    ) {
        let key = (Transport::Udp, at.ip(), (at.port() != 0).then_some(at.port()));
        self.with(|host| host.services.insert(key, Box::new(service)));
    }

    /// Runs a TCP server at an address of this host, as [`serve`](Self::serve) does for UDP. It accepts every
    /// connection; the closure is called with each piece of a stream that comes in, an empty one when a client
    /// has closed, and what it returns by [`Packet::stream`] is written on the connection to that destination.
    pub fn serve_streams(
        &self,
        at: SocketAddr,
        service: impl FnMut(Instant, &Packet) -> Vec<Packet> + Send + 'static,
    ) {
        let key = (Transport::Tcp, at.ip(), Some(at.port()));
        self.with(|host| host.services.insert(key, Box::new(service)));
    }

    /// Ends the servers at an address; connections to a TCP server are reset.
    pub fn stop_serving(&self, at: SocketAddr) {
        let port = (at.port() != 0).then_some(at.port());
        self.with(|host| {
            host.services.remove(&(Transport::Udp, at.ip(), port));
            host.services.remove(&(Transport::Tcp, at.ip(), port));
        });
        self.shared.with(|world| world.reset_streams_at(self.node, at));
    }

    /// Hands the host a packet, with whatever source it claims, as if it had just come out of its interface.
    pub fn inject(&self, packet: Packet) {
        self.shared.with(|world| world.deliver(self.node, packet));
    }
}

/// One interface of a host.
#[derive(Debug, Clone)]
pub struct Interface {
    host: Host,
    index: usize,
}

impl Interface {
    fn read<R>(&self, f: impl FnOnce(&mut InterfaceState) -> R) -> R {
        let index = self.index;
        // Interfaces are never removed.
        self.host.with(|host| f(&mut host.interfaces[index]))
    }

    fn change(&self, f: impl FnOnce(&mut InterfaceState)) {
        let index = self.index;
        self.host.shared.with(|world| {
            world.change_networks(self.host.node, |host| f(&mut host.interfaces[index]));
        });
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.read(|interface| interface.name.clone())
    }

    /// Its addresses.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.read(|interface| interface.ips.clone())
    }

    /// Its link.
    pub fn link(&self) -> Link {
        Link { shared: self.host.shared.clone(), id: self.read(|interface| interface.link) }
    }

    /// Takes the interface down or up; the host's network managers report it. While it is down its addresses
    /// cannot be bound, sockets bound to them cannot send, and packets under way are lost.
    pub fn set_up(&self, up: bool) {
        self.link().set_up(up);
        self.change(|interface| interface.up = up);
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.read(|interface| interface.up)
    }

    /// Changes the adapter's type, which its cost follows.
    pub fn set_adapter_type(&self, adapter_type: AdapterType) {
        self.change(|interface| interface.adapter_type = adapter_type);
    }

    /// Gives it other addresses in the same network.
    pub fn set_ips(&self, ips: &[IpAddr]) {
        self.renumber(None, ips);
    }

    /// Moves it to another network with other addresses there, as a phone that joins another Wi-Fi. The link
    /// stays as it is configured; packets under way are lost.
    pub fn move_to(&self, segment: &impl Segment, ips: &[IpAddr]) {
        self.renumber(Some(segment.as_router().node), ips);
    }

    fn renumber(&self, router: Option<NodeId>, ips: &[IpAddr]) {
        let (link, old) = self.read(|interface| (interface.link, interface.ips.clone()));
        self.host.shared.with(|world| world.move_link(link, router, &old, ips));
        self.change(|interface| interface.ips = ips.to_vec());
    }

    /// Makes binding to its addresses fail with this error, or work again.
    pub fn set_bind_error(&self, error: Option<io::ErrorKind>) {
        self.read(|interface| interface.bind_error = error);
    }
}

/// See [`Host::packet_socket_factory`].
#[derive(Debug, Clone)]
pub struct HostSocketFactory {
    host: Host,
}

impl PacketSocketFactory for HostSocketFactory {
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>> {
        Ok(Box::new(self.host.bind_in(local, ports)?))
    }

    fn create_server_tcp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncStreamListener>> {
        Ok(Box::new(self.host.listen_in(local, ports)?))
    }

    /// TLS is not simulated: a stream with it is one without.
    fn create_client_tcp_socket(
        &mut self,
        local: SocketAddr,
        options: &StreamOptions,
    ) -> io::Result<Box<dyn AsyncStreamSocket>> {
        Ok(Box::new(self.host.connect_from(local, options.remote)?))
    }

    /// That of the first interface that is up, by which packets without another way leave.
    fn default_local_address(&mut self, ipv4: bool) -> Option<IpAddr> {
        self.host.with(|host| {
            let up = host.interfaces.iter().filter(|interface| interface.up);
            up.flat_map(|interface| interface.ips.iter().copied()).find(|ip| ip.is_ipv4() == ipv4)
        })
    }
}

/// See [`Host::network_manager`].
#[derive(Debug)]
pub struct HostNetworkManager {
    host: Host,
    seen: u64,
}

impl NetworkManager for HostNetworkManager {
    fn networks(&mut self) -> Vec<Network> {
        let (seen, networks) = self.host.with(|host| (host.generation, host.networks()));
        self.seen = seen;
        networks
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let seen = self.seen;
        self.host.with(|host| {
            if host.generation != seen {
                return Poll::Ready(());
            }
            if !host.network_wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                host.network_wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }
}
