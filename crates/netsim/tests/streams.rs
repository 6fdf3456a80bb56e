//! TCP over links, NATs and firewalls.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails")]

use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use peerstack_base::{AsyncStreamListener, AsyncStreamSocket};
use peerstack_netsim::{
    Firewall, FirewallPolicy, Host, HostListener, Lab, LinkConfig, Nat, Packet, addr, ip,
};

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin")]
fn origin() -> std::time::Instant {
    std::time::Instant::now()
}

struct Net {
    lab: Lab,
    client: Host,
    server: Host,
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl Net {
    fn new() -> Self {
        let lab = Lab::new(5, origin());
        let client = lab.host_at("client", &lab.internet(), ip("192.0.2.1"));
        let server = lab.host_at("server", &lab.internet(), ip("192.0.2.2"));
        for host in [&client, &server] {
            host.interfaces()[0].link().configure(LinkConfig::latency(Duration::from_millis(10)));
        }
        Self { lab, client, server }
    }

    fn pass(&self, millis: u64) {
        self.lab.run_until(self.lab.now() + Duration::from_millis(millis));
    }

    fn connect(&self) -> (Box<dyn AsyncStreamSocket>, Box<dyn AsyncStreamSocket>, HostListener) {
        let mut listener = self.server.listen(addr("192.0.2.2:7000")).unwrap();
        let mut stream = self.client.connect_from(addr("192.0.2.1:0"), addr("192.0.2.2:7000")).unwrap();
        assert!(stream.poll_connected(&mut cx()).is_pending());
        self.pass(100);
        stream.poll_connected(&mut cx()).map(Result::unwrap).is_ready().then_some(()).unwrap();
        let accepted = ready(listener.poll_accept(&mut cx())).unwrap().unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), stream.local_addr().unwrap());
        (Box::new(stream), accepted, listener)
    }
}

fn read_all(stream: &mut dyn AsyncStreamSocket) -> (Vec<u8>, bool) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match ready(stream.poll_read(&mut cx(), &mut buffer)) {
            Some(Ok(0)) => return (bytes, true),
            Some(Ok(len)) => bytes.extend_from_slice(&buffer[..len]),
            Some(Err(error)) => panic!("{error}"),
            None => return (bytes, false),
        }
    }
}

fn pump(
    net: &Net,
    from: &mut dyn AsyncStreamSocket,
    to: &mut dyn AsyncStreamSocket,
    total: usize,
) -> Vec<u8> {
    let bytes: Vec<u8> = (0..total).map(|index| (index * 7 % 251) as u8).collect();
    let (mut sent, mut received) = (0, Vec::new());
    for _ in 0..20_000 {
        while sent < total {
            match from.try_write(&bytes[sent..]) {
                Ok(len) => sent += len,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        net.pass(10);
        received.extend(read_all(to).0);
        if received.len() == total {
            break;
        }
    }
    assert!(received == bytes, "{} of {total} bytes", received.len());
    received
}

#[test]
fn bytes_arrive_in_order_and_the_end_is_told() {
    let net = Net::new();
    let (mut a, mut b, _listener) = net.connect();
    pump(&net, a.as_mut(), b.as_mut(), 1_000_000);
    pump(&net, b.as_mut(), a.as_mut(), 1_000);
    drop(a);
    net.pass(100);
    assert_eq!(read_all(b.as_mut()), (Vec::new(), true));
    drop(b);
    drop(_listener);
    net.pass(1000);
    assert_eq!(net.lab.open_sockets(), 0);
}

#[test]
fn loss_delays_and_loses_nothing() {
    let net = Net::new();
    let mut config = LinkConfig::latency(Duration::from_millis(10));
    config.loss = peerstack_netsim::LossModel::Uniform(0.1);
    net.client.interfaces()[0].link().configure(config);
    let mut listener = net.server.listen(addr("192.0.2.2:7000")).unwrap();
    let mut stream = net.client.connect_from(addr("192.0.2.1:0"), addr("192.0.2.2:7000")).unwrap();
    net.pass(30_000);
    assert!(stream.poll_connected(&mut cx()).is_ready());
    let mut accepted = ready(listener.poll_accept(&mut cx())).unwrap().unwrap();
    pump(&net, &mut stream, accepted.as_mut(), 200_000);
}

#[test]
fn nobody_listens_means_refused_and_a_black_hole_times_out() {
    let net = Net::new();
    let mut refused = net.client.connect_from(addr("192.0.2.1:0"), addr("192.0.2.2:9")).unwrap();
    let mut lost = net.client.connect_from(addr("192.0.2.1:0"), addr("192.0.2.77:9")).unwrap();
    net.pass(50);
    let kind = |poll: Poll<io::Result<()>>| ready(poll).map(|result| result.unwrap_err().kind());
    assert_eq!(kind(refused.poll_connected(&mut cx())), Some(io::ErrorKind::ConnectionRefused));
    assert_eq!(kind(lost.poll_connected(&mut cx())), None);
    net.pass(200_000);
    assert_eq!(kind(lost.poll_connected(&mut cx())), Some(io::ErrorKind::TimedOut));
    drop((refused, lost));
    assert_eq!(net.lab.open_sockets(), 0);
}

#[test]
fn nats_translate_streams_and_let_none_in() {
    let lab = Lab::new(5, origin());
    let nat = Nat::symmetric("nat", &lab.internet(), ip("203.0.113.1"));
    let client = lab.host_at("client", &nat, ip("192.168.0.2"));
    let server = lab.host_at("server", &lab.internet(), ip("192.0.2.2"));
    let mut listener = server.listen(addr("192.0.2.2:7000")).unwrap();
    let mut a = client.connect_from(addr("192.168.0.2:0"), addr("192.0.2.2:7000")).unwrap();
    lab.run_until(lab.now() + Duration::from_millis(10));
    let mut b = ready(listener.poll_accept(&mut cx())).unwrap().unwrap();
    assert_eq!(b.peer_addr().unwrap().ip(), ip("203.0.113.1"));
    let net = Net { lab: lab.clone(), client, server: server.clone() };
    pump(&net, &mut a, b.as_mut(), 10_000);
    pump(&net, b.as_mut(), &mut a, 10_000);

    let _listener = net.client.listen(addr("192.168.0.2:7000")).unwrap();
    let mut inward = server.connect_from(addr("192.0.2.2:0"), addr("203.0.113.1:7000")).unwrap();
    net.pass(1000);
    assert!(inward.poll_connected(&mut cx()).is_pending());
}

#[test]
fn firewalls_by_their_policy() {
    for (policy, port, out, inward) in [
        (FirewallPolicy::AllowAll, 7000, true, true),
        (FirewallPolicy::BlockUdp, 7000, true, true),
        (FirewallPolicy::BlockUdpAndIncomingTcp, 7000, true, false),
        (FirewallPolicy::OutgoingHttpOnly, 7000, false, false),
        (FirewallPolicy::OutgoingHttpOnly, 443, true, false),
    ] {
        let lab = Lab::new(5, origin());
        let wall: Firewall = lab.firewall("wall", &lab.internet(), policy);
        let client = lab.host_at("client", &wall, ip("203.0.113.1"));
        let server = lab.host_at("server", &lab.internet(), ip("192.0.2.2"));
        let at = std::net::SocketAddr::new(ip("192.0.2.2"), port);
        let _server = server.listen(at).unwrap();
        let _client = client.listen(addr("203.0.113.1:7000")).unwrap();
        let mut a = client.connect_from(addr("203.0.113.1:0"), at).unwrap();
        let mut b = server.connect_from(addr("192.0.2.2:0"), addr("203.0.113.1:7000")).unwrap();
        lab.run_until(lab.now() + Duration::from_millis(100));
        assert_eq!(a.poll_connected(&mut cx()).is_ready(), out, "{policy:?} out to {port}");
        assert_eq!(b.poll_connected(&mut cx()).is_ready(), inward, "{policy:?} in");
    }
}

#[test]
fn servers_answer_on_the_connection() {
    let net = Net::new();
    net.server.serve_streams(addr("192.0.2.2:80"), |_, packet| {
        vec![Packet::stream(packet.destination, packet.source, packet.payload.clone())]
    });
    let mut stream = net.client.connect_from(addr("192.0.2.1:0"), addr("192.0.2.2:80")).unwrap();
    net.pass(100);
    stream.try_write(b"echo").unwrap();
    net.pass(100);
    assert_eq!(read_all(&mut stream), (b"echo".to_vec(), false));
    net.server.stop_serving(addr("192.0.2.2:80"));
    net.pass(100);
    let error = ready(stream.poll_read(&mut cx(), &mut [0; 8])).unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
