//! The sockets of a network task: which are ready, reading in bursts, writing in batches.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use peerstack_base::{AsyncUdpSocket, ReceiveMeta, RecvMeta, SocketId, Transmit, TransmitQueue};
use tokio::sync::Notify;

use super::commands::ConnectionId;
use super::streams::StreamTable;
use super::udp_mux::{UdpMuxCounters, UdpMuxTable};

/// Receive buffers of one network task, and how large each is: a coalesced burst fills 64 KiB.
const BUFFERS: usize = 4;
const BUFFER_SIZE: usize = 65_536;
/// Reads of one socket in one turn, so that a busy one does not starve the others.
const MAX_READS: usize = 16;

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ready {
    /// A socket can be read or written.
    Socket(SocketId),
    /// A DTLS engine with tasks of its own has something.
    Connection(ConnectionId),
    /// The list of networks changed.
    Networks,
}

/// Collects what became ready while the task slept.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    items: Mutex<Vec<Ready>>,
    notify: Notify,
}

impl ReadyQueue {
    fn push(&self, item: Ready) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        if !items.contains(&item) {
            items.push(item);
        }
        drop(items);
        self.notify.notify_one();
    }

    pub(super) fn take(&self) -> Vec<Ready> {
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) async fn notified(&self) {
        self.notify.notified().await;
    }

    /// A waker that marks `item` as ready.
    pub(super) fn waker(self: &Arc<Self>, item: Ready) -> Waker {
        Waker::from(Arc::new(ReadyWaker { queue: Arc::clone(self), item }))
    }
}

struct ReadyWaker {
    queue: Arc<ReadyQueue>,
    item: Ready,
}

impl Wake for ReadyWaker {
    fn wake(self: Arc<Self>) {
        self.queue.push(self.item);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.queue.push(self.item);
    }
}

/// Whose a socket is.
#[derive(Debug)]
enum Owner {
    /// One connection's.
    Connection(ConnectionId),
    /// Many transports'.
    Shared(Box<UdpMuxTable>),
}

#[derive(Debug)]
struct Entry {
    socket: Box<dyn AsyncUdpSocket>,
    owner: Owner,
    waker: Waker,
}

/// The sockets.
#[derive(Debug)]
pub(super) struct SocketTable {
    entries: BTreeMap<SocketId, Entry>,
    /// What transports call a shared socket, and which that is.
    members: BTreeMap<SocketId, SocketId>,
    /// Shared sockets by their address.
    shared: BTreeMap<SocketAddr, SocketId>,
    ready: Arc<ReadyQueue>,
    buffers: Vec<Vec<u8>>,
}

/// Why a flush stopped.
#[derive(Debug)]
pub(super) enum FlushOutcome {
    /// Everything went out. `unblocked`: a layer waits to hear that it may send again.
    Done { unblocked: bool },
    /// This socket is full; its turn comes when it is writable.
    Blocked { unblocked: bool },
}

impl SocketTable {
    pub(super) fn new(ready: Arc<ReadyQueue>) -> Self {
        Self {
            entries: BTreeMap::new(),
            members: BTreeMap::new(),
            shared: BTreeMap::new(),
            ready,
            buffers: Vec::new(),
        }
    }

    fn insert_entry(&mut self, id: SocketId, socket: Box<dyn AsyncUdpSocket>, owner: Owner) {
        let waker = self.ready.waker(Ready::Socket(id));
        // The first read registers the waker.
        waker.wake_by_ref();
        self.entries.insert(id, Entry { socket, owner, waker });
    }

    pub(super) fn insert(&mut self, id: SocketId, socket: Box<dyn AsyncUdpSocket>, owner: ConnectionId) {
        self.insert_entry(id, socket, Owner::Connection(owner));
    }

    /// A socket that many transports will share.
    pub(super) fn insert_shared(
        &mut self,
        local: SocketAddr,
        socket: Box<dyn AsyncUdpSocket>,
        counters: Arc<UdpMuxCounters>,
    ) {
        let id = SocketId::unique();
        self.insert_entry(id, socket, Owner::Shared(Box::new(UdpMuxTable::new(counters))));
        self.shared.insert(local, id);
    }

    fn table_mut(&mut self, socket: SocketId) -> Option<&mut UdpMuxTable> {
        match self.entries.get_mut(&socket).map(|entry| &mut entry.owner) {
            Some(Owner::Shared(table)) => Some(table),
            _ => None,
        }
    }

    /// A transport shares the socket of this address from now on, and calls it `id`.
    pub(super) fn join(&mut self, local: SocketAddr, id: SocketId, owner: ConnectionId, ufrag: String) {
        let Some(socket) = self.shared.get(&local).copied() else { return };
        let joined = self.table_mut(socket).is_some_and(|table| table.join(id, owner, ufrag));
        if joined {
            self.members.insert(id, socket);
        } else {
            tracing::warn!(target: "peerstack::network", %local, "two transports with the same user fragment");
        }
    }

    /// What a transport on a shared socket says of a remote address.
    pub(super) fn add_route(&mut self, now: Instant, id: SocketId, remote: SocketAddr, answered: bool) {
        if let Some(table) = self.members.get(&id).copied().and_then(|socket| self.table_mut(socket)) {
            table.add_route(now, id, remote, answered);
        }
    }

    /// A transport on a shared socket has no connection to a remote address any more.
    pub(super) fn remove_route(&mut self, id: SocketId, remote: SocketAddr) {
        if let Some(table) = self.members.get(&id).copied().and_then(|socket| self.table_mut(socket)) {
            table.remove_route(id, remote);
        }
    }

    pub(super) fn remove(&mut self, id: SocketId) {
        self.entries.remove(&id);
        if let Some(socket) = self.members.remove(&id)
            && let Some(table) = self.table_mut(socket)
        {
            table.leave(id);
        }
    }

    pub(super) fn remove_of(&mut self, owner: ConnectionId) {
        self.entries.retain(|_, entry| !matches!(entry.owner, Owner::Connection(other) if other == owner));
        for socket in self.shared.values().copied().collect::<Vec<_>>() {
            let left = self.table_mut(socket).map(|table| table.members_of(owner)).unwrap_or_default();
            left.into_iter().for_each(|id| self.remove(id));
        }
    }

    /// Closes the shared sockets that no transport uses and whose address is not one of these; returns theirs.
    pub(super) fn close_unused_shared(&mut self, used: impl Fn(IpAddr) -> bool) -> Vec<SocketAddr> {
        let mut closed = Vec::new();
        for (local, socket) in self.shared.clone() {
            let unused = self.table_mut(socket).is_none_or(|table| table.is_empty());
            if unused && !used(local.ip()) {
                self.shared.remove(&local);
                self.entries.remove(&socket);
                closed.push(local);
            }
        }
        closed
    }

    pub(super) fn owner(&self, id: SocketId) -> Option<ConnectionId> {
        match self.entries.get(&id)?.owner {
            Owner::Connection(owner) => Some(owner),
            Owner::Shared(_) => None,
        }
    }

    /// The connections that wait until a shared socket takes more, now that it may.
    pub(super) fn unblock_shared(&mut self, id: SocketId) -> BTreeSet<ConnectionId> {
        self.table_mut(id).map(UdpMuxTable::unblock).unwrap_or_default()
    }

    /// Reads a socket until it is empty or its turn is over, handing each datagram to the connection it is for;
    /// with those of a shared socket goes its table, which what they bring may change.
    pub(super) fn read(
        &mut self,
        id: SocketId,
        mut deliver: impl FnMut(ConnectionId, Option<&mut UdpMuxTable>, &mut [u8], &ReceiveMeta),
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if self.buffers.is_empty() {
            self.buffers = vec![vec![0; BUFFER_SIZE]; BUFFERS];
        }
        for _ in 0..MAX_READS {
            let mut meta = [RecvMeta::default(); BUFFERS];
            let filled = {
                let mut slices: Vec<_> =
                    self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
                let mut cx = Context::from_waker(&entry.waker);
                match entry.socket.poll_recv(&mut cx, &mut slices, &mut meta) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(filled)) => filled,
                    // An ICMP error of an earlier send; reading goes on.
                    Poll::Ready(Err(error)) => {
                        tracing::trace!(target: "peerstack::network", %error, "receive");
                        continue;
                    }
                }
            };
            for (buffer, meta) in self.buffers.iter_mut().zip(&meta).take(filled) {
                let len = meta.len.min(buffer.len());
                let described =
                    ReceiveMeta { socket: id, remote: meta.remote, local_ip: meta.local_ip, ecn: meta.ecn };
                for datagram in buffer[..len].chunks_mut(meta.stride.max(1)) {
                    match &mut entry.owner {
                        Owner::Connection(owner) => deliver(*owner, None, datagram, &described),
                        Owner::Shared(table) => {
                            if let Some((owner, socket)) = table.find(datagram, meta.remote) {
                                deliver(owner, Some(table), datagram, &ReceiveMeta { socket, ..described });
                            }
                        }
                    }
                }
            }
        }
        entry.waker.wake_by_ref();
    }

    /// Writes out what waits in a queue of a connection.
    pub(super) fn flush(
        &mut self,
        owner: ConnectionId,
        queue: &mut TransmitQueue,
        streams: &mut StreamTable,
        mut failed: impl FnMut(SocketId, &io::Error),
    ) -> FlushOutcome {
        let mut unblocked = false;
        let Self { entries, members, .. } = self;
        // On a shared socket packets go by the transport's own name of it, each batch as the queue has it.
        let socket_of = |id: SocketId| members.get(&id).copied().unwrap_or(id);
        loop {
            let segments =
                |id| entries.get(&socket_of(id)).map_or(1, |entry| entry.socket.max_transmit_segments());
            let Some((id, transmit)) = queue.peek(segments) else { return FlushOutcome::Done { unblocked } };
            let len = transmit.contents.len();
            if let Some(entry) = entries.get_mut(&socket_of(id)) {
                let sent = send(entry, &transmit);
                if let Owner::Shared(table) = &mut entry.owner {
                    table.note_sent(id, &transmit);
                }
                match sent {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if let Owner::Shared(table) = &mut entry.owner {
                            table.block(owner);
                        }
                        return FlushOutcome::Blocked { unblocked };
                    }
                    Err(error) => failed(id, &error),
                }
            } else {
                streams.send(id, &transmit);
            }
            unblocked |= queue.pop(len);
        }
    }
}

/// Sends one transmit. Where the system refuses the offload of just this one, each datagram goes by itself.
fn send(entry: &mut Entry, transmit: &Transmit<'_>) -> io::Result<()> {
    loop {
        match entry.socket.try_send(transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut cx = Context::from_waker(&entry.waker);
                match entry.socket.poll_writable(&mut cx) {
                    // Writable after all: readiness was stale.
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => return Err(error),
                }
            }
            Err(error) => match transmit.segment_size {
                Some(size) => return send_apart(entry, transmit, size, error),
                None => return Err(error),
            },
            Ok(()) => return Ok(()),
        }
    }
}

fn send_apart(entry: &mut Entry, transmit: &Transmit<'_>, size: usize, first: io::Error) -> io::Result<()> {
    let mut result = Err(first);
    for contents in transmit.contents.chunks(size.max(1)) {
        let single = Transmit { contents, segment_size: None, ..*transmit };
        match entry.socket.try_send(&single) {
            // What is left of the batch is lost, as datagrams may be.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            other => result = other,
        }
    }
    result
}
