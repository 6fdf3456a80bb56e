//! One transport of a PeerConnection: what both sides said of it, the RTP transport with DTLS and ICE below, and
//! beside it the SCTP transport.
//!
//! Owned by the JsepTransportController, on the network task. RFC 9429 section 4.1 and 5.11, RFC 8842 (DTLS in
//! SDP), RFC 8839 section 4.4 (ICE restart). Answers to libwebrtc's `pc/jsep_transport.h`.

mod components;
mod dtls_role;
mod rtp_transport_kind;

use std::time::Instant;

use peerstack_base::{EventReceiver, IoRequest, ReceiveMeta};
use peerstack_dtls::{DtlsFingerprint, DtlsRole, DtlsTransport, DtlsTransportInternal};
use peerstack_p2p::{Candidate, IceMode, IceParameters, IceTransport, P2PTransportChannel};
use peerstack_rtp_transport::{DtlsSrtpTransport, Received, RtpTransportEvent, RtpTransportInternal, SinkId};
use peerstack_sctp::{SctpTransport, SctpTransportEvent};

use components::ComponentEvents;
pub(crate) use dtls_role::answer_setup;
use dtls_role::negotiate_dtls_role;
pub use rtp_transport_kind::{RtpProtection, RtpTransportKind};

use crate::crypto_params::{self, SrtpKeys};
use crate::rtcp_mux_filter::RtcpMuxFilter;
use crate::{JsepError, TransportDescription};

/// The layers of production in one type: RTP over SRTP, its keys from DTLS, over ICE.
pub type BundledTransport = DtlsSrtpTransport<DtlsTransport<P2PTransportChannel>>;

/// What offer and answer agree on of DTLS: given to the DtlsTransport once both are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DtlsParameters {
    pub(crate) fingerprints: Vec<DtlsFingerprint>,
    pub(crate) role: DtlsRole,
}

/// What both sides said of a transport, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Negotiated {
    local: Option<TransportDescription>,
    remote: Option<TransportDescription>,
    dtls: Option<DtlsParameters>,
    srtp: Option<SrtpKeys>,
    rtcp_mux: RtcpMuxFilter,
}

/// One transport (libwebrtc `JsepTransport`).
#[derive(Debug)]
pub struct JsepTransport<D: DtlsTransportInternal> {
    name: String,
    rtp: RtpTransportKind<D>,
    sctp: Option<StartedSctp>,
    now: Negotiated,
    stable: Negotiated,
    needs_ice_restart: bool,
    /// The parameters that gathering was asked for last.
    gathers_for: Option<IceParameters>,
    local_candidates: Vec<Candidate>,
    io_drained: bool,
    rtp_component: ComponentEvents,
    /// While RTCP has a transport of its own.
    rtcp_component: Option<ComponentEvents>,
    pub(crate) rtp_events: EventReceiver<RtpTransportEvent>,
}

/// An SCTP transport with the channel of its events and, once started, its ports.
#[derive(Debug)]
pub(crate) struct StartedSctp {
    pub(crate) transport: SctpTransport,
    pub(crate) events: EventReceiver<SctpTransportEvent>,
    /// Ours and the peer's.
    pub(crate) ports: Option<(u16, u16)>,
    /// What the peer takes at most, 0 for no limit.
    pub(crate) remote_max_message_size: u32,
    /// DTLS begins anew with the description that is being applied.
    pub(crate) dtls_restarts: bool,
    /// It ended, and one like it takes its place once its channels were told.
    pub(crate) renew: bool,
}

impl StartedSctp {
    pub(crate) fn new(mut transport: SctpTransport) -> Self {
        let events = transport.subscribe();
        Self {
            transport,
            events,
            ports: None,
            remote_max_message_size: 0,
            dtls_restarts: false,
            renew: false,
        }
    }
}

impl<D: DtlsTransportInternal> JsepTransport<D> {
    pub(crate) fn new(name: &str, mut rtp: RtpTransportKind<D>) -> Self {
        let rtp_component = ComponentEvents::of(rtp.dtls_mut());
        let rtcp_component = rtp.rtcp_dtls_mut().map(ComponentEvents::of);
        let rtp_events = rtp.subscribe();
        Self {
            name: name.to_owned(),
            rtp,
            sctp: None,
            now: Negotiated::default(),
            stable: Negotiated::default(),
            needs_ice_restart: false,
            gathers_for: None,
            local_candidates: Vec::new(),
            io_drained: false,
            rtp_component,
            rtcp_component,
            rtp_events,
        }
    }

    /// The mid the transport was made for; it keeps the name when other m-sections share it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The RTP transport.
    pub fn rtp(&self) -> &RtpTransportKind<D> {
        &self.rtp
    }

    /// The RTP transport.
    pub fn rtp_mut(&mut self) -> &mut RtpTransportKind<D> {
        &mut self.rtp
    }

    /// The SCTP transport, if the data channels' m-section uses this transport.
    pub fn sctp(&self) -> Option<&SctpTransport> {
        self.sctp.as_ref().map(|sctp| &sctp.transport)
    }

    /// The SCTP transport, if the data channels' m-section uses this transport.
    pub fn sctp_mut(&mut self) -> Option<&mut SctpTransport> {
        self.sctp.as_mut().map(|sctp| &mut sctp.transport)
    }

    pub(crate) fn next_sctp_event(&mut self) -> Option<SctpTransportEvent> {
        self.sctp.as_mut()?.events.try_next()
    }

    pub(crate) fn sctp_slot(&mut self) -> &mut Option<StartedSctp> {
        &mut self.sctp
    }

    pub(crate) fn started_sctp(&self) -> Option<&StartedSctp> {
        self.sctp.as_ref()
    }

    pub(crate) fn sctp_ports(&self) -> Option<(u16, u16)> {
        self.sctp.as_ref()?.ports
    }

    /// The DTLS transport below: RTP's, and all there is where RTCP is multiplexed.
    pub fn dtls(&self) -> &D {
        self.rtp.dtls()
    }

    /// The DTLS transport below.
    pub fn dtls_mut(&mut self) -> &mut D {
        self.rtp.dtls_mut()
    }

    /// The ICE transport below.
    pub fn ice(&self) -> &D::Ice {
        self.dtls().ice()
    }

    /// The ICE transport below.
    pub fn ice_mut(&mut self) -> &mut D::Ice {
        self.dtls_mut().ice_mut()
    }

    /// What our side said of it last, in an offer that is pending or in force.
    pub fn local_description(&self) -> Option<&TransportDescription> {
        self.now.local.as_ref()
    }

    /// What the peer said of it last.
    pub fn remote_description(&self) -> Option<&TransportDescription> {
        self.now.remote.as_ref()
    }

    /// The DTLS role that was agreed.
    pub fn dtls_role(&self) -> Option<DtlsRole> {
        self.now.dtls.as_ref().map(|dtls| dtls.role)
    }

    /// Our candidates of the current generation, in the order they were gathered.
    pub fn local_candidates(&self) -> &[Candidate] {
        &self.local_candidates
    }

    /// Whether the next offer should restart ICE (J05).
    pub fn needs_ice_restart(&self) -> bool {
        self.needs_ice_restart
    }

    /// Asks for an ICE restart in the next offer; new local parameters clear it.
    pub(crate) fn set_needs_ice_restart_flag(&mut self) {
        // Before the first offer there is nothing to start again.
        self.needs_ice_restart = self.now.local.is_some();
    }

    /// Whether the peer's offer restarts ICE and is not answered yet (RFC 8839 section 4.4.1.1.1).
    pub(crate) fn remote_restarts_ice(&self) -> bool {
        let ice =
            |description: &Option<TransportDescription>| description.as_ref().and_then(|d| d.ice.clone());
        let (before, now) = (ice(&self.stable.remote), ice(&self.now.remote));
        before.is_some()
            && credentials_changed(before.as_ref(), now.as_ref())
            && self.stable.local == self.now.local
    }

    /// What DTLS will be told once `local` and `remote` are both in force.
    pub(crate) fn negotiate_dtls(
        &self,
        mid: &str,
        local_offers: bool,
        local: &TransportDescription,
        remote: &TransportDescription,
    ) -> Result<DtlsParameters, JsepError> {
        let before = self.now.dtls.as_ref();
        let same_association = before.filter(|dtls| dtls.fingerprints == remote.fingerprints);
        let current = same_association.map(|dtls| dtls.role);
        let role = negotiate_dtls_role(local_offers, local.setup, remote.setup, current)
            .map_err(|problem| JsepError::dtls(mid, problem))?;
        // J02: another role is another association, which another certificate must announce.
        let role = match current {
            Some(current) if current != role => {
                // Firefox answers an offer that restarts ICE and leaves the choice with `setup:active`, whatever its
                // role is, and goes on with the association that stands (RFC 8842 section 5.3 has it restate the role).
                if !local_offers
                    || !matches!(local.setup, Some(peerstack_p2p::ConnectionRole::Actpass) | None)
                {
                    return Err(JsepError::dtls(mid, "the DTLS role changes, but the fingerprint does not"));
                }
                tracing::debug!(target: "peerstack::jsep", mid, ?current, "the answer's DTLS role is ignored");
                current
            }
            _ => role,
        };
        Ok(DtlsParameters { fingerprints: remote.fingerprints.clone(), role })
    }

    /// Whether these parameters begin another DTLS association where there is one (RFC 8842 section 5.5).
    pub(crate) fn restarts_dtls(&self, parameters: &DtlsParameters) -> bool {
        self.now.dtls.as_ref().is_some_and(|before| {
            before.role != parameters.role
                || !same_fingerprints(&before.fingerprints, &parameters.fingerprints)
        })
    }

    /// Whether these fingerprints of the peer's announce another DTLS association.
    pub(crate) fn announces_dtls_restart(&self, fingerprints: &[DtlsFingerprint]) -> bool {
        self.now.dtls.as_ref().is_some_and(|before| !same_fingerprints(&before.fingerprints, fingerprints))
    }

    /// Tells DTLS what was agreed.
    pub(crate) fn set_dtls_parameters(
        &mut self,
        now: Instant,
        mid: &str,
        parameters: DtlsParameters,
    ) -> Result<(), JsepError> {
        let restarts = self.restarts_dtls(&parameters);
        let mut told = Ok(());
        // What one refuses, the other, being in the same state, refuses too.
        self.for_each_dtls(|dtls| {
            if told.is_ok() {
                told = dtls.set_remote_parameters(now, parameters.fingerprints.clone(), parameters.role);
            }
        });
        told.map_err(|problem| JsepError::dtls(mid, problem))?;
        if let Some(sctp) = &mut self.sctp {
            sctp.dtls_restarts = restarts;
        }
        self.now.dtls = Some(parameters);
        Ok(())
    }

    /// The SRTP keys that offer and answer agreed on.
    pub(crate) fn srtp_keys(&self) -> Option<&SrtpKeys> {
        self.now.srtp.as_ref()
    }

    /// What SRTP will be told once `local` and `remote` are both in force (RFC 4568 section 5.1).
    pub(crate) fn negotiate_srtp(
        &self,
        mid: &str,
        local_offers: bool,
        local: &TransportDescription,
        remote: &TransportDescription,
    ) -> Result<SrtpKeys, JsepError> {
        let keys = crypto_params::negotiate(local_offers, &local.crypto, &remote.crypto)
            .map_err(|problem| JsepError::srtp(mid, problem))?;
        match self.srtp_keys() {
            // A session that begins anew with a key that was used repeats its key stream (RFC 3711 section 9.1).
            Some(before) if *before != keys && before.send == keys.send => {
                Err(JsepError::srtp(mid, "the peer's SRTP key changes, but ours does not"))
            }
            _ => Ok(keys),
        }
    }

    /// Tells SRTP what was agreed.
    pub(crate) fn set_srtp_keys(&mut self, mid: &str, keys: SrtpKeys) -> Result<(), JsepError> {
        if self.now.srtp.as_ref() != Some(&keys) {
            self.rtp.set_srtp_keys(Some(&keys)).map_err(|error| JsepError::srtp(mid, error.to_string()))?;
            self.now.srtp = Some(keys);
        }
        Ok(())
    }

    /// Puts in force what our side says (libwebrtc `SetLocalJsepTransportDescription`).
    pub(crate) fn set_local_description(&mut self, description: TransportDescription) {
        if let Some(ice) = &description.ice {
            self.set_local_ice(ice.clone());
        }
        self.now.local = Some(without_candidates(description));
    }

    /// Puts in force what the peer says (libwebrtc `SetRemoteJsepTransportDescription`).
    pub(crate) fn set_remote_description(
        &mut self,
        now: Instant,
        lite: bool,
        description: TransportDescription,
    ) {
        let mode = if lite { IceMode::Lite } else { description.ice_mode };
        self.set_remote_ice(now, mode, description.ice.clone());
        self.now.remote = Some(TransportDescription { ice_mode: mode, ..without_candidates(description) });
    }

    /// What is in force now is what a rollback returns to.
    pub(crate) fn commit(&mut self) {
        self.stable = self.now.clone();
    }

    /// Back to what was in force at the last commit.
    pub(crate) fn rollback(&mut self, now: Instant) {
        if let Some(ice) = self.stable.local.as_ref().and_then(|local| local.ice.clone()) {
            self.set_local_ice(ice);
        }
        if let Some(remote) = self.stable.remote.clone()
            && credentials_changed(self.remote_ice(), remote.ice.as_ref())
        {
            self.set_remote_ice(now, remote.ice_mode, remote.ice);
        }
        if self.now.srtp != self.stable.srtp
            && let Err(error) = self.rtp.set_srtp_keys(self.stable.srtp.as_ref())
        {
            tracing::warn!(target: "peerstack::jsep", %error, "the SRTP keys of before are refused");
        }
        self.now = self.stable.clone();
        self.set_rtcp_mux(self.stable.rtcp_mux);
    }

    /// Gathers for the parameters in force, if that was not asked for yet.
    pub(crate) fn maybe_start_gathering(&mut self, now: Instant) {
        if let Some(ice) = self.local_ice().cloned() {
            self.gathers_for = Some(ice);
            self.for_each_ice(|ice| ice.maybe_start_gathering(now));
        }
    }

    /// Whether what is gathered now is of the description in force, and not of an offer that was taken back.
    pub(crate) fn gathers_for_description_in_force(&self) -> bool {
        self.gathers_for.is_none() || !credentials_changed(self.gathers_for.as_ref(), self.local_ice())
    }

    /// A local candidate was gathered.
    pub(crate) fn add_local_candidate(&mut self, candidate: Candidate) {
        if !self.local_candidates.contains(&candidate) {
            self.local_candidates.push(candidate);
        }
    }

    /// Local candidates are gone.
    pub(crate) fn remove_local_candidates(&mut self, gone: &[Candidate]) {
        self.local_candidates.retain(|candidate| !gone.contains(candidate));
    }

    /// Takes a datagram of one of ICE's sockets. Application data goes to SCTP; without SCTP it is dropped, as
    /// SCTP sends again.
    pub(crate) fn receive<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Received<'d, SinkId> {
        let received = self.rtp.receive(now, datagram, meta);
        if matches!(received, Received::None) {
            self.receive_data(now);
        }
        received
    }

    fn receive_data(&mut self, now: Instant) {
        while let Some(record) = self.rtp.poll_data() {
            if let Some(sctp) = &mut self.sctp {
                sctp.transport.receive(now, record);
            }
        }
        // There are no data channels over RTCP's transport.
        if let Some(rtcp) = self.rtp.rtcp_dtls_mut() {
            while rtcp.poll_data().is_some() {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let sctp = self.sctp.as_ref().and_then(|sctp| sctp.transport.next_timeout());
        [self.rtp.next_timeout(), sctp].into_iter().flatten().min()
    }

    /// Runs what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.rtp.handle_timeout(now);
        if let Some(sctp) = &mut self.sctp {
            sctp.transport.handle_timeout(now);
        }
    }

    /// Drains the events of the layers below, bottom-up; data they decrypted goes to SCTP.
    pub(crate) fn process(&mut self, now: Instant) {
        self.rtp.process(now);
        self.receive_data(now);
    }

    /// Packets pass again after an outage.
    pub(crate) fn path_restored(&mut self, now: Instant) {
        if let Some(sctp) = &mut self.sctp {
            sctp.transport.path_restored(now);
        }
    }

    /// Lets SCTP write out what is due, or what DTLS has room for again if `something_changed` below.
    pub(crate) fn flush(&mut self, now: Instant, something_changed: bool) {
        let Some(sctp) = &mut self.sctp else { return };
        if something_changed || sctp.transport.next_timeout().is_some_and(|at| at <= now) {
            sctp.transport.flush(now, self.rtp.dtls_mut());
        }
    }

    /// The next thing the network task is asked to do.
    pub(crate) fn poll_io_request(&mut self) -> Option<IoRequest> {
        let mut request = None;
        self.for_each_ice(|ice| {
            if request.is_none() {
                request = ice.poll_io_request();
            }
        });
        // Sockets are closed after the last words.
        self.io_drained = request.is_none() && !self.components().any(|(_, dtls)| dtls.closing());
        request
    }

    /// Closes all layers.
    pub(crate) fn close(&mut self, now: Instant) {
        self.io_drained = false;
        if let Some(sctp) = &mut self.sctp {
            sctp.transport.close(now);
            sctp.transport.flush(now, self.rtp.dtls_mut());
        }
        self.for_each_dtls(|dtls| dtls.close(now));
    }

    /// Whether, after [`close`](Self::close), all was taken that is to be sent or asked for.
    pub(crate) fn is_drained(&mut self) -> bool {
        let mut drained = self.io_drained;
        self.for_each_ice(|ice| drained &= !ice.is_releasing() && ice.transmits().is_empty());
        drained
    }

    fn local_ice(&self) -> Option<&IceParameters> {
        self.now.local.as_ref()?.ice.as_ref()
    }

    fn remote_ice(&self) -> Option<&IceParameters> {
        self.now.remote.as_ref()?.ice.as_ref()
    }

    fn set_local_ice(&mut self, ice: IceParameters) {
        if credentials_changed(self.local_ice(), Some(&ice)) {
            // J05: the restart that was asked for is this one.
            self.needs_ice_restart &= self.local_ice().is_none();
            self.gather_anew();
            self.for_each_ice(|transport| transport.set_ice_parameters(ice.clone()));
        }
    }

    fn set_remote_ice(&mut self, now: Instant, mode: IceMode, ice: Option<IceParameters>) {
        self.for_each_ice(|transport| transport.set_remote_ice_mode(mode));
        if let Some(ice) = ice
            && self.remote_ice() != Some(&ice)
        {
            self.for_each_ice(|transport| transport.set_remote_ice_parameters(now, ice.clone()));
        }
    }
}

fn same_fingerprints(a: &[DtlsFingerprint], b: &[DtlsFingerprint]) -> bool {
    a.iter().all(|one| b.contains(one)) && b.iter().all(|one| a.contains(one))
}

/// Candidates have a life of their own: they come and go between descriptions.
fn without_candidates(description: TransportDescription) -> TransportDescription {
    TransportDescription { candidates: Vec::new(), end_of_candidates: false, ..description }
}

/// Whether it is another ICE generation (RFC 8839 section 4.4.3: either of the two changed).
fn credentials_changed(before: Option<&IceParameters>, now: Option<&IceParameters>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.ufrag != now.ufrag || before.pwd != now.pwd,
        (None, Some(_)) => true,
        (_, None) => false,
    }
}
