//! Makes the production transports of one connection: `DtlsTransport<P2PTransportChannel>`.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use peerstack_base::{Network, PortRange, Random, WallClock};
use peerstack_dtls::{
    Certificate, DtlsEngineKind, DtlsFingerprint, DtlsTransport, DtlsTransportConfig, DtlsTransportInternal,
};
use peerstack_jsep::{CreateTransport, JsepTransportFactory};
use peerstack_p2p::{
    CandidateFilter, ContinualGatheringPolicy, IceServer, IceTransportStats, NatOneToOne,
    P2PTransportChannel, P2PTransportChannelConfig, PortAllocatorConfig, TcpCandidatePolicy,
};

use super::commands::ConnectionConfig;
use super::shared_socket_factory::SharedSocketFactory;
use crate::configuration::IceTransportPolicy;

/// What transports of one connection are made from.
#[derive(Debug)]
pub(super) struct TransportFactory {
    sockets: SharedSocketFactory,
    pub(super) networks: Vec<Network>,
    servers: Vec<IceServer>,
    relay_only: bool,
    allow_loopback: bool,
    ports: Option<PortRange>,
    tcp_candidates: TcpCandidatePolicy,
    nat_one_to_one: NatOneToOne,
    continual_gathering: ContinualGatheringPolicy,
    engine: DtlsEngineKind,
    has_dtls: bool,
    certificate: Certificate,
    wall_clock: Arc<dyn WallClock>,
    random: Random,
}

impl TransportFactory {
    pub(super) fn new(
        config: &ConnectionConfig,
        random: Random,
        sockets: SharedSocketFactory,
        networks: Vec<Network>,
        wall_clock: Arc<dyn WallClock>,
    ) -> Self {
        Self {
            sockets,
            networks,
            servers: config.ice_servers.clone(),
            relay_only: config.ice_transport_policy == IceTransportPolicy::Relay,
            allow_loopback: config.settings.allow_loopback,
            ports: config.settings.port_range,
            tcp_candidates: config.settings.tcp_candidates,
            nat_one_to_one: config.settings.nat_one_to_one.clone(),
            continual_gathering: config.settings.continual_gathering,
            engine: config.settings.dtls_engine,
            has_dtls: config.settings.rtp_protection.has_dtls(),
            certificate: config.certificate.clone(),
            wall_clock,
            random,
        }
    }
}

impl TransportFactory {
    /// Servers and policy of the transports to come.
    pub(super) fn set_servers(&mut self, servers: Vec<IceServer>, policy: IceTransportPolicy) {
        self.servers = servers;
        self.relay_only = policy == IceTransportPolicy::Relay;
    }

    /// What the next gathering of a transport goes by.
    pub(super) fn port_allocator_config(&self) -> PortAllocatorConfig {
        let mut config = PortAllocatorConfig::default();
        config.ice_servers.clone_from(&self.servers);
        config.port_range = self.ports;
        config.tcp_candidates = self.tcp_candidates;
        config.nat_one_to_one.clone_from(&self.nat_one_to_one);
        config.allow_loopback = self.allow_loopback;
        if self.relay_only {
            config.candidate_filter = CandidateFilter::RELAY;
        }
        config
    }
}

impl JsepTransportFactory for TransportFactory {
    type Dtls = DtlsTransport<P2PTransportChannel>;

    fn create_dtls_transport(&mut self, _now: Instant, options: &CreateTransport<'_>) -> Self::Dtls {
        let mut ice = P2PTransportChannelConfig::new(
            options.name,
            Box::new(self.sockets.clone()),
            self.networks.clone(),
        );
        ice.component = options.component;
        ice.role = options.ice_role;
        ice.port_allocator = self.port_allocator_config();
        ice.ice_config.continual_gathering_policy = self.continual_gathering;
        let channel = P2PTransportChannel::new(ice, self.random.fork());
        if !self.has_dtls {
            return DtlsTransport::without_dtls(channel);
        }
        let mut dtls = DtlsTransportConfig::new(self.certificate.clone());
        dtls.engine = self.engine;
        dtls.wall_clock = Some(Arc::clone(&self.wall_clock));
        dtls.seed = self.random.seed_if_repeatable();
        DtlsTransport::new(channel, dtls)
    }

    fn ice_stats(&self, now: Instant, dtls: &Self::Dtls) -> Option<IceTransportStats> {
        Some(dtls.ice().stats(now))
    }

    fn poll_wake(&self, dtls: &mut Self::Dtls, cx: &mut Context<'_>) -> Poll<()> {
        dtls.poll_wake(cx)
    }

    fn local_fingerprints(&self) -> Vec<DtlsFingerprint> {
        if !self.has_dtls {
            return Vec::new();
        }
        // SHA-256 alone: of several, libwebrtc keeps the last, and some peers know no other (RFC 8122 section 5).
        vec![self.certificate.fingerprint()]
    }
}
