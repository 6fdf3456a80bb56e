//! What a layer asks of the network task, which owns the sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(doc)]
use crate::PacketSocketFactory;
use crate::{AsyncStreamListener, AsyncStreamSocket, AsyncUdpSocket, SocketId};

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

/// How packets lie in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamFraming {
    /// Two bytes of length before each (RFC 4571 section 2).
    Rfc4571,
    /// STUN messages and ChannelData, which say their length themselves (RFC 8656 section 12.5).
    Stun,
}

/// What became of a stream or listener, told upward by the network task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketEvent {
    /// It is connected.
    Connected {
        /// Which.
        id: SocketId,
        /// Our address, which was not known before.
        local: SocketAddr,
    },
    /// A listener accepted a stream.
    Accepted {
        /// The listener.
        listener: SocketId,
        /// The stream's name from now on.
        id: SocketId,
        /// Our address.
        local: SocketAddr,
        /// The other end's.
        remote: SocketAddr,
    },
    /// It did not connect, or is closed; it carries nothing any more and its name is not used again.
    Closed {
        /// Which.
        id: SocketId,
        /// Why, in words.
        reason: String,
    },
}

impl SocketEvent {
    /// The socket whose owner is to hear of it.
    pub fn socket(&self) -> SocketId {
        match self {
            Self::Connected { id, .. } | Self::Closed { id, .. } => *id,
            Self::Accepted { listener, .. } => *listener,
        }
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
    /// A transport takes part in the socket of [`PacketSocketFactory::shared_udp_socket`]: checks that name its
    /// user fragment are handed to it with this id. Asked again with the same id, the user fragment is replaced.
    JoinUdpMux {
        /// Its name of the shared socket from now on, until [`CloseSocket`](Self::CloseSocket).
        id: SocketId,
        /// The shared socket's address.
        local: SocketAddr,
        /// The local ICE user fragment.
        ufrag: String,
    },
    /// A check that authenticated, or the answer to one, came by a shared socket: what comes from this address
    /// is the transport's. Told with each, so that the network task knows which mappings are alive.
    AddUdpMuxRoute {
        /// The transport's name of the shared socket.
        id: SocketId,
        /// The peer's address.
        remote: SocketAddr,
        /// The peer answered a check of ours there; a check of its own may bear a forged source.
        answered: bool,
    },
    /// The transport has no connection to this address any more.
    RemoveUdpMuxRoute {
        /// The transport's name of the shared socket.
        id: SocketId,
        /// The peer's address.
        remote: SocketAddr,
    },
    /// A stream was opened and is now the network task's to read and write: what comes in is cut into packets,
    /// and what becomes of the stream is told by [`SocketEvent`]s.
    AddStream {
        /// Its name from now on.
        id: SocketId,
        /// The stream, which may still be connecting.
        socket: Box<dyn AsyncStreamSocket>,
        /// How packets lie in it.
        framing: StreamFraming,
    },
    /// A listener was opened; the streams it accepts get names of their own and are told by
    /// [`SocketEvent::Accepted`].
    AddListener {
        /// Its name from now on.
        id: SocketId,
        /// The listener.
        listener: Box<dyn AsyncStreamListener>,
        /// How packets lie in its streams.
        framing: StreamFraming,
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
    /// From now on a host name below `.local` stands for one of our addresses: neighbours that ask for it by mDNS
    /// are told the address (draft-ietf-mmusic-mdns-ice-candidates section 3.1.1).
    RegisterMdnsName {
        /// The name, which nobody else has.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// The name stands for nothing any more.
    RemoveMdnsName {
        /// The name.
        name: String,
    },
}
