//! Tells at once that the system's interfaces changed, where the system does. Answers to libwebrtc's
//! `NetworkMonitorInterface` (`rtc_base/network_monitor.h`); owned by the `BasicNetworkManager`.

use std::io;
use std::task::{Context, Poll};

/// The system's own notification. What changed it does not say: the list of interfaces is read anew.
pub(super) struct NetworkMonitor(platform::Watcher);

impl std::fmt::Debug for NetworkMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NetworkMonitor")
    }
}

impl NetworkMonitor {
    /// Begins to listen. Must be called within a tokio runtime that has I/O.
    ///
    /// # Errors
    /// What the system says, or `Unsupported` where it has no way that is known here.
    pub(super) fn new() -> io::Result<Self> {
        platform::watch().map(Self)
    }

    /// Ready when something changed since the last call that was.
    ///
    /// # Errors
    /// Nothing will be told any more.
    pub(super) fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut changed = false;
        loop {
            match platform::poll(&mut self.0, cx) {
                Poll::Ready(Ok(())) => changed = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // The waker is registered: what comes from here on is told by another call.
                Poll::Pending if changed => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// rtnetlink(7): messages about links and addresses are sent to those who bound to their groups.
#[cfg(target_os = "linux")]
mod platform {
    use std::io;
    use std::task::{Context, Poll};

    use netlink_sys::protocols::NETLINK_ROUTE;
    use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};

    /// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of `linux/rtnetlink.h`: `if-watch` asks for
    /// addresses alone, which stay while their link is down.
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;
    /// More of a message is not looked at.
    const PREFIX: usize = 64;
    /// `ENOBUFS` of `asm-generic/errno.h`: messages were lost, so something changed.
    const ENOBUFS: i32 = 105;

    pub(super) type Watcher = TokioSocket;

    pub(super) fn watch() -> io::Result<Watcher> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
        Ok(socket)
    }

    pub(super) fn poll(socket: &mut Watcher, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut message = [0; PREFIX];
        match socket.poll_recv(cx, &mut &mut message[..]) {
            Poll::Ready(Err(error)) if error.raw_os_error() == Some(ENOBUFS) => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::convert::Infallible;
    use std::io;
    use std::task::{Context, Poll};

    pub(super) type Watcher = Infallible;

    pub(super) fn watch() -> io::Result<Watcher> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn poll(watcher: &mut Watcher, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *watcher {}
    }
}
