//! The aggregate states as events: each change once and in order. The tables are beside the functions.

use peerstack_dtls::{DtlsEngineError, DtlsTransportEvent, DtlsTransportState};
use peerstack_p2p::{IceGatheringState as TransportGatheringState, IceTransportEvent, IceTransportState};

use super::*;

use JsepTransportControllerEvent as Event;

/// Events of one aggregate kind as words; events of single transports are left out.
fn states(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::IceConnectionState(state) => Some(format!("ice {state}")),
            Event::PeerConnectionState(state) => Some(format!("connection {state}")),
            Event::IceGatheringState(state) => Some(format!("gathering {state}")),
            Event::LegacyIceConnectionState(state) => Some(format!("legacy {state}")),
            _ => None,
        })
        .collect()
}

impl Test {
    fn turn(&mut self) -> Vec<String> {
        self.process();
        states(&self.events())
    }

    fn two_transports() -> Self {
        let mut test = Self::new(BundlePolicy::Balanced);
        test.exchange("0:a 1:v", &[], ("0:a 1:v", &[]));
        assert_eq!(test.turn(), [""; 0]);
        test
    }
}

/// J06: from new to completed over two transports.
#[test]
fn states_rise_with_all_transports() {
    let mut test = Test::two_transports();
    test.ice("0").set_state(IceTransportState::Checking);
    assert_eq!(test.turn(), ["ice checking", "connection connecting"]);
    test.ice("1").set_state(IceTransportState::Checking);
    assert_eq!(test.turn(), [""; 0]);
    for mid in ["0", "1"] {
        test.ice(mid).set_state(IceTransportState::Connected);
    }
    assert_eq!(test.turn(), ["ice connected"]);
    for mid in ["0", "1"] {
        test.dtls(mid).set_state(DtlsTransportState::Connecting);
    }
    assert_eq!(test.turn(), [""; 0]);
    test.dtls("0").set_state(DtlsTransportState::Connected);
    test.dtls("0").set_writable(true);
    assert_eq!(test.turn(), [""; 0]);
    test.dtls("1").set_state(DtlsTransportState::Connected);
    test.dtls("1").set_writable(true);
    assert_eq!(test.turn(), ["legacy connected", "connection connected"]);
    for mid in ["0", "1"] {
        test.ice(mid).set_state(IceTransportState::Completed);
        test.ice(mid).set_gathering_state(TransportGatheringState::Complete);
    }
    assert_eq!(test.turn(), ["legacy completed", "ice completed", "gathering complete"]);
    assert_eq!(test.controller.ice_connection_state(), IceConnectionState::Completed);
    assert_eq!(test.controller.peer_connection_state(), PeerConnectionState::Connected);
    assert_eq!(test.controller.ice_gathering_state(), IceGatheringState::Complete);
    assert_eq!(test.controller.legacy_ice_connection_state(), LegacyIceConnectionState::Completed);
}

/// J06: one is enough to fail, and to be disconnected; both recover.
#[test]
fn one_transport_is_enough_to_fail() {
    let mut test = Test::two_transports();
    for mid in ["0", "1"] {
        test.ice(mid).set_state(IceTransportState::Connected);
        test.dtls(mid).set_state(DtlsTransportState::Connected);
        test.dtls(mid).set_writable(true);
    }
    test.turn();
    test.ice("1").set_state(IceTransportState::Disconnected);
    assert_eq!(test.turn(), ["ice disconnected", "connection disconnected"]);
    test.ice("1").set_state(IceTransportState::Connected);
    assert_eq!(test.turn(), ["ice connected", "connection connected"]);
    test.ice("0").set_state(IceTransportState::Failed);
    assert_eq!(test.turn(), ["legacy failed", "ice failed", "connection failed"]);
    // After an ICE restart.
    test.ice("0").set_state(IceTransportState::Checking);
    assert_eq!(test.turn(), ["legacy connected", "ice checking", "connection connecting"]);
    test.ice("0").set_state(IceTransportState::Connected);
    assert_eq!(test.turn(), ["ice connected", "connection connected"]);
    test.dtls("0").set_state(DtlsTransportState::Failed);
    assert_eq!(test.turn(), ["connection failed"]);
}

/// The original's "completed" is for the controlling side, with gathering complete.
#[test]
fn the_legacy_state_completes_on_the_controlling_side_only() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.set_remote(SdpType::Offer, &peer_offer("0:a", &[])).unwrap();
    let answer = test.answer("0:a", &[]);
    test.set_local(SdpType::Answer, &answer).unwrap();
    test.ice("0").set_state(IceTransportState::Completed);
    test.ice("0").set_gathering_state(TransportGatheringState::Complete);
    test.dtls("0").set_writable(true);
    test.turn();
    assert_eq!(test.controller.legacy_ice_connection_state(), LegacyIceConnectionState::Connected);
    test.ice("0").emit(IceTransportEvent::RoleConflict);
    assert_eq!(test.turn(), ["legacy completed"]);
}

/// libwebrtc never skips "connected" between "checking" and "completed".
#[test]
fn connected_is_not_skipped() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    test.ice("0").set_state(IceTransportState::Checking);
    test.turn();
    test.ice("0").set_state(IceTransportState::Completed);
    assert_eq!(test.turn(), ["ice connected", "ice completed"]);
}

/// J07: gathering as soon as one gathers, complete when all are done; again with each new transport.
#[test]
fn gathering_follows_all_transports() {
    let mut test = Test::two_transports();
    test.ice("0").set_gathering_state(TransportGatheringState::Gathering);
    assert_eq!(test.turn(), ["gathering gathering"]);
    test.ice("1").set_gathering_state(TransportGatheringState::Gathering);
    test.ice("0").set_gathering_state(TransportGatheringState::Complete);
    assert_eq!(test.turn(), [""; 0]);
    test.ice("1").set_gathering_state(TransportGatheringState::Complete);
    assert_eq!(test.turn(), ["gathering complete"]);
    let offer = test.offer("0:a 1:v 2:v", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.controller.maybe_start_gathering(test.now);
    assert_eq!(test.turn(), ["gathering gathering"]);
}

/// J06: removing the last incomplete transport moves the aggregates.
#[test]
fn removing_the_last_incomplete_transport_moves_the_aggregates() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.ice("0").set_state(IceTransportState::Connected);
    test.ice("0").set_gathering_state(TransportGatheringState::Complete);
    test.ice("1").set_state(IceTransportState::Checking);
    test.ice("1").set_gathering_state(TransportGatheringState::Gathering);
    test.dtls("0").set_state(DtlsTransportState::Connected);
    test.dtls("0").set_writable(true);
    assert_eq!(test.turn(), ["gathering gathering", "ice checking", "connection connecting"]);
    test.set_remote(SdpType::Answer, &peer("0:a 1:v", &["0 1"], ConnectionRole::Active)).unwrap();
    let expected = ["legacy connected", "ice connected", "connection connected", "gathering complete"];
    assert_eq!(test.turn(), expected);
}

/// J06: discarding all transports leads to new, a rollback restores what was.
#[test]
fn discarding_all_leads_to_new_and_rollback_restores() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    test.ice("0").set_state(IceTransportState::Connected);
    test.dtls("0").set_state(DtlsTransportState::Connected);
    test.dtls("0").set_writable(true);
    test.ice("0").set_gathering_state(TransportGatheringState::Complete);
    let up = ["legacy connected", "ice connected", "connection connected", "gathering complete"];
    assert_eq!(test.turn(), up);
    let offer = test.offer("0:ax", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    assert_eq!(test.turn(), ["legacy connecting", "ice new", "connection new", "gathering new"]);
    test.controller.rollback_transports(test.now).unwrap();
    assert_eq!(test.turn(), up);
}

/// J06: a connection's life as (from, what ICE and DTLS become, to): each change told once, "connected" before
/// "completed", and nothing after close.
#[test]
fn transitions_of_the_aggregates() {
    use DtlsTransportState as Dtls;
    use IceConnectionState as Ice;
    use IceTransportState as Lower;
    use PeerConnectionState as Connection;
    let table = [
        ((Ice::New, Connection::New), (Lower::New, Dtls::New), (Ice::New, Connection::New)),
        ((Ice::New, Connection::New), (Lower::Checking, Dtls::New), (Ice::Checking, Connection::Connecting)),
        (
            (Ice::Checking, Connection::Connecting),
            (Lower::Connected, Dtls::Connecting),
            (Ice::Connected, Connection::Connecting),
        ),
        (
            (Ice::Connected, Connection::Connecting),
            (Lower::Connected, Dtls::Connected),
            (Ice::Connected, Connection::Connected),
        ),
        (
            (Ice::Connected, Connection::Connected),
            (Lower::Completed, Dtls::Connected),
            (Ice::Completed, Connection::Connected),
        ),
        (
            (Ice::Completed, Connection::Connected),
            (Lower::Disconnected, Dtls::Connected),
            (Ice::Disconnected, Connection::Disconnected),
        ),
        (
            (Ice::Disconnected, Connection::Disconnected),
            (Lower::Connected, Dtls::Connected),
            (Ice::Connected, Connection::Connected),
        ),
        (
            (Ice::Connected, Connection::Connected),
            (Lower::Disconnected, Dtls::Connected),
            (Ice::Disconnected, Connection::Disconnected),
        ),
        (
            (Ice::Disconnected, Connection::Disconnected),
            (Lower::Failed, Dtls::Connected),
            (Ice::Failed, Connection::Failed),
        ),
        // An ICE restart.
        (
            (Ice::Failed, Connection::Failed),
            (Lower::Checking, Dtls::Connected),
            (Ice::Checking, Connection::Connecting),
        ),
        (
            (Ice::Checking, Connection::Connecting),
            (Lower::Completed, Dtls::Connected),
            (Ice::Completed, Connection::Connected),
        ),
        (
            (Ice::Completed, Connection::Connected),
            (Lower::Completed, Dtls::Closed),
            (Ice::Completed, Connection::Connected),
        ),
        (
            (Ice::Completed, Connection::Connected),
            (Lower::Completed, Dtls::Failed),
            (Ice::Completed, Connection::Failed),
        ),
        // A new certificate.
        (
            (Ice::Completed, Connection::Failed),
            (Lower::Completed, Dtls::Connecting),
            (Ice::Completed, Connection::Connecting),
        ),
        (
            (Ice::Completed, Connection::Connecting),
            (Lower::Failed, Dtls::Connecting),
            (Ice::Failed, Connection::Failed),
        ),
    ];
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    test.turn();
    for (from, (ice, dtls), to) in table {
        let now = (test.controller.ice_connection_state(), test.controller.peer_connection_state());
        assert_eq!(now, from);
        test.ice("0").set_state(ice);
        test.dtls("0").set_state(dtls);
        let told: Vec<_> = test.turn().into_iter().filter(|line| !line.starts_with("legacy")).collect();
        let mut expected = Vec::new();
        if from.0 != to.0 {
            if (from.0, to.0) == (Ice::Checking, Ice::Completed) {
                expected.push("ice connected".to_owned());
            }
            expected.push(format!("ice {}", to.0));
        }
        if from.1 != to.1 {
            expected.push(format!("connection {}", to.1));
        }
        assert_eq!(told, expected, "{from:?}, ICE {ice:?}, DTLS {dtls:?}");
        let now = (test.controller.ice_connection_state(), test.controller.peer_connection_state());
        assert_eq!(now, to);
        assert_eq!(test.turn(), [""; 0], "told once");
    }
    test.controller.close(test.now);
    assert_eq!(test.turn(), [""; 0]);
    assert_eq!(test.controller.ice_connection_state(), Ice::Closed);
    assert_eq!(test.controller.peer_connection_state(), Connection::Closed);
}

/// "gathering" is told before the first candidate, and not skipped where all candidates come at once.
#[test]
fn gathering_is_not_skipped() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    test.events();
    for _ in 0..2 {
        test.ice("0").set_gathering_state(TransportGatheringState::Gathering);
        test.ice("0").set_gathering_state(TransportGatheringState::Complete);
        assert_eq!(test.turn(), ["gathering gathering", "gathering complete"]);
        // The getter stays the truth.
        assert_eq!(test.controller.ice_gathering_state(), IceGatheringState::Complete);
    }
}

/// States of single transports are told with the mid that speaks for them, before what the aggregates are after all
/// of it.
#[test]
fn single_transports_tell_their_states() {
    let mut test = Test::new(BundlePolicy::MaxBundle);
    test.exchange("0:a 1:v", &["1 0"], ("0:a 1:v", &["1 0"]));
    test.events();
    let id = test.controller.transport_id("0").unwrap();
    test.ice("0").set_state(IceTransportState::Checking);
    test.ice("0").set_gathering_state(TransportGatheringState::Gathering);
    test.dtls("0").set_state(DtlsTransportState::Connecting);
    test.dtls("0").emit(DtlsTransportEvent::HandshakeError(DtlsEngineError::Fingerprint));
    test.process();
    let mid = || "1".to_owned();
    assert_eq!(
        test.events(),
        [
            Event::IceTransportStateChange {
                mid: mid(),
                transport: id,
                component: IceComponent::Rtp,
                state: IceTransportState::Checking
            },
            Event::IceTransportGatheringState {
                mid: mid(),
                mline_index: Some(1),
                transport: id,
                component: IceComponent::Rtp,
                state: TransportGatheringState::Gathering
            },
            Event::IceGatheringState(IceGatheringState::Gathering),
            Event::DtlsStateChange {
                mid: mid(),
                transport: id,
                component: IceComponent::Rtp,
                state: DtlsTransportState::Connecting
            },
            Event::DtlsHandshakeError {
                mid: mid(),
                transport: id,
                component: IceComponent::Rtp,
                error: DtlsEngineError::Fingerprint
            },
            Event::IceConnectionState(IceConnectionState::Checking),
            Event::PeerConnectionState(PeerConnectionState::Connecting),
        ]
    );
}

/// J15: what an answer leaves unused, but a rollback may need, tells its states without a say in the aggregates and
/// without candidates to signal.
#[test]
fn what_is_kept_for_a_rollback_tells_its_states() {
    let mut test = Test::new(BundlePolicy::MaxCompat);
    let offer = test.offer("0:a 1:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let unused = test.controller.transport_id("1").unwrap();
    test.set_remote(SdpType::Pranswer, &peer("0:a 1:v", &["0 1"], ConnectionRole::Active)).unwrap();
    assert_eq!(test.map(), "0 1");
    assert_eq!(test.controller.kept_transports().count(), 2);
    test.process();
    test.events();
    let kept = test.controller.transports.get_mut(unused).unwrap();
    kept.ice_mut().set_state(IceTransportState::Checking);
    kept.ice_mut().set_gathering_state(TransportGatheringState::Gathering);
    kept.ice_mut().emit(IceTransportEvent::CandidateGathered(candidate(2)));
    test.process();
    let mid = || "1".to_owned();
    assert_eq!(
        test.events(),
        [
            Event::IceTransportStateChange {
                mid: mid(),
                transport: unused,
                component: IceComponent::Rtp,
                state: IceTransportState::Checking
            },
            Event::IceTransportGatheringState {
                mid: mid(),
                mline_index: None,
                transport: unused,
                component: IceComponent::Rtp,
                state: TransportGatheringState::Gathering
            },
        ]
    );
    assert_eq!(test.controller.ice_connection_state(), IceConnectionState::New);
}
