//! Packets over a stream: cuts what is read into packets, writes packets whole or not at all, and tells what
//! becomes of the stream. Held by whoever owns the sockets, the network task in production. RFC 4571, RFC 8656
//! section 12.5; answers to libwebrtc's `AsyncTCPSocket` and `AsyncStunTCPSocket`.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use peerstack_base::{
    AsyncStreamListener, AsyncStreamSocket, Ecn, ReceiveMeta, SocketEvent, SocketId, StreamFraming, Transmit,
};
use peerstack_stun::{Framing, StreamDeframer};

/// Bytes that wait for the stream to take them; packets beyond that are dropped, as a full router would.
const MAX_QUEUED: usize = 256 << 10;
/// Bytes of one read.
const READ_SIZE: usize = 16 << 10;
/// Reads in one turn, so that a busy stream does not starve others.
const MAX_READS: usize = 16;
/// Streams of one listener at once; more are closed as they come.
const MAX_ACCEPTED: usize = 64;

fn framing_of(framing: StreamFraming) -> Framing {
    match framing {
        StreamFraming::Rfc4571 => Framing::Rfc4571,
        StreamFraming::Stun => Framing::Stun,
    }
}

/// A stream that carries packets.
#[derive(Debug)]
pub struct AsyncTcpPacketSocket {
    id: SocketId,
    socket: Box<dyn AsyncStreamSocket>,
    remote: SocketAddr,
    deframer: StreamDeframer,
    queued: Vec<u8>,
    written: usize,
    connected: bool,
    /// Closed once what is queued is written.
    closing: bool,
    dropped: u64,
}

impl AsyncTcpPacketSocket {
    /// Over a stream that connects, or is connected.
    pub fn new(id: SocketId, socket: Box<dyn AsyncStreamSocket>, framing: StreamFraming) -> Self {
        let remote = socket.peer_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        Self {
            id,
            socket,
            remote,
            deframer: StreamDeframer::new(framing_of(framing)),
            queued: Vec::new(),
            written: 0,
            connected: false,
            closing: false,
            dropped: 0,
        }
    }

    /// Its name.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// Packets that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether it is to be dropped: [`close`](Self::close) was called and nothing waits any more.
    pub fn is_closed(&self) -> bool {
        self.closing && self.waiting() == 0
    }

    /// No more packets; what waits is still written by further [`poll`](Self::poll)s.
    pub fn close(&mut self) {
        self.closing = true;
        if !self.connected {
            self.queued.clear();
            self.written = 0;
        }
    }

    /// Whether packets wait for the stream to take them: it is to be polled.
    pub fn is_waiting(&self) -> bool {
        self.connected && self.waiting() > 0
    }

    fn waiting(&self) -> usize {
        self.queued.len() - self.written
    }

    /// Writes packets, each already with what its framing puts before it. What the stream does not take now
    /// waits; what finds no room is dropped whole.
    pub fn send(&mut self, transmit: &Transmit<'_>) {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for packet in transmit.contents.chunks(size) {
            if self.waiting() + packet.len() > MAX_QUEUED {
                self.dropped += 1;
                continue;
            }
            let mut done = 0;
            if self.waiting() == 0 && self.connected {
                // An error is told by the next read.
                done = self.socket.try_write(packet).unwrap_or(0).min(packet.len());
            }
            if let Some(rest) = packet.get(done..) {
                self.queued.extend_from_slice(rest);
            }
        }
    }

    /// Connects, writes what waits, reads and hands out packets. `cx` is woken when there is more to do. Returns
    /// what became of the stream; after [`SocketEvent::Closed`] it is to be dropped.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut deliver: impl FnMut(&mut [u8], &ReceiveMeta),
    ) -> Option<SocketEvent> {
        let mut told = None;
        if !self.connected {
            match self.socket.poll_connected(cx) {
                Poll::Pending => return None,
                Poll::Ready(Err(error)) => return Some(self.closed(&error.to_string())),
                Poll::Ready(Ok(())) => {
                    self.connected = true;
                    let local = self.socket.local_addr().unwrap_or(self.remote);
                    told = Some(SocketEvent::Connected { id: self.id, local });
                    // What comes next is read in the next turn, after the news was heard.
                    cx.waker().wake_by_ref();
                }
            }
        }
        if let Err(error) = self.flush(cx) {
            return Some(self.closed(&error.to_string()));
        }
        if told.is_some() {
            return told;
        }
        self.read(cx, &mut deliver)
    }

    fn closed(&mut self, reason: &str) -> SocketEvent {
        self.closing = true;
        self.queued.clear();
        self.written = 0;
        SocketEvent::Closed { id: self.id, reason: reason.to_owned() }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.waiting() > 0 {
            match self.socket.try_write(self.queued.get(self.written..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(len) => self.written += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.socket.poll_writable(cx) {
                        Poll::Ready(result) => result?,
                        Poll::Pending => return Ok(()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if self.waiting() == 0 {
            self.queued.clear();
            self.written = 0;
        }
        Ok(())
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        deliver: &mut impl FnMut(&mut [u8], &ReceiveMeta),
    ) -> Option<SocketEvent> {
        let meta = ReceiveMeta { socket: self.id, remote: self.remote, local_ip: None, ecn: Ecn::NotEct };
        let mut buffer = [0; READ_SIZE];
        for _ in 0..MAX_READS {
            let len = match self.socket.poll_read(cx, &mut buffer) {
                Poll::Pending => return None,
                Poll::Ready(Err(error)) => return Some(self.closed(&error.to_string())),
                Poll::Ready(Ok(0)) => return Some(self.closed("the other end closed the connection")),
                Poll::Ready(Ok(len)) => len,
            };
            let mut rest = buffer.get(..len).unwrap_or_default();
            while !rest.is_empty() {
                let taken = self.deframer.push(rest);
                rest = rest.get(taken..).unwrap_or_default();
                let before = self.deframer.buffered();
                loop {
                    match self.deframer.next_frame() {
                        Ok(Some(packet)) => deliver(packet, &meta),
                        Ok(None) => break,
                        Err(error) => return Some(self.closed(&error.to_string())),
                    }
                }
                if taken == 0 && self.deframer.buffered() == before {
                    return Some(self.closed("a packet is longer than what may wait"));
                }
            }
        }
        cx.waker().wake_by_ref();
        None
    }
}

/// A listener of packet streams.
#[derive(Debug)]
pub struct AsyncTcpListenSocket {
    id: SocketId,
    listener: Box<dyn AsyncStreamListener>,
    framing: StreamFraming,
}

impl AsyncTcpListenSocket {
    /// Over a listener.
    pub fn new(id: SocketId, listener: Box<dyn AsyncStreamListener>, framing: StreamFraming) -> Self {
        Self { id, listener, framing }
    }

    /// The next stream, and what to tell of it. `open` is how many streams of this listener are open.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
        open: usize,
    ) -> Option<(AsyncTcpPacketSocket, SocketEvent)> {
        // An error concerns one stream alone; bounded, should it come again and again.
        for _ in 0..MAX_READS {
            let Poll::Ready(accepted) = self.listener.poll_accept(cx) else { return None };
            let Ok(socket) = accepted else { continue };
            if open >= MAX_ACCEPTED {
                continue;
            }
            let id = SocketId::unique();
            let (Ok(local), Ok(remote)) = (socket.local_addr(), socket.peer_addr()) else { continue };
            let mut stream = AsyncTcpPacketSocket::new(id, socket, self.framing);
            stream.connected = true;
            return Some((stream, SocketEvent::Accepted { listener: self.id, id, local, remote }));
        }
        cx.waker().wake_by_ref();
        None
    }
}
