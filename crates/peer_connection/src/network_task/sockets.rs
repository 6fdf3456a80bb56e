//! The sockets of a network task: which are ready, reading in bursts, writing in batches.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use peerstack_base::{AsyncUdpSocket, ReceiveMeta, RecvMeta, SocketId, Transmit, TransmitQueue};
use tokio::sync::Notify;

use super::commands::ConnectionId;
use super::streams::StreamTable;

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

#[derive(Debug)]
struct Entry {
    socket: Box<dyn AsyncUdpSocket>,
    owner: ConnectionId,
    waker: Waker,
}

/// The sockets.
#[derive(Debug)]
pub(super) struct SocketTable {
    entries: BTreeMap<SocketId, Entry>,
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
        Self { entries: BTreeMap::new(), ready, buffers: Vec::new() }
    }

    pub(super) fn insert(&mut self, id: SocketId, socket: Box<dyn AsyncUdpSocket>, owner: ConnectionId) {
        let waker = self.ready.waker(Ready::Socket(id));
        // The first read registers the waker.
        waker.wake_by_ref();
        self.entries.insert(id, Entry { socket, owner, waker });
    }

    pub(super) fn remove(&mut self, id: SocketId) {
        self.entries.remove(&id);
    }

    pub(super) fn remove_of(&mut self, owner: ConnectionId) {
        self.entries.retain(|_, entry| entry.owner != owner);
    }

    pub(super) fn owner(&self, id: SocketId) -> Option<ConnectionId> {
        self.entries.get(&id).map(|entry| entry.owner)
    }

    /// Reads a socket until it is empty or its turn is over, handing each datagram to `deliver`.
    pub(super) fn read(&mut self, id: SocketId, mut deliver: impl FnMut(&mut [u8], &ReceiveMeta)) {
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
                    deliver(datagram, &described);
                }
            }
        }
        entry.waker.wake_by_ref();
    }

    /// Writes out what waits in a queue.
    pub(super) fn flush(
        &mut self,
        queue: &mut TransmitQueue,
        streams: &mut StreamTable,
        mut failed: impl FnMut(SocketId, &io::Error),
    ) -> FlushOutcome {
        let mut unblocked = false;
        loop {
            let segments = |id| self.entries.get(&id).map_or(1, |entry| entry.socket.max_transmit_segments());
            let Some((id, transmit)) = queue.peek(segments) else { return FlushOutcome::Done { unblocked } };
            let len = transmit.contents.len();
            if let Some(entry) = self.entries.get_mut(&id) {
                match send(entry, &transmit) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
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
