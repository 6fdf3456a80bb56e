//! TCP as far as a simulation needs it: handshake, order, retransmission, reset, close (RFC 9293). Windows are
//! fixed, there is no congestion control, and numbers do not wrap. Sans-IO; behind the lab's lock.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::packet::{DropReason, Packet, TcpHeader, Transport};
use crate::socket::SocketKey;
use crate::trace::TraceAction;
use crate::world::{NodeId, World, plain};

/// Bytes of payload of one segment: with headers below the usual MTU.
const MSS: usize = 1400;
/// Bytes under way at most.
const WINDOW: usize = 128 << 10;
/// Bytes that wait to be sent or acknowledged at most: the socket's send buffer.
const SEND_BUFFER: usize = 256 << 10;
/// The first wait for an acknowledgement of a SYN, and of data (RFC 6298 section 2, as systems have it).
const SYN_RTO: Duration = Duration::from_secs(1);
const DATA_RTO: Duration = Duration::from_millis(250);
/// Sends of one segment before the connection is given up.
const MAX_SENDS: u32 = 7;

/// Names a connection: the host, our end, the other end.
pub(crate) type StreamKey = (NodeId, SocketAddr, SocketAddr);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    SynSent,
    SynReceived,
    Established,
    /// Reset, refused, timed out, or closed by us.
    Closed(Option<io::ErrorKind>),
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct TcpState {
    phase: Phase,
    /// A server of the lab answers, not a socket.
    served: bool,
    /// The listener that it waits to be accepted from.
    listener: Option<SocketKey>,
    /// Nothing reads or writes it any more.
    pub(crate) orphan: bool,
    /// Sent and not acknowledged, then not sent yet; the first byte's number is `una`.
    out: VecDeque<u8>,
    una: u64,
    next: u64,
    fin_queued: bool,
    fin_sent: bool,
    sends: u32,
    rto: Duration,
    timer: Option<Instant>,
    duplicates: u32,
    expected: u64,
    early: BTreeMap<u64, Vec<u8>>,
    early_fin: Option<u64>,
    input: VecDeque<u8>,
    ended: bool,
    pub(crate) wakers: Vec<Waker>,
}

impl TcpState {
    fn new(phase: Phase) -> Self {
        Self {
            phase,
            served: false,
            listener: None,
            orphan: false,
            out: VecDeque::new(),
            una: 0,
            next: 0,
            fin_queued: false,
            fin_sent: false,
            sends: 0,
            rto: SYN_RTO,
            timer: None,
            duplicates: 0,
            expected: 0,
            early: BTreeMap::new(),
            early_fin: None,
            input: VecDeque::new(),
            ended: false,
            wakers: Vec::new(),
        }
    }

    pub(crate) fn connected(&self) -> Option<io::Result<()>> {
        match self.phase {
            Phase::SynSent | Phase::SynReceived => None,
            Phase::Established => Some(Ok(())),
            Phase::Closed(kind) => Some(Err(kind.unwrap_or(io::ErrorKind::NotConnected).into())),
        }
    }

    /// What can be read: bytes, the end, or why there is nothing more.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        if !self.input.is_empty() {
            let len = buffer.len().min(self.input.len());
            for (to, from) in buffer.iter_mut().zip(self.input.drain(..len)) {
                *to = from;
            }
            return Some(Ok(len));
        }
        match self.phase {
            _ if self.ended => Some(Ok(0)),
            Phase::Closed(Some(kind)) => Some(Err(kind.into())),
            Phase::Closed(None) => Some(Ok(0)),
            _ => None,
        }
    }

    fn room(&self) -> usize {
        SEND_BUFFER.saturating_sub(self.out.len())
    }

    pub(crate) fn writable(&self) -> bool {
        self.phase == Phase::Established && self.room() > 0 || matches!(self.phase, Phase::Closed(_))
    }

    fn done(&self) -> bool {
        matches!(self.phase, Phase::Closed(_)) && (self.orphan || self.served)
    }
}

/// A listening port with what waits to be accepted.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) host: NodeId,
    pub(crate) backlog: VecDeque<StreamKey>,
    pub(crate) waker: Option<Waker>,
}

impl World {
    /// Connections that a socket holds.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.values().filter(|stream| !stream.orphan && !stream.served).count()
    }

    pub(crate) fn listen(
        &mut self,
        node: NodeId,
        local: SocketAddr,
        ports: Option<peerstack_base::PortRange>,
    ) -> io::Result<(SocketKey, SocketAddr)> {
        let key = SocketKey(self.next_socket + 1);
        let host = self.host(node).ok_or(io::ErrorKind::NotFound)?;
        let local = host.choose(local, ports)?;
        host.sockets.insert((Transport::Tcp, local), key);
        self.next_socket = key.0;
        self.listeners.insert(key, ListenerState { host: node, backlog: VecDeque::new(), waker: None });
        Ok((key, local))
    }

    pub(crate) fn close_listener(&mut self, key: SocketKey) {
        let Some(listener) = self.listeners.remove(&key) else { return };
        if let Some(host) = self.host(listener.host) {
            host.sockets.retain(|_, bound| *bound != key);
        }
        for stream in listener.backlog {
            self.drop_stream(stream);
        }
    }

    pub(crate) fn connect(
        &mut self,
        node: NodeId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<StreamKey> {
        let remote = plain(remote);
        let host = self.host(node).ok_or(io::ErrorKind::NotFound)?;
        if local.is_ipv4() != remote.is_ipv4() || remote.port() == 0 || remote.ip().is_unspecified() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bound = host.choose(local, None)?;
        let source = host.source_for(bound.ip(), remote.ip()).ok_or(io::ErrorKind::NetworkUnreachable)?;
        let key = (node, SocketAddr::new(source, bound.port()), remote);
        if self.streams.contains_key(&key) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.streams.insert(key, TcpState::new(Phase::SynSent));
        self.send_handshake(key);
        Ok(key)
    }

    /// The socket of a connection is gone: what waits is still sent, then the connection ends.
    pub(crate) fn drop_stream(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.orphan = true;
        stream.wakers.clear();
        match stream.phase {
            Phase::Established => {
                stream.fin_queued = true;
                self.transmit_stream(key);
            }
            Phase::SynSent | Phase::SynReceived => {
                stream.phase = Phase::Closed(None);
                self.send_segment(key, TcpHeader { rst: true, ..TcpHeader::default() }, &[]);
            }
            Phase::Closed(_) => {}
        }
        self.forget_done(key);
    }

    fn forget_done(&mut self, key: StreamKey) {
        if self.streams.get(&key).is_some_and(TcpState::done) {
            self.streams.remove(&key);
        }
    }

    pub(crate) fn reset_streams_at(&mut self, node: NodeId, at: SocketAddr) {
        let keys: Vec<StreamKey> =
            self.streams.keys().filter(|(host, local, _)| *host == node && *local == at).copied().collect();
        for key in keys {
            self.send_segment(key, TcpHeader { rst: true, ..TcpHeader::default() }, &[]);
            self.streams.remove(&key);
        }
    }

    pub(crate) fn write_stream(&mut self, node: NodeId, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        // A server of the lab does not wait: what does not fit is lost with its connection.
        let key = (node, local, remote);
        if !matches!(self.stream_write(key, bytes), Ok(written) if written == bytes.len()) {
            self.close_stream(key, Some(io::ErrorKind::ConnectionReset));
        }
    }

    /// Takes as much as fits into the send buffer.
    pub(crate) fn stream_write(&mut self, key: StreamKey, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.streams.get_mut(&key).ok_or(io::ErrorKind::NotConnected)?;
        match stream.phase {
            Phase::Established if stream.fin_queued => return Err(io::ErrorKind::BrokenPipe.into()),
            Phase::Established => {}
            Phase::Closed(kind) => return Err(kind.unwrap_or(io::ErrorKind::BrokenPipe).into()),
            _ => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let len = stream.room().min(bytes.len());
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        stream.out.extend(bytes.iter().take(len));
        self.transmit_stream(key);
        Ok(len)
    }

    fn send_segment(&mut self, key: StreamKey, header: TcpHeader, payload: &[u8]) {
        let (node, source, destination) = key;
        let packet = Packet { tcp: Some(header), ..Packet::stream(source, destination, payload) };
        // With its interface gone, nothing leaves; the retransmission tries again.
        let _ = self.emit(node, packet);
    }

    fn send_handshake(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let header = TcpHeader {
            syn: true,
            ack: stream.phase == Phase::SynReceived,
            acknowledgement: stream.expected,
            ..TcpHeader::default()
        };
        stream.sends += 1;
        self.arm(key);
        self.send_segment(key, header, &[]);
    }

    fn send_ack(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(&key) else { return };
        let header = TcpHeader {
            ack: true,
            sequence: stream.next,
            acknowledgement: stream.expected,
            ..TcpHeader::default()
        };
        self.send_segment(key, header, &[]);
    }

    fn arm(&mut self, key: StreamKey) {
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let at = now + stream.rto;
        stream.timer = Some(at);
        self.schedule_retransmit(at, key);
    }

    /// Sends what the window allows.
    fn transmit_stream(&mut self, key: StreamKey) {
        loop {
            let Some(stream) = self.streams.get_mut(&key) else { return };
            if stream.phase != Phase::Established {
                return;
            }
            let under_way = usize::try_from(stream.next - stream.una).unwrap_or(usize::MAX);
            let unsent = stream.out.len().saturating_sub(under_way);
            let len = unsent.min(MSS).min(WINDOW.saturating_sub(under_way));
            let fin = stream.fin_queued && !stream.fin_sent && unsent == len;
            if len == 0 && !fin {
                return;
            }
            let payload: Vec<u8> = stream.out.iter().skip(under_way).take(len).copied().collect();
            let header = TcpHeader {
                ack: true,
                fin,
                sequence: stream.next,
                acknowledgement: stream.expected,
                ..TcpHeader::default()
            };
            stream.next += (len + usize::from(fin)) as u64;
            stream.fin_sent |= fin;
            let idle = stream.timer.is_none();
            if idle {
                stream.sends = 1;
                self.arm(key);
            }
            self.send_segment(key, header, &payload);
        }
    }

    /// A connection's timer has come, if it is still set.
    pub(crate) fn retransmit(&mut self, key: StreamKey) {
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if stream.timer.is_none_or(|at| at > now) {
            return;
        }
        stream.timer = None;
        if stream.sends >= MAX_SENDS {
            return self.close_stream(key, Some(io::ErrorKind::TimedOut));
        }
        stream.rto = (stream.rto * 2).min(Duration::from_secs(60));
        match stream.phase {
            Phase::SynSent | Phase::SynReceived => self.send_handshake(key),
            Phase::Established => self.resend_first(key),
            Phase::Closed(_) => {}
        }
    }

    fn resend_first(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if stream.next == stream.una {
            return;
        }
        let len = stream.out.len().min(MSS).min(usize::try_from(stream.next - stream.una).unwrap_or(MSS));
        let payload: Vec<u8> = stream.out.iter().take(len).copied().collect();
        let fin = stream.fin_sent && len == stream.out.len();
        let header = TcpHeader {
            ack: true,
            fin,
            sequence: stream.una,
            acknowledgement: stream.expected,
            ..TcpHeader::default()
        };
        stream.sends += 1;
        self.arm(key);
        self.send_segment(key, header, &payload);
    }

    fn close_stream(&mut self, key: StreamKey, kind: Option<io::ErrorKind>) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.phase = Phase::Closed(kind);
        stream.timer = None;
        let wakers = std::mem::take(&mut stream.wakers);
        let served = stream.served;
        self.wakers.extend(wakers);
        if served {
            self.serve(key, Vec::new());
        }
        self.forget_done(key);
    }

    /// A segment has reached a host.
    pub(crate) fn deliver_segment(&mut self, node: NodeId, packet: Packet) {
        let (local, remote) = (plain(packet.destination), plain(packet.source));
        let (key, Some(header)) = ((node, local, remote), packet.tcp) else { return };
        let Some(host) = self.host(node) else { return };
        let place = host.name.clone();
        if !self.streams.contains_key(&key) && !self.accept(key, header) {
            self.drop_packet(DropReason::NoSocket, &place, &packet);
            if !header.rst {
                self.send_segment(key, TcpHeader { rst: true, ..TcpHeader::default() }, &[]);
            }
            return;
        }
        self.record(TraceAction::Received, &place, &packet);
        self.on_segment(key, header, packet.payload);
        self.forget_done(key);
    }

    /// Makes the passive end of a connection, if anybody listens.
    fn accept(&mut self, key: StreamKey, header: TcpHeader) -> bool {
        let (node, local, _) = key;
        if !header.syn || header.ack {
            return false;
        }
        let Some(host) = self.host(node) else { return false };
        let listener = host.socket_for(Transport::Tcp, local);
        let served = host.services.contains_key(&(Transport::Tcp, local.ip(), Some(local.port())));
        if listener.is_none() && !served {
            return false;
        }
        let state =
            TcpState { served, listener: listener.filter(|_| !served), ..TcpState::new(Phase::SynReceived) };
        self.streams.insert(key, state);
        true
    }

    fn on_segment(&mut self, key: StreamKey, header: TcpHeader, payload: Vec<u8>) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if header.rst {
            let kind = match stream.phase {
                Phase::SynSent => io::ErrorKind::ConnectionRefused,
                _ => io::ErrorKind::ConnectionReset,
            };
            return self.close_stream(key, Some(kind));
        }
        match (stream.phase, header.syn, header.ack) {
            (Phase::SynReceived, true, false) => {
                stream.expected = 1;
                stream.una = 1;
                stream.next = 1;
                return self.send_handshake(key);
            }
            (Phase::SynSent, true, true) => {
                (stream.una, stream.next, stream.expected) = (1, 1, 1);
                self.establish(key);
                return self.send_ack(key);
            }
            (Phase::SynReceived, false, true) => self.establish(key),
            // The handshake's last acknowledgement was lost.
            (Phase::Established, true, _) => return self.send_ack(key),
            (Phase::Established, false, true) => {}
            (Phase::Closed(None), ..) => {
                self.send_segment(key, TcpHeader { rst: true, ..TcpHeader::default() }, &[]);
                return;
            }
            _ => return,
        }
        self.on_acknowledgement(key, header.acknowledgement, payload.is_empty() && !header.fin);
        self.on_payload(key, header, payload);
    }

    fn establish(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.phase = Phase::Established;
        (stream.sends, stream.rto, stream.timer) = (0, DATA_RTO, None);
        let (wakers, listener) = (std::mem::take(&mut stream.wakers), stream.listener.take());
        self.wakers.extend(wakers);
        if let Some(listener) = listener {
            match self.listeners.get_mut(&listener) {
                Some(state) => {
                    state.backlog.push_back(key);
                    let waker = state.waker.take();
                    self.wakers.extend(waker);
                }
                None => self.drop_stream(key),
            }
        }
        self.transmit_stream(key);
    }

    fn on_acknowledgement(&mut self, key: StreamKey, acknowledgement: u64, pure: bool) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if acknowledgement > stream.next {
            return;
        }
        if acknowledgement <= stream.una {
            if pure && stream.next > stream.una {
                stream.duplicates += 1;
                if stream.duplicates == 3 {
                    stream.sends = stream.sends.saturating_sub(1);
                    self.resend_first(key);
                }
            }
            return;
        }
        let acked = usize::try_from(acknowledgement - stream.una).unwrap_or(usize::MAX).min(stream.out.len());
        stream.out.drain(..acked);
        stream.una = acknowledgement;
        (stream.duplicates, stream.sends, stream.rto, stream.timer) = (0, 1, DATA_RTO, None);
        let outstanding = stream.next > stream.una;
        let closed = stream.fin_sent && !outstanding && stream.out.is_empty();
        let wakers = std::mem::take(&mut stream.wakers);
        if closed {
            stream.phase = Phase::Closed(None);
        }
        self.wakers.extend(wakers);
        if outstanding {
            self.arm(key);
        }
        self.transmit_stream(key);
    }

    fn on_payload(&mut self, key: StreamKey, header: TcpHeader, payload: Vec<u8>) {
        if payload.is_empty() && !header.fin {
            return;
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let end = header.sequence + payload.len() as u64;
        if header.fin {
            stream.early_fin = Some(end);
        }
        if end > stream.expected && stream.early.len() < 1024 {
            stream.early.insert(header.sequence, payload);
        }
        let mut piece = Vec::new();
        while let Some(entry) = stream.early.first_entry().filter(|entry| *entry.key() <= stream.expected) {
            let (sequence, bytes) = entry.remove_entry();
            let known = usize::try_from(stream.expected - sequence).unwrap_or(usize::MAX);
            let fresh = bytes.get(known..).unwrap_or_default();
            stream.expected += fresh.len() as u64;
            piece.extend_from_slice(fresh);
        }
        let ended = stream.early_fin == Some(stream.expected) && !stream.ended;
        if ended {
            stream.ended = true;
            stream.expected += 1;
        }
        let served = stream.served;
        if !served {
            stream.input.extend(&piece);
        }
        let wakers = std::mem::take(&mut stream.wakers);
        self.wakers.extend(wakers);
        self.send_ack(key);
        if served && !piece.is_empty() {
            self.serve(key, piece);
        }
        if ended && served {
            self.serve(key, Vec::new());
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.fin_queued = true;
                self.transmit_stream(key);
            }
        }
    }

    /// Hands a piece of a stream to the server; an empty one when the client has closed.
    fn serve(&mut self, key: StreamKey, piece: Vec<u8>) {
        let ((node, local, remote), now) = (key, self.now);
        let Some(host) = self.host(node) else { return };
        let Some((name, mut service)) = host.take_service(Transport::Tcp, local) else { return };
        let answers = service(now, &Packet::stream(remote, local, piece));
        if let Some(host) = self.host(node) {
            host.services.entry(name).or_insert(service);
        }
        self.send_answers(node, answers);
    }
}
