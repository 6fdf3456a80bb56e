//! Transports that gather before any description asks for them (W3C `iceCandidatePoolSize`). Owned by the network task,
//! one for each PeerConnection. RFC 9429 section 3.5.4; answers to the pooled sessions of libwebrtc's
//! `p2p/base/port_allocator.h`, where a session is handed to a transport; here each waits within a transport of its own,
//! so that its sockets, timers and allocations are driven as any transport's.

use std::net::IpAddr;
use std::time::Instant;

use peerstack_base::{IoRequest, Network, ReceiveMeta, ResolveId, SocketEvent, SocketId, TransmitQueue};

use crate::{IceParameters, IceTransport, P2PTransportChannel};

/// Transports that wait, in the order in which they are taken.
#[derive(Debug, Default)]
pub struct CandidatePool {
    waiting: Vec<P2PTransportChannel>,
    /// Thrown away, but what they still want to send or to ask of the network task is not yet taken.
    closing: Vec<P2PTransportChannel>,
}

impl CandidatePool {
    /// Brings the pool to a size: it grows by what `make` makes, whose gathering begins at once under these parameters;
    /// what is too many is closed, the last first (G27).
    pub fn set_size(
        &mut self,
        now: Instant,
        size: usize,
        mut make: impl FnMut() -> (P2PTransportChannel, IceParameters),
    ) {
        while self.waiting.len() < size {
            let (mut channel, parameters) = make();
            channel.start_pooled_gathering(now, parameters);
            self.waiting.push(channel);
        }
        while self.waiting.len() > size {
            self.closing.extend(self.waiting.pop().map(|channel| closed(now, channel)));
        }
    }

    /// Throws all away: servers changed, or no description will ask for them any more.
    pub fn discard(&mut self, now: Instant) {
        self.closing.extend(self.waiting.drain(..).map(|channel| closed(now, channel)));
    }

    /// The first one, which keeps what it gathered; its description says
    /// [`pooled_ice_parameters`](IceTransport::pooled_ice_parameters), or gives it others.
    pub fn take(&mut self) -> Option<P2PTransportChannel> {
        (!self.waiting.is_empty()).then(|| self.waiting.remove(0))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The parameters of those that wait, in the order in which they are taken.
    pub fn ice_parameters(&self) -> Vec<IceParameters> {
        self.waiting.iter().filter_map(P2PTransportChannel::pooled_ice_parameters).collect()
    }

    /// Whether nothing is left of those that were thrown away.
    pub fn is_drained(&mut self) -> bool {
        self.closing.retain_mut(|channel| !channel.is_drained());
        self.waiting.is_empty() && self.closing.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &P2PTransportChannel> {
        self.waiting.iter().chain(&self.closing)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut P2PTransportChannel> {
        self.waiting.iter_mut().chain(&mut self.closing)
    }

    /// Whether a socket is one of theirs.
    pub fn owns_socket(&self, socket: SocketId) -> bool {
        self.all().any(|channel| channel.owns_socket(socket))
    }

    /// Takes a datagram of one of their sockets; `false` if it is not of these. Nobody is to hear what it carries.
    pub fn receive(&mut self, now: Instant, datagram: &mut [u8], meta: &ReceiveMeta) -> bool {
        let Some(channel) = self.all_mut().find(|channel| channel.owns_socket(meta.socket)) else {
            return false;
        };
        let _ = channel.receive(now, datagram, meta);
        true
    }

    /// What became of a stream of one of them.
    pub fn handle_socket_event(&mut self, now: Instant, event: &SocketEvent) {
        for channel in self.all_mut().filter(|channel| channel.owns_socket(event.socket())) {
            channel.handle_socket_event(now, event);
        }
    }

    /// The answer to a look-up; one that none of them asked for is ignored.
    pub fn handle_resolved(&mut self, now: Instant, id: ResolveId, addresses: &[IpAddr]) {
        for channel in &mut self.waiting {
            channel.handle_resolved(now, id, addresses);
        }
    }

    /// The networks changed.
    pub fn set_networks(&mut self, now: Instant, networks: &[Network]) {
        for channel in &mut self.waiting {
            channel.set_networks(now, networks.to_vec());
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.all().filter_map(P2PTransportChannel::next_timeout).min()
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for channel in self.all_mut() {
            if channel.next_timeout().is_some_and(|at| at <= now) {
                channel.handle_timeout(now);
            }
        }
    }

    /// Forgets what was thrown away and has said its last.
    pub fn process(&mut self) {
        self.closing.retain_mut(|channel| !channel.is_drained());
    }

    /// Calls `visit` with each queue of datagrams that wait to be sent.
    pub fn for_each_transmit_queue(&mut self, mut visit: impl FnMut(&mut TransmitQueue)) {
        self.all_mut().for_each(|channel| visit(channel.transmits()));
    }

    /// The next thing the network task is asked to do.
    pub fn poll_io_request(&mut self) -> Option<IoRequest> {
        self.all_mut().find_map(P2PTransportChannel::poll_io_request)
    }
}

fn closed(now: Instant, mut channel: P2PTransportChannel) -> P2PTransportChannel {
    channel.close(now);
    channel
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use peerstack_base::Random;
    use peerstack_netsim::{Host, Lab, TurnServer, addr, ip};

    use super::*;
    use crate::p2p_transport_channel::tests::harness::{new_parameters, origin};
    use crate::{IceServer, P2PTransportChannelConfig};

    fn make(host: &Host, random: &mut Random) -> (P2PTransportChannel, IceParameters) {
        let networks = host.network_manager().networks();
        let mut config = P2PTransportChannelConfig::new("pool", host.packet_socket_factory(), networks);
        config.port_allocator.ice_servers = vec![IceServer {
            urls: vec!["turn:198.51.100.7".parse().unwrap()],
            username: "user".into(),
            password: "pass".into(),
        }];
        let parameters = new_parameters(random);
        (P2PTransportChannel::new(config, random.fork()), parameters)
    }

    /// G27: it grows and shrinks, is taken in order, and gives back sockets and timers with what it throws away.
    #[test]
    fn the_pool_has_the_size_it_is_told() {
        let lab = Lab::new(1, origin());
        let turn = lab.host_at("turn", &lab.internet(), ip("198.51.100.7"));
        TurnServer::new(&turn, addr("198.51.100.7:3478"), &[ip("198.51.100.7")], &[("user", "pass")]);
        let host = lab.host_at("a", &lab.internet(), ip("192.0.2.1"));
        let (now, mut random) = (lab.now(), Random::from_seed(1));
        let mut pool = CandidatePool::default();
        pool.set_size(now, 3, || make(&host, &mut random));
        let parameters = pool.ice_parameters();
        assert_eq!((pool.len(), parameters.len()), (3, 3));
        let mut sockets = Vec::new();
        while let Some(request) = pool.poll_io_request() {
            if let IoRequest::AddUdpSocket { id, .. } = request {
                assert!(pool.owns_socket(id));
                sockets.push(id);
            }
        }
        assert_eq!(sockets.len(), 3);
        assert_eq!(pool.next_timeout(), Some(now + Duration::from_millis(50)), "the relay phase");

        let first = pool.take().unwrap();
        assert_eq!(first.pooled_ice_parameters().as_ref(), parameters.first());
        assert!(!pool.owns_socket(sockets[0]) && first.owns_socket(sockets[0]));
        pool.set_size(now, 1, || make(&host, &mut random));
        assert_eq!(pool.ice_parameters(), parameters[1..2]);
        let closed: Vec<_> = std::iter::from_fn(|| pool.poll_io_request()).collect();
        assert!(matches!(closed[..], [IoRequest::CloseSocket { id }] if id == sockets[2]), "{closed:?}");
        pool.set_size(now, 2, || make(&host, &mut random));
        assert_eq!(pool.len(), 2);
        while pool.poll_io_request().is_some() {}

        assert!(!pool.is_drained());
        pool.discard(now);
        assert!(pool.is_empty() && pool.take().is_none() && pool.next_timeout().is_none());
        assert!(!pool.is_drained(), "two sockets are still to be closed");
        while pool.poll_io_request().is_some() {}
        pool.for_each_transmit_queue(|queue| {
            while let Some(len) = queue.peek(|_| 64).map(|(_, transmit)| transmit.contents.len()) {
                queue.pop(len);
            }
        });
        assert!(pool.is_drained());
    }
}
