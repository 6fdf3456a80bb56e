//! TCP sockets of virtual hosts: `base::AsyncStreamSocket` and `base::AsyncStreamListener`.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use peerstack_base::{AsyncStreamListener, AsyncStreamSocket, PortRange};

use crate::host::Host;
use crate::lab::Shared;
use crate::socket::SocketKey;
use crate::tcp::{StreamKey, TcpState};

impl Host {
    /// Listens on a TCP port; port 0 takes any free one.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn listen(&self, local: SocketAddr) -> io::Result<HostListener> {
        self.listen_in(local, None)
    }

    /// Listens on a TCP port; port 0 takes the first free one of a range.
    ///
    /// # Errors
    /// As [`bind_in`](Self::bind_in).
    pub fn listen_in(&self, local: SocketAddr, ports: Option<PortRange>) -> io::Result<HostListener> {
        let (key, local) = self.shared.with(|world| world.listen(self.node, local, ports))?;
        Ok(HostListener { shared: self.shared.clone(), key, local })
    }

    /// Begins to connect a TCP socket of an address to another.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), `InvalidInput` for another address family or no port, `NetworkUnreachable` if
    /// the interface is down.
    pub fn connect_from(&self, local: SocketAddr, remote: SocketAddr) -> io::Result<HostStream> {
        let key = self.shared.with(|world| world.connect(self.node, local, remote))?;
        Ok(HostStream { shared: self.shared.clone(), key })
    }
}

/// A listening TCP socket; dropping it frees its port.
#[derive(Debug)]
pub struct HostListener {
    shared: Shared,
    key: SocketKey,
    local: SocketAddr,
}

impl Drop for HostListener {
    fn drop(&mut self) {
        self.shared.with(|world| world.close_listener(self.key));
    }
}

impl AsyncStreamListener for HostListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn AsyncStreamSocket>>> {
        let accepted = self.shared.with(|world| {
            let listener = world.listeners.get_mut(&self.key)?;
            let key = listener.backlog.pop_front();
            if key.is_none() {
                listener.waker = Some(cx.waker().clone());
            }
            key
        });
        match accepted {
            Some(key) => Poll::Ready(Ok(Box::new(HostStream { shared: self.shared.clone(), key }))),
            None => Poll::Pending,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// A TCP socket; dropping it closes the connection once what waits is sent.
#[derive(Debug)]
pub struct HostStream {
    shared: Shared,
    key: StreamKey,
}

impl HostStream {
    fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        f: impl FnOnce(&mut TcpState) -> Option<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        self.shared.with(|world| {
            let Some(stream) = world.streams.get_mut(&self.key) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if let Some(result) = f(stream) {
                return Poll::Ready(result);
            }
            if !stream.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                stream.wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl Drop for HostStream {
    fn drop(&mut self) {
        self.shared.with(|world| world.drop_stream(self.key));
    }
}

impl AsyncStreamSocket for HostStream {
    fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream| stream.connected())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream| stream.read(buffer))
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shared.with(|world| world.stream_write(self.key, bytes))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream| stream.writable().then_some(Ok(())))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.key.1)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.key.2)
    }
}
