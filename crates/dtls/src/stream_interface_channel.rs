//! The bridge between sans-IO datagrams and `webrtc-dtls`, which reads and writes by itself: two queues. Answers
//! to `StreamInterfaceChannel` in libwebrtc's `p2p/dtls/dtls_transport.h`; shared by the network task and the
//! tasks of one association.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};
use webrtc_util::{Conn, Error};

use crate::SrtpKeyingMaterial;

/// Datagrams that wait in either direction; more are lost, as on a network.
pub(crate) const QUEUE: usize = 128;

/// What comes out of an association, in order.
#[derive(Debug)]
pub(crate) enum FromAssociation {
    /// To be sent to the peer.
    Datagram(Vec<u8>),
    /// The handshake is done.
    Connected {
        /// The peer's certificate in DER.
        certificate: Vec<u8>,
        /// SRTP keys, if a profile was agreed.
        keys: Option<SrtpKeyingMaterial>,
    },
    /// One record of application data.
    Data(Vec<u8>),
    /// It is over, after it was connected.
    Closed,
    /// It is over, before it was connected.
    Failed(String),
}

/// The connection `webrtc-dtls` believes to have.
#[derive(Debug)]
pub(crate) struct StreamInterfaceChannel {
    inbound: Mutex<mpsc::Receiver<Vec<u8>>>,
    outbound: mpsc::Sender<FromAssociation>,
}

impl StreamInterfaceChannel {
    /// A channel that reads from `inbound` and writes to `outbound`.
    pub(crate) fn new(
        inbound: mpsc::Receiver<Vec<u8>>,
        outbound: mpsc::Sender<FromAssociation>,
    ) -> Arc<Self> {
        Arc::new(Self { inbound: Mutex::new(inbound), outbound })
    }

    async fn next(&self, buffer: &mut [u8]) -> usize {
        loop {
            let Some(datagram) = self.inbound.lock().await.recv().await else {
                // The engine is gone and is about to end the task that waits here. An error, or `Ok(0)`, would
                // make webrtc-dtls ask again at once, for ever.
                return std::future::pending().await;
            };
            if let Some(slot) = buffer.get_mut(..datagram.len())
                && !datagram.is_empty()
            {
                slot.copy_from_slice(&datagram);
                return datagram.len();
            }
        }
    }
}

#[async_trait]
impl Conn for StreamInterfaceChannel {
    async fn connect(&self, _address: SocketAddr) -> Result<(), Error> {
        Ok(())
    }

    async fn recv(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        Ok(self.next(buffer).await)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        Ok((self.next(buffer).await, nowhere()))
    }

    async fn send(&self, datagram: &[u8]) -> Result<usize, Error> {
        // Lost if the queue is full: the peer, or the retransmission, copes.
        let _ = self.outbound.try_send(FromAssociation::Datagram(datagram.to_vec()));
        Ok(datagram.len())
    }

    async fn send_to(&self, datagram: &[u8], _address: SocketAddr) -> Result<usize, Error> {
        self.send(datagram).await
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(nowhere())
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(nowhere())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

/// ICE knows the addresses; they change while an association lives.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `recv` never returns an error and never nothing, or webrtc-dtls would spin.
    #[tokio::test(start_paused = true)]
    async fn reading_never_fails_and_never_gives_nothing() {
        let (to, inbound) = mpsc::channel(QUEUE);
        let (outbound, _from) = mpsc::channel(QUEUE);
        let channel = StreamInterfaceChannel::new(inbound, outbound);
        let mut buffer = [0; 10];
        for datagram in [vec![], vec![1; 11], vec![2; 10]] {
            to.send(datagram).await.unwrap();
        }
        assert_eq!(channel.recv(&mut buffer).await.unwrap(), 10);
        assert_eq!(buffer, [2; 10]);
        drop(to);
        let read = tokio::time::timeout(Duration::from_secs(3600), channel.recv(&mut buffer)).await;
        assert!(read.is_err(), "waits when nothing can come any more");
    }

    #[tokio::test]
    async fn writing_never_blocks() {
        let (_to, inbound) = mpsc::channel(QUEUE);
        let (outbound, mut from) = mpsc::channel(2);
        let channel = StreamInterfaceChannel::new(inbound, outbound);
        for byte in 0..5 {
            assert_eq!(channel.send(&[byte]).await.unwrap(), 1);
        }
        for expected in 0..2 {
            assert!(matches!(
                from.try_recv(),
                Ok(FromAssociation::Datagram(datagram)) if datagram == [expected]
            ));
        }
        assert!(from.try_recv().is_err());
    }
}
