//! Keeps the views of transports: what the network task tells enters the slots, and the events follow, each change once
//! and in order (webrtc-pc sections 5.5, 5.6 and 6.1.1). Owned by the signaling task, which holds the state's
//! lock. Answers to libwebrtc's `pc/dtls_transport.cc`, `ice_transport.cc`, `sctp_transport.cc` and to
//! `TransportController::SetChangeObserver`.

use std::collections::BTreeMap;
use std::sync::Arc;

use peerstack_dtls::DtlsTransportState;
use peerstack_jsep::{IceComponent, TransportId};
use peerstack_p2p::{Candidate, CandidatePair, IceGatheringState, IceRole, IceTransportState};
use peerstack_sctp::SctpTransportState;

use crate::dtls_transport::DtlsTransport;
use crate::ice_transport::{IceParameters, IceTransport, TransportObject, add_candidate};
use crate::peer_connection_event::{DtlsTransportErrorEvent, SelectedCandidatePairEvent};
use crate::sctp_transport::{SctpSlots, SctpTransport};
use crate::shared::{Description, State};
use crate::{PeerConnectionEvent, RtcError};

/// The transports of a connection after a description was applied.
#[derive(Debug, Default)]
pub(crate) struct TransportsView {
    pub(crate) transports: Vec<TransportView>,
    pub(crate) by_mid: BTreeMap<String, TransportId>,
    /// The association that was agreed on.
    pub(crate) sctp: Option<SctpView>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct TransportView {
    pub(crate) id: TransportId,
    pub(crate) component: IceComponent,
    /// The section that speaks for it.
    pub(crate) mid: Option<String>,
    pub(crate) role: IceRole,
    pub(crate) local_parameters: Option<IceParameters>,
    pub(crate) remote_parameters: Option<IceParameters>,
}

/// The association.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SctpView {
    pub(crate) transport: TransportId,
    pub(crate) state: SctpTransportState,
    pub(crate) max_message_size: usize,
    pub(crate) max_channels: Option<u16>,
}

/// What changed of one ICE transport.
#[derive(Debug)]
pub(crate) enum IceChange {
    State(IceTransportState),
    Gathering(IceGatheringState),
    SelectedPair(Option<Box<CandidatePair>>),
}

/// The views of one connection.
#[derive(Debug, Default)]
pub(crate) struct TransportViews {
    objects: BTreeMap<(TransportId, IceComponent), Arc<TransportObject>>,
    by_mid: BTreeMap<String, TransportId>,
    sctp: Option<SctpTransport>,
}

impl TransportViews {
    /// The transport of a section.
    pub(crate) fn of_mid(&self, mid: &str, component: IceComponent) -> Option<DtlsTransport> {
        self.objects.get(&(*self.by_mid.get(mid)?, component)).map(DtlsTransport::new)
    }

    /// The association of the data channels.
    pub(crate) fn sctp(&self) -> Option<SctpTransport> {
        self.sctp.clone()
    }

    /// The connection is closed; nothing is told (webrtc-pc section 4.4.2).
    pub(crate) fn close(&mut self) {
        for object in self.objects.values() {
            let mut slots = object.slots();
            slots.ice_state = IceTransportState::Closed;
            slots.dtls_state = DtlsTransportState::Closed;
        }
        if let Some(sctp) = &self.sctp {
            sctp.slots().state = SctpTransportState::Closed;
        }
    }

    /// The object whose candidates are signalled with this section.
    fn speaking_for(&self, mid: &str, component: IceComponent) -> Option<&Arc<TransportObject>> {
        let object = self.objects.get(&(*self.by_mid.get(mid)?, component))?;
        (object.slots().mid.as_deref() == Some(mid)).then_some(object)
    }

    /// A candidate of the peer came behind its description.
    pub(crate) fn add_remote_candidate(&self, mid: &str, candidate: &Candidate) {
        let component = IceComponent::of_candidate(candidate.component);
        if let Some(object) = component.and_then(|component| self.speaking_for(mid, component)) {
            add_candidate(&mut object.slots().remote_candidates, candidate);
        }
    }

    /// The peer took a candidate back.
    pub(crate) fn remove_remote_candidate(&self, mid: &str, gone: &Candidate) {
        let component = IceComponent::of_candidate(gone.component);
        if let Some(object) = component.and_then(|component| self.speaking_for(mid, component)) {
            let gone = std::slice::from_ref(gone);
            object.slots().remote_candidates.retain(|candidate| !is_among(gone, candidate));
        }
    }

    /// A candidate of ours was gathered.
    pub(crate) fn add_local_candidate(&self, id: TransportId, candidate: &Candidate) {
        let component = IceComponent::of_candidate(candidate.component);
        if let Some(object) = component.and_then(|component| self.objects.get(&(id, component))) {
            add_candidate(&mut object.slots().local_candidates, candidate);
        }
    }

    /// Candidates of ours are gone.
    pub(crate) fn remove_local_candidates(&self, gone: &[Candidate]) {
        for object in self.objects.values() {
            object.slots().local_candidates.retain(|candidate| !is_among(gone, candidate));
        }
    }
}

/// Whether a candidate is one of those that are gone: what else they say may have changed since, and one that names no
/// generation is of any.
pub(crate) fn is_among(gone: &[Candidate], candidate: &Candidate) -> bool {
    gone.iter().any(|gone| {
        let (one, other) = (&gone.username_fragment, &candidate.username_fragment);
        (&gone.address, gone.protocol, gone.component)
            == (&candidate.address, candidate.protocol, candidate.component)
            && (one == other || one.is_empty() || other.is_empty())
    })
}

/// A description was applied: which section uses which transport, and what the descriptions say of each. Transports
/// that are gone are closed.
pub(crate) fn apply(state: &mut State, view: TransportsView) {
    let mut kept = BTreeMap::new();
    for one in view.transports {
        let known = state.views.objects.remove(&(one.id, one.component));
        let object = known.unwrap_or_else(|| TransportObject::new(one.component));
        {
            let mut slots = object.slots();
            slots.mid = one.mid;
            slots.ice_role = Some(one.role);
            slots.local_parameters = one.local_parameters;
            slots.remote_parameters = one.remote_parameters;
        }
        kept.insert((one.id, one.component), object);
    }
    let gone = std::mem::replace(&mut state.views.objects, kept);
    state.views.by_mid = view.by_mid;
    for object in gone.into_values() {
        object.slots().selected_pair = None;
        set_dtls_state(state, &object, DtlsTransportState::Closed, None);
        set_ice_state(state, &object, IceTransportState::Closed);
    }
    apply_sctp(state, view.sctp);
    read_candidates(state);
}

fn apply_sctp(state: &mut State, view: Option<SctpView>) {
    let before = state.views.sctp.take();
    let Some(view) = view else {
        if let Some(sctp) = before {
            set_sctp_state(state, &sctp, SctpTransportState::Closed);
        }
        return;
    };
    let Some(transport) =
        state.views.objects.get(&(view.transport, IceComponent::Rtp)).map(DtlsTransport::new)
    else {
        return;
    };
    // One that closed stays so: what comes after it is another.
    let alive = before.filter(|sctp| {
        let ended = sctp.slots().state == SctpTransportState::Closed;
        !ended || view.state == SctpTransportState::Closed
    });
    let sctp = alive.unwrap_or_else(|| {
        SctpTransport::new(SctpSlots {
            transport: transport.clone(),
            state: SctpTransportState::Connecting,
            max_message_size: view.max_message_size,
            max_channels: None,
        })
    });
    {
        let mut slots = sctp.slots();
        slots.transport = transport;
        slots.max_message_size = view.max_message_size;
    }
    state.views.sctp = Some(sctp);
}

/// The candidates that the descriptions in force hold, once they changed.
pub(crate) fn read_candidates(state: &State) {
    let of = |description: Option<&Description>, mid: Option<&str>| {
        let content =
            mid.and_then(|mid| description?.parsed.content(mid)).filter(|content| !content.rejected);
        content.map(|content| content.transport.candidates.clone()).unwrap_or_default()
    };
    for ((_, component), object) in &state.views.objects {
        let mut slots = object.slots();
        let own = |mut candidates: Vec<Candidate>| {
            candidates.retain(|candidate| candidate.component == component.id());
            candidates
        };
        slots.local_candidates = own(of(state.local(), slots.mid.as_deref()));
        slots.remote_candidates = own(of(state.remote(), slots.mid.as_deref()));
    }
}

/// Something changed of an ICE transport.
pub(crate) fn ice_changed(
    state: &mut State,
    id: (TransportId, IceComponent),
    role: IceRole,
    change: IceChange,
) {
    let Some(object) = state.views.objects.get(&id).cloned() else { return };
    object.slots().ice_role = Some(role);
    match change {
        IceChange::State(now) => set_ice_state(state, &object, now),
        IceChange::Gathering(now) => {
            let before = std::mem::replace(&mut object.slots().gathering_state, now);
            if before != now {
                let transport = IceTransport::new(&object);
                state
                    .events
                    .emit(PeerConnectionEvent::IceTransportGatheringStateChange { transport, state: now });
            }
        }
        IceChange::SelectedPair(pair) => {
            let pair = pair.map(|pair| *pair);
            object.slots().selected_pair.clone_from(&pair);
            let event = SelectedCandidatePairEvent { transport: IceTransport::new(&object), pair };
            state.events.emit(PeerConnectionEvent::SelectedCandidatePairChange(Box::new(event)));
        }
    }
}

fn set_ice_state(state: &mut State, object: &Arc<TransportObject>, now: IceTransportState) {
    let before = std::mem::replace(&mut object.slots().ice_state, now);
    if before != now {
        let transport = IceTransport::new(object);
        state.events.emit(PeerConnectionEvent::IceTransportStateChange { transport, state: now });
    }
}

/// The state of a DTLS transport changed.
pub(crate) fn dtls_changed(
    state: &mut State,
    id: (TransportId, IceComponent),
    now: DtlsTransportState,
    certificate: Option<Vec<u8>>,
) {
    if let Some(object) = state.views.objects.get(&id).cloned() {
        set_dtls_state(state, &object, now, certificate);
    }
}

/// The handshake failed, and why; the state follows (webrtc-pc section 5.5).
pub(crate) fn dtls_failed(state: &mut State, id: (TransportId, IceComponent), error: RtcError) {
    if let Some(object) = state.views.objects.get(&id) {
        object.slots().dtls_error = Some(error.clone());
        let event = DtlsTransportErrorEvent { transport: DtlsTransport::new(object), error };
        state.events.emit(PeerConnectionEvent::DtlsTransportError(Box::new(event)));
    }
}

/// webrtc-pc section 5.5: the peer's certificates are known when DTLS connects, and stay known.
fn set_dtls_state(
    state: &mut State,
    object: &Arc<TransportObject>,
    now: DtlsTransportState,
    certificate: Option<Vec<u8>>,
) {
    let before = {
        let mut slots = object.slots();
        if let Some(certificate) = certificate {
            slots.remote_certificates = vec![certificate];
        }
        if now != DtlsTransportState::Failed {
            slots.dtls_error = None;
        }
        std::mem::replace(&mut slots.dtls_state, now)
    };
    if before != now {
        let transport = DtlsTransport::new(object);
        state.events.emit(PeerConnectionEvent::DtlsTransportStateChange { transport, state: now });
    }
}

/// The association's state changed.
pub(crate) fn sctp_changed(state: &mut State, view: SctpView) {
    let Some(sctp) = state.views.sctp.clone() else { return };
    if sctp.slots().state == SctpTransportState::Closed && view.state != SctpTransportState::Closed {
        // Another one took its place, over a new DTLS association.
        apply_sctp(state, Some(view));
    }
    let Some(sctp) = state.views.sctp.clone() else { return };
    {
        let mut slots = sctp.slots();
        slots.max_message_size = view.max_message_size;
        slots.max_channels = view.max_channels;
    }
    set_sctp_state(state, &sctp, view.state);
}

fn set_sctp_state(state: &mut State, sctp: &SctpTransport, now: SctpTransportState) {
    let before = std::mem::replace(&mut sctp.slots().state, now);
    if before != now {
        let transport = sctp.clone();
        state.events.emit(PeerConnectionEvent::SctpTransportStateChange { transport, state: now });
    }
}
