//! The one error that crosses every layer.

use thiserror::Error;

/// Why a packet was not sent. Media is never queued inside a layer: the caller decides what to do.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The layer, or one below it, is not writable yet or no longer: wait for its writable event.
    #[error("the transport is not writable")]
    NotWritable,
    /// The batch buffer or the socket is full for now: wait for the ready-to-send event.
    #[error("the transport cannot take more right now")]
    WouldBlock,
    /// The packet is larger than a datagram of this transport may be.
    #[error("a packet of {len} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes asked for, headers and trailers of the layers included.
        len: usize,
        /// Bytes that fit.
        limit: usize,
    },
    /// The bytes are not what this layer carries, for example not an RTP packet.
    #[error("the packet is malformed: {0}")]
    Malformed(&'static str),
    /// Sealing the packet failed, for example because the SRTP packet limit of the key is reached.
    #[error("the packet could not be protected: {0}")]
    Protect(&'static str),
    /// The layer is closed.
    #[error("the transport is closed")]
    Closed,
}
