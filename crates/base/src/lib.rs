//! The ground every layer of peerstack stands on.
//!
//! Three things live here: the contract of a layer (typed events upward, packets by calls, time and
//! randomness handed in), the traits through which the outside world is reached (sockets, networks, names,
//! wall clock), and nothing else. No layer below `peer_connection` needs a runtime.

#![forbid(unsafe_code)]

#[doc(hidden)]
pub use tracing as __tracing;

mod clock;
mod error;
mod event;
mod io_request;
mod network;
mod packet;
mod random;
mod socket;
mod stats;
mod timer;
mod transmit;

pub use clock::{SystemWallClock, WallClock};
pub use error::SendError;
pub use event::{EventReceiver, EventSource, LayerEvent};
pub use io_request::{IoRequest, ResolveId, SocketEvent, StreamFraming};
pub use network::{AdapterType, Network, NetworkManager};
pub use packet::{Ecn, PacketClass, PacketKind, PacketOptions, ReceiveMeta, SocketId};
pub use random::Random;
pub use socket::{
    AsyncStreamListener, AsyncStreamSocket, AsyncUdpSocket, DnsResolver, MdnsResponder, PacketSocketFactory,
    PortRange, RecvMeta, ResolveFuture, StreamOptions, Transmit,
};
pub use stats::Counter;
pub use timer::TimerTable;
pub use transmit::{Batch, TransmitQueue};
