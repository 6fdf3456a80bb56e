//! A world without a network: sockets that bind and neither send nor receive, and one network to bind on.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use peerstack_base::{
    AdapterType, AsyncUdpSocket, DnsResolver, Network, NetworkManager, PacketSocketFactory, PortRange,
    RecvMeta, ResolveFuture, Transmit,
};

/// Bound, and silent.
#[derive(Debug)]
pub struct SilentSocket(SocketAddr);

impl AsyncUdpSocket for SilentSocket {
    fn try_send(&mut self, _: &Transmit<'_>) -> io::Result<()> {
        Ok(())
    }

    fn poll_writable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_recv(
        &mut self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0)
    }
}

/// Makes them, each on a port of its own.
#[derive(Debug, Default)]
pub struct SilentSocketFactory(u16);

impl PacketSocketFactory for SilentSocketFactory {
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        _: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>> {
        self.0 = self.0.wrapping_add(1);
        Ok(Box::new(SilentSocket(SocketAddr::new(local.ip(), 50_000 + self.0 % 10_000))))
    }
}

/// The one network.
pub fn network() -> Network {
    Network {
        name: "eth0".to_owned(),
        adapter_type: AdapterType::Ethernet,
        prefix_len: 24,
        ips: vec![IpAddr::from([192, 0, 2, 1])],
        id: 1,
        preference: 127,
    }
}

/// Lists it.
#[derive(Debug)]
pub struct OneNetwork;

impl NetworkManager for OneNetwork {
    fn networks(&mut self) -> Vec<Network> {
        vec![network()]
    }

    fn poll_changed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// Knows no name.
#[derive(Debug)]
pub struct NoNames;

impl DnsResolver for NoNames {
    fn resolve(&self, _: &str) -> ResolveFuture {
        Box::pin(async { Ok(Vec::new()) })
    }
}
