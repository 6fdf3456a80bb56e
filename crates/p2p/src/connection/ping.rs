//! Connectivity checks of a connection: building, sending, and what their responses mean (RFC 8445 sections
//! 7.2.2 and 7.2.5). Answers to `BuildPingRequest` and `OnConnectionRequest*` of libwebrtc's
//! `p2p/base/connection.cc`; runs on the network task.

use std::net::SocketAddr;
use std::time::Instant;

use peerstack_base::{EventSource, Random, TransmitQueue};
use peerstack_stun::{
    AttributeType, Class, GoogNetworkInfo, Message, MessageBuilder, Method, ResponseResult, StunRequest,
    TransactionId, error_code, short_term_key,
};

use super::{Connection, ConnectionEvent};
use crate::candidate::type_preference;
use crate::p2p_constants::CONNECTION_RESPONSE_TIMEOUT;
use crate::{CandidateType, IceConfig, IceRole};

/// What a check says besides what its connection knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PingOptions {
    pub(crate) role: IceRole,
    pub(crate) tiebreaker: u64,
    pub(crate) use_candidate: bool,
    /// Renomination value; 0 for none.
    pub(crate) nomination: u32,
}

/// What is remembered of a check until its response.
#[derive(Debug, Clone)]
pub(crate) struct PingContext {
    pub(crate) nomination: u32,
    role: IceRole,
    pub(crate) priority: u32,
    /// What it said; `None` for a GOOG_PING.
    contents: Option<PingContents>,
}

/// What a check says besides what no two checks have in common. Once the peer has answered one that said this, a
/// GOOG_PING stands for the next that would (libwebrtc `cached_stun_binding_`; C13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PingContents {
    username: String,
    network_info: GoogNetworkInfo,
    last_received: Option<TransactionId>,
    role: IceRole,
    tiebreaker: u64,
    use_candidate: bool,
    nomination: Option<u32>,
    priority: u32,
}

/// The version of GOOG_PING that we speak.
const GOOG_PING_VERSION: u16 = 1;

/// Whether a check, or the answer to one, says that its sender speaks GOOG_PING: the first number of its
/// GOOG-MISC-INFO (libwebrtc `kSupportGoogPingVersionRequestIndex`).
pub(crate) fn announces_goog_ping(message: &Message<'_>) -> bool {
    message.goog_misc_info().and_then(|mut numbers| numbers.next()).is_some_and(|it| it >= GOOG_PING_VERSION)
}

/// Says so in a message that is being written.
pub(crate) fn announce_goog_ping(builder: &mut MessageBuilder) {
    builder.add_goog_misc_info(&[GOOG_PING_VERSION]);
}

/// What a response was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PingOutcome {
    /// Of no check of ours, or not signed by the peer.
    Ignored,
    /// It ended a check, without success.
    Failed,
    /// Success: our address as the peer saw it, and the priority a candidate of that address has.
    Success(Option<SocketAddr>, u32),
}

impl Connection {
    /// The priority a peer-reflexive candidate learned from our check shall have: ours, with that type's
    /// preference (RFC 8445 section 7.1.1).
    fn prflx_priority(&self) -> u32 {
        let preference = type_preference(CandidateType::Prflx, self.local.protocol, None);
        (u32::from(preference) << 24) | (self.local.priority & 0x00ff_ffff)
    }

    /// Sends a check.
    pub(crate) fn ping(
        &mut self,
        now: Instant,
        options: &PingOptions,
        config: &IceConfig,
        random: &mut Random,
        transmits: &mut TransmitQueue,
    ) {
        if !self.has_remote_credentials() {
            return;
        }
        let id = TransactionId::new(random);
        let contents = self.ping_contents(options, config);
        let nomination = options.nomination.max(u32::from(options.use_candidate));
        let mut context =
            PingContext { nomination, role: options.role, priority: contents.priority, contents: None };
        let short = config.enable_goog_ping
            && self.remote_support_goog_ping == Some(true)
            && self.cached_stun_binding.as_ref() == Some(&contents);
        let key = short_term_key(&self.remote_password.0);
        let builder = if short {
            let mut builder = MessageBuilder::new(Class::Request, Method::GOOG_PING, id);
            builder.goog_integrity_32(key);
            builder
        } else {
            let asks = config.enable_goog_ping && self.remote_support_goog_ping.is_none();
            let builder = build_ping_request(&contents, id, key, asks);
            context.contents = Some(contents);
            builder
        };
        let Ok(request) = StunRequest::new(builder.finish(), context) else { return };
        let request = request
            .once(CONNECTION_RESPONSE_TIMEOUT)
            .with_key(key)
            .with_known_attributes(AttributeType::KNOWN_ICE);
        self.nomination = nomination;
        self.requests.handle_timeout(now);
        while self.requests.poll_timed_out().is_some() {}
        if self.requests.send(now, request).is_err() {
            return;
        }
        self.remember_ping(now, id);
        self.stats.request_sent();
        // Consent checks are spread over 0.8 to 1.2 of their interval (RFC 7675 section 5.1).
        self.interval_thousandths = 800 + random.below(401) as u32;
        while let Some(transmit) = self.requests.poll_transmit() {
            if self.route.push(transmits, random, transmit.message).is_err() {
                tracing::debug!(target: "peerstack::ice", "a check found no room in the transmit queue");
            }
        }
    }

    fn ping_contents(&self, options: &PingOptions, config: &IceConfig) -> PingContents {
        let nomination = Some(options.nomination).filter(|it| *it > 0 && *it != self.acked_nomination);
        let controlling = options.role == IceRole::Controlling;
        PingContents {
            username: format!("{}:{}", self.remote.username_fragment, self.local.username_fragment),
            network_info: GoogNetworkInfo {
                network_id: self.local.network_id,
                network_cost: self.local.network_cost,
            },
            last_received: self.last_ping_id_received.filter(|_| config.piggyback_ice_check_acknowledgement),
            role: options.role,
            tiebreaker: options.tiebreaker,
            use_candidate: controlling && options.use_candidate,
            nomination: nomination.filter(|_| controlling),
            priority: self.prflx_priority(),
        }
    }

    /// A response came in from the pair's remote address.
    pub(crate) fn received_response(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        role: IceRole,
        config: &IceConfig,
        events: &mut EventSource<ConnectionEvent>,
    ) -> PingOutcome {
        let Some(response) = self.requests.check_response(now, message) else { return PingOutcome::Ignored };
        match response.result {
            ResponseResult::Success => {
                let PingContext { nomination, priority, contents, .. } = response.context;
                self.stats.responses_received += 1;
                if contents.is_some() {
                    let supports = announces_goog_ping(message);
                    self.remote_support_goog_ping.get_or_insert(supports);
                    self.cached_stun_binding = contents;
                }
                self.received_ping_response(now, response.rtt, nomination, config, events);
                PingOutcome::Success(message.xor_mapped_address(), priority)
            }
            ResponseResult::Error(code) => {
                let whole = response.context.contents.is_some();
                self.received_error_response(code, response.context.role == role, whole, events);
                PingOutcome::Failed
            }
            // A comprehension-required attribute that is not understood: the check has failed, the pair stays
            // as it was (C04).
            _ => PingOutcome::Failed,
        }
    }

    fn received_error_response(
        &mut self,
        code: Option<u16>,
        same_role: bool,
        whole: bool,
        events: &mut EventSource<ConnectionEvent>,
    ) {
        // Whatever it is about: the next check is a whole one.
        self.cached_stun_binding = None;
        tracing::debug!(
            target: "peerstack::ice::connection",
            connection = self.id.0, ?code, "the peer refused a check"
        );
        match code {
            // Only if we did not switch since the check was sent (RFC 8445 section 7.2.5.1).
            Some(error_code::ROLE_CONFLICT) if same_role => {
                events.emit(ConnectionEvent::RoleConflict(self.id));
            }
            // The peer may not know this pair, or our parameters, yet: retry.
            Some(
                error_code::ROLE_CONFLICT
                | error_code::UNKNOWN_ATTRIBUTE
                | error_code::SERVER_ERROR
                | error_code::UNAUTHENTICATED,
            ) => {}
            // The peer does not know this pair any more, or another check was on its way: a whole one tells.
            _ if !whole => {}
            _ => self.fail_and_destroy(events),
        }
    }
}

/// A whole check (RFC 8445 section 7.2.2; libwebrtc `BuildPingRequest`).
fn build_ping_request(
    contents: &PingContents,
    id: TransactionId,
    key: &[u8],
    asks_for_goog_ping: bool,
) -> MessageBuilder {
    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
    builder.add_username(&contents.username).add_goog_network_info(contents.network_info);
    if asks_for_goog_ping {
        announce_goog_ping(&mut builder);
    }
    if let Some(last) = contents.last_received {
        builder.add_goog_last_ice_check_received(last);
    }
    match contents.role {
        IceRole::Controlling => {
            builder.add_ice_controlling(contents.tiebreaker);
            if contents.use_candidate {
                builder.add_use_candidate();
            }
            if let Some(nomination) = contents.nomination {
                builder.add_nomination(nomination);
            }
        }
        IceRole::Controlled => {
            builder.add_ice_controlled(contents.tiebreaker);
        }
    }
    builder.add_priority(contents.priority).integrity(key).fingerprint();
    builder
}
