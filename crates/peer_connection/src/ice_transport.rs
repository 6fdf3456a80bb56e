//! `RTCIceTransport` (webrtc-pc section 5.6): a view of one ICE transport. Answers to libwebrtc's
//! `pc/ice_transport.cc`.
//!
//! The signaling task writes what the network task told, in the same step as the event that tells the application;
//! handles read.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peerstack_dtls::DtlsTransportState;
use peerstack_jsep::IceComponent;
use peerstack_p2p::{Candidate, CandidatePair, IceGatheringState, IceRole, IceTransportState};

use crate::RtcError;

/// Candidates a transport shows of one side; a peer that sends more gains nothing.
const MAX_CANDIDATES: usize = 256;

/// User fragment and password of one side (`RTCIceParameters`, webrtc-pc section 5.6.1). `Debug` does not show the
/// password.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IceParameters {
    /// `ice-ufrag` (RFC 8839 section 5.4).
    pub username_fragment: String,
    /// `ice-pwd`; a secret.
    pub password: String,
}

impl fmt::Debug for IceParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceParameters")
            .field("username_fragment", &self.username_fragment)
            .finish_non_exhaustive()
    }
}

impl From<&peerstack_p2p::IceParameters> for IceParameters {
    fn from(parameters: &peerstack_p2p::IceParameters) -> Self {
        Self { username_fragment: parameters.ufrag.clone(), password: parameters.pwd.clone() }
    }
}

/// What stands behind an [`IceTransport`] and the [`DtlsTransport`](crate::DtlsTransport) above it.
#[derive(Debug)]
pub(crate) struct TransportObject {
    component: IceComponent,
    slots: Mutex<TransportSlots>,
}

/// The internal slots of both, as webrtc-pc calls them.
#[derive(Debug, Default)]
pub(crate) struct TransportSlots {
    /// The section whose candidates are those of the transport, while one uses it.
    pub(crate) mid: Option<String>,
    pub(crate) ice_role: Option<IceRole>,
    pub(crate) ice_state: IceTransportState,
    pub(crate) gathering_state: IceGatheringState,
    pub(crate) local_candidates: Vec<Candidate>,
    pub(crate) remote_candidates: Vec<Candidate>,
    pub(crate) selected_pair: Option<CandidatePair>,
    pub(crate) local_parameters: Option<IceParameters>,
    pub(crate) remote_parameters: Option<IceParameters>,
    pub(crate) dtls_state: DtlsTransportState,
    /// Why it failed.
    pub(crate) dtls_error: Option<RtcError>,
    /// In DER.
    pub(crate) remote_certificates: Vec<Vec<u8>>,
}

impl TransportObject {
    pub(crate) fn new(component: IceComponent) -> Arc<Self> {
        Arc::new(Self { component, slots: Mutex::default() })
    }

    /// The slots; whoever holds the connection's state may take this lock, not the other way round.
    pub(crate) fn slots(&self) -> MutexGuard<'_, TransportSlots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters a candidate unless it is there.
pub(crate) fn add_candidate(candidates: &mut Vec<Candidate>, candidate: &Candidate) {
    if candidates.len() < MAX_CANDIDATES && !candidates.contains(candidate) {
        candidates.push(candidate.clone());
    }
}

/// A view of one ICE transport (`RTCIceTransport`, webrtc-pc section 5.6). Changes are told by
/// [`IceTransportStateChange`](crate::PeerConnectionEvent::IceTransportStateChange),
/// [`IceTransportGatheringStateChange`](crate::PeerConnectionEvent::IceTransportGatheringStateChange) and
/// [`SelectedCandidatePairChange`](crate::PeerConnectionEvent::SelectedCandidatePairChange).
#[derive(Debug, Clone)]
#[doc(alias = "RTCIceTransport")]
pub struct IceTransport(Arc<TransportObject>);

impl PartialEq for IceTransport {
    /// Whether it is the same transport.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for IceTransport {}

impl IceTransport {
    pub(crate) fn new(object: &Arc<TransportObject>) -> Self {
        Self(Arc::clone(object))
    }

    /// Our role; `None` before it is known (W3C `unknown`).
    pub fn role(&self) -> Option<IceRole> {
        self.0.slots().ice_role
    }

    /// Which packets it carries.
    pub fn component(&self) -> IceComponent {
        self.0.component
    }

    /// The state.
    pub fn state(&self) -> IceTransportState {
        self.0.slots().ice_state
    }

    /// The gathering state (`RTCIceGathererState`).
    pub fn gathering_state(&self) -> IceGatheringState {
        self.0.slots().gathering_state
    }

    /// The candidates gathered in the generation in force, in their order.
    pub fn local_candidates(&self) -> Vec<Candidate> {
        self.0.slots().local_candidates.clone()
    }

    /// The candidates the peer signalled in the generation in force, in descriptions and behind them. Those learned
    /// from its checks are not among them.
    pub fn remote_candidates(&self) -> Vec<Candidate> {
        self.0.slots().remote_candidates.clone()
    }

    /// The pair that carries packets; `None` before, and after ICE lost all.
    pub fn selected_candidate_pair(&self) -> Option<CandidatePair> {
        self.0.slots().selected_pair.clone()
    }

    /// Our parameters, once a local description gave them.
    pub fn local_parameters(&self) -> Option<IceParameters> {
        self.0.slots().local_parameters.clone()
    }

    /// The peer's parameters, once a remote description gave them.
    pub fn remote_parameters(&self) -> Option<IceParameters> {
        self.0.slots().remote_parameters.clone()
    }
}
