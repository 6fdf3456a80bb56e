//! Tells how the NAT before this host behaves: runs the discovery of RFC 5780 on a socket of its own. No part of a
//! PeerConnection; runs on the caller's task.
//!
//! ```no_run
//! # async fn example() -> Result<(), peerstack_peer_connection::RtcError> {
//! let report = peerstack_peer_connection::nat::discover("stun:stun.example.org").await?;
//! println!("{:?}, mapping {:?}, filtering {:?}", report.nat_type(), report.mapping, report.filtering);
//! # Ok(())
//! # }
//! ```

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use peerstack_base::{AsyncUdpSocket, DnsResolver, Ecn, Network, RecvMeta, Transmit};
pub use peerstack_p2p::{NAT_TEST_TIMEOUT, NatBehaviour, NatBehaviourDiscovery, NatReport, NatType};
use peerstack_stun::{Host, Scheme, ServerUrl};

use crate::RtcError;
use crate::configuration::PeerConnectionDependencies;

/// Bytes of a datagram that are looked at.
const MAX_DATAGRAM: usize = 2_048;

/// Asks a STUN server with two addresses (RFC 5780, which coturn for example can be), given by its `stun:` URL.
/// It takes a few round trips, or up to [`NAT_TEST_TIMEOUT`] three times where packets are filtered. A server with
/// one address tells the mapped address alone, and [`NatReport::nat_type`] is `None`.
///
/// # Errors
/// `SyntaxError` for what is no `stun:` URL; `NetworkError` if the server's name has no address or no socket can
/// be had. That nothing comes back is no error but [`NatType::UdpBlocked`].
pub async fn discover(server: &str) -> Result<NatReport, RtcError> {
    discover_from(server, None, &mut PeerConnectionDependencies::default()).await
}

/// The same from this address, or from that of the best network if `None`, in a world of the caller's.
///
/// # Errors
/// As [`discover`].
pub async fn discover_from(
    server: &str,
    local: Option<IpAddr>,
    dependencies: &mut PeerConnectionDependencies,
) -> Result<NatReport, RtcError> {
    let url: ServerUrl =
        server.parse().map_err(|error| RtcError::syntax(format!("the STUN server {server:?}: {error}")))?;
    if url.scheme != Scheme::Stun {
        return Err(RtcError::syntax(format!("{server:?} is not a stun: URL")));
    }
    let server = resolve(&url, local, &*dependencies.dns_resolver).await?;
    let networks = dependencies.network_manager.networks();
    let local = local.unwrap_or_else(|| local_address(server.ip(), &networks));
    let socket = dependencies.packet_socket_factory.create_udp_socket(SocketAddr::new(local, 0), None);
    let mut socket = socket.map_err(|error| network_error(&format!("no socket on {local}"), &error))?;
    let local = socket.local_addr().map_err(|error| network_error("the socket has no address", &error))?;
    let mut discovery =
        NatBehaviourDiscovery::new(now(), server, local, NAT_TEST_TIMEOUT, dependencies.random.fork());
    Ok(run(&mut discovery, &mut *socket).await)
}

fn network_error(what: &str, error: &io::Error) -> RtcError {
    RtcError::new(crate::RtcErrorKind::NetworkError, format!("{what}: {error}"))
}

/// The server's address, of the family of `local` if that is given.
async fn resolve(
    url: &ServerUrl,
    local: Option<IpAddr>,
    resolver: &dyn DnsResolver,
) -> Result<SocketAddr, RtcError> {
    let addresses = match &url.host {
        Host::Ip(ip) => vec![*ip],
        Host::Name(name) => {
            let answer = resolver.resolve(name).await;
            answer.map_err(|error| network_error(&format!("the name {name:?} was not found"), &error))?
        }
    };
    let of_family = |ip: &&IpAddr| local.is_none_or(|local| local.is_ipv4() == ip.is_ipv4());
    let found = addresses.iter().find(of_family).copied();
    let ip = found.ok_or_else(|| {
        let text = format!("{} has no address of the family of the local one", url.host);
        RtcError::new(crate::RtcErrorKind::NetworkError, text)
    })?;
    Ok(SocketAddr::new(ip, url.port))
}

/// The address that packets to the server most likely leave from; the "any" address if there is none.
fn local_address(server: IpAddr, networks: &[Network]) -> IpAddr {
    let usable = |ip: &IpAddr| {
        ip.is_ipv4() == server.is_ipv4()
            && ip.is_loopback() == server.is_loopback()
            && !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
    };
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    networks.iter().flat_map(|network| &network.ips).copied().find(usable).unwrap_or(any)
}

async fn run(discovery: &mut NatBehaviourDiscovery, socket: &mut dyn AsyncUdpSocket) -> NatReport {
    loop {
        while let Some((destination, contents)) = discovery.poll_transmit() {
            let transmit =
                Transmit { destination, ecn: Ecn::NotEct, contents: &contents, segment_size: None };
            // What is not sent counts as lost: it is sent again.
            if let Err(error) = socket.try_send(&transmit) {
                tracing::debug!(target: "peerstack::nat", %destination, %error, "not sent");
            }
        }
        if let Some(report) = discovery.report() {
            return report.clone();
        }
        let deadline = discovery.next_timeout().unwrap_or_else(now);
        if deadline <= now() {
            discovery.handle_timeout(now());
            continue;
        }
        tokio::select! {
            biased;
            () = sleep_until(deadline) => {}
            received = receive(socket) => match received {
                Some((datagram, meta)) => {
                    discovery.receive(now(), &datagram, meta.remote, meta.local_ip);
                }
                // An error of an earlier send; a socket that has nothing but errors ends with the time-out.
                None => tokio::task::yield_now().await,
            },
        }
    }
}

/// One datagram; `None` if the socket told of an error of an earlier send.
async fn receive(socket: &mut dyn AsyncUdpSocket) -> Option<(Vec<u8>, RecvMeta)> {
    let mut buffer = vec![0; MAX_DATAGRAM * socket.max_receive_segments().max(1)];
    let mut meta = [RecvMeta::default()];
    let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)).await;
    received.ok().filter(|filled| *filled > 0)?;
    let [meta] = meta;
    // The answers to what was asked of one address come one at a time: the first of a batch is enough.
    buffer.truncate(meta.len.min(meta.stride));
    Some((buffer, meta))
}

async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.into()).await;
}

#[expect(clippy::disallowed_methods, reason = "a tool of the application on its own task, no layer")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
#[path = "nat_tests.rs"]
mod tests;
