//! What a PeerConnection is made from (webrtc-pc section 4.2).

use std::sync::Arc;
use std::time::Duration;

pub use peerstack_base::AdapterType;
use peerstack_base::{
    DnsResolver, MdnsResponder, NetworkManager, PacketSocketFactory, PortRange, Random, SystemWallClock,
    WallClock,
};
use peerstack_dtls::Certificate;
pub use peerstack_dtls::DtlsEngineKind;
use peerstack_p2p::p2p_constants::DEFAULT_MAX_IPV6_NETWORKS;
pub use peerstack_p2p::{
    ContinualGatheringPolicy, NatOneToOne, NatOneToOneError, NatOneToOneMode, TcpCandidatePolicy,
};
use peerstack_rtp_transport::SrtpBackendKind;
use peerstack_stun::ServerUrl;

use crate::io::{BasicMdnsResponder, BasicNetworkManager, BasicPacketSocketFactory, SystemDnsResolver};
use crate::media_engine::MediaEngine;
use crate::{RtcError, RtcErrorKind};

/// The largest [`Settings::max_message_size`]: a message is delivered whole, so each one may take this much memory.
const MAX_MESSAGE_SIZE: u32 = 64 << 20;
/// Bytes of a TURN username at most (RFC 8489 section 14.3).
const MAX_USERNAME: usize = 509;

/// A STUN or TURN server (`RTCIceServer`, webrtc-pc section 4.2.2).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` or `turns:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// For TURN.
    pub username: String,
    /// For TURN; a secret.
    pub credential: String,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl IceServer {
    /// A server without credentials.
    pub fn new(url: impl Into<String>) -> Self {
        Self { urls: vec![url.into()], ..Self::default() }
    }
}

/// Which candidates may be used (`RTCIceTransportPolicy`, webrtc-pc section 4.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum IceTransportPolicy {
    /// All.
    #[default]
    All,
    /// Only those of TURN servers.
    Relay,
}

/// How media sections share transports (`RTCBundlePolicy`, webrtc-pc section 4.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum BundlePolicy {
    /// One transport for each section until the answer is known, as browsers on libwebrtc do: RFC 9429 section 4.1.1
    /// asks for one for each kind, with the other sections bundle-only, which peers without BUNDLE then lose.
    #[default]
    Balanced,
    /// One transport for each section until the answer is known.
    MaxCompat,
    /// One transport.
    MaxBundle,
}

impl BundlePolicy {
    pub(crate) fn to_jsep(self) -> peerstack_jsep::BundlePolicy {
        match self {
            Self::Balanced => peerstack_jsep::BundlePolicy::Balanced,
            Self::MaxCompat => peerstack_jsep::BundlePolicy::MaxCompat,
            Self::MaxBundle => peerstack_jsep::BundlePolicy::MaxBundle,
        }
    }
}

/// Whether RTCP shares a transport with RTP (`RTCRtcpMuxPolicy`, webrtc-pc section 4.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum RtcpMuxPolicy {
    /// Always; sections without `a=rtcp-mux` are refused (RFC 8834 section 4.5).
    #[default]
    Require,
    /// RTCP has a transport of its own (ICE component 2) until both sides agreed to multiplex, and with a peer that does
    /// not: older gateways and conference servers. Offers ask for multiplexing, so that a peer that knows it costs nothing
    /// but a few candidates; what is bundled multiplexes in any case (RFC 9143 section 9.3). Current browsers have no such
    /// policy. Not with [`UdpMux`], where one port cannot tell the two components apart: `NotSupportedError`.
    Negotiate,
}

impl RtcpMuxPolicy {
    pub(crate) fn to_jsep(self) -> peerstack_jsep::RtcpMuxPolicy {
        match self {
            Self::Require => peerstack_jsep::RtcpMuxPolicy::Require,
            Self::Negotiate => peerstack_jsep::RtcpMuxPolicy::Negotiate,
        }
    }
}

/// Which implementation of SRTP (RFC 3711, RFC 7714) protects packets. Not W3C's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum SrtpEngineKind {
    /// peerstack's own, in place.
    #[default]
    Peerstack,
    /// The crate `webrtc-srtp`, guarded; needs the feature of that name.
    WebrtcSrtp,
}

impl SrtpEngineKind {
    /// The backend of that name.
    pub(crate) fn backend(self) -> Result<SrtpBackendKind, RtcError> {
        match self {
            Self::Peerstack => Ok(SrtpBackendKind::InPlace),
            #[cfg(feature = "webrtc-srtp")]
            Self::WebrtcSrtp => Ok(SrtpBackendKind::WebrtcSrtp),
            #[cfg(not(feature = "webrtc-srtp"))]
            Self::WebrtcSrtp => Err(not_built_in("webrtc-srtp")),
        }
    }
}

/// How RTP is protected. Anything but DTLS-SRTP is for gateways on closed networks and for tests: no browser takes it
/// (RFC 8827 section 6.5). Nothing that a peer says chooses it; both sides must be configured so. Without DTLS there
/// are no data channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum RtpProtection {
    /// SRTP with keys from DTLS (RFC 5764).
    #[default]
    DtlsSrtp,
    /// SRTP with keys in the descriptions (SDES, RFC 4568): whoever reads the signalling reads the media.
    DangerouslySdes,
    /// RTP and RTCP in the clear: whoever is on the path reads and writes the media.
    DangerouslyNone,
}

impl RtpProtection {
    pub(crate) fn to_jsep(self) -> peerstack_jsep::RtpProtection {
        match self {
            Self::DtlsSrtp => peerstack_jsep::RtpProtection::DtlsSrtp,
            Self::DangerouslySdes => peerstack_jsep::RtpProtection::Sdes,
            Self::DangerouslyNone => peerstack_jsep::RtpProtection::None,
        }
    }

    /// The protocol of our m-lines.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::DtlsSrtp => peerstack_jsep::PROTOCOL_RTP,
            Self::DangerouslySdes => peerstack_jsep::PROTOCOL_RTP_SDES,
            Self::DangerouslyNone => peerstack_jsep::PROTOCOL_RTP_IN_THE_CLEAR,
        }
    }

    /// Whether DTLS is spoken.
    pub(crate) fn has_dtls(self) -> bool {
        self == Self::DtlsSrtp
    }
}

/// The configuration of a PeerConnection (`RTCConfiguration`, webrtc-pc section 4.2.1).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Configuration {
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Which candidates may be used.
    pub ice_transport_policy: IceTransportPolicy,
    /// How sections share transports.
    pub bundle_policy: BundlePolicy,
    /// Whether RTCP shares a transport with RTP.
    pub rtcp_mux_policy: RtcpMuxPolicy,
    /// Our certificate; one is made (ECDSA P-256, 30 days) if there is none. An application that keeps one, as PEM,
    /// keeps its fingerprint over restarts.
    pub certificate: Option<Certificate>,
    /// Transports that gather candidates before any description asks for them (`iceCandidatePoolSize`): what they
    /// found is told at once when one does. Not changed by an answer, which throws away what is left.
    pub ice_candidate_pool_size: u8,
    /// Settings that browsers keep to themselves. Not W3C's.
    pub settings: Settings,
}

impl Configuration {
    /// The browser's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these STUN and TURN servers.
    #[must_use]
    pub fn with_ice_servers(mut self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.ice_servers.extend(servers);
        self
    }

    /// With these settings. Not W3C's.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// With this bundle policy.
    #[must_use]
    pub fn with_bundle_policy(mut self, policy: BundlePolicy) -> Self {
        self.bundle_policy = policy;
        self
    }

    /// With this policy on peers that do not multiplex RTP and RTCP.
    #[must_use]
    pub fn with_rtcp_mux_policy(mut self, policy: RtcpMuxPolicy) -> Self {
        self.rtcp_mux_policy = policy;
        self
    }

    /// With this policy on candidates.
    #[must_use]
    pub fn with_ice_transport_policy(mut self, policy: IceTransportPolicy) -> Self {
        self.ice_transport_policy = policy;
        self
    }

    /// With this many transports that gather ahead.
    #[must_use]
    pub fn with_ice_candidate_pool_size(mut self, size: u8) -> Self {
        self.ice_candidate_pool_size = size;
        self
    }

    /// With this certificate (webrtc-pc section 4.2.1, `certificates`).
    #[must_use]
    pub fn with_certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }
}

/// Settings beyond `RTCConfiguration`. Not W3C's: a browser decides them for its pages.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Gather candidates on the loopback interface too; off by default, as in browsers.
    pub allow_loopback: bool,
    /// Local UDP ports to use, both ends included.
    pub port_range: Option<PortRange>,
    /// Host candidates over TCP (RFC 6544).
    pub tcp_candidates: TcpCandidatePolicy,
    /// Our addresses as a NAT shows them that has one for each of ours, where that is known beforehand; none by
    /// default.
    pub nat_one_to_one: NatOneToOne,
    /// Whether names below `.local` stand for the host's addresses in candidates, descriptions and statistics, as in
    /// browsers: neighbours are told the address by mDNS, others learn none
    /// (draft-ietf-mmusic-mdns-ice-candidates). Off by default. Addresses of [`nat_one_to_one`](Self::nat_one_to_one)
    /// are shown, and what a STUN server saw, be it the host's own address where there is no NAT.
    pub mdns_host_candidates: bool,
    /// Whether gathering goes on while the connection lives, so that a call follows the host to a network that
    /// comes later, and back, without an ICE restart. Gathering is then never complete (libwebrtc has the same
    /// setting, off by default).
    pub continual_gathering: ContinualGatheringPolicy,
    /// A pair on which nothing was received for this long gives way to one that receives (libwebrtc's
    /// `ice_connection_receiving_timeout`); 2.5 s if `None`.
    pub ice_receiving_timeout: Option<Duration>,
    /// Kinds of adapters that are not gathered on.
    pub network_ignore_mask: Vec<AdapterType>,
    /// IPv6 networks that are gathered on at most.
    pub max_ipv6_networks: usize,
    /// Whether each network that is listed is gathered on; otherwise the default route alone, and no other address of
    /// the host is told (RFC 8828 section 5.2, modes 2 and 3).
    pub adapter_enumeration: bool,
    /// Without enumeration: whether the default route's own address is told as a host candidate (mode 2) or not (mode
    /// 3).
    pub default_local_candidate: bool,
    /// Whether candidates that the policy hides are gathered all the same, so that a wider policy tells them at once
    /// instead of with the next ICE restart (libwebrtc `surface_ice_candidates_on_ice_transport_type_changed`).
    pub surface_candidates_on_policy_change: bool,
    /// Whether we are a lite ICE agent (RFC 8445 section 2.5), for servers that can be reached at their addresses: host
    /// candidates alone, no checks of our own; the peer controls.
    pub ice_lite: bool,
    /// Whether checks become short (libwebrtc's GOOG_PING) once the peer said that it knows them.
    pub goog_ping: bool,
    /// Which DTLS implementation.
    pub dtls_engine: DtlsEngineKind,
    /// How RTP is protected.
    pub rtp_protection: RtpProtection,
    /// Which SRTP implementation.
    pub srtp_engine: SrtpEngineKind,
    /// The largest message our data channels take, in bytes, told to the peer as `max-message-size` (RFC 8841 section
    /// 6); 256 KiB, as browsers say. 1 to 64 MiB; a peer that sends a larger one ends the association.
    pub max_message_size: u32,
    /// RTP packets that wait for the application on one track before the oldest are dropped and counted.
    pub track_queue: usize,
    /// The codecs and header extensions that can be negotiated.
    pub media: MediaEngine,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_loopback: false,
            port_range: None,
            tcp_candidates: TcpCandidatePolicy::default(),
            nat_one_to_one: NatOneToOne::default(),
            mdns_host_candidates: false,
            continual_gathering: ContinualGatheringPolicy::default(),
            ice_receiving_timeout: None,
            network_ignore_mask: Vec::new(),
            max_ipv6_networks: DEFAULT_MAX_IPV6_NETWORKS,
            adapter_enumeration: true,
            default_local_candidate: true,
            surface_candidates_on_policy_change: false,
            ice_lite: false,
            goog_ping: false,
            dtls_engine: DtlsEngineKind::default(),
            rtp_protection: RtpProtection::default(),
            srtp_engine: SrtpEngineKind::default(),
            max_message_size: 262_144,
            track_queue: 2_048,
            media: MediaEngine::default(),
        }
    }
}

/// One UDP port for all PeerConnections of a factory, on every network: what a server behind a firewall needs. Not
/// W3C's. Host and server-reflexive candidates are of this port; TURN servers are reached from ports of each
/// connection's own.
///
/// Connections are told apart by the user fragments of checks, then by the address of the peer. So between two
/// such ports there can be one connection at a time: with several to the same peer, the peer needs a port for
/// each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpMux {
    /// The port; 0 takes one that is free.
    pub port: u16,
}

impl UdpMux {
    /// This port, 0 for any.
    pub fn new(port: u16) -> Self {
        Self { port }
    }
}

/// The outside world of a PeerConnection: how tests plug in a simulated network and how embedders plug in
/// their own sockets. Not W3C's: libwebrtc's `PeerConnectionDependencies`.
#[derive(Debug)]
#[non_exhaustive]
pub struct PeerConnectionDependencies {
    /// Makes sockets.
    pub packet_socket_factory: Box<dyn PacketSocketFactory>,
    /// Lists networks.
    pub network_manager: Box<dyn NetworkManager>,
    /// Looks up names, `.local` ones by mDNS.
    pub dns_resolver: Arc<dyn DnsResolver>,
    /// Tells neighbours the addresses behind our own names, where [`Settings::mdns_host_candidates`] makes such.
    pub mdns_responder: Box<dyn MdnsResponder>,
    /// Tells the date.
    pub wall_clock: Arc<dyn WallClock>,
    /// Where randomness comes from.
    pub random: Random,
    /// The runtime the tasks run on; the caller's if `None`.
    pub runtime: Option<tokio::runtime::Handle>,
    /// One UDP port for all connections of the factory; each has ports of its own if `None`.
    pub udp_mux: Option<UdpMux>,
}

impl Default for PeerConnectionDependencies {
    fn default() -> Self {
        Self {
            packet_socket_factory: Box::new(BasicPacketSocketFactory::new()),
            network_manager: Box::new(BasicNetworkManager::new()),
            dns_resolver: Arc::new(SystemDnsResolver::default()),
            mdns_responder: Box::new(BasicMdnsResponder::new()),
            wall_clock: Arc::new(SystemWallClock),
            random: Random::from_system(),
            runtime: None,
            udp_mux: None,
        }
    }
}

/// Checks servers (webrtc-pc section 4.4.1.5's "set a configuration", steps on `iceServers`).
pub(crate) fn parse_ice_servers(servers: &[IceServer]) -> Result<Vec<peerstack_p2p::IceServer>, RtcError> {
    servers.iter().map(parse_ice_server).collect()
}

fn parse_ice_server(server: &IceServer) -> Result<peerstack_p2p::IceServer, RtcError> {
    if server.urls.is_empty() {
        return Err(RtcError::syntax("an ICE server has no URL"));
    }
    let mut urls = Vec::new();
    for url in &server.urls {
        let parsed: ServerUrl =
            url.parse().map_err(|error| RtcError::syntax(format!("the ICE server {url:?}: {error}")))?;
        if parsed.scheme.is_turn() && (server.username.is_empty() || server.credential.is_empty()) {
            let text = format!("the TURN server {url:?} needs a username and a credential");
            return Err(RtcError::invalid_access(text));
        }
        if server.username.len() > MAX_USERNAME {
            let len = server.username.len();
            return Err(RtcError::invalid_access(format!(
                "the username has {len} bytes, {MAX_USERNAME} may be"
            )));
        }
        urls.push(parsed);
    }
    Ok(peerstack_p2p::IceServer {
        urls,
        username: server.username.clone(),
        password: server.credential.clone(),
    })
}

/// A certificate whose validity is over is of no use (webrtc-pc section 4.4.1.1).
pub(crate) fn check_certificate(certificate: &Certificate, clock: &dyn WallClock) -> Result<(), RtcError> {
    if certificate.expires() <= clock.now() {
        return Err(RtcError::invalid_access("the certificate has expired"));
    }
    Ok(())
}

/// What does not go together: the sockets of a factory are shared by all its transports, which their user fragments tell
/// apart, and both components have the same one.
pub(crate) fn check_policies(configuration: &Configuration, shared_sockets: bool) -> Result<(), RtcError> {
    if configuration.rtcp_mux_policy == RtcpMuxPolicy::Negotiate && shared_sockets {
        let text =
            "RTCP on a transport of its own (rtcp_mux_policy negotiate) cannot share a UDP port with RTP";
        return Err(RtcError::new(RtcErrorKind::NotSupportedError, text));
    }
    Ok(())
}

/// What `set_configuration` must leave as it is (webrtc-pc section 4.4.1.5, "set a configuration").
pub(crate) fn check_change(before: &Configuration, after: &Configuration) -> Result<(), RtcError> {
    let fixed = [
        ("bundle_policy", before.bundle_policy == after.bundle_policy),
        ("rtcp_mux_policy", before.rtcp_mux_policy == after.rtcp_mux_policy),
        // One that is not named is not changed.
        ("certificate", after.certificate.is_none() || before.certificate == after.certificate),
        ("settings", before.settings == after.settings),
    ];
    match fixed.iter().find(|(_, same)| !same) {
        Some((name, _)) => Err(RtcError::new(
            RtcErrorKind::InvalidModificationError,
            format!("{name} cannot be changed once the connection is made"),
        )),
        None => Ok(()),
    }
}

/// Refuses an engine whose feature is not built in.
pub(crate) fn checked_settings(settings: &Settings) -> Result<Settings, RtcError> {
    if settings.dtls_engine == DtlsEngineKind::WebrtcDtls && !cfg!(feature = "webrtc-dtls") {
        return Err(not_built_in("webrtc-dtls"));
    }
    settings.srtp_engine.backend()?;
    if !(1..=MAX_MESSAGE_SIZE).contains(&settings.max_message_size) {
        let (size, most) = (settings.max_message_size, MAX_MESSAGE_SIZE);
        return Err(RtcError::new(
            RtcErrorKind::RangeError,
            format!("max_message_size is {size}, it may be 1 to {most}"),
        ));
    }
    Ok(settings.clone())
}

fn not_built_in(feature: &str) -> RtcError {
    let text = format!("peerstack is built without the feature {feature:?}");
    RtcError::new(RtcErrorKind::NotSupportedError, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(server: IceServer) -> Result<(), RtcErrorKind> {
        parse_ice_servers(&[server]).map(drop).map_err(|error| error.kind)
    }

    /// U18, T15: URLs and credentials of servers.
    #[test]
    fn servers_are_checked_as_w3c_asks() {
        assert_eq!(kind_of(IceServer::new("stun:stun.example.org")), Ok(()));
        assert_eq!(kind_of(IceServer::new("http://example.org")), Err(RtcErrorKind::SyntaxError));
        assert_eq!(kind_of(IceServer::default()), Err(RtcErrorKind::SyntaxError));
        let turn = IceServer::new("turn:turn.example.org?transport=udp");
        assert_eq!(kind_of(turn.clone()), Err(RtcErrorKind::InvalidAccessError));
        let with = |len| IceServer { username: "u".repeat(len), credential: "c".into(), ..turn.clone() };
        assert_eq!(kind_of(with(509)), Ok(()));
        assert_eq!(kind_of(with(510)), Err(RtcErrorKind::InvalidAccessError));
    }

    /// An engine is refused when the connection is made, not when it is first used.
    #[test]
    fn an_engine_that_is_not_built_in_is_refused() {
        let refused = |settings: &Settings| checked_settings(settings).map(drop).map_err(|error| error.kind);
        let expected = |built: bool| if built { Ok(()) } else { Err(RtcErrorKind::NotSupportedError) };
        assert_eq!(refused(&Settings::default()), Ok(()));
        let srtp = Settings { srtp_engine: SrtpEngineKind::WebrtcSrtp, ..Settings::default() };
        assert_eq!(refused(&srtp), expected(cfg!(feature = "webrtc-srtp")));
        let dtls = Settings { dtls_engine: DtlsEngineKind::WebrtcDtls, ..Settings::default() };
        assert_eq!(refused(&dtls), expected(cfg!(feature = "webrtc-dtls")));
    }

    /// A size that cannot be told to the peer, or would take all memory, is refused.
    #[test]
    fn the_message_size_has_bounds() {
        for (size, expected) in [
            (0, Err(RtcErrorKind::RangeError)),
            (1, Ok(())),
            (64 << 20, Ok(())),
            (u32::MAX, Err(RtcErrorKind::RangeError)),
        ] {
            let settings = Settings { max_message_size: size, ..Settings::default() };
            assert_eq!(checked_settings(&settings).map(drop).map_err(|error| error.kind), expected, "{size}");
        }
    }

    #[test]
    fn a_credential_is_never_shown() {
        let server = IceServer { credential: "secret".into(), ..IceServer::new("turn:a.example") };
        assert!(!format!("{server:?}").contains("secret"));
    }
}
