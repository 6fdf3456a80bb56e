//! Offers, answers and rollback, as far as they concern transports.
//!
//! Each description is first planned without changing anything, then put in force: a call that fails changed
//! nothing. RFC 9429 sections 5.9 to 5.11 and 4.1.10.2, RFC 9143 section 7. Answers to `ApplyDescription_n` in
//! libwebrtc's `pc/jsep_transport_controller.cc`.

use std::collections::BTreeSet;
use std::time::Instant;

use peerstack_dtls::DtlsFingerprint;
use peerstack_p2p::{IceMode, IceRole, IceTransport};

use super::factory::{CreateTransport, JsepTransportFactory};
use super::media::{SctpStart, data_mid};
use super::transport_map::{PlannedMap, plan_map};
use super::{JsepError, JsepTransportController, JsepTransportControllerEvent};
use crate::bundle_manager::BundleManager;
use crate::bundle_validation::validate_bundled_contents;
use crate::crypto_params::SrtpKeys;
use crate::jsep_transport::{DtlsParameters, RtpTransportKind};
use crate::jsep_transport_collection::{MapChange, TransportMap};
use crate::rtcp_mux_filter::RtcpMuxFilter;
use crate::{
    ContentInfo, IceComponent, JsepTransport, RtcpMuxPolicy, RtpProtection, SdpType, SessionDescription,
    TransportDescription, TransportId,
};

/// The descriptions of both sides: in force, and as they were in the last stable state.
#[derive(Debug, Clone, Default)]
pub(super) struct Descriptions {
    now: Sides,
    stable: Sides,
    /// Whose offer waits for an answer.
    pending_offer: Option<Side>,
}

#[derive(Debug, Clone, Default)]
struct Sides {
    local: Option<SessionDescription>,
    remote: Option<SessionDescription>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Local,
    Remote,
}

impl Side {
    fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }
}

impl Descriptions {
    pub(super) fn local(&self) -> Option<&SessionDescription> {
        self.now.local.as_ref()
    }

    pub(super) fn remote(&self) -> Option<&SessionDescription> {
        self.now.remote.as_ref()
    }

    fn of(&self, side: Side) -> Option<&SessionDescription> {
        match side {
            Side::Local => self.local(),
            Side::Remote => self.remote(),
        }
    }

    /// Whether this description may come now (W3C webrtc-pc section 4.4.1.4, reduced to what transports see).
    fn check(&self, side: Side, sdp_type: SdpType) -> Result<(), JsepError> {
        let refuse = |reason| Err(JsepError::InvalidState { side: side.as_str(), sdp_type, reason });
        match (sdp_type, self.pending_offer) {
            (SdpType::Rollback, _) => refuse("a rollback has no description"),
            (SdpType::Offer, Some(offerer)) if offerer != side => refuse("the other side's offer is pending"),
            (SdpType::Pranswer | SdpType::Answer, None) => refuse("there is no offer to answer"),
            (SdpType::Pranswer | SdpType::Answer, Some(offerer)) if offerer == side => {
                refuse("it is the other side that answers")
            }
            _ => Ok(()),
        }
    }

    /// Whether an offer now would be the first: the ICE role follows from whose it is.
    fn opens_session(&self) -> bool {
        self.pending_offer.is_none() && self.stable.local.is_none() && self.stable.remote.is_none()
    }

    fn set(&mut self, side: Side, sdp_type: SdpType, description: &SessionDescription) {
        let slot = match side {
            Side::Local => &mut self.now.local,
            Side::Remote => &mut self.now.remote,
        };
        *slot = Some(description.clone());
        match sdp_type {
            SdpType::Offer => self.pending_offer = Some(side),
            SdpType::Answer => {
                self.pending_offer = None;
                self.stable = self.now.clone();
            }
            SdpType::Pranswer | SdpType::Rollback => {}
        }
    }

    fn rollback(&mut self) {
        self.now = self.stable.clone();
        self.pending_offer = None;
    }
}

/// What a description is planned upon: what is in force, or what a rollback would bring back.
#[derive(Debug)]
struct Ground {
    descriptions: Descriptions,
    bundles: BundleManager,
    current: TransportMap,
    offered: TransportMap,
    /// What transports agreed on is that of the last stable state.
    rolled_back: bool,
}

/// What a transport is told.
#[derive(Debug)]
struct TransportUpdate {
    id: TransportId,
    mid: String,
    description: TransportDescription,
    dtls: Option<DtlsParameters>,
    srtp: Option<SrtpKeys>,
    rtcp_mux: RtcpMuxFilter,
}

/// All that a description will change.
#[derive(Debug)]
struct Plan {
    bundles: BundleManager,
    map: PlannedMap,
    updates: Vec<TransportUpdate>,
    ice_role: IceRole,
    sctp: Option<SctpStart>,
}

impl<F: JsepTransportFactory> JsepTransportController<F> {
    /// Puts a description of ours in force: makes the transports an offer needs, tells DTLS what an answer
    /// agreed on, bundles. Then call [`maybe_start_gathering`](Self::maybe_start_gathering) and
    /// [`process`](Self::process).
    ///
    /// # Errors
    /// What is wrong with the description; nothing changed then.
    pub fn set_local_description(
        &mut self,
        now: Instant,
        sdp_type: SdpType,
        description: &SessionDescription,
    ) -> Result<(), JsepError> {
        self.set_description(now, Side::Local, sdp_type, description)
    }

    /// Puts a description of the peer in force, the candidates in it included. Then call
    /// [`process`](Self::process).
    ///
    /// An offer that meets a pending one of ours takes that back first, as
    /// [`rollback_transports`](Self::rollback_transports) does (RFC 9429 section 4.1.10.2).
    ///
    /// # Errors
    /// What is wrong with the description; nothing changed then.
    pub fn set_remote_description(
        &mut self,
        now: Instant,
        sdp_type: SdpType,
        description: &SessionDescription,
    ) -> Result<(), JsepError> {
        self.set_description(now, Side::Remote, sdp_type, description)
    }

    fn set_description(
        &mut self,
        now: Instant,
        side: Side,
        sdp_type: SdpType,
        description: &SessionDescription,
    ) -> Result<(), JsepError> {
        if self.closed {
            return Err(JsepError::Closed);
        }
        let glare = (side, sdp_type, self.descriptions.pending_offer)
            == (Side::Remote, SdpType::Offer, Some(Side::Local));
        let mut plan = self.plan(&self.ground(glare), side, sdp_type, description)?;
        if glare {
            self.rollback_transports(now)?;
        }
        self.apply_dtls(now, &mut plan)?;
        self.apply(now, side, sdp_type, description, plan);
        Ok(())
    }

    /// Takes the pending offer back: m-sections have the transports, groups and ICE parameters of the last
    /// stable state again; transports that only the offer needed are closed (J15).
    ///
    /// # Errors
    /// [`JsepError::InvalidState`] if no offer is pending.
    pub fn rollback_transports(&mut self, now: Instant) -> Result<(), JsepError> {
        if self.closed {
            return Err(JsepError::Closed);
        }
        let Some(side) = self.descriptions.pending_offer else {
            return Err(JsepError::InvalidState {
                side: Side::Local.as_str(),
                sdp_type: SdpType::Rollback,
                reason: "no offer is pending",
            });
        };
        tracing::debug!(target: "peerstack::jsep", side = side.as_str(), "rollback");
        self.descriptions.rollback();
        self.bundles.rollback();
        // The mid may stand for something else in what comes next (O23).
        self.data_mid = self.local_description().and_then(data_mid);
        let change = self.transports.rollback();
        self.map_changed(now, change);
        for (_, transport) in self.transports.iter_mut() {
            transport.rollback(now);
        }
        self.update_header_extensions();
        Ok(())
    }

    fn ground(&self, after_rollback: bool) -> Ground {
        let mut ground = Ground {
            descriptions: self.descriptions.clone(),
            bundles: self.bundles.clone(),
            current: self.transports.current().clone(),
            offered: self.transports.offered().clone(),
            rolled_back: after_rollback,
        };
        if after_rollback {
            ground.descriptions.rollback();
            ground.bundles.rollback();
            ground.current.clone_from(self.transports.stable());
            ground.offered.clone_from(self.transports.stable());
        }
        ground
    }

    fn plan(
        &self,
        ground: &Ground,
        side: Side,
        sdp_type: SdpType,
        description: &SessionDescription,
    ) -> Result<Plan, JsepError> {
        ground.descriptions.check(side, sdp_type)?;
        check_mids(description)?;
        validate_bundled_contents(description)?;
        let is_offer = sdp_type == SdpType::Offer;
        let offer = ground.descriptions.of(side.other());
        let bundles = ground.bundles.with_description(sdp_type, description, offer)?;
        let base = if is_offer { &ground.current } else { &ground.offered };
        let next_id = |ahead| self.transports.next_id(ahead);
        let map = plan_map(description, base, ground.bundles.groups(), &bundles, next_id)?;
        if let Some((_, name)) = map.new.first().filter(|_| !is_offer) {
            return Err(JsepError::bundle(format!(
                "the answer uses the m-section {name:?} outside its group, but it was offered no transport of \
                 its own"
            )));
        }
        self.check_rtcp_mux(description, &map)?;
        let updates = map
            .owners
            .iter()
            .filter_map(|mid| description.content(mid))
            .map(|content| self.plan_update(ground, side, sdp_type, content, &map))
            .collect::<Result<Vec<_>, _>>()?;
        let ice_role = self.determine_ice_role(&ground.descriptions, side, sdp_type, description);
        let id_of = |mid: &str| map.map.get(mid).copied();
        let sctp = match is_offer {
            true => {
                self.check_offered_sctp(side == Side::Local, description, id_of)?;
                None
            }
            false => {
                let restarts = |id| {
                    let mut parameters = updates.iter().filter(|update| update.id == id);
                    let of = |update: &TransportUpdate| update.dtls.clone();
                    let transport = self.transports.get(id);
                    let parameters = parameters.find_map(of).zip(transport);
                    parameters.is_some_and(|(parameters, transport)| transport.restarts_dtls(&parameters))
                };
                self.plan_sctp(side == Side::Local, description, id_of, restarts)?
            }
        };
        Ok(Plan { bundles, map, updates, ice_role, sctp })
    }

    fn plan_update(
        &self,
        ground: &Ground,
        side: Side,
        sdp_type: SdpType,
        content: &ContentInfo,
        map: &PlannedMap,
    ) -> Result<TransportUpdate, JsepError> {
        let mid = &content.mid;
        let ours = self.factory.local_fingerprints();
        check_ice(content)?;
        if !ours.is_empty() {
            check_fingerprints(side, content, &ours)?;
        }
        let Some(id) = map.map.get(mid).copied() else {
            return Err(JsepError::UnknownMid { mid: mid.clone() });
        };
        let rtcp_mux = self.plan_rtcp_mux(ground.rolled_back, sdp_type, content, id)?;
        let update = |dtls, srtp| TransportUpdate {
            id,
            mid: mid.clone(),
            description: content.transport.clone(),
            dtls,
            srtp,
            rtcp_mux,
        };
        let sdes = self.config.rtp_protection == RtpProtection::Sdes && content.kind.is_rtp();
        if sdes && content.transport.crypto.is_empty() {
            return Err(JsepError::srtp(mid, "there is no usable a=crypto"));
        }
        if sdp_type == SdpType::Offer || (ours.is_empty() && !sdes) {
            return Ok(update(None, None));
        }
        let transport = self.transports.get(id).ok_or_else(|| JsepError::UnknownMid { mid: mid.clone() })?;
        let said = match side {
            Side::Local => transport.remote_description(),
            Side::Remote => transport.local_description(),
        };
        let Some(said) = said else {
            return Err(JsepError::dtls(mid, "the other side described no transport for it"));
        };
        let (local, remote) = match side {
            Side::Local => (&content.transport, said),
            Side::Remote => (said, &content.transport),
        };
        if sdes {
            let keys = transport.negotiate_srtp(mid, side == Side::Remote, local, remote)?;
            return Ok(update(None, Some(keys)));
        }
        let dtls = match side {
            Side::Local => transport.negotiate_dtls(mid, false, &content.transport, said)?,
            Side::Remote => transport.negotiate_dtls(mid, true, said, &content.transport)?,
        };
        Ok(update(Some(dtls), None))
    }

    /// J04: the first offerer is controlling; a lite peer makes us so (RFC 8445 section 6.1.1). Later offers
    /// and ICE restarts change nothing else.
    fn determine_ice_role(
        &self,
        descriptions: &Descriptions,
        side: Side,
        sdp_type: SdpType,
        description: &SessionDescription,
    ) -> IceRole {
        let mut role = self.ice_role;
        if sdp_type == SdpType::Offer && descriptions.opens_session() {
            role = match side {
                Side::Local => IceRole::Controlling,
                Side::Remote => IceRole::Controlled,
            };
        }
        let lite = match side {
            Side::Remote => is_lite(description),
            Side::Local => descriptions.remote().is_some_and(is_lite),
        };
        let first = descriptions.stable.remote.is_none();
        match (self.config.ice_lite, lite) {
            (false, true) => IceRole::Controlling,
            (false, false) => role,
            // A full peer controls; while it has said nothing it is taken for one.
            (true, false) => IceRole::Controlled,
            // Both are lite: who offered first controls (RFC 8445 section 6.1.1; I09).
            (true, true) if side == Side::Remote && sdp_type != SdpType::Offer && first => {
                IceRole::Controlling
            }
            (true, true) => role,
        }
    }

    /// The only step that the layer below could refuse although the plan found it good comes first: an answer
    /// makes no transports, so nothing has changed if it fails.
    fn apply_dtls(&mut self, now: Instant, plan: &mut Plan) -> Result<(), JsepError> {
        for update in &mut plan.updates {
            let Some(transport) = self.transports.get_mut(update.id) else { continue };
            if let Some(parameters) = update.dtls.take() {
                transport.set_dtls_parameters(now, &update.mid, parameters)?;
            }
            if let Some(keys) = update.srtp.take() {
                transport.set_srtp_keys(&update.mid, keys)?;
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        now: Instant,
        side: Side,
        sdp_type: SdpType,
        description: &SessionDescription,
        plan: Plan,
    ) {
        self.ice_role = plan.ice_role;
        for (_, name) in &plan.map.new {
            let negotiates = self.config.rtcp_mux_policy == RtcpMuxPolicy::Negotiate;
            let with_rtcp =
                negotiates && description.content(name).is_some_and(|content| content.kind.is_rtp());
            self.create_transport(now, name, with_rtcp);
        }
        self.apply_ice_role();
        let lite = is_lite(description);
        for TransportUpdate { id, description, rtcp_mux, .. } in plan.updates {
            let Some(transport) = self.transports.get_mut(id) else { continue };
            transport.set_rtcp_mux(rtcp_mux);
            match side {
                Side::Local => transport.set_local_description(description),
                Side::Remote => transport.set_remote_description(now, lite, description),
            }
        }
        self.bundles = plan.bundles;
        self.descriptions.set(side, sdp_type, description);
        let change = match sdp_type {
            SdpType::Offer => self.transports.set_offered(plan.map.map),
            SdpType::Answer => self.transports.commit(plan.map.map),
            SdpType::Pranswer | SdpType::Rollback => self.transports.set_provisional(plan.map.map),
        };
        if sdp_type == SdpType::Answer {
            self.bundles.commit();
            for (_, transport) in self.transports.iter_mut() {
                transport.commit();
            }
        }
        self.map_changed(now, change);
        self.retire_rtcp(now);
        self.update_header_extensions();
        self.apply_sctp(now, sdp_type == SdpType::Answer, description, plan.sctp);
        if side == Side::Remote {
            self.use_candidates_in_remote_description(now, description);
        }
    }

    fn create_transport(&mut self, now: Instant, name: &str, with_rtcp: bool) {
        let dtls = self.create_component(now, name, IceComponent::Rtp);
        let rtcp = with_rtcp.then(|| self.create_component(now, name, IceComponent::Rtcp));
        let scope = format!("{} {name}", self.scope);
        let (backend, protection) = (self.config.srtp_backend, &self.config.rtp_protection);
        let rtp = RtpTransportKind::new(&scope, dtls, rtcp, backend, protection);
        let id = self.transports.register(JsepTransport::new(name, rtp));
        tracing::debug!(target: "peerstack::jsep", %id, name, with_rtcp, "transport created");
    }

    fn create_component(&mut self, now: Instant, name: &str, component: IceComponent) -> F::Dtls {
        let (ice_role, tiebreaker) = (self.ice_role, self.tiebreaker);
        let options = CreateTransport { name, component: component.id(), ice_role, tiebreaker };
        let mut dtls = self.factory.create_dtls_transport(now, &options);
        let ice = peerstack_dtls::DtlsTransportInternal::ice_mut(&mut dtls);
        ice.set_ice_tiebreaker(tiebreaker);
        ice.set_ice_role(ice_role);
        dtls
    }

    /// Tells who uses another transport now, and closes those nobody can come back to.
    fn map_changed(&mut self, now: Instant, change: MapChange<JsepTransport<F::Dtls>>) {
        for (id, mut transport) in change.unused {
            tracing::debug!(target: "peerstack::jsep", %id, name = transport.name(), "transport closed");
            self.detach_sctp_of(&mut transport);
            transport.close(now);
            self.closing.push(transport);
        }
        self.move_sinks(&change.changed);
        for mid in change.changed {
            let transport = self.transports.id_of(&mid);
            self.events.emit(JsepTransportControllerEvent::TransportChanged { mid, transport });
        }
    }

    /// Candidates that came within the description; duplicates are ignored below.
    fn use_candidates_in_remote_description(&mut self, now: Instant, description: &SessionDescription) {
        for content in description.contents.iter().filter(|content| !content.rejected) {
            let Some(transport) = self.transport_of_tag_mut(&content.mid) else { continue };
            for candidate in &content.transport.candidates {
                transport
                    .with_ice_of(candidate.component, |ice| ice.add_remote_candidate(now, candidate.clone()));
            }
            if content.transport.end_of_candidates {
                transport.for_each_ice(|ice| ice.end_of_remote_candidates(now));
            }
        }
    }
}

/// RFC 5888 section 9.2: every m-section has a mid, and no other has the same.
fn check_mids(description: &SessionDescription) -> Result<(), JsepError> {
    let mut seen = BTreeSet::new();
    for (index, content) in description.contents.iter().enumerate() {
        if content.mid.is_empty() {
            return Err(JsepError::bundle(format!("the m-section at place {index} has no mid")));
        }
        if !seen.insert(&content.mid) {
            return Err(JsepError::bundle(format!("two m-sections have the mid {:?}", content.mid)));
        }
    }
    Ok(())
}

/// T14: user fragment and password are there and valid.
fn check_ice(content: &ContentInfo) -> Result<(), JsepError> {
    let problem = match &content.transport.ice {
        None => "no ICE user fragment and password",
        Some(ice) if !ice.is_valid() => "an invalid ICE user fragment or password",
        Some(_) => return Ok(()),
    };
    Err(JsepError::InvalidIceParameters { mid: content.mid.clone(), problem })
}

/// D23: a description has a fingerprint that can be checked; ours is that of our certificate.
fn check_fingerprints(side: Side, content: &ContentInfo, ours: &[DtlsFingerprint]) -> Result<(), JsepError> {
    let (mid, fingerprints) = (&content.mid, &content.transport.fingerprints);
    if fingerprints.is_empty() {
        return Err(JsepError::dtls(mid, "there is no a=fingerprint"));
    }
    if side == Side::Local {
        return match fingerprints.iter().any(|fingerprint| ours.contains(fingerprint)) {
            true => Ok(()),
            false => Err(JsepError::dtls(mid, "the fingerprint is not our certificate's")),
        };
    }
    let mut problem = String::new();
    for fingerprint in fingerprints {
        match fingerprint.check() {
            Ok(()) => return Ok(()),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(JsepError::dtls(mid, problem))
}

fn is_lite(description: &SessionDescription) -> bool {
    let lite = |content: &ContentInfo| !content.rejected && content.transport.ice_mode == IceMode::Lite;
    description.ice_lite || description.contents.iter().any(lite)
}
