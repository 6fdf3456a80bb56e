//! All transports of one PeerConnection: which m-section uses which (BUNDLE), the ICE role, offers and answers
//! as far as they concern transports, candidates, packets, aggregate states.
//!
//! Owned by the network task. RFC 9429 (JSEP), RFC 9143 (BUNDLE), RFC 8445 (ICE roles). Answers to libwebrtc's
//! `pc/jsep_transport_controller.h`.

mod aggregate_states;
mod descriptions;
mod error;
mod event;
mod factory;
mod ice;
mod media;
mod packets;
mod rtcp_mux;
mod transport_map;

use std::collections::BTreeMap;

use peerstack_base::{EventReceiver, EventSource, Random};
use peerstack_dtls::DtlsTransportState;
use peerstack_p2p::{IceMode, IceRole};
use peerstack_rtp_transport::SrtpBackendKind;
use peerstack_sctp::SctpTransportConfig;

use aggregate_states::{AggregateStates, TransportState};
pub use aggregate_states::{
    IceConnectionState, IceGatheringState, LegacyIceConnectionState, PeerConnectionState,
};
pub use error::JsepError;
pub use event::JsepTransportControllerEvent;
pub use factory::{CreateTransport, JsepTransportFactory};
pub use packets::TransportSink;

use crate::bundle_manager::BundleManager;
use crate::jsep_transport::StartedSctp;
use crate::jsep_transport_collection::JsepTransportCollection;
use crate::transport_description_factory::{TransportDescriptionFactory, UDP_MUX_UFRAG_LEN};
use crate::{BundlePolicy, JsepTransport, RtcpMuxPolicy, RtpProtection, SessionDescription, TransportId};
use descriptions::Descriptions;

/// How a controller behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JsepTransportControllerConfig {
    /// How many transports an offer asks for.
    pub bundle_policy: BundlePolicy,
    /// What becomes of a peer that does not multiplex RTP and RTCP.
    pub rtcp_mux_policy: RtcpMuxPolicy,
    /// Whether to offer the ICE option `renomination` (J03).
    pub renomination: bool,
    /// Whether connections share UDP ports and user fragments tell them apart: these are longer then.
    pub udp_mux: bool,
    /// Whether we are a lite agent (RFC 8445 section 2.5), whose transports are to be lite, too. The peer controls, unless
    /// it is lite as well and we offered.
    pub ice_lite: bool,
    /// How RTP is protected.
    pub rtp_protection: RtpProtection,
    /// What protects it.
    pub srtp_backend: SrtpBackendKind,
    /// How the SCTP transport of data channels is set up.
    pub sctp: SctpTransportConfig,
}

impl JsepTransportControllerConfig {
    /// The default with this policy.
    pub fn with_bundle_policy(bundle_policy: BundlePolicy) -> Self {
        Self { bundle_policy, ..Self::default() }
    }
}

/// The transports of one PeerConnection (libwebrtc `JsepTransportController`).
#[derive(Debug)]
pub struct JsepTransportController<F: JsepTransportFactory> {
    scope: String,
    config: JsepTransportControllerConfig,
    factory: F,
    descriptions_factory: TransportDescriptionFactory,
    transports: JsepTransportCollection<JsepTransport<F::Dtls>>,
    /// Closed, but what they still want to send or to ask of the network task is not yet taken.
    closing: Vec<JsepTransport<F::Dtls>>,
    sinks: BTreeMap<String, media::Sinks>,
    /// Without a transport to be beside, so far.
    detached_sctp: Option<StartedSctp>,
    /// The data channels' m-section.
    data_mid: Option<String>,
    bundles: BundleManager,
    descriptions: Descriptions,
    ice_role: IceRole,
    tiebreaker: u64,
    aggregates: AggregateStates,
    events: EventSource<JsepTransportControllerEvent>,
    closed: bool,
}

impl<F: JsepTransportFactory> JsepTransportController<F> {
    /// A controller without transports. `scope` names it in traces.
    pub fn new(factory: F, config: &JsepTransportControllerConfig, mut random: Random, scope: &str) -> Self {
        let tiebreaker = random.u64();
        let mode = if config.ice_lite { IceMode::Lite } else { IceMode::Full };
        let mut descriptions_factory =
            TransportDescriptionFactory::new(random.fork(), config.renomination, mode);
        if config.udp_mux {
            descriptions_factory = descriptions_factory.with_ufrag_len(UDP_MUX_UFRAG_LEN);
        }
        Self {
            scope: scope.to_owned(),
            factory,
            descriptions_factory,
            transports: JsepTransportCollection::default(),
            closing: Vec::new(),
            sinks: BTreeMap::new(),
            detached_sctp: None,
            data_mid: None,
            bundles: BundleManager::new(config.bundle_policy),
            descriptions: Descriptions::default(),
            ice_role: IceRole::Controlled,
            tiebreaker,
            aggregates: AggregateStates::default(),
            events: EventSource::new(scope),
            closed: false,
            config: config.clone(),
        }
    }

    /// How it behaves.
    pub fn config(&self) -> &JsepTransportControllerConfig {
        &self.config
    }

    /// A channel of this controller's events from now on.
    pub fn subscribe(&mut self) -> EventReceiver<JsepTransportControllerEvent> {
        self.events.subscribe()
    }

    /// What makes the transports.
    pub fn factory(&self) -> &F {
        &self.factory
    }

    /// What makes the transports.
    pub fn factory_mut(&mut self) -> &mut F {
        &mut self.factory
    }

    /// The transport an m-section uses.
    pub fn transport(&self, mid: &str) -> Option<&JsepTransport<F::Dtls>> {
        self.transports.by_mid(mid)
    }

    /// The transport an m-section uses.
    pub fn transport_mut(&mut self, mid: &str) -> Option<&mut JsepTransport<F::Dtls>> {
        self.transports.by_mid_mut(mid)
    }

    /// The name of the transport an m-section uses.
    pub fn transport_id(&self, mid: &str) -> Option<TransportId> {
        self.transports.id_of(mid)
    }

    /// A transport by its name.
    pub fn transport_by_id(&self, id: TransportId) -> Option<&JsepTransport<F::Dtls>> {
        self.transports.get(id)
    }

    /// A transport by its name.
    pub fn transport_by_id_mut(&mut self, id: TransportId) -> Option<&mut JsepTransport<F::Dtls>> {
        self.transports.get_mut(id)
    }

    /// The transports some m-section uses, in the order of their creation.
    pub fn transports(&self) -> impl Iterator<Item = (TransportId, &JsepTransport<F::Dtls>)> {
        self.transports.active()
    }

    /// All transports that are not closed, those kept for a rollback included, in the order of their creation.
    pub fn kept_transports(&self) -> impl Iterator<Item = (TransportId, &JsepTransport<F::Dtls>)> {
        self.transports.iter()
    }

    /// Those of [`kept_transports`](Self::kept_transports).
    pub fn kept_transports_mut(
        &mut self,
    ) -> impl Iterator<Item = (TransportId, &mut JsepTransport<F::Dtls>)> {
        self.transports.iter_mut()
    }

    /// The transport whose SCTP association offer and answer agreed on, if the data channels' m-section stands.
    pub fn sctp_transport_id(&self) -> Option<TransportId> {
        let id = self.transports.id_of(self.data_mid.as_deref()?)?;
        self.transports.get(id)?.sctp_ports().map(|_| id)
    }

    /// The mids that use a transport.
    pub fn mids_of(&self, id: TransportId) -> impl Iterator<Item = &str> {
        self.transports.mids_of(id)
    }

    /// The mid that speaks for a transport: the tag of its BUNDLE group, otherwise the m-section it was made for,
    /// otherwise the first of the local description that uses it. `None` if no m-section uses it now.
    pub fn mid_of(&self, id: TransportId) -> Option<&str> {
        let uses = |mid: &&str| self.transports.id_of(mid) == Some(id);
        let tag = self.bundles.groups().iter().filter_map(|group| group.tag()).find(uses);
        let name = || self.transports.get(id).map(JsepTransport::name).filter(uses);
        let first =
            || self.local_description()?.contents.iter().map(|content| content.mid.as_str()).find(uses);
        tag.or_else(name).or_else(first).or_else(|| self.transports.mids_of(id).next())
    }

    /// The local description in force, a pending one first.
    pub fn local_description(&self) -> Option<&SessionDescription> {
        self.descriptions.local()
    }

    /// The remote description in force, a pending one first.
    pub fn remote_description(&self) -> Option<&SessionDescription> {
        self.descriptions.remote()
    }

    /// Our ICE role.
    pub fn ice_role(&self) -> IceRole {
        self.ice_role
    }

    /// The tie-breaker of ICE role conflicts.
    pub fn ice_tiebreaker(&self) -> u64 {
        self.tiebreaker
    }

    /// ICE of all transports together.
    pub fn ice_connection_state(&self) -> IceConnectionState {
        self.aggregates.ice_connection
    }

    /// ICE and DTLS of all transports together.
    pub fn peer_connection_state(&self) -> PeerConnectionState {
        self.aggregates.connection
    }

    /// Gathering of all transports together.
    pub fn ice_gathering_state(&self) -> IceGatheringState {
        self.aggregates.gathering
    }

    /// The aggregate of libwebrtc's original.
    pub fn legacy_ice_connection_state(&self) -> LegacyIceConnectionState {
        self.aggregates.legacy_ice_connection
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads the transports' states and tells what changed (libwebrtc `UpdateAggregateStates_n`). Runs at the
    /// end of each [`process`](Self::process).
    fn update_aggregate_states(&mut self) {
        if self.closed {
            return;
        }
        let components = self.transports.active().flat_map(|(_, transport)| transport.components());
        let states: Vec<TransportState> = components.map(|(_, dtls)| self.state_of(dtls)).collect();
        let now = AggregateStates::of(&states);
        let before = std::mem::replace(&mut self.aggregates, now);
        self.emit_aggregates(before, now);
    }

    /// Where DTLS is disabled by configuration it has no say: what is `Closed` has none.
    fn state_of(&self, dtls: &F::Dtls) -> TransportState {
        let state = TransportState::of(dtls);
        match self.config.rtp_protection {
            RtpProtection::DtlsSrtp => state,
            _ => TransportState { dtls: DtlsTransportState::Closed, ..state },
        }
    }

    /// Before the first candidate, and also where a transport is done at once.
    fn tell_gathering(&mut self) {
        if self.aggregates.gathering != IceGatheringState::Gathering {
            self.aggregates.gathering = IceGatheringState::Gathering;
            self.events.emit(JsepTransportControllerEvent::IceGatheringState(IceGatheringState::Gathering));
        }
    }

    fn emit_aggregates(&mut self, before: AggregateStates, now: AggregateStates) {
        use JsepTransportControllerEvent as Event;
        if before.legacy_ice_connection != now.legacy_ice_connection {
            self.events.emit(Event::LegacyIceConnectionState(now.legacy_ice_connection));
        }
        if before.ice_connection != now.ice_connection {
            let skips_connected = before.ice_connection == IceConnectionState::Checking
                && now.ice_connection == IceConnectionState::Completed;
            if skips_connected {
                self.events.emit(Event::IceConnectionState(IceConnectionState::Connected));
            }
            self.events.emit(Event::IceConnectionState(now.ice_connection));
        }
        if before.connection != now.connection {
            self.events.emit(Event::PeerConnectionState(now.connection));
        }
        if before.gathering != now.gathering {
            self.events.emit(Event::IceGatheringState(now.gathering));
        }
    }
}

#[cfg(test)]
mod tests;
