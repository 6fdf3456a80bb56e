//! Makes the sockets of production; UDP sockets on tokio and `quinn-udp`, with segmentation offload where the
//! system has it. Answers to
//! libwebrtc's `p2p/base/basic_packet_socket_factory.cc` and `rtc_base/async_udp_socket.cc`; owned by the
//! network task.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use peerstack_base::{
    AsyncStreamListener, AsyncStreamSocket, AsyncUdpSocket, Ecn, PacketSocketFactory, PortRange, RecvMeta,
    StreamOptions, Transmit,
};
use quinn_udp::{EcnCodepoint, UdpSocketState};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::stream_sockets::{HttpProxy, Roots, TokioStreamListener, TokioStreamSocket};

/// Bytes asked for as socket buffers. The default of Linux (208 KiB) holds about 92 datagrams, a burst of one
/// video frame; the system may grant less.
const SOCKET_BUFFER: usize = 4 << 20;

/// Makes real sockets: UDP, TCP, and TLS over TCP. Must be used within a tokio runtime, which the network task
/// is.
#[derive(Debug, Clone, Default)]
pub struct BasicPacketSocketFactory {
    roots: Roots,
    proxy: Option<HttpProxy>,
}

impl BasicPacketSocketFactory {
    /// A factory that trusts the platform's root certificates and uses no proxy.
    pub fn new() -> Self {
        Self::default()
    }

    /// TURN servers over TLS must have certificates that lead to one of these roots (DER), instead of one of
    /// the platform's.
    ///
    /// # Errors
    /// If one of them is no certificate.
    pub fn with_root_certificates(mut self, certificates: Vec<Vec<u8>>) -> io::Result<Self> {
        self.roots = Roots::these(certificates)?;
        Ok(self)
    }

    /// As [`Self::with_root_certificates`], from the text of a PEM file (RFC 7468).
    ///
    /// # Errors
    /// If there is no certificate in it, or one of them is none.
    pub fn with_root_certificates_pem(self, pem: &[u8]) -> io::Result<Self> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem)
            .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
            .collect();
        let certificates = certificates
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("no PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no certificate in it"));
        }
        self.with_root_certificates(certificates)
    }

    /// Connections to TURN servers over TCP and TLS go through an HTTP proxy.
    #[must_use]
    pub fn with_http_proxy(mut self, proxy: HttpProxy) -> Self {
        self.proxy = Some(proxy);
        self
    }
}

impl PacketSocketFactory for BasicPacketSocketFactory {
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>> {
        let socket = bind(local, ports)?;
        Ok(Box::new(TokioUdpSocket::new(socket)?))
    }

    fn create_server_tcp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncStreamListener>> {
        Ok(Box::new(TokioStreamListener::bind(local, ports)?))
    }

    fn create_client_tcp_socket(
        &mut self,
        local: SocketAddr,
        options: &StreamOptions,
    ) -> io::Result<Box<dyn AsyncStreamSocket>> {
        Ok(Box::new(TokioStreamSocket::connect(local, options, &self.roots, self.proxy.clone())?))
    }

    fn resolves_names(&self) -> bool {
        self.proxy.is_some()
    }

    fn default_local_address(&mut self, ipv4: bool) -> Option<IpAddr> {
        // No packet is sent: "connecting" a datagram socket asks for the route to an address, for which any public
        // one will do (libwebrtc `BasicNetworkManager::QueryDefaultLocalAddress`).
        let (local, public): (IpAddr, IpAddr) = if ipv4 {
            (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(8, 8, 8, 8).into())
        } else {
            let public = Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888);
            (Ipv6Addr::UNSPECIFIED.into(), public.into())
        };
        let socket = std::net::UdpSocket::bind(SocketAddr::new(local, 0)).ok()?;
        socket.connect(SocketAddr::new(public, 53)).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    }
}

fn bind(local: SocketAddr, ports: Option<PortRange>) -> io::Result<std::net::UdpSocket> {
    match ports {
        Some(range) if local.port() == 0 => {
            let mut last = io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("the port range {} to {} holds no port", range.min, range.max),
            );
            for port in range.min..=range.max {
                match bind_exact(SocketAddr::new(local.ip(), port)) {
                    Ok(socket) => return Ok(socket),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        _ => bind_exact(local),
    }
}

fn bind_exact(local: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // What the system grants is enough to go on with; a refusal is no reason not to have the socket.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// One UDP socket.
#[derive(Debug)]
pub(super) struct TokioUdpSocket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl TokioUdpSocket {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: UdpSocket::from_std(socket)?, state })
    }
}

impl AsyncUdpSocket for TokioUdpSocket {
    fn try_send(&mut self, transmit: &Transmit<'_>) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: to_codepoint(transmit.ecn),
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: None,
        };
        // `send` would swallow errors.
        self.io.try_io(Interest::WRITABLE, || self.state.try_send((&self.io).into(), &transmit))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_send_ready(cx)
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = [quinn_udp::RecvMeta::default(); quinn_udp::BATCH_SIZE];
        let count = bufs.len().min(meta.len()).min(received.len());
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let result = self.io.try_io(Interest::READABLE, || {
                self.state.recv((&self.io).into(), &mut bufs[..count], &mut received[..count])
            });
            match result {
                Ok(filled) => {
                    for (ours, theirs) in meta.iter_mut().zip(&received[..filled]) {
                        *ours = RecvMeta {
                            remote: theirs.addr,
                            len: theirs.len,
                            stride: theirs.stride,
                            ecn: from_codepoint(theirs.ecn),
                            local_ip: theirs.dst_ip,
                        };
                    }
                    return Poll::Ready(Ok(filled));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

fn to_codepoint(ecn: Ecn) -> Option<EcnCodepoint> {
    match ecn {
        Ecn::NotEct => None,
        Ecn::Ect0 => Some(EcnCodepoint::Ect0),
        Ecn::Ect1 => Some(EcnCodepoint::Ect1),
        Ecn::Ce => Some(EcnCodepoint::Ce),
    }
}

fn from_codepoint(codepoint: Option<EcnCodepoint>) -> Ecn {
    match codepoint {
        None => Ecn::NotEct,
        Some(EcnCodepoint::Ect0) => Ecn::Ect0,
        Some(EcnCodepoint::Ect1) => Ecn::Ect1,
        Some(EcnCodepoint::Ce) => Ecn::Ce,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test]
    async fn a_segmented_transmit_arrives_as_the_datagrams_it_was_cut_into() {
        let mut factory = BasicPacketSocketFactory::new();
        let mut a = factory.create_udp_socket(loopback(0), None).unwrap();
        let mut b = factory.create_udp_socket(loopback(0), None).unwrap();
        let segments = a.max_transmit_segments().min(4);
        let contents: Vec<u8> = (0..segments * 100).map(|index| (index / 100) as u8).collect();
        let transmit = Transmit {
            destination: b.local_addr().unwrap(),
            ecn: Ecn::NotEct,
            contents: &contents,
            segment_size: (segments > 1).then_some(100),
        };
        poll_fn(|cx| a.poll_writable(cx)).await.unwrap();
        a.try_send(&transmit).unwrap();

        let mut received = Vec::new();
        while received.len() < segments {
            let mut buffer = vec![0; 65_536];
            let mut meta = [RecvMeta::default()];
            let filled =
                poll_fn(|cx| b.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)).await.unwrap();
            assert_eq!(filled, 1);
            assert_eq!(meta[0].remote, a.local_addr().unwrap());
            received.extend(buffer[..meta[0].len].chunks(meta[0].stride).map(<[u8]>::to_vec));
        }
        let expected: Vec<_> = contents.chunks(100).map(<[u8]>::to_vec).collect();
        assert_eq!(received, expected);
    }

    #[test]
    fn roots_come_from_pem() {
        let key = rcgen::generate_simple_self_signed(["turn.example".to_owned()]).unwrap();
        let (pem, factory) = (key.cert.pem(), BasicPacketSocketFactory::new);
        assert!(factory().with_root_certificates_pem(format!("a comment\n{pem}{pem}").as_bytes()).is_ok());
        for bad in ["", "no certificate", &key.signing_key.serialize_pem(), &pem[..pem.len() / 2]] {
            let error = factory().with_root_certificates_pem(bad.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad}");
        }
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(factory().with_root_certificates_pem(garbage.as_bytes()).is_err());
    }

    #[tokio::test]
    async fn a_port_range_is_kept_and_its_exhaustion_is_an_error() {
        let mut factory = BasicPacketSocketFactory::new();
        let taken = factory.create_udp_socket(loopback(0), None).unwrap();
        let port = taken.local_addr().unwrap().port();
        let range = PortRange { min: port, max: port };
        let error = factory.create_udp_socket(loopback(0), Some(range)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        let socket = factory.create_udp_socket(loopback(0), Some(range)).unwrap();
        assert_eq!(socket.local_addr().unwrap().port(), port);
    }
}
