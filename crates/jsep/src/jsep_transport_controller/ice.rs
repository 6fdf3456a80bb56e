//! ICE of all transports: parameters for offers and answers, candidates, gathering, roles.
//!
//! RFC 8445 section 6.1.1 and 7.3.1.1 (roles), RFC 8838 (trickle), RFC 8839 section 4.4 (restart). Answers to the
//! ICE parts of libwebrtc's `pc/jsep_transport_controller.cc`.

use std::collections::BTreeMap;
use std::time::Instant;

use peerstack_p2p::{Candidate, IceParameters, IceTransport};

use super::factory::JsepTransportFactory;
use super::{JsepError, JsepTransportController};
use crate::{BundlePolicy, JsepTransport, RtpProtection, TransportDescription};

impl<F: JsepTransportFactory> JsepTransportController<F> {
    /// What an offer with these m-sections, in order, says of their transports. Parameters of a transport that
    /// exists stay unless `ice_restart`, or its restart was asked for (J03, J05); m-sections that will share a
    /// transport at once get the same.
    ///
    /// # Errors
    /// [`JsepError::Closed`].
    pub fn transports_for_offer(
        &mut self,
        mids: &[String],
        ice_restart: bool,
    ) -> Result<BTreeMap<String, TransportDescription>, JsepError> {
        if self.closed {
            return Err(JsepError::Closed);
        }
        let mut made = BTreeMap::new();
        let mut pooled = self.factory.pooled_ice_parameters().into_iter();
        let mut shared: Option<String> =
            self.bundles.groups().first().and_then(|g| g.tag()).map(str::to_owned);
        if let Some(tag) = shared.clone() {
            let description = self.transport_for_offer(&tag, ice_restart, &mut pooled);
            made.insert(tag, description);
        }
        for mid in mids {
            let joins = match self.transports.id_of(mid) {
                Some(id) => self.shares_with(shared.as_deref(), id),
                // An established group takes new m-sections in; max-bundle has a single transport from the start.
                None => shared.is_some(),
            };
            let description = match shared.as_ref().and_then(|tag| made.get(tag)).filter(|_| joins) {
                Some(of_tag) => of_tag.clone(),
                None => self.transport_for_offer(mid, ice_restart, &mut pooled),
            };
            made.insert(mid.clone(), description);
            if shared.is_none() && self.bundles.policy() == BundlePolicy::MaxBundle {
                shared = Some(mid.clone());
            }
        }
        made.retain(|mid, _| mids.contains(mid));
        Ok(made)
    }

    /// What an answer to the pending remote offer says of the transports of these m-sections. A restart by the
    /// peer is answered with new parameters (RFC 8839 section 4.4.1.1.2); the DTLS role that was agreed is kept
    /// (RFC 8842 section 5.3).
    ///
    /// # Errors
    /// [`JsepError::Closed`], or [`JsepError::UnknownMid`] for an m-section the offer gave no transport.
    pub fn transports_for_answer(
        &mut self,
        mids: &[String],
    ) -> Result<BTreeMap<String, TransportDescription>, JsepError> {
        if self.closed {
            return Err(JsepError::Closed);
        }
        let mut of_transport = BTreeMap::new();
        let mut made = BTreeMap::new();
        for mid in mids {
            let unknown = || JsepError::UnknownMid { mid: mid.clone() };
            let id = self.transports.id_of(mid).ok_or_else(unknown)?;
            let transport = self.transports.get(id).ok_or_else(unknown)?;
            let fingerprints = self.factory.local_fingerprints();
            let sdes = self.config.rtp_protection == RtpProtection::Sdes;
            let description = of_transport.entry(id).or_insert_with(|| {
                let nothing = TransportDescription::default();
                let offer = transport.remote_description().unwrap_or(&nothing);
                let current = transport.local_description();
                let mut made = self.descriptions_factory.create_answer(
                    offer,
                    current,
                    transport.remote_restarts_ice(),
                    transport.ice().pooled_ice_parameters(),
                    fingerprints,
                    transport.dtls_role(),
                );
                if sdes {
                    let agreed = transport.srtp_keys();
                    made.crypto = self.descriptions_factory.crypto_answer(offer, current, agreed);
                }
                made
            });
            made.insert(mid.clone(), description.clone());
        }
        self.share_in_groups(&mut made);
        Ok(made)
    }

    /// What is offered as a group is answered with one set of parameters from the first answer on (libwebrtc
    /// `UpdateTransportInfoForBundle`): others would look like a restart of ICE once the group stands.
    fn share_in_groups(&self, made: &mut BTreeMap<String, TransportDescription>) {
        for group in self.remote_description().into_iter().flat_map(|offer| &offer.bundle_groups) {
            let mut mids =
                group.mids.iter().filter(|mid| made.contains_key(*mid)).cloned().collect::<Vec<_>>();
            let Some(shared) = mids.first().and_then(|tag| made.get(tag)).cloned() else { continue };
            for mid in mids.drain(1..) {
                made.insert(mid, shared.clone());
            }
        }
    }

    /// Our ICE parameters for an m-section of the next offer: those in use, or new ones after a restart.
    ///
    /// # Errors
    /// [`JsepError::Closed`].
    pub fn ice_parameters_for_offer(&mut self, mid: &str, restart: bool) -> Result<IceParameters, JsepError> {
        let made = self.transports_for_offer(&[mid.to_owned()], restart)?;
        Ok(made.into_values().next().and_then(|description| description.ice).unwrap_or_default())
    }

    /// Asks all transports for an ICE restart in the next offer (W3C `restartIce`); each flag ends when new
    /// parameters are in force (J05).
    pub fn set_needs_ice_restart_flag(&mut self) {
        for (_, transport) in self.transports.iter_mut() {
            transport.set_needs_ice_restart_flag();
        }
    }

    /// Whether the next offer should restart ICE of an m-section's transport.
    pub fn needs_ice_restart(&self, mid: &str) -> bool {
        self.transports.by_mid(mid).is_some_and(JsepTransport::needs_ice_restart)
    }

    /// Starts gathering on the transports whose parameters are known and that did not do so for them yet.
    pub fn maybe_start_gathering(&mut self, now: Instant) {
        for (_, transport) in self.transports.iter_mut() {
            transport.maybe_start_gathering(now);
        }
    }

    /// Adds candidates of the peer. Those of an m-section that uses another's transport are ignored (J21): they
    /// belong to a transport the peer gave up.
    ///
    /// # Errors
    /// [`JsepError::UnknownMid`] if no m-section of the descriptions in force has the mid.
    pub fn add_remote_candidates(
        &mut self,
        now: Instant,
        mid: &str,
        candidates: Vec<Candidate>,
    ) -> Result<(), JsepError> {
        self.check_mid(mid)?;
        let Some(transport) = self.transport_of_tag_mut(mid) else {
            tracing::debug!(target: "peerstack::jsep", mid, "candidates of a bundled m-section ignored");
            return Ok(());
        };
        for candidate in candidates {
            transport.with_ice_of(candidate.component, |ice| ice.add_remote_candidate(now, candidate));
        }
        Ok(())
    }

    /// The peer took candidates back.
    ///
    /// # Errors
    /// As [`add_remote_candidates`](Self::add_remote_candidates).
    pub fn remove_remote_candidates(&mut self, mid: &str, candidates: &[Candidate]) -> Result<(), JsepError> {
        self.check_mid(mid)?;
        if let Some(transport) = self.transport_of_tag_mut(mid) {
            for candidate in candidates {
                transport.with_ice_of(candidate.component, |ice| ice.remove_remote_candidate(candidate));
            }
        }
        Ok(())
    }

    /// The peer has no more candidates for an m-section in this generation (RFC 8838 section 14).
    ///
    /// # Errors
    /// As [`add_remote_candidates`](Self::add_remote_candidates).
    pub fn end_of_candidates(&mut self, now: Instant, mid: &str) -> Result<(), JsepError> {
        self.check_mid(mid)?;
        if let Some(transport) = self.transport_of_tag_mut(mid) {
            transport.for_each_ice(|ice| ice.end_of_remote_candidates(now));
        }
        Ok(())
    }

    /// Tells all transports our role.
    pub(super) fn apply_ice_role(&mut self) {
        let role = self.ice_role;
        for (_, transport) in self.transports.iter_mut() {
            transport.for_each_ice(|ice| {
                if ice.ice_role() != role {
                    ice.set_ice_role(role);
                }
            });
        }
    }

    /// A transport lost a role conflict: all of them switch (RFC 8445 section 7.3.1.1). However many conflicts
    /// one turn brought, they are about the same role: it is reversed once.
    pub(super) fn reverse_ice_role(&mut self) {
        self.ice_role = self.ice_role.reversed();
        tracing::debug!(target: "peerstack::jsep", role = ?self.ice_role, "ICE role conflict");
        self.apply_ice_role();
    }

    /// The transport that an m-section speaks for; `None` if it is bundled onto another's, or has none.
    pub(super) fn transport_of_tag_mut(&mut self, mid: &str) -> Option<&mut JsepTransport<F::Dtls>> {
        let id = self.transports.id_of(mid)?;
        if self.mid_of(id) != Some(mid) {
            return None;
        }
        self.transports.get_mut(id)
    }

    fn check_mid(&self, mid: &str) -> Result<(), JsepError> {
        if self.closed {
            return Err(JsepError::Closed);
        }
        let descriptions = [self.local_description(), self.remote_description()];
        if descriptions.into_iter().flatten().any(|description| description.content(mid).is_some()) {
            return Ok(());
        }
        Err(JsepError::UnknownMid { mid: mid.to_owned() })
    }

    fn transport_for_offer(
        &mut self,
        mid: &str,
        ice_restart: bool,
        pooled: &mut impl Iterator<Item = IceParameters>,
    ) -> TransportDescription {
        let fingerprints = self.factory.local_fingerprints();
        let transport = self.transports.by_mid(mid);
        let restart = ice_restart || transport.is_some_and(JsepTransport::needs_ice_restart);
        let current = transport.and_then(JsepTransport::local_description);
        let pooled = match transport {
            Some(transport) => transport.ice().pooled_ice_parameters(),
            None => pooled.next(),
        };
        let mut made = self.descriptions_factory.create_offer(current, restart, pooled, fingerprints);
        if self.config.rtp_protection == RtpProtection::Sdes {
            made.crypto = self.descriptions_factory.crypto_offer(current);
        }
        made
    }

    fn shares_with(&self, tag: Option<&str>, id: crate::TransportId) -> bool {
        tag.is_some_and(|tag| self.transports.id_of(tag) == Some(id))
    }
}
