//! The controller over fakes of DTLS and ICE: what libwebrtc's `pc/jsep_transport_controller_unittest.cc`,
//! `pc/jsep_transport_unittest.cc` and `pc/peer_connection_bundle_unittest.cc` pin down.

mod aggregates;
mod bundle;
mod ice;
mod media;
mod negotiation;
mod rollback;
mod rtcp_mux;

use std::time::Instant;

use peerstack_base::{EventReceiver, Random};
use peerstack_dtls::{DtlsFingerprint, DtlsTransportInternal, FakeDtlsTransport};
use peerstack_p2p::{
    Candidate, CandidateAddress, CandidateType, ConnectionRole, FakeIceTransport, IceParameters, IceProtocol,
};

use super::*;
use crate::{
    ContentGroup, ContentInfo, IceComponent, MediaContentDescription, MediaKind, PROTOCOL_RTP, PROTOCOL_SCTP,
    RtpMediaContentDescription, SctpDataContentDescription, SdpType, TransportDescription,
};

#[expect(clippy::disallowed_methods, reason = "the one instant all others are reckoned from")]
fn start() -> Instant {
    Instant::now()
}

fn fingerprint(byte: u8) -> DtlsFingerprint {
    DtlsFingerprint { algorithm: "sha-256".to_owned(), value: vec![byte; 32] }
}

/// Our certificate's fingerprint in all tests; the peer's is `fingerprint(2)`.
const OURS: u8 = 1;
const PEERS: u8 = 2;

#[derive(Debug)]
struct FakeFactory {
    /// Names of the transports it made, in order.
    made: Vec<String>,
    dtls: bool,
}

impl JsepTransportFactory for FakeFactory {
    type Dtls = FakeDtlsTransport;

    fn create_dtls_transport(&mut self, _now: Instant, options: &CreateTransport<'_>) -> FakeDtlsTransport {
        let name = match options.component {
            1 => options.name.to_owned(),
            component => format!("{}/{component}", options.name),
        };
        self.made.push(name.clone());
        FakeDtlsTransport::new(&name)
    }

    fn local_fingerprints(&self) -> Vec<DtlsFingerprint> {
        if self.dtls { vec![fingerprint(OURS)] } else { Vec::new() }
    }
}

/// A controller with its events.
#[derive(Debug)]
struct Test {
    controller: JsepTransportController<FakeFactory>,
    events: EventReceiver<JsepTransportControllerEvent>,
    now: Instant,
}

impl Test {
    fn new(bundle_policy: BundlePolicy) -> Self {
        Self::with_config(&JsepTransportControllerConfig::with_bundle_policy(bundle_policy), true)
    }

    fn with_config(config: &JsepTransportControllerConfig, dtls: bool) -> Self {
        let factory = FakeFactory { made: Vec::new(), dtls };
        let mut controller = JsepTransportController::new(factory, config, Random::from_seed(7), "test");
        let events = controller.subscribe();
        Self { controller, events, now: start() }
    }

    /// An offer of ours with these sections and groups.
    fn offer(&mut self, layout: &str, groups: &[&str]) -> SessionDescription {
        let transports = self.controller.transports_for_offer(&mids(layout), false).unwrap();
        describe(layout, groups, |mid| transports[mid].clone())
    }

    /// An answer of ours.
    fn answer(&mut self, layout: &str, groups: &[&str]) -> SessionDescription {
        let alive: Vec<String> =
            mids(layout).into_iter().filter(|mid| self.controller.transport(mid).is_some()).collect();
        let transports = self.controller.transports_for_answer(&alive).unwrap();
        describe(layout, groups, |mid| transports.get(mid).cloned().unwrap_or_default())
    }

    fn set_local(&mut self, sdp_type: SdpType, description: &SessionDescription) -> Result<(), JsepError> {
        self.controller.set_local_description(self.now, sdp_type, description)
    }

    fn set_remote(&mut self, sdp_type: SdpType, description: &SessionDescription) -> Result<(), JsepError> {
        self.controller.set_remote_description(self.now, sdp_type, description)
    }

    /// We offer, the peer answers.
    fn exchange(&mut self, layout: &str, groups: &[&str], answer: (&str, &[&str])) {
        let offer = self.offer(layout, groups);
        self.set_local(SdpType::Offer, &offer).unwrap();
        self.set_remote(SdpType::Answer, &peer(answer.0, answer.1, ConnectionRole::Active)).unwrap();
    }

    fn process(&mut self) {
        self.controller.process(self.now);
    }

    fn dtls(&mut self, mid: &str) -> &mut FakeDtlsTransport {
        self.controller.transport_mut(mid).unwrap().dtls_mut()
    }

    fn ice(&mut self, mid: &str) -> &mut FakeIceTransport {
        self.dtls(mid).ice_mut()
    }

    fn events(&mut self) -> Vec<JsepTransportControllerEvent> {
        std::iter::from_fn(|| self.events.try_next()).collect()
    }

    /// Which sections share transports: `"0 1|2"`.
    fn map(&self) -> String {
        let groups: Vec<String> = self
            .controller
            .transports()
            .map(|(id, _)| self.controller.mids_of(id).collect::<Vec<_>>().join(" "))
            .collect();
        groups.join("|")
    }

    /// All that a refused description must leave as it was.
    fn snapshot(&mut self) -> String {
        let ids: Vec<TransportId> = self.controller.transports.iter().map(|(id, _)| id).collect();
        let mut text = format!(
            "{} {:?} {:?} {:?}",
            self.map(),
            self.controller.ice_role(),
            self.controller.local_description(),
            self.controller.remote_description()
        );
        for id in ids {
            let transport = self.controller.transports.get_mut(id).unwrap();
            text += &format!("{id} {:?} {:?}", transport.local_description(), transport.remote_description());
            text += &format!(" {:?}", transport.dtls().remote_fingerprints());
            let ice = transport.ice_mut();
            text += &format!(" {:?} {:?}", ice.ice_parameters, ice.remote_ice_parameters);
        }
        text
    }
}

fn mids(layout: &str) -> Vec<String> {
    layout.split_whitespace().filter_map(|word| word.split(':').next()).map(str::to_owned).collect()
}

/// `"0:a 1:v 2:d 3:ax 4:vb"`: mid, audio or video or data, `x` rejected, `b` bundle-only.
fn describe(
    layout: &str,
    groups: &[&str],
    transport: impl Fn(&str) -> TransportDescription,
) -> SessionDescription {
    let contents = layout.split_whitespace().map(|word| {
        let (mid, what) = word.split_once(':').unwrap();
        let (kind, protocol, description) = match what.as_bytes()[0] {
            b'd' => (
                MediaKind::Application,
                PROTOCOL_SCTP,
                MediaContentDescription::Sctp(SctpDataContentDescription::default()),
            ),
            letter => {
                let rtp = RtpMediaContentDescription { rtcp_mux: true, ..Default::default() };
                let kind = if letter == b'a' { MediaKind::Audio } else { MediaKind::Video };
                (kind, PROTOCOL_RTP, MediaContentDescription::Rtp(rtp))
            }
        };
        ContentInfo {
            mid: mid.to_owned(),
            kind,
            protocol: protocol.to_owned(),
            rejected: what.ends_with('x'),
            bundle_only: what.ends_with('b'),
            connection_address: None,
            transport: transport(mid),
            description,
        }
    });
    let group = |mids: &&str| ContentGroup::bundle(mids.split_whitespace().map(str::to_owned).collect());
    SessionDescription {
        contents: contents.collect(),
        bundle_groups: groups.iter().map(group).collect(),
        ..SessionDescription::default()
    }
}

/// What the peer says of a transport.
fn peer_transport(mid: &str, setup: ConnectionRole) -> TransportDescription {
    TransportDescription {
        ice: Some(IceParameters {
            ufrag: format!("peer{mid}"),
            pwd: format!("password0123456789abcdef{mid}"),
            renomination: false,
        }),
        ice_options: vec!["trickle".to_owned()],
        fingerprints: vec![fingerprint(PEERS)],
        setup: Some(setup),
        ..TransportDescription::default()
    }
}

/// A description of the peer.
fn peer(layout: &str, groups: &[&str], setup: ConnectionRole) -> SessionDescription {
    describe(layout, groups, |mid| peer_transport(mid, setup))
}

fn peer_offer(layout: &str, groups: &[&str]) -> SessionDescription {
    peer(layout, groups, ConnectionRole::Actpass)
}

fn candidate(port: u16) -> Candidate {
    Candidate {
        foundation: "1".to_owned(),
        component: 1,
        protocol: IceProtocol::Udp,
        priority: 2_122_260_223,
        address: CandidateAddress::Ip(([192, 0, 2, 1], port).into()),
        candidate_type: CandidateType::Host,
        related_address: None,
        tcp_type: None,
        username_fragment: String::new(),
        generation: 0,
        network_id: 1,
        network_cost: 0,
        adapter_type: Default::default(),
        url: None,
        relay_protocol: None,
        resolved_from: None,
    }
}

/// A peer's description in which something of one section is different.
fn with(
    mut description: SessionDescription,
    mid: &str,
    change: impl FnOnce(&mut ContentInfo),
) -> SessionDescription {
    change(description.content_mut(mid).unwrap());
    description
}
