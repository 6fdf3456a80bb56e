//! TCP and TLS streams on tokio and `rustls`, also through an HTTP proxy. Answers to `CreateClientTcpSocket` of
//! libwebrtc's `p2p/base/basic_packet_socket_factory.cc`, its `AsyncHttpsProxySocket` and its
//! `OpenSSLStreamAdapter`; owned by the network task.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use peerstack_base::{AsyncStreamListener, AsyncStreamSocket, PortRange, StreamOptions};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;
/// Bytes of a proxy's answer at most.
const MAX_PROXY_ANSWER: usize = 8 << 10;

/// An HTTP proxy for connections to TURN servers over TCP and TLS (RFC 9110 section 9.3.6).
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// Where it is.
    pub address: SocketAddr,
    /// The value of `Proxy-Authorization`, if it asks for one, for example `Basic dXNlcjpwYXNz`; a secret.
    pub authorization: Option<String>,
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The roots that servers' certificates must lead to.
#[derive(Debug, Clone, Default)]
pub(super) enum Roots {
    /// The platform's.
    #[default]
    Platform,
    /// These alone.
    These(Arc<RootCertStore>),
}

impl Roots {
    pub(super) fn these(certificates: Vec<Vec<u8>>) -> io::Result<Self> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            store.add(CertificateDer::from(certificate)).map_err(io::Error::other)?;
        }
        Ok(Self::These(Arc::new(store)))
    }

    fn config(&self) -> io::Result<Arc<ClientConfig>> {
        static PLATFORM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        match self {
            Self::These(store) => client_config(Arc::clone(store)),
            Self::Platform => {
                if let Some(config) = PLATFORM.get() {
                    return Ok(Arc::clone(config));
                }
                let mut store = RootCertStore::empty();
                // Some certificates of the system's store may be odd; those that are good count.
                let (good, odd) =
                    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                tracing::debug!(target: "peerstack::network", good, odd, "the platform's root certificates");
                let config = client_config(Arc::new(store))?;
                Ok(Arc::clone(PLATFORM.get_or_init(|| config)))
            }
        }
    }
}

fn client_config(roots: Arc<RootCertStore>) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[derive(Debug)]
enum Open {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Open>> + Send>>;

enum State {
    Connecting(Connecting),
    Open(Open),
    Failed,
}

/// A stream that connects, or is connected.
pub(super) struct TokioStreamSocket {
    state: State,
    local: SocketAddr,
    remote: SocketAddr,
    /// Woken when a write that had to wait may go on.
    waker: Waker,
}

impl fmt::Debug for TokioStreamSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Connecting(_) => "connecting",
            State::Open(Open::Tcp(_)) => "tcp",
            State::Open(Open::Tls(_)) => "tls",
            State::Failed => "failed",
        };
        f.debug_struct("TokioStreamSocket").field("state", &state).field("remote", &self.remote).finish()
    }
}

impl TokioStreamSocket {
    /// Begins to connect.
    pub(super) fn connect(
        local: SocketAddr,
        options: &StreamOptions,
        roots: &Roots,
        proxy: Option<HttpProxy>,
    ) -> io::Result<Self> {
        let remote = options.remote;
        let proxy = proxy.filter(|_| options.proxy);
        let first = proxy.as_ref().map_or(remote, |proxy| proxy.address);
        let socket = if first.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if local.is_ipv4() == first.is_ipv4() {
            socket.bind(local)?;
        }
        socket.set_nodelay(true)?;
        let bound = socket.local_addr().unwrap_or(local);
        let tls = match &options.tls {
            None => None,
            Some(name) => {
                let name = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
                Some((TlsConnector::from(roots.config()?), name))
            }
        };
        // A proxy may know names that we do not (RFC 9110 section 9.3.6).
        let target = match &options.host {
            Some(name) => format!("{name}:{}", remote.port()),
            None => remote.to_string(),
        };
        let connecting = async move {
            let mut stream = socket.connect(first).await?;
            if let Some(proxy) = proxy {
                open_tunnel(&mut stream, &target, &proxy).await?;
            }
            match tls {
                Some((connector, name)) => Ok(Open::Tls(Box::new(connector.connect(name, stream).await?))),
                None => Ok(Open::Tcp(stream)),
            }
        };
        let state = State::Connecting(Box::pin(connecting));
        Ok(Self { state, local: bound, remote, waker: Waker::noop().clone() })
    }

    fn accepted(stream: TcpStream, remote: SocketAddr) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        Ok(Self { state: State::Open(Open::Tcp(stream)), local, remote, waker: Waker::noop().clone() })
    }
}

/// Asks a proxy for a connection to a TURN server.
async fn open_tunnel(stream: &mut TcpStream, target: &str, proxy: &HttpProxy) -> io::Result<()> {
    if target.contains(|letter: char| letter.is_ascii_control() || letter == ' ') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the server's name is not one"));
    }
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        // What could end the line would begin a header of its own.
        if authorization.contains(['\r', '\n']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a line break in the proxy's credentials",
            ));
        }
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte, since what follows the answer is no longer the proxy's.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_PROXY_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy's answer is too long"));
        }
        answer.push(stream.read_u8().await?);
    }
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if answer.starts_with(b"HTTP/1.") && status.len() == 3 && status.starts_with(b"2") {
        return Ok(());
    }
    let status = String::from_utf8_lossy(status.get(..3).unwrap_or_default()).into_owned();
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("the proxy refuses: {status}")))
}

impl AsyncStreamSocket for TokioStreamSocket {
    fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waker.clone_from(cx.waker());
        match &mut self.state {
            State::Open(_) => Poll::Ready(Ok(())),
            State::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            State::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                Ok(open) => {
                    let stream = match &open {
                        Open::Tcp(stream) => stream,
                        Open::Tls(stream) => stream.get_ref().0,
                    };
                    self.local = stream.local_addr()?;
                    self.state = State::Open(open);
                    Poll::Ready(Ok(()))
                }
                Err(error) => {
                    self.state = State::Failed;
                    Poll::Ready(Err(error))
                }
            },
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.waker.clone_from(cx.waker());
        let mut buffer = ReadBuf::new(buffer);
        match &mut self.state {
            State::Open(Open::Tcp(stream)) => ready!(Pin::new(stream).poll_read(cx, &mut buffer))?,
            State::Open(Open::Tls(stream)) => {
                // Records that an earlier write left behind.
                if let Poll::Ready(Err(error)) = Pin::new(&mut **stream).poll_flush(cx) {
                    return Poll::Ready(Err(error));
                }
                ready!(Pin::new(&mut **stream).poll_read(cx, &mut buffer))?;
            }
            _ => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut cx = Context::from_waker(&self.waker);
        let written = match &mut self.state {
            State::Open(Open::Tcp(stream)) => Pin::new(stream).poll_write(&mut cx, bytes),
            State::Open(Open::Tls(stream)) => {
                let written = Pin::new(&mut **stream).poll_write(&mut cx, bytes);
                if let Poll::Ready(Err(error)) = Pin::new(&mut **stream).poll_flush(&mut cx) {
                    return Err(error);
                }
                written
            }
            _ => return Err(io::ErrorKind::NotConnected.into()),
        };
        match written {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waker.clone_from(cx.waker());
        match &mut self.state {
            State::Open(Open::Tcp(stream)) => stream.poll_write_ready(cx),
            State::Open(Open::Tls(stream)) => Pin::new(&mut **stream).poll_flush(cx),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.remote)
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct TokioStreamListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl TokioStreamListener {
    pub(super) fn bind(local: SocketAddr, ports: Option<PortRange>) -> io::Result<Self> {
        let listen = |local: SocketAddr| {
            let socket = if local.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(local)?;
            let listener = socket.listen(BACKLOG)?;
            let local = listener.local_addr()?;
            Ok(Self { listener, local })
        };
        let Some(range) = ports.filter(|_| local.port() == 0) else { return listen(local) };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in range.min..=range.max {
            match listen(SocketAddr::new(local.ip(), port)) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl AsyncStreamListener for TokioStreamListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn AsyncStreamSocket>>> {
        let (stream, remote) = ready!(self.listener.poll_accept(cx))?;
        Poll::Ready(TokioStreamSocket::accepted(stream, remote).map(|socket| Box::new(socket) as _))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn options(remote: SocketAddr, tls: Option<&str>) -> StreamOptions {
        StreamOptions { remote, tls: tls.map(str::to_owned), proxy: true, host: None }
    }

    async fn write_all(socket: &mut dyn AsyncStreamSocket, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match socket.try_write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    poll_fn(|cx| socket.poll_writable(cx)).await.unwrap();
                }
            }
        }
        poll_fn(|cx| socket.poll_writable(cx)).await.unwrap();
    }

    async fn read_exactly(socket: &mut dyn AsyncStreamSocket, len: usize) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while bytes.len() < len {
            let read = poll_fn(|cx| socket.poll_read(cx, &mut buffer)).await.unwrap();
            assert_ne!(read, 0, "the end came early");
            bytes.extend_from_slice(&buffer[..read]);
        }
        bytes
    }

    #[tokio::test]
    async fn streams_carry_bytes_both_ways() {
        let mut listener = TokioStreamListener::bind(loopback(0), None).unwrap();
        let remote = listener.local_addr().unwrap();
        let roots = Roots::default();
        let mut a = TokioStreamSocket::connect(loopback(0), &options(remote, None), &roots, None).unwrap();
        let (connected, accepted) =
            tokio::join!(poll_fn(|cx| a.poll_connected(cx)), poll_fn(|cx| listener.poll_accept(cx)));
        connected.unwrap();
        let mut b = accepted.unwrap();
        assert_eq!(b.peer_addr().unwrap(), a.local_addr().unwrap());
        write_all(&mut a, b"ping").await;
        assert_eq!(read_exactly(b.as_mut(), 4).await, b"ping");
        let bytes: Vec<u8> = (0..1_000_000u32).map(|index| (index % 251) as u8).collect();
        let ((), back) = tokio::join!(write_all(b.as_mut(), &bytes), read_exactly(&mut a, bytes.len()));
        assert!(back == bytes);
        drop(b);
        assert_eq!(poll_fn(|cx| a.poll_read(cx, &mut [0; 8])).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_refused_connection_is_an_error() {
        let remote = TokioStreamListener::bind(loopback(0), None).unwrap().local_addr().unwrap();
        let roots = Roots::default();
        let mut a = TokioStreamSocket::connect(loopback(0), &options(remote, None), &roots, None).unwrap();
        let error = poll_fn(|cx| a.poll_connected(cx)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// A server with a certificate for `turn.example`, whose own root it is.
    async fn tls_server(names: &[&str]) -> (SocketAddr, Vec<u8>, tokio::task::AbortHandle) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        let der = cert.der().to_vec();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], signing_key.serialize_der().try_into().unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(loopback(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the server of a test")]
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut bytes = [0; 4];
                    if stream.read_exact(&mut bytes).await.is_ok() {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.flush().await;
                    }
                    // Until the client has read it.
                    let _ = stream.read(&mut bytes).await;
                }
            }
        });
        (address, der, task.abort_handle())
    }

    async fn tls_connect(remote: SocketAddr, name: &str, roots: &Roots) -> io::Result<TokioStreamSocket> {
        let mut socket = TokioStreamSocket::connect(loopback(0), &options(remote, Some(name)), roots, None)?;
        poll_fn(|cx| socket.poll_connected(cx)).await?;
        Ok(socket)
    }

    /// U01: TLS with a root of our own; a name that the certificate is not for, and a root that is not ours, are
    /// refused.
    #[tokio::test]
    async fn tls_checks_root_and_name() {
        let (remote, root, server) = tls_server(&["turn.example", "127.0.0.1"]).await;
        let ours = Roots::these(vec![root]).unwrap();
        for name in ["turn.example", "127.0.0.1"] {
            let mut socket = tls_connect(remote, name, &ours).await.unwrap();
            write_all(&mut socket, b"ping").await;
            assert_eq!(read_exactly(&mut socket, 4).await, b"ping");
        }
        assert!(tls_connect(remote, "other.example", &ours).await.is_err());
        let (_, other, other_server) = tls_server(&["turn.example"]).await;
        let others = Roots::these(vec![other]).unwrap();
        assert!(tls_connect(remote, "turn.example", &others).await.is_err());
        assert!(tls_connect(remote, "turn.example", &Roots::Platform).await.is_err());
        server.abort();
        other_server.abort();
    }

    #[test]
    fn roots_that_are_none_are_refused() {
        assert!(Roots::these(vec![vec![1, 2, 3]]).is_err());
    }

    /// A proxy's tunnel: asked for by CONNECT, with credentials; a refusal is an error.
    #[tokio::test]
    async fn tunnels_through_a_proxy() {
        for (answer, good) in [
            ("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", true),
            ("HTTP/1.0 407 Proxy Authentication Required\r\n\r\n", false),
            ("SSH-2.0-x 200 y\r\n\r\n", false),
            ("HTTP/1.1\r\n\r\n", false),
        ] {
            let listener = TcpListener::bind(loopback(0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let proxy = HttpProxy { address, authorization: Some("Basic dXNlcjpwYXNz".into()) };
            assert!(!format!("{proxy:?}").contains("dXNl"));
            let target = options(SocketAddr::from(([192, 0, 2, 1], 443)), None);
            let mut socket =
                TokioStreamSocket::connect(loopback(0), &target, &Roots::default(), Some(proxy)).unwrap();
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.write_all(b"rest").await.unwrap();
                (stream, String::from_utf8(request).unwrap())
            };
            let (connected, (_stream, request)) =
                tokio::join!(poll_fn(|cx| socket.poll_connected(cx)), server);
            assert_eq!(connected.is_ok(), good, "{answer}");
            assert!(request.starts_with("CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n"));
            assert!(request.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"));
            if good {
                assert_eq!(read_exactly(&mut socket, 4).await, b"rest");
            }
        }
    }

    /// A server that was given by name: the proxy is asked for that, and looks it up itself; what is no name is not sent.
    #[tokio::test]
    async fn a_proxy_is_told_a_name() {
        for (host, told) in [("turn.example", true), ("a\r\nX: y", false), ("a b", false)] {
            let listener = TcpListener::bind(loopback(0)).await.unwrap();
            let proxy = HttpProxy { address: listener.local_addr().unwrap(), authorization: None };
            let mut target = options(SocketAddr::from(([0, 0, 0, 0], 3478)), None);
            target.host = Some(host.to_owned());
            let mut socket =
                TokioStreamSocket::connect(loopback(0), &target, &Roots::default(), Some(proxy)).unwrap();
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    request.push(byte);
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                (stream, String::from_utf8(request).unwrap())
            };
            let client = async {
                let connected = poll_fn(|cx| socket.poll_connected(cx)).await;
                if connected.is_err() {
                    drop(socket);
                }
                connected
            };
            let (connected, (_stream, request)) = tokio::join!(client, server);
            assert_eq!(connected.is_ok(), told, "{host:?}");
            let expected = "CONNECT turn.example:3478 HTTP/1.1\r\nHost: turn.example:3478\r\n\r\n";
            assert_eq!(request, if told { expected } else { "" });
        }
    }

    #[tokio::test]
    async fn a_port_range_is_kept() {
        let taken = TokioStreamListener::bind(loopback(0), None).unwrap();
        let port = taken.local_addr().unwrap().port();
        let range = PortRange { min: port, max: port };
        assert!(TokioStreamListener::bind(loopback(0), Some(range)).is_err());
    }
}
