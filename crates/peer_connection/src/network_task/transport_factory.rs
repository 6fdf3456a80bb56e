//! Makes the production transports of one connection: `DtlsTransport<P2PTransportChannel>`.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use peerstack_base::{Network, Random, WallClock};
use peerstack_dtls::{
    Certificate, DtlsEngineKind, DtlsFingerprint, DtlsTransport, DtlsTransportConfig, DtlsTransportInternal,
};
use peerstack_jsep::{CreateTransport, JsepTransportFactory};
use peerstack_p2p::{
    CandidateFilter, CandidatePool, IceMode, IceParameters, IceServer, IceTransport, IceTransportStats,
    P2PTransportChannel, P2PTransportChannelConfig, PortAllocatorConfig,
};

use super::commands::ConnectionConfig;
use super::shared_socket_factory::SharedSocketFactory;
use crate::configuration::{IceTransportPolicy, Settings};

/// Characters of a user fragment and of a password (libwebrtc `ICE_UFRAG_LENGTH`, `ICE_PWD_LENGTH`; T14).
const UFRAG_LEN: usize = 4;
const PWD_LEN: usize = 24;
/// Characters of a user fragment that tells connections of one socket apart.
const UDP_MUX_UFRAG_LEN: usize = 12;

/// What transports of one connection are made from.
#[derive(Debug)]
pub(super) struct TransportFactory {
    sockets: SharedSocketFactory,
    pub(super) networks: Vec<Network>,
    servers: Vec<IceServer>,
    relay_only: bool,
    settings: Settings,
    /// Transports that gather ahead.
    pub(super) pool: CandidatePool,
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
            settings: config.settings.clone(),
            pool: CandidatePool::default(),
            engine: config.settings.dtls_engine,
            has_dtls: config.settings.rtp_protection.has_dtls(),
            certificate: config.certificate.clone(),
            wall_clock,
            random,
        }
    }
}

impl TransportFactory {
    /// Servers and policy of the transports to come. Those that gathered ahead by other servers are thrown away.
    pub(super) fn set_servers(&mut self, now: Instant, servers: Vec<IceServer>, policy: IceTransportPolicy) {
        if self.servers != servers {
            self.pool.discard(now);
        }
        self.servers = servers;
        self.relay_only = policy == IceTransportPolicy::Relay;
    }

    /// What the next gathering of a transport goes by.
    pub(super) fn port_allocator_config(&self) -> PortAllocatorConfig {
        let settings = &self.settings;
        let mut config = PortAllocatorConfig::default();
        config.ice_servers.clone_from(&self.servers);
        config.port_range = settings.port_range;
        config.tcp_candidates = settings.tcp_candidates;
        config.nat_one_to_one.clone_from(&settings.nat_one_to_one);
        config.mdns_host_candidates = settings.mdns_host_candidates;
        config.allow_loopback = settings.allow_loopback;
        config.network_ignore_mask.clone_from(&settings.network_ignore_mask);
        config.max_ipv6_networks = settings.max_ipv6_networks;
        config.adapter_enumeration = settings.adapter_enumeration;
        config.default_local_candidate = settings.default_local_candidate;
        if self.relay_only {
            config.candidate_filter = CandidateFilter::RELAY;
        }
        config
    }

    /// Brings the pool of transports that gather ahead to a size (libwebrtc `PortAllocator::SetConfiguration`).
    pub(super) fn set_candidate_pool_size(&mut self, now: Instant, size: u8) {
        let ufrag_len = if self.sockets.is_shared() { UDP_MUX_UFRAG_LEN } else { UFRAG_LEN };
        let mut pool = std::mem::take(&mut self.pool);
        pool.set_size(now, size.into(), || {
            let parameters = IceParameters {
                ufrag: self.random.ice_string(ufrag_len),
                pwd: self.random.ice_string(PWD_LEN),
                renomination: false,
            };
            (self.new_channel("pool", 1), parameters)
        });
        self.pool = pool;
    }

    fn new_channel(&mut self, name: &str, component: u8) -> P2PTransportChannel {
        let sockets = Box::new(self.sockets.clone());
        let mut ice = P2PTransportChannelConfig::new(name, sockets, self.networks.clone());
        ice.component = component;
        ice.port_allocator = self.port_allocator_config();
        if self.settings.ice_lite {
            ice.ice_mode = IceMode::Lite;
        }
        ice.ice_config.continual_gathering_policy = self.settings.continual_gathering;
        if let Some(timeout) = self.settings.ice_receiving_timeout {
            ice.ice_config.receiving_timeout = timeout;
        }
        ice.ice_config.enable_goog_ping = self.settings.goog_ping;
        // What acknowledges the peer's last check says another thing each time, so that no check could be short.
        ice.ice_config.piggyback_ice_check_acknowledgement &= !self.settings.goog_ping;
        ice.ice_config.surface_ice_candidates_on_ice_transport_type_changed =
            self.settings.surface_candidates_on_policy_change;
        P2PTransportChannel::new(ice, self.random.fork())
    }
}

impl JsepTransportFactory for TransportFactory {
    type Dtls = DtlsTransport<P2PTransportChannel>;

    fn create_dtls_transport(&mut self, _now: Instant, options: &CreateTransport<'_>) -> Self::Dtls {
        // A pooled one gathered under the policy of then, and tells under that of now. RTCP's own is made when it is needed.
        let pooled = if options.component == 1 { self.pool.take() } else { None };
        let pooled = pooled.map(|mut channel| {
            channel.set_name(options.name);
            channel.set_port_allocator_config(self.port_allocator_config());
            channel
        });
        let mut channel = pooled.unwrap_or_else(|| self.new_channel(options.name, options.component));
        channel.set_ice_role(options.ice_role);
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

    fn pooled_ice_parameters(&self) -> Vec<IceParameters> {
        self.pool.ice_parameters()
    }

    fn local_fingerprints(&self) -> Vec<DtlsFingerprint> {
        if !self.has_dtls {
            return Vec::new();
        }
        // SHA-256 alone: of several, libwebrtc keeps the last, and some peers know no other (RFC 8122 section 5).
        vec![self.certificate.fingerprint()]
    }
}
