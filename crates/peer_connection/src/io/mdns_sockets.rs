//! The sockets of mDNS, one for each family, on all interfaces (RFC 6762 sections 3, 11 and 20). Used by the resolver
//! and the responder on their own tasks; libwebrtc leaves mDNS to its embedder.
//!
//! No crate fits: those for mDNS announce and find services, with threads of their own, where a candidate needs one
//! name without a service. What their messages say is read and written by `simple-dns` (`mdns_message`).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use if_addrs::{IfAddr, Interface};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

/// The group of mDNS over IPv4.
pub(super) const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// And over IPv6, on the link.
pub(super) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// The port of mDNS.
pub(super) const PORT: u16 = 5353;
/// Interfaces of each family that a message goes to: a host of containers may have hundreds.
const MAX_INTERFACES: usize = 32;

/// Where in a family an interface takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Link {
    /// The interface with this address.
    V4(Ipv4Addr),
    /// The interface with this index.
    V6(u32),
}

/// Bound to the port of mDNS, which others on this host may share.
#[derive(Debug)]
pub(super) struct MdnsSockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl MdnsSockets {
    /// Of the families that this host has.
    ///
    /// # Errors
    /// What the system says if it has neither.
    pub(super) fn open() -> io::Result<Self> {
        let (v4, v6) = (open(Domain::IPV4), open(Domain::IPV6));
        for (family, socket) in [("IPv4", &v4), ("IPv6", &v6)] {
            if let Err(error) = socket {
                tracing::debug!(target: "peerstack::network", family, %error, "no socket for mDNS");
            }
        }
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self { v4: v4.ok(), v6: v6.ok() }),
        }
    }

    /// Takes part in the groups on all interfaces; on those where it does already nothing happens.
    pub(super) fn join(&self, interfaces: &[Interface]) {
        for link in links(interfaces, |_| true) {
            // An interface without multicast is no reason not to take part on the others.
            let _ = match (link, &self.v4, &self.v6) {
                (Link::V4(ip), Some(socket), _) => SockRef::from(socket).join_multicast_v4(&GROUP, &ip),
                (Link::V6(index), _, Some(socket)) => {
                    SockRef::from(socket).join_multicast_v6(&GROUP_V6, index)
                }
                _ => Ok(()),
            };
        }
    }

    /// Sends to the groups on these interfaces; on how many links it could.
    pub(super) async fn multicast(
        &self,
        message: &[u8],
        interfaces: &[Interface],
        wanted: impl Fn(&Interface) -> bool,
    ) -> usize {
        let mut sent = 0;
        for link in links(interfaces, wanted) {
            let result = match (link, &self.v4, &self.v6) {
                (Link::V4(ip), Some(socket), _) if SockRef::from(socket).set_multicast_if_v4(&ip).is_ok() => {
                    socket.send_to(message, (GROUP, PORT)).await
                }
                (Link::V6(index), _, Some(socket))
                    if SockRef::from(socket).set_multicast_if_v6(index).is_ok() =>
                {
                    let group = SocketAddrV6::new(GROUP_V6, PORT, 0, index);
                    socket.send_to(message, SocketAddr::from(group)).await
                }
                _ => continue,
            };
            // One that went away, or has no route for multicast, is no reason not to tell on the others.
            sent += usize::from(result.is_ok());
        }
        sent
    }

    /// Sends to one address.
    pub(super) async fn send_to(&self, message: &[u8], to: SocketAddr) {
        if let Some(socket) = if to.is_ipv4() { &self.v4 } else { &self.v6 } {
            let _ = socket.send_to(message, to).await;
        }
    }

    /// The next message of either family. Nothing is lost if it is not waited for to the end.
    ///
    /// # Errors
    /// Neither socket receives any more.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let (v4, readable) = tokio::select! {
                readable = readable(self.v4.as_ref()) => (true, readable),
                readable = readable(self.v6.as_ref()) => (false, readable),
            };
            let socket = if v4 { &mut self.v4 } else { &mut self.v6 };
            let Some(open) = socket else { continue };
            match readable.and_then(|()| open.try_recv_from(buffer)) {
                Ok(received) => return Ok(received),
                // Some systems tell an earlier datagram's fate here.
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(target: "peerstack::network", v4, %error, "mDNS by this family ends");
                    *socket = None;
                    if self.v4.is_none() && self.v6.is_none() {
                        return Err(error);
                    }
                }
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionReset | Interrupted | WouldBlock)
}

async fn readable(socket: Option<&UdpSocket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

/// The interfaces now.
pub(super) fn interfaces() -> Vec<Interface> {
    if_addrs::get_if_addrs().unwrap_or_default()
}

/// Where messages go, each once, so many of each family at most.
fn links(interfaces: &[Interface], wanted: impl Fn(&Interface) -> bool) -> Vec<Link> {
    let mut seen = BTreeSet::new();
    let mut links: Vec<Link> = Vec::new();
    for interface in interfaces.iter().filter(|interface| wanted(interface)) {
        let link = match &interface.addr {
            IfAddr::V4(v4) => Link::V4(v4.ip),
            IfAddr::V6(_) => match interface.index {
                Some(index) if index > 0 => Link::V6(index),
                _ => continue,
            },
        };
        let same_family =
            |known: &&Link| matches!((known, link), (Link::V4(_), Link::V4(_)) | (Link::V6(_), Link::V6(_)));
        if links.iter().filter(same_family).count() < MAX_INTERFACES && seen.insert(link) {
            links.push(link);
        }
    }
    links
}

fn open(domain: Domain) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    let any = if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
        IpAddr::from(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    };
    socket.bind(&SocketAddr::new(any, PORT).into())?;
    // RFC 6762 section 11.
    if domain == Domain::IPV6 {
        socket.set_multicast_loop_v6(true)?;
        socket.set_multicast_hops_v6(255)?;
    } else {
        socket.set_multicast_loop_v4(true)?;
        socket.set_multicast_ttl_v4(255)?;
    }
    UdpSocket::from_std(socket.into())
}

/// Whether an address is a neighbour's: of a network of one of our interfaces, or of this host.
pub(super) fn is_on_link(ip: IpAddr, interfaces: &[Interface]) -> bool {
    interfaces.iter().any(|interface| match (&interface.addr, ip) {
        (IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = own.netmask.to_bits();
            own.ip.to_bits() & mask == ip.to_bits() & mask
        }
        (IfAddr::V6(own), IpAddr::V6(ip)) => {
            let mask = own.netmask.to_bits();
            ip.is_unicast_link_local() || own.ip.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, ip: &str, index: u32) -> Interface {
        let addr = match ip.parse().unwrap() {
            IpAddr::V4(ip) => IfAddr::V4(if_addrs::Ifv4Addr {
                ip,
                netmask: Ipv4Addr::new(255, 255, 255, 0),
                prefixlen: 24,
                broadcast: None,
            }),
            IpAddr::V6(ip) => IfAddr::V6(if_addrs::Ifv6Addr {
                ip,
                netmask: Ipv6Addr::from_bits(u128::MAX << 64),
                prefixlen: 64,
                broadcast: None,
            }),
        };
        Interface {
            name: name.into(),
            addr,
            index: Some(index),
            oper_status: if_addrs::IfOperStatus::Up,
            is_p2p: false,
            #[cfg(windows)]
            adapter_name: String::new(),
        }
    }

    #[test]
    fn neighbours_are_of_our_networks() {
        let interfaces = [interface("eth0", "192.0.2.1", 1), interface("eth0", "2001:db8::1", 1)];
        for (source, near) in [
            ("192.0.2.77", true),
            ("192.0.3.1", false),
            ("203.0.113.1", false),
            ("2001:db8::77", true),
            ("2001:db8:1::1", false),
            ("fe80::1", true),
        ] {
            assert_eq!(is_on_link(source.parse().unwrap(), &interfaces), near, "{source}");
        }
        assert!(!is_on_link("fe80::1".parse().unwrap(), &interfaces[..1]));
    }

    /// An interface with several addresses of IPv6 is one link, and there is an end to them.
    #[test]
    fn a_message_goes_to_each_link_once_and_to_a_bounded_number() {
        let mut interfaces = vec![
            interface("eth0", "192.0.2.1", 1),
            interface("eth0", "2001:db8::1", 1),
            interface("eth0", "2001:db8::2", 1),
            interface("eth1", "2001:db8:1::1", 2),
        ];
        let expected = [Link::V4(Ipv4Addr::new(192, 0, 2, 1)), Link::V6(1), Link::V6(2)];
        assert_eq!(links(&interfaces, |_| true), expected);
        assert_eq!(links(&interfaces, |interface| interface.name == "eth1"), [Link::V6(2)]);
        let nowhere = [Interface { index: None, ..interface("eth9", "2001:db8::9", 9) }];
        assert_eq!(links(&nowhere, |_| true), []);
        for index in 3..1_000 {
            interfaces.push(interface("veth", &format!("10.0.{}.{}", index / 250, index % 250), index));
            interfaces.push(interface("veth", &format!("2001:db8:{index:x}::1"), index));
        }
        assert_eq!(links(&interfaces, |_| true).len(), 2 * MAX_INTERFACES);
    }
}
