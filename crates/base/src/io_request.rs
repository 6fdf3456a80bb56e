//! What a layer asks of the network task, which owns the sockets.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{AsyncUdpSocket, SocketId};

/// Names one look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResolveId(u64);

impl ResolveId {
    /// A number no other look-up of this process has.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A request downwards, drained by the network task after `process`.
#[derive(Debug)]
#[non_exhaustive]
pub enum IoRequest {
    /// A socket was bound and is now the network task's to read and write; datagrams that come in by it are
    /// handed back with this id.
    AddUdpSocket {
        /// Its name from now on.
        id: SocketId,
        /// The socket.
        socket: Box<dyn AsyncUdpSocket>,
    },
    /// A socket is no longer needed: write out what is queued for it, then close it.
    CloseSocket {
        /// Which.
        id: SocketId,
    },
    /// A name to look up (a STUN server's, or a peer's `.local` candidate, which goes to mDNS); the answer
    /// comes back through `handle_resolved`.
    Resolve {
        /// Names the answer.
        id: ResolveId,
        /// The host name, without a port.
        name: String,
    },
}
