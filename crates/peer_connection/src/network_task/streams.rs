//! The streams and listeners of a network task: which are ready, what becomes of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Waker};

use peerstack_base::{
    AsyncStreamListener, AsyncStreamSocket, ReceiveMeta, SocketEvent, SocketId, StreamFraming, Transmit,
};
use peerstack_p2p::{AsyncTcpListenSocket, AsyncTcpPacketSocket};

use super::commands::ConnectionId;
use super::sockets::{Ready, ReadyQueue};

#[derive(Debug)]
struct StreamEntry {
    stream: AsyncTcpPacketSocket,
    /// That accepted it.
    listener: Option<SocketId>,
    owner: ConnectionId,
    waker: Waker,
}

#[derive(Debug)]
struct ListenerEntry {
    listener: AsyncTcpListenSocket,
    owner: ConnectionId,
    waker: Waker,
}

/// The streams and listeners.
#[derive(Debug)]
pub(super) struct StreamTable {
    streams: BTreeMap<SocketId, StreamEntry>,
    listeners: BTreeMap<SocketId, ListenerEntry>,
    ready: Arc<ReadyQueue>,
}

impl StreamTable {
    pub(super) fn new(ready: Arc<ReadyQueue>) -> Self {
        Self { streams: BTreeMap::new(), listeners: BTreeMap::new(), ready }
    }

    fn waker(&self, id: SocketId) -> Waker {
        let waker = self.ready.waker(Ready::Socket(id));
        // The first poll registers the waker.
        waker.wake_by_ref();
        waker
    }

    pub(super) fn insert(
        &mut self,
        id: SocketId,
        socket: Box<dyn AsyncStreamSocket>,
        framing: StreamFraming,
        owner: ConnectionId,
    ) {
        let (stream, waker) = (AsyncTcpPacketSocket::new(id, socket, framing), self.waker(id));
        self.streams.insert(id, StreamEntry { stream, listener: None, owner, waker });
    }

    pub(super) fn insert_listener(
        &mut self,
        id: SocketId,
        listener: Box<dyn AsyncStreamListener>,
        framing: StreamFraming,
        owner: ConnectionId,
    ) {
        let (listener, waker) = (AsyncTcpListenSocket::new(id, listener, framing), self.waker(id));
        self.listeners.insert(id, ListenerEntry { listener, owner, waker });
    }

    /// Ends a listener, or a stream once what waits for it is written.
    pub(super) fn close(&mut self, id: SocketId) {
        self.listeners.remove(&id);
        if let Some(entry) = self.streams.get_mut(&id) {
            entry.stream.close();
            if entry.stream.is_closed() {
                self.streams.remove(&id);
            }
        }
    }

    pub(super) fn remove_of(&mut self, owner: ConnectionId) {
        self.streams.retain(|_, entry| entry.owner != owner);
        self.listeners.retain(|_, entry| entry.owner != owner);
    }

    pub(super) fn owner(&self, id: SocketId) -> Option<ConnectionId> {
        let stream = self.streams.get(&id).map(|entry| entry.owner);
        stream.or_else(|| self.listeners.get(&id).map(|entry| entry.owner))
    }

    /// Writes packets, or keeps them until the stream takes them.
    pub(super) fn send(&mut self, id: SocketId, transmit: &Transmit<'_>) {
        if let Some(entry) = self.streams.get_mut(&id) {
            entry.stream.send(transmit);
            if entry.stream.is_waiting() {
                entry.waker.wake_by_ref();
            }
        }
    }

    /// Accepts, connects, writes and reads what is ready; returns what became of streams.
    pub(super) fn poll(
        &mut self,
        id: SocketId,
        deliver: impl FnMut(&mut [u8], &ReceiveMeta),
    ) -> Vec<SocketEvent> {
        let mut events = self.accept(id);
        if let Some(entry) = self.streams.get_mut(&id) {
            let event = entry.stream.poll(&mut Context::from_waker(&entry.waker), deliver);
            if entry.stream.is_closed() {
                self.streams.remove(&id);
            }
            events.extend(event);
        }
        events
    }

    fn accept(&mut self, id: SocketId) -> Vec<SocketEvent> {
        let mut events = Vec::new();
        while let Some(entry) = self.listeners.get_mut(&id) {
            let open = self.streams.values().filter(|stream| stream.listener == Some(id)).count();
            let mut cx = Context::from_waker(&entry.waker);
            let Some((stream, event)) = entry.listener.poll_accept(&mut cx, open) else { break };
            let owner = entry.owner;
            let waker = self.waker(stream.id());
            self.streams.insert(stream.id(), StreamEntry { stream, listener: Some(id), owner, waker });
            events.push(event);
        }
        events
    }
}
