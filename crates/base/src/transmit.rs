//! The batch buffer that packets are written into and the network task sends from.
//!
//! A layer asks for a slot, writes, seals in place and commits. Consecutive datagrams of the same size to the
//! same destination lie one behind another, so that one system call with segmentation offload takes them all.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::{Ecn, SendError, SocketId, Transmit};

/// Bytes that may wait in a queue before it says [`SendError::WouldBlock`].
const HIGH_WATER: usize = 1 << 20;
/// Once empty, a buffer larger than this is given back.
const KEEP: usize = 64 << 10;
/// The largest UDP payload over IPv4.
const MAX_DATAGRAM: usize = 65_507;
/// Segments of one batch, as the kernel's UDP_MAX_SEGMENTS allows at least.
const MAX_SEGMENTS: usize = 64;

/// Consecutive datagrams for one socket and destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// By which socket.
    pub socket: SocketId,
    /// Where to.
    pub destination: SocketAddr,
    /// ECN bits.
    pub ecn: Ecn,
    start: usize,
    end: usize,
    segment: usize,
    segments: usize,
    open: bool,
}

impl Batch {
    /// Datagrams in this batch.
    pub fn segments(&self) -> usize {
        self.segments
    }
}

/// Datagrams waiting to be sent, in order.
#[derive(Debug, Default)]
pub struct TransmitQueue {
    buffer: Vec<u8>,
    batches: VecDeque<Batch>,
    sent: usize,
    blocked: bool,
}

impl TransmitQueue {
    /// Appends one datagram of at most `len` bytes: `write` fills a zeroed slot of exactly `len` bytes and
    /// returns how many of them count; 0 takes the datagram back. Returns that number.
    ///
    /// # Errors
    /// [`SendError::WouldBlock`] if too much waits already, [`SendError::TooLarge`] beyond UDP's limit.
    pub fn push_with(
        &mut self,
        socket: SocketId,
        destination: SocketAddr,
        ecn: Ecn,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, SendError> {
        if len > MAX_DATAGRAM {
            return Err(SendError::TooLarge { len, limit: MAX_DATAGRAM });
        }
        if self.pending_bytes() + len > HIGH_WATER {
            self.blocked = true;
            return Err(SendError::WouldBlock);
        }
        let start = self.buffer.len();
        self.buffer.resize(start + len, 0);
        let written = match self.buffer.get_mut(start..) {
            Some(slot) => write(slot).min(len),
            None => 0,
        };
        self.buffer.truncate(start + written);
        if written == 0 {
            return Ok(0);
        }
        self.append(socket, destination, ecn, start, written);
        Ok(written)
    }

    /// Appends one datagram by copying it.
    ///
    /// # Errors
    /// As [`push_with`](Self::push_with).
    pub fn push(
        &mut self,
        socket: SocketId,
        destination: SocketAddr,
        ecn: Ecn,
        datagram: &[u8],
    ) -> Result<usize, SendError> {
        self.push_with(socket, destination, ecn, datagram.len(), |slot| {
            slot.copy_from_slice(datagram);
            datagram.len()
        })
    }

    fn append(&mut self, socket: SocketId, destination: SocketAddr, ecn: Ecn, start: usize, len: usize) {
        if let Some(last) = self.batches.back_mut() {
            let same = last.socket == socket && last.destination == destination && last.ecn == ecn;
            let room = last.segments < MAX_SEGMENTS && last.end - last.start + len <= MAX_DATAGRAM;
            if same && room && last.open && len <= last.segment {
                last.end += len;
                last.segments += 1;
                // A shorter datagram may only be the last one of a batch.
                last.open = len == last.segment;
                return;
            }
        }
        self.batches.push_back(Batch {
            socket,
            destination,
            ecn,
            start,
            end: start + len,
            segment: len,
            segments: 1,
            open: true,
        });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Bytes that wait.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// The first batch: which socket, and what to send, cut to `max_segments` datagrams. Confirm it with
    /// [`pop`](Self::pop).
    pub fn peek(&self, max_segments: impl FnOnce(SocketId) -> usize) -> Option<(SocketId, Transmit<'_>)> {
        let batch = self.batches.front()?;
        let segments = batch.segments.min(max_segments(batch.socket).max(1));
        let end = batch.end.min(batch.start + segments * batch.segment);
        let transmit = Transmit {
            destination: batch.destination,
            ecn: batch.ecn,
            contents: self.buffer.get(batch.start..end).unwrap_or_default(),
            segment_size: (segments > 1).then_some(batch.segment),
        };
        Some((batch.socket, transmit))
    }

    /// Removes `len` bytes of the first batch, which is what [`peek`](Self::peek) showed. Returns `true` if
    /// that ended a blockage: the layer then tells those above that it is ready to send.
    pub fn pop(&mut self, len: usize) -> bool {
        let Some(batch) = self.batches.front_mut() else { return false };
        batch.start += len;
        batch.segments = (batch.end.saturating_sub(batch.start)).div_ceil(batch.segment.max(1));
        self.sent = batch.start;
        if batch.start >= batch.end {
            self.sent = batch.end;
            self.batches.pop_front();
        }
        if self.batches.is_empty() {
            self.sent = 0;
            self.buffer.clear();
            if self.buffer.capacity() > KEEP {
                self.buffer.shrink_to(KEEP);
            }
        }
        if self.blocked && self.pending_bytes() <= HIGH_WATER / 2 {
            self.compact();
            self.blocked = false;
            return true;
        }
        false
    }

    /// Forgets what waits for a socket that is gone.
    pub fn forget_socket(&mut self, socket: SocketId) {
        self.batches.retain(|batch| batch.socket != socket);
        if self.batches.is_empty() {
            self.sent = 0;
            self.buffer.clear();
        }
    }

    fn compact(&mut self) {
        let sent = self.sent.min(self.buffer.len());
        self.buffer.drain(..sent);
        for batch in &mut self.batches {
            batch.start -= sent;
            batch.end -= sent;
        }
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn equal_datagrams_to_one_destination_become_one_batch() {
        let (mut queue, socket) = (TransmitQueue::default(), SocketId::unique());
        for byte in 0..3 {
            queue.push(socket, address(1), Ecn::NotEct, &[byte; 100]).unwrap();
        }
        queue.push(socket, address(1), Ecn::NotEct, &[3; 40]).unwrap();
        queue.push(socket, address(1), Ecn::NotEct, &[4; 40]).unwrap();
        let (_, transmit) = queue.peek(|_| 64).unwrap();
        assert_eq!((transmit.contents.len(), transmit.segment_size), (340, Some(100)));
        queue.pop(340);
        let (_, transmit) = queue.peek(|_| 64).unwrap();
        assert_eq!((transmit.contents, transmit.segment_size), (&[4; 40][..], None));
        queue.pop(40);
        assert!(queue.is_empty());
        assert_eq!(queue.pending_bytes(), 0);
    }

    #[test]
    fn a_batch_is_cut_to_what_the_socket_takes() {
        let (mut queue, socket) = (TransmitQueue::default(), SocketId::unique());
        for byte in 0..3 {
            queue.push(socket, address(1), Ecn::NotEct, &[byte; 10]).unwrap();
        }
        for expected in 0..3 {
            let (_, transmit) = queue.peek(|_| 1).unwrap();
            assert_eq!((transmit.contents, transmit.segment_size), (&[expected; 10][..], None));
            queue.pop(10);
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn destination_ecn_and_socket_part_batches() {
        let (mut queue, socket) = (TransmitQueue::default(), SocketId::unique());
        queue.push(socket, address(1), Ecn::NotEct, &[0; 10]).unwrap();
        queue.push(socket, address(2), Ecn::NotEct, &[0; 10]).unwrap();
        queue.push(socket, address(2), Ecn::Ect1, &[0; 10]).unwrap();
        queue.push(SocketId::unique(), address(2), Ecn::Ect1, &[0; 10]).unwrap();
        assert_eq!(queue.batches.len(), 4);
    }

    #[test]
    fn a_full_queue_blocks_and_says_when_it_is_ready_again() {
        let (mut queue, socket) = (TransmitQueue::default(), SocketId::unique());
        let mut pushed = 0;
        while queue.push(socket, address(1), Ecn::NotEct, &[0; 1200]).is_ok() {
            pushed += 1;
        }
        assert_eq!(pushed, HIGH_WATER / 1200);
        let mut ready = 0;
        while let Some((_, transmit)) = queue.peek(|_| 64) {
            let len = transmit.contents.len();
            ready += u32::from(queue.pop(len));
        }
        assert_eq!(ready, 1);
    }

    #[test]
    fn a_slot_taken_back_leaves_nothing() {
        let (mut queue, socket) = (TransmitQueue::default(), SocketId::unique());
        assert_eq!(queue.push_with(socket, address(1), Ecn::NotEct, 10, |_| 0), Ok(0));
        assert!(queue.is_empty());
        let too_large = queue.push(socket, address(1), Ecn::NotEct, &[0; 70_000]);
        assert!(matches!(too_large, Err(SendError::TooLarge { .. })));
    }
}
