//! UDP sockets of virtual hosts: `base::AsyncUdpSocket` with batches, and a plain form without a runtime.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};

use peerstack_base::{AsyncUdpSocket, Ecn, RecvMeta, Transmit};

use crate::lab::Shared;
use crate::link::Direction;
use crate::packet::{DropReason, Packet, Transport};
use crate::trace::TraceAction;
use crate::world::{NodeId, World, plain};

/// The largest UDP payload over IPv4 and over IPv6 without jumbograms.
const MAX_PAYLOAD: [usize; 2] = [65_507, 65_487];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketKey(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct SocketState {
    pub(crate) host: NodeId,
    pub(crate) local: SocketAddr,
    limit: usize,
    queue: VecDeque<Packet>,
    queued: usize,
    overflowed: u64,
    waker: Option<Waker>,
}

impl SocketState {
    pub(crate) fn new(host: NodeId, local: SocketAddr, limit: usize) -> Self {
        Self { host, local, limit, queue: VecDeque::new(), queued: 0, overflowed: 0, waker: None }
    }

    /// Whether the buffer takes this packet. Each counts for one byte at least.
    fn has_room(&self, packet: &Packet) -> bool {
        self.queued + packet.payload.len().max(1) <= self.limit
    }

    /// Takes a packet in; whom to wake.
    fn push(&mut self, packet: Packet) -> Option<Waker> {
        self.queued += packet.payload.len().max(1);
        self.queue.push_back(packet);
        self.waker.take()
    }

    fn pop(&mut self) -> Option<Packet> {
        let packet = self.queue.pop_front()?;
        self.queued -= packet.payload.len().max(1);
        Some(packet)
    }

    /// Fills one buffer with a datagram, and with those behind it that may share it: same addresses, ECN bits
    /// and size, but for the last, which may be shorter (as UDP_GRO does).
    fn fill(&mut self, buffer: &mut [u8], max_segments: usize) -> Option<RecvMeta> {
        let first = self.pop()?;
        let stride = first.payload.len().min(buffer.len());
        copy(buffer, 0, &first.payload);
        let mut len = stride;
        // A truncated or empty datagram stands alone.
        let mut open = stride == first.payload.len() && stride > 0;
        let mut segments = 1;
        while open && segments < max_segments {
            let fits = |next: &Packet| {
                let size = next.payload.len();
                next.source == first.source
                    && next.destination == first.destination
                    && next.ecn == first.ecn
                    && (1..=stride).contains(&size)
                    && len + size <= buffer.len()
            };
            if !self.queue.front().is_some_and(fits) {
                break;
            }
            let Some(next) = self.pop() else { break };
            copy(buffer, len, &next.payload);
            len += next.payload.len();
            open = next.payload.len() == stride;
            segments += 1;
        }
        Some(RecvMeta {
            remote: first.source,
            len,
            stride,
            ecn: first.ecn,
            local_ip: Some(first.destination.ip()),
        })
    }
}

fn copy(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(rest) = buffer.get_mut(at..) {
        let len = rest.len().min(bytes.len());
        rest.iter_mut().zip(bytes).take(len).for_each(|(to, from)| *to = *from);
    }
}

impl World {
    /// A packet has reached a host.
    pub(crate) fn deliver(&mut self, node: NodeId, packet: Packet) {
        let now = self.now;
        let Some(host) = self.host(node) else { return };
        let place = host.name.clone();
        let destination = plain(packet.destination);
        if !host.owns(destination.ip()) {
            return self.drop_packet(DropReason::NoRoute, &place, &packet);
        }
        if packet.transport == Transport::Tcp {
            return self.deliver_segment(node, packet);
        }
        if let Some((key, mut service)) = host.take_service(Transport::Udp, destination) {
            self.record(TraceAction::Received, &place, &packet);
            let answers = service(now, &packet);
            if let Some(host) = self.host(node) {
                host.services.entry(key).or_insert(service);
            }
            return self.send_answers(node, answers);
        }
        let Some(key) = host.socket_for(packet.transport, destination) else {
            return self.drop_packet(DropReason::NoSocket, &place, &packet);
        };
        let full = self.sockets.get(&key).is_none_or(|socket| !socket.has_room(&packet));
        if full {
            if let Some(socket) = self.sockets.get_mut(&key) {
                socket.overflowed += 1;
            }
            return self.drop_packet(DropReason::ReceiveBuffer, &place, &packet);
        }
        self.record(TraceAction::Received, &place, &packet);
        if let Some(socket) = self.sockets.get_mut(&key) {
            self.wakers.extend(socket.push(packet));
        }
    }

    /// Sends what a server of a host answers: datagrams, and bytes on connections.
    pub(crate) fn send_answers(&mut self, node: NodeId, answers: Vec<Packet>) {
        for answer in answers {
            if answer.transport == Transport::Tcp {
                self.write_stream(node, answer.source, answer.destination, &answer.payload);
            } else {
                // What a server may not send from here is lost.
                let _ = self.emit(node, answer);
            }
        }
    }

    /// A host sends a packet: to itself, or by the interface that has its source address.
    pub(crate) fn emit(&mut self, node: NodeId, packet: Packet) -> io::Result<()> {
        let Some(host) = self.host(node) else { return Err(io::ErrorKind::NotFound.into()) };
        let place = host.name.clone();
        if host.owns(packet.destination.ip()) {
            self.record(TraceAction::Sent, &place, &packet);
            self.schedule_local(node, packet);
            return Ok(());
        }
        let link = host.link_from(packet.source.ip()).ok_or(io::ErrorKind::NetworkUnreachable)?;
        self.record(TraceAction::Sent, &place, &packet);
        self.transmit(link, Direction::Outbound, packet);
        Ok(())
    }

    /// A socket sends one datagram.
    fn send(&mut self, key: SocketKey, destination: SocketAddr, ecn: Ecn, payload: &[u8]) -> io::Result<()> {
        let socket = self.sockets.get(&key).ok_or(io::ErrorKind::NotConnected)?;
        let (node, local) = (socket.host, socket.local);
        let destination = plain(destination);
        let [ipv4, ipv6] = MAX_PAYLOAD;
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if destination.is_ipv4() != local.is_ipv4() {
            return refuse("the destination is of another address family than the socket");
        }
        if destination.port() == 0 || destination.ip().is_unspecified() {
            return refuse("the destination has no address or port");
        }
        if payload.len() > if local.is_ipv4() { ipv4 } else { ipv6 } {
            return refuse("the datagram is longer than UDP allows");
        }
        let host = self.host(node).ok_or(io::ErrorKind::NotConnected)?;
        if host.send_blocked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let source = host.source_for(local.ip(), destination.ip());
        let source = source.ok_or(io::ErrorKind::NetworkUnreachable)?;
        let source = SocketAddr::new(source, local.port());
        let payload = payload.to_vec();
        self.emit(node, Packet { ecn, ..Packet::udp(source, destination, payload) })
    }

    fn close_socket(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.remove(&key) else { return };
        if let Some(host) = self.host(socket.host) {
            host.sockets.retain(|_, bound| *bound != key);
        }
    }
}

/// A datagram as [`HostSocket::try_recv`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The sender.
    pub source: SocketAddr,
    /// The local address it was sent to.
    pub local_ip: IpAddr,
    /// ECN bits.
    pub ecn: Ecn,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// A bound UDP socket; dropping it frees its port. Usable as [`AsyncUdpSocket`] or, without a runtime, by
/// [`send_to`](Self::send_to) and [`try_recv`](Self::try_recv).
#[derive(Debug)]
pub struct HostSocket {
    pub(crate) shared: Shared,
    pub(crate) key: SocketKey,
    pub(crate) local: SocketAddr,
    pub(crate) transmit_segments: usize,
    pub(crate) receive_segments: usize,
}

impl HostSocket {
    /// Sends one datagram.
    ///
    /// # Errors
    /// `NetworkUnreachable` if the interface of the bound address is down or gone (or the socket is bound to
    /// the any-address and no interface has this family), `InvalidInput` for another address family, port 0 or
    /// a datagram longer than UDP allows, `WouldBlock` while the host's sending is blocked.
    pub fn send_to(&self, payload: &[u8], destination: SocketAddr) -> io::Result<()> {
        self.shared.with(|world| world.send(self.key, destination, Ecn::NotEct, payload))
    }

    /// The next datagram that has arrived by the lab's time.
    pub fn try_recv(&self) -> Option<Datagram> {
        let packet = self.shared.with(|world| world.sockets.get_mut(&self.key)?.pop())?;
        let Packet { source, destination, ecn, payload, .. } = packet;
        Some(Datagram { source, local_ip: destination.ip(), ecn, payload })
    }

    /// Fills buffers with what has arrived by the lab's time, as [`AsyncUdpSocket::poll_recv`] does; 0 if
    /// nothing has.
    pub fn try_recv_batch(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        self.shared.with(|world| self.fill(world, bufs, meta))
    }

    fn fill(&self, world: &mut World, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let Some(socket) = world.sockets.get_mut(&self.key) else { return 0 };
        let mut filled = 0;
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let Some(received) = socket.fill(buffer, self.receive_segments) else { break };
            *meta = received;
            filled += 1;
        }
        filled
    }

    /// The address it is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Datagrams dropped because the receive buffer was full.
    pub fn overflowed(&self) -> u64 {
        self.shared.with(|world| world.sockets.get(&self.key).map_or(0, |socket| socket.overflowed))
    }

    /// Bytes that wait to be received.
    pub fn pending_bytes(&self) -> usize {
        self.shared.with(|world| world.sockets.get(&self.key).map_or(0, |socket| socket.queued))
    }
}

impl Drop for HostSocket {
    fn drop(&mut self) {
        self.shared.with(|world| world.close_socket(self.key));
    }
}

impl AsyncUdpSocket for HostSocket {
    fn try_send(&mut self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        if transmit.contents.len().div_ceil(segment) > self.transmit_segments {
            let why = "more segments than the socket takes";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        self.shared.with(|world| {
            if transmit.contents.is_empty() {
                return world.send(self.key, transmit.destination, transmit.ecn, &[]);
            }
            // All or nothing: what refuses one segment refuses the first.
            let mut segments = transmit.contents.chunks(segment);
            segments.try_for_each(|payload| world.send(self.key, transmit.destination, transmit.ecn, payload))
        })
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.with(|world| {
            let Some(node) = world.sockets.get(&self.key).map(|socket| socket.host) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            match world.host(node) {
                Some(host) if host.send_blocked => {
                    host.writable_wakers.insert(self.key, cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(Ok(())),
            }
        })
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.shared.with(|world| {
            let filled = self.fill(world, bufs, meta);
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
            match world.sockets.get_mut(&self.key) {
                Some(socket) => {
                    socket.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        self.transmit_segments
    }

    fn max_receive_segments(&self) -> usize {
        self.receive_segments
    }
}
