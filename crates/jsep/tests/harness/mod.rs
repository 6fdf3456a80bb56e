//! Two controllers on hosts of a virtual network, driven in virtual time without a runtime.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use peerstack_base::{
    AsyncUdpSocket, Ecn, EventReceiver, IoRequest, Random, ReceiveMeta, RecvMeta, SocketId, SystemWallClock,
    Transmit,
};
use peerstack_dtls::{
    Certificate, DtlsFingerprint, DtlsTransport, DtlsTransportConfig, DtlsTransportInternal, KeyAlgorithm,
};
use peerstack_jsep::{
    BundlePolicy, CreateTransport, JsepTransportController, JsepTransportControllerConfig,
    JsepTransportControllerEvent, JsepTransportFactory, MediaDescriptionOptions, MediaKind,
    MediaSessionDescriptionFactory, MediaSessionOptions, PeerConnectionState, SdpType, SessionDescription,
    TransportDescription, TransportId, TransportSink, webrtc_sdp,
};
use peerstack_netsim::{Host, Lab, LinkConfig, ip};
use peerstack_p2p::{Candidate, IceTransportStats, P2PTransportChannel, P2PTransportChannelConfig};
use peerstack_rtp_transport::{RtpPacket, SinkId, UnDemuxablePacket};
use peerstack_sctp::DataChannelEvent;

/// Makes what production makes.
#[derive(Debug)]
pub(crate) struct Factory {
    host: Host,
    certificate: Certificate,
    random: Random,
}

impl JsepTransportFactory for Factory {
    type Dtls = DtlsTransport<P2PTransportChannel>;

    fn create_dtls_transport(&mut self, _now: Instant, options: &CreateTransport<'_>) -> Self::Dtls {
        let networks = self.host.network_manager().networks();
        let config =
            P2PTransportChannelConfig::new(options.name, self.host.packet_socket_factory(), networks);
        let channel = P2PTransportChannel::new(config, self.random.fork());
        DtlsTransport::new(channel, DtlsTransportConfig::new(self.certificate.clone()))
    }

    fn local_fingerprints(&self) -> Vec<DtlsFingerprint> {
        self.certificate.fingerprints()
    }

    fn ice_stats(&self, now: Instant, dtls: &Self::Dtls) -> Option<IceTransportStats> {
        Some(dtls.ice().stats(now))
    }
}

/// What came out of the transports.
#[derive(Debug, Default)]
struct Received {
    rtp: Vec<(Option<SinkId>, Vec<u8>)>,
}

impl TransportSink for Received {
    fn on_rtp_packet(
        &mut self,
        _now: Instant,
        _transport: TransportId,
        sink: SinkId,
        packet: &RtpPacket<'_>,
    ) {
        self.rtp.push((Some(sink), packet.as_bytes().to_vec()));
    }

    fn on_undemuxable_rtp_packet(
        &mut self,
        _now: Instant,
        _transport: TransportId,
        _source: &UnDemuxablePacket,
        packet: &RtpPacket<'_>,
    ) {
        self.rtp.push((None, packet.as_bytes().to_vec()));
    }

    fn on_rtcp_packet(&mut self, _now: Instant, _transport: TransportId, _packet: &[u8]) {}
}

/// One end.
pub(crate) struct Side {
    pub(crate) controller: JsepTransportController<Factory>,
    receiver: EventReceiver<JsepTransportControllerEvent>,
    sockets: BTreeMap<SocketId, Box<dyn AsyncUdpSocket>>,
    descriptions: MediaSessionDescriptionFactory,
    pub(crate) events: Vec<JsepTransportControllerEvent>,
    pub(crate) timed: Vec<(Duration, JsepTransportControllerEvent)>,
    pub(crate) rtp: Vec<(Option<SinkId>, Vec<u8>)>,
    pub(crate) data: Vec<DataChannelEvent>,
    /// Candidates that were not signalled yet.
    outbox: Vec<(String, Candidate)>,
}

impl Side {
    fn new(host: Host, name: &str, seed: u64, policy: BundlePolicy) -> Self {
        let mut random = Random::from_seed(seed);
        let certificate =
            Certificate::generate(KeyAlgorithm::EcdsaP256, &SystemWallClock, &mut random).unwrap();
        let factory = Factory { host, certificate, random: random.fork() };
        let config = JsepTransportControllerConfig::with_bundle_policy(policy);
        let mut controller = JsepTransportController::new(factory, &config, random.fork(), name);
        let receiver = controller.subscribe();
        Self {
            controller,
            receiver,
            sockets: BTreeMap::new(),
            descriptions: MediaSessionDescriptionFactory::new(&mut random),
            events: Vec::new(),
            timed: Vec::new(),
            rtp: Vec::new(),
            data: Vec::new(),
            outbox: Vec::new(),
        }
    }

    pub(crate) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn options(
        layout: &[&str],
        bundle: bool,
        transports: &BTreeMap<String, TransportDescription>,
    ) -> MediaSessionOptions {
        let section = |(index, kind): (usize, &&str)| {
            let kind = match *kind {
                "audio" => MediaKind::Audio,
                "video" => MediaKind::Video,
                _ => MediaKind::Application,
            };
            let mid = index.to_string();
            let transport = transports.get(&mid).cloned().unwrap_or_default();
            MediaDescriptionOptions::new(mid, kind, transport)
        };
        MediaSessionOptions {
            sections: layout.iter().enumerate().map(section).collect(),
            bundle,
            cname: "test".to_owned(),
            ..MediaSessionOptions::default()
        }
    }

    fn offer(&mut self, now: Instant, layout: &[&str], bundle: bool) -> String {
        let transports = self.controller.transports_for_offer(&mids(layout), false).unwrap();
        let mut options = Self::options(layout, bundle, &transports);
        options.bundle_policy = self.controller.config().bundle_policy;
        let (local, remote) = (self.controller.local_description(), self.controller.remote_description());
        let offer = self.descriptions.create_offer(&options, local, remote).unwrap();
        self.controller.set_local_description(now, SdpType::Offer, &offer).unwrap();
        self.controller.maybe_start_gathering(now);
        webrtc_sdp::serialize(&offer)
    }

    fn answer(&mut self, now: Instant, layout: &[&str], bundle: bool, offer: &SessionDescription) -> String {
        self.controller.set_remote_description(now, SdpType::Offer, offer).unwrap();
        let transports = self.controller.transports_for_answer(&mids(layout)).unwrap();
        let options = Self::options(layout, bundle, &transports);
        let local = self.controller.local_description();
        let answer = self.descriptions.create_answer(&options, offer, local).unwrap();
        self.controller.set_local_description(now, SdpType::Answer, &answer).unwrap();
        self.controller.maybe_start_gathering(now);
        webrtc_sdp::serialize(&answer)
    }

    /// Lets everything that is due at `now` happen; whether anything did.
    fn turn(&mut self, now: Instant, elapsed: Duration) -> bool {
        let mut any = false;
        if self.controller.next_timeout().is_some_and(|at| at <= now) {
            self.controller.handle_timeout(now);
            any = true;
        }
        any |= self.receive(now);
        self.controller.process(now);
        if let Some(sctp) = self.controller.sctp_mut() {
            while let Some(event) = sctp.poll_event() {
                any = true;
                self.data.push(event);
            }
        }
        self.controller.flush_sctp(now);
        while let Some(event) = self.receiver.try_next() {
            any = true;
            if let JsepTransportControllerEvent::CandidatesGathered { mid, candidates, .. } = &event {
                self.outbox.extend(candidates.iter().map(|candidate| (mid.clone(), candidate.clone())));
            }
            self.events.push(event.clone());
            self.timed.push((elapsed, event));
        }
        any |= self.requests();
        any | self.flush()
    }

    fn requests(&mut self) -> bool {
        let mut any = false;
        while let Some(request) = self.controller.poll_io_request() {
            any = true;
            match request {
                IoRequest::AddUdpSocket { id, socket } => {
                    self.sockets.insert(id, socket);
                }
                IoRequest::CloseSocket { id } => {
                    self.flush();
                    self.controller.for_each_transmit_queue(|queue| queue.forget_socket(id));
                    self.sockets.remove(&id);
                }
                other => panic!("{other:?}"),
            }
        }
        any
    }

    fn receive(&mut self, now: Instant) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut arrived = Vec::new();
        for (id, socket) in &mut self.sockets {
            loop {
                let mut buffer = [0u8; 2048];
                let mut meta = [RecvMeta::default()];
                let Poll::Ready(Ok(1)) =
                    socket.poll_recv(&mut cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)
                else {
                    break;
                };
                for part in buffer[..meta[0].len].chunks(meta[0].stride.max(1)) {
                    arrived.push((*id, meta[0].remote, part.to_vec()));
                }
            }
        }
        let any = !arrived.is_empty();
        for (socket, remote, mut datagram) in arrived {
            let meta = ReceiveMeta { socket, remote, local_ip: None, ecn: Ecn::NotEct };
            let mut received = Received::default();
            self.controller.receive(now, &mut datagram, &meta, &mut received);
            self.controller.process(now);
            self.rtp.append(&mut received.rtp);
        }
        any
    }

    fn flush(&mut self) -> bool {
        let (mut any, sockets) = (false, &mut self.sockets);
        self.controller.for_each_transmit_queue(|queue| {
            while let Some((socket, transmit)) = queue.peek(|_| 1) {
                any = true;
                let len = transmit.contents.len();
                let transmit = Transmit {
                    destination: transmit.destination,
                    ecn: Ecn::NotEct,
                    contents: transmit.contents,
                    segment_size: None,
                };
                if let Some(socket) = sockets.get_mut(&socket) {
                    let _ = socket.try_send(&transmit);
                }
                queue.pop(len);
            }
        });
        any
    }
}

fn mids(layout: &[&str]) -> Vec<String> {
    (0..layout.len()).map(|index| index.to_string()).collect()
}

/// Signals what was gathered; whether there was anything.
fn carry_candidates(now: Instant, from: &mut Side, to: &mut Side) -> bool {
    let candidates = std::mem::take(&mut from.outbox);
    let any = !candidates.is_empty();
    for (mid, candidate) in candidates {
        if !to.controller.is_closed() {
            to.controller.add_remote_candidates(now, &mid, vec![candidate]).unwrap();
        }
    }
    any
}

/// Two ends and the network between them.
pub(crate) struct Pair {
    lab: Lab,
    pub(crate) a: Side,
    pub(crate) b: Side,
    pub(crate) now: Instant,
    start: Instant,
    pub(crate) b_pretends_lite_offer: bool,
}

impl Pair {
    /// Two hosts in the open, 10 ms from the middle each: 40 ms round trip.
    #[expect(clippy::disallowed_methods, reason = "tests count from an arbitrary origin")]
    pub(crate) fn new(seed: u64, policy: BundlePolicy) -> Self {
        let start = Instant::now();
        let lab = Lab::new(seed, start);
        let a = lab.host_at("a", &lab.internet(), ip("192.0.2.1"));
        let b = lab.host_at("b", &lab.internet(), ip("192.0.2.2"));
        for host in [&a, &b] {
            host.interfaces()[0].link().configure(LinkConfig::latency(Duration::from_millis(10)));
        }
        let a = Side::new(a, "a", 2 * seed + 1, policy);
        let b = Side::new(b, "b", 2 * seed + 2, policy);
        Self { lab, a, b, now: start, start, b_pretends_lite_offer: false }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// A offers, B answers, as text.
    pub(crate) fn negotiate(&mut self, layout: &[&str], bundle: bool) {
        let text = self.a.offer(self.now, layout, bundle);
        let mut offer = webrtc_sdp::parse(&text).unwrap();
        // What makes B controlling as well.
        offer.ice_lite = self.b_pretends_lite_offer;
        let text = self.b.answer(self.now, layout, bundle, &offer);
        let answer = webrtc_sdp::parse(&text).unwrap();
        self.a.controller.set_remote_description(self.now, SdpType::Answer, &answer).unwrap();
        if self.b_pretends_lite_offer {
            self.b.controller_takes_peer_for_full();
        }
        self.settle();
    }

    /// Lets everything that is due now happen.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.lab.advance(self.now);
            let elapsed = self.elapsed();
            let mut any = self.a.turn(self.now, elapsed);
            any |= self.b.turn(self.now, elapsed);
            any |= carry_candidates(self.now, &mut self.a, &mut self.b);
            any |= carry_candidates(self.now, &mut self.b, &mut self.a);
            if !any && self.lab.next_event().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("never settles at {:?}", self.elapsed());
    }

    /// Passes virtual time until `done`, or until `limit` has passed.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            let timeouts = [self.a.controller.next_timeout(), self.b.controller.next_timeout()];
            let next = timeouts.into_iter().flatten().chain(self.lab.next_event()).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.now = end;
                self.settle();
                return done(self);
            };
            self.now = next.max(self.now);
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    pub(crate) fn both_connected(&self) -> bool {
        [&self.a, &self.b]
            .iter()
            .all(|side| side.controller.peer_connection_state() == PeerConnectionState::Connected)
    }
}

impl Side {
    /// Takes back what was said of the peer, but not the role that followed.
    fn controller_takes_peer_for_full(&mut self) {
        use peerstack_p2p::{IceMode, IceTransport};
        for mid in ["0", "1"] {
            if let Some(transport) = self.controller.transport_mut(mid) {
                transport.ice_mut().set_remote_ice_mode(IceMode::Full);
            }
        }
    }
}
