//! What the media above want of the transports: who gets which RTP packet, header extensions, data channels.
//!
//! RFC 9143 section 9.2 (packets to m-sections), RFC 8285 (extensions by id), RFC 8841 (SCTP in SDP). Answers to
//! `RegisterRtpDemuxerSink` of libwebrtc's `pc/rtp_transport.cc` as `pc/channel.cc` uses it, and to the SCTP parts
//! of `pc/jsep_transport_controller.cc`.

use std::time::Instant;

use peerstack_dtls::DtlsRole;
use peerstack_p2p::IceRole;
use peerstack_rtp_transport::{
    DemuxerError, RtpDemuxer, RtpDemuxerCriteria, RtpHeaderExtensionMap, RtpTransportInternal, SinkId,
};
use peerstack_sctp::{SctpTransport, SctpTransportState};

use super::factory::JsepTransportFactory;
use super::{JsepError, JsepTransportController, JsepTransportControllerEvent};
use crate::jsep_transport::{JsepTransport, StartedSctp};
use crate::{ContentInfo, MediaKind, SctpDataContentDescription, SessionDescription, TransportId};

/// The sinks of one m-section.
pub(super) type Sinks = Vec<(SinkId, RtpDemuxerCriteria)>;

/// How an association is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SctpStart {
    mid: String,
    ports: (u16, u16),
    /// 0 for no limit.
    remote_max_message_size: u32,
}

impl<F: JsepTransportFactory> JsepTransportController<F> {
    /// Says who gets the RTP packets of an m-section, in place of what was said before. Sinks follow the
    /// m-section when it changes its transport; they may be set before it has one.
    ///
    /// # Errors
    /// Criteria that match nothing, or packets of another sink of the same transport; nothing changed then.
    pub fn set_rtp_sinks(&mut self, mid: &str, sinks: Sinks) -> Result<(), DemuxerError> {
        let before = self.sinks.get(mid).cloned().unwrap_or_default();
        if before == sinks {
            return Ok(());
        }
        if let Some(transport) = self.transports.by_mid_mut(mid) {
            let demuxer = transport.rtp_mut().demuxer_mut();
            // What stays keeps what was learned of it.
            remove_sinks(demuxer, before.iter().filter(|sink| !sinks.contains(sink)));
            let added: Sinks = sinks.iter().filter(|sink| !before.contains(sink)).cloned().collect();
            if let Err(error) = add_sinks(demuxer, &added) {
                remove_sinks(demuxer, added.iter());
                for sink in before.iter().filter(|sink| !sinks.contains(sink)) {
                    let _ = add_sinks(demuxer, std::slice::from_ref(sink));
                }
                return Err(error);
            }
        }
        self.sinks.insert(mid.to_owned(), sinks);
        Ok(())
    }

    /// The sinks of m-sections that changed their transport go with them.
    pub(super) fn move_sinks(&mut self, changed: &[String]) {
        for mid in changed {
            let Some(sinks) = self.sinks.get(mid) else { continue };
            for (_, transport) in self.transports.iter_mut() {
                remove_sinks(transport.rtp_mut().demuxer_mut(), sinks.iter());
            }
        }
        for mid in changed {
            let Some(sinks) = self.sinks.get(mid) else { continue };
            let Some(transport) = self.transports.by_mid_mut(mid) else { continue };
            if let Err(error) = add_sinks(transport.rtp_mut().demuxer_mut(), sinks) {
                tracing::warn!(target: "peerstack::jsep", mid, %error, "RTP of the m-section is not delivered");
            }
        }
    }

    /// Header extensions of what is received are those of our description, in which the ids were accepted;
    /// those that are encrypted (RFC 6904) enter with the next keys (D22).
    pub(super) fn update_header_extensions(&mut self) {
        for id in self.transport_ids() {
            let receive = self.extensions_of(id, self.local_description());
            let send = self.extensions_of(id, self.remote_description());
            let Some(transport) = self.transports.get_mut(id) else { continue };
            let rtp = transport.rtp_mut();
            rtp.set_encrypted_header_extension_ids(&send.encrypted_ids(), &receive.encrypted_ids());
            if *rtp.extensions() != receive {
                rtp.set_extensions(receive);
            }
        }
    }

    fn extensions_of(
        &self,
        id: TransportId,
        description: Option<&SessionDescription>,
    ) -> RtpHeaderExtensionMap {
        let mut map = RtpHeaderExtensionMap::default();
        let contents = description.map(|description| description.contents.as_slice()).unwrap_or_default();
        let users = contents
            .iter()
            .filter(|content| !content.rejected && self.transports.id_of(&content.mid) == Some(id));
        for extension in
            users.filter_map(|content| content.description.as_rtp()).flat_map(|rtp| &rtp.header_extensions)
        {
            if let Err(error) = map.register(extension.id, &extension.uri, extension.encrypt) {
                tracing::debug!(target: "peerstack::jsep", %error, "header extension ignored");
            }
        }
        map
    }

    /// The SCTP transport of the data channels, once a description asked for it or
    /// [`sctp_or_create`](Self::sctp_or_create) made it. Its events are drained by the caller; after a turn that
    /// used it, call [`process`](Self::process).
    pub fn sctp_mut(&mut self) -> Option<&mut SctpTransport> {
        let attached = self.transports.iter_mut().find_map(|(_, transport)| transport.sctp_slot().as_mut());
        let detached = self.detached_sctp.as_mut();
        let mut closing = self.closing.iter_mut().filter_map(|transport| transport.sctp_slot().as_mut());
        let sctp = attached.or(detached).or_else(|| closing.next());
        sctp.map(|sctp| &mut sctp.transport)
    }

    /// The SCTP transport, made if there is none: data channels may be created before anything is negotiated.
    /// `None` when the controller is closed.
    pub fn sctp_or_create(&mut self) -> Option<&mut SctpTransport> {
        if self.closed {
            return None;
        }
        if self.sctp_mut().is_none() {
            self.detached_sctp = Some(self.new_sctp());
        }
        self.sctp_mut()
    }

    /// Lets the data channels write out what is due, as [`process`](Self::process) does at its end.
    pub fn flush_sctp(&mut self, now: Instant) {
        for (_, transport) in self.transports.iter_mut() {
            transport.flush(now, false);
        }
    }

    fn new_sctp(&self) -> StartedSctp {
        StartedSctp::new(SctpTransport::new(&self.scope, self.config.sctp.clone()))
    }

    /// K13: checks what an offer says of data channels that are up: an association keeps its ports, and what could
    /// not be answered is refused before it changes anything (RFC 8841 section 9.3). A section that takes the place
    /// of one whose association ended begins anew.
    pub(super) fn check_offered_sctp(
        &self,
        local_offers: bool,
        offer: &SessionDescription,
        id_of: impl Fn(&str) -> Option<TransportId>,
    ) -> Result<(), JsepError> {
        let Some((content, said)) = data_section(offer) else { return Ok(()) };
        let Some(transport) = id_of(&content.mid).and_then(|id| self.transports.get(id)) else {
            return Ok(());
        };
        let ended = transport.sctp().is_some_and(|sctp| sctp.state() == SctpTransportState::Closed);
        let renewed = self.data_mid.as_deref() != Some(content.mid.as_str());
        let Some((local, remote)) = transport.sctp_ports().filter(|_| !(ended && renewed)) else {
            return Ok(());
        };
        let (side, before) = if local_offers { ("our", local) } else { ("the peer's", remote) };
        // What uses one transport says one thing of it, be it in the tag of a group alone (RFC 9143 section 9.3).
        let id = id_of(&content.mid);
        let sharing = offer.contents.iter().filter(|other| !other.rejected && id_of(&other.mid) == id);
        let mut told =
            sharing.map(|content| &content.transport.fingerprints).filter(|told| !told.is_empty()).peekable();
        // All that say something agree: which of them the answer's tag is, is not known yet.
        let restarts = !local_offers
            && told.peek().is_some()
            && told.all(|fingerprints| transport.announces_dtls_restart(fingerprints));
        if said.sctp_port == before || restarts {
            return Ok(());
        }
        let now = said.sctp_port;
        let problem = format!("{side} SCTP port changes from {before} to {now} while the association stands");
        Err(JsepError::Sctp { mid: content.mid.clone(), problem })
    }

    /// Checks what an answer says of data channels; `None` if it has none.
    pub(super) fn plan_sctp(
        &self,
        local_answers: bool,
        answer: &SessionDescription,
        id_of: impl Fn(&str) -> Option<TransportId>,
        restarts_dtls: impl Fn(TransportId) -> bool,
    ) -> Result<Option<SctpStart>, JsepError> {
        let offer = if local_answers { self.remote_description() } else { self.local_description() };
        let Some((answered, said)) = data_section(answer) else { return Ok(None) };
        let refuse =
            |problem: &str| Err(JsepError::Sctp { mid: answered.mid.clone(), problem: problem.to_owned() });
        let offered =
            offer.and_then(|offer| offer.content(&answered.mid)).filter(|content| !content.rejected);
        let Some(offered) = offered.and_then(|content| content.description.as_sctp()) else {
            return refuse("they were not offered");
        };
        let (local, remote) = if local_answers { (said, offered) } else { (offered, said) };
        let ports = (local.sctp_port, remote.sctp_port);
        if ports.0 == 0 || ports.1 == 0 {
            return refuse("an SCTP port is 0");
        }
        let id = id_of(&answered.mid);
        let before = id.and_then(|id| self.transports.get(id)).and_then(JsepTransport::sctp_ports);
        if before.is_some_and(|before| before != ports) && !id.is_some_and(restarts_dtls) {
            return refuse("the SCTP ports change while the association stands");
        }
        let limit = remote.effective_max_message_size().unwrap_or(0);
        Ok(Some(SctpStart {
            mid: answered.mid.clone(),
            ports,
            remote_max_message_size: u32::try_from(limit).unwrap_or(u32::MAX),
        }))
    }

    /// Puts the SCTP transport where the data channels' m-section is, and starts it once both sides agreed.
    pub(super) fn apply_sctp(
        &mut self,
        now: Instant,
        is_answer: bool,
        description: &SessionDescription,
        start: Option<SctpStart>,
    ) {
        let Some(mid) = data_mid(description) else {
            let was_there = self.data_mid.as_ref().and_then(|mid| description.content(mid));
            if is_answer && was_there.is_some_and(|content| content.kind == MediaKind::Application) {
                self.data_mid = None;
                // Rejected: the channels end, and their owner is told by their events.
                self.close_sctp(now);
            }
            return;
        };
        self.attach_sctp(&mid);
        self.data_mid = Some(mid);
        let Some(start) = start else { return };
        let role = match self.ice_role {
            IceRole::Controlling => DtlsRole::Client,
            IceRole::Controlled => DtlsRole::Server,
        };
        let Some(transport) = self.transports.by_mid_mut(&start.mid) else { return };
        let role = transport.dtls_role().unwrap_or(role);
        let Some(sctp) = transport.sctp_slot() else { return };
        sctp.remote_max_message_size = start.remote_max_message_size;
        if std::mem::take(&mut sctp.dtls_restarts) && sctp.ports.is_some() {
            let ended = sctp.transport.state() == SctpTransportState::Closed;
            if ended || sctp.ports != Some(start.ports) {
                sctp.transport.replace(now);
                (sctp.ports, sctp.renew) = (Some(start.ports), true);
                return;
            }
            sctp.transport.transport_restarted(now, role);
        }
        let (local, remote) = start.ports;
        match sctp.transport.start(now, local, remote, start.remote_max_message_size, role) {
            Ok(()) => sctp.ports = Some(start.ports),
            Err(error) => tracing::warn!(target: "peerstack::jsep", %error, "SCTP does not start"),
        }
    }

    /// Whether an association ended whose place another one takes: channels that are made meanwhile wait for that.
    pub fn sctp_is_replaced(&self) -> bool {
        let mut slots = self.transports.iter().filter_map(|(_, transport)| transport.started_sctp());
        slots.any(|sctp| sctp.renew)
    }

    /// Puts new associations in the place of those that ended, once all was read that their channels were told.
    pub(super) fn renew_sctp(&mut self, now: Instant) {
        for id in self.transport_ids() {
            let fresh = self.new_sctp();
            let Some(transport) = self.transports.get_mut(id) else { continue };
            let role = transport.dtls_role();
            let Some(sctp) = transport.sctp_slot().as_mut().filter(|sctp| sctp.renew) else { continue };
            let (Some(role), Some(ports)) = (role, sctp.ports) else { continue };
            if sctp.transport.has_events() {
                continue;
            }
            let before = std::mem::replace(sctp, fresh);
            sctp.remote_max_message_size = before.remote_max_message_size;
            match sctp.transport.start(now, ports.0, ports.1, before.remote_max_message_size, role) {
                Ok(()) => sctp.ports = Some(ports),
                Err(error) => tracing::warn!(target: "peerstack::jsep", %error, "SCTP does not start"),
            }
            let state = sctp.transport.state();
            self.events.emit(JsepTransportControllerEvent::SctpStateChange { transport: id, state });
        }
    }

    /// SCTP transports that did not start yet outlive the transports they were beside: their channels belong to
    /// the application.
    pub(super) fn detach_sctp_of(&mut self, transport: &mut JsepTransport<F::Dtls>) {
        let started = transport.sctp_slot().as_ref().is_none_or(|sctp| sctp.ports.is_some());
        if !started && self.detached_sctp.is_none() {
            self.detached_sctp = transport.sctp_slot().take();
        }
    }

    fn attach_sctp(&mut self, mid: &str) {
        let Some(target) = self.transports.id_of(mid) else { return };
        let renewed = self.data_mid.as_deref() != Some(mid);
        let mut found = self.detached_sctp.take();
        for (id, transport) in self.transports.iter_mut() {
            let stays = transport.sctp_slot().as_ref().is_some_and(|sctp| {
                // A transport that carried an association keeps it; one that closed ends with its m-section.
                (id == target || sctp.ports.is_some())
                    && !(renewed && sctp.transport.state() == SctpTransportState::Closed)
            });
            if !stays {
                found = transport.sctp_slot().take().or(found);
            }
        }
        let found = found.filter(|sctp| sctp.transport.state() != SctpTransportState::Closed);
        let fresh = self.new_sctp();
        if let Some(transport) = self.transports.get_mut(target)
            && transport.sctp_slot().is_none()
        {
            *transport.sctp_slot() = Some(found.unwrap_or(fresh));
        } else {
            self.detached_sctp = found;
        }
    }

    fn close_sctp(&mut self, now: Instant) {
        for (_, transport) in self.transports.iter_mut() {
            if let Some(sctp) = transport.sctp_mut() {
                sctp.close(now);
            }
            transport.flush(now, true);
        }
    }
}

/// The mid of the data channels' m-section, unless it is rejected.
pub(super) fn data_mid(description: &SessionDescription) -> Option<String> {
    data_section(description).map(|(content, _)| content.mid.clone())
}

/// The data channels' m-section, unless it is rejected.
fn data_section(description: &SessionDescription) -> Option<(&ContentInfo, &SctpDataContentDescription)> {
    description
        .contents
        .iter()
        .filter(|content| !content.rejected && content.kind == MediaKind::Application)
        .find_map(|content| Some((content, content.description.as_sctp()?)))
}

fn add_sinks(
    demuxer: &mut RtpDemuxer<SinkId>,
    sinks: &[(SinkId, RtpDemuxerCriteria)],
) -> Result<(), DemuxerError> {
    sinks.iter().try_for_each(|(sink, criteria)| demuxer.add_sink(criteria, *sink))
}

fn remove_sinks<'s>(
    demuxer: &mut RtpDemuxer<SinkId>,
    sinks: impl Iterator<Item = &'s (SinkId, RtpDemuxerCriteria)>,
) {
    for (sink, _) in sinks {
        demuxer.remove_sink(*sink);
    }
}
