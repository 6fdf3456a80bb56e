//! Offers taken back, and the end.

use peerstack_base::{IoRequest, SendError};
use peerstack_p2p::IceTransport;

use super::*;

/// J15: the transports an offer rejected are back, those it made are gone, and so are its groups.
#[test]
fn rollback_restores_transports_and_groups() {
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxBundle] {
        let mut test = Test::new(policy);
        test.exchange("0:a 1:v", &["0", "1"], ("0:a 1:v", &["0", "1"]));
        assert_eq!(test.map(), "0|1");
        let (before, transport) = (test.snapshot(), test.controller.transport_id("1"));
        test.set_remote(SdpType::Offer, &peer_offer("0:a 1:vx 2:a", &["0 2"])).unwrap();
        assert_eq!(test.map(), "0 2", "{policy:?}");
        test.events();
        test.controller.rollback_transports(test.now).unwrap();
        assert_eq!(test.snapshot(), before);
        let mut changed = test.events();
        changed.sort_by_key(|event| format!("{event:?}"));
        let change = |mid: &str, transport| JsepTransportControllerEvent::TransportChanged {
            mid: mid.to_owned(),
            transport,
        };
        assert_eq!(changed, [change("1", transport), change("2", None)]);
        // A different group can follow.
        test.set_remote(SdpType::Offer, &peer_offer("0:a 1:v 2:a", &["0", "1 2"])).unwrap();
        assert_eq!(test.map(), "0|1 2");
    }
}

/// J15: the first offer's rollback leaves nothing, and another may follow, from either side.
#[test]
fn rollback_of_the_first_offer() {
    let mut test = Test::new(BundlePolicy::MaxBundle);
    let offer = test.offer("0:a 1:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    assert_eq!(test.controller.ice_role(), IceRole::Controlling);
    test.controller.rollback_transports(test.now).unwrap();
    assert_eq!(test.map(), "");
    assert!(test.controller.local_description().is_none());
    test.set_remote(SdpType::Offer, &peer_offer("a:a b:v", &["b a"])).unwrap();
    assert_eq!((test.map().as_str(), test.controller.ice_role()), ("a b", IceRole::Controlled));
}

/// O21: a remote offer that meets ours takes that back, if it is good; otherwise nothing changes.
#[test]
fn a_remote_offer_takes_ours_back() {
    let mut test = Test::new(BundlePolicy::MaxBundle);
    test.exchange("0:a", &["0"], ("0:a", &["0"]));
    let offer = test.offer("0:a 1:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let before = test.snapshot();
    let bad = with(peer_offer("0:a x:v", &["0 x"]), "0", |content| content.transport.ice = None);
    assert!(test.set_remote(SdpType::Offer, &bad).is_err());
    assert_eq!(test.snapshot(), before);
    test.set_remote(SdpType::Offer, &peer_offer("0:a x:v", &["0 x"])).unwrap();
    assert_eq!(test.map(), "0 x");
    // The other way round it is an error: who offers looks first.
    let ours = test.offer("0:a", &["0"]);
    assert!(test.set_local(SdpType::Offer, &ours).is_err());
    test.controller.rollback_transports(test.now).unwrap();
    assert_eq!(test.map(), "0");
}

/// An ICE restart that was offered is taken back with the offer.
#[test]
fn rollback_restores_ice_parameters() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    let before = test.snapshot();
    let transports = test.controller.transports_for_offer(&["0".to_owned()], true).unwrap();
    let restart = describe("0:a", &[], |mid| transports[mid].clone());
    test.set_local(SdpType::Offer, &restart).unwrap();
    assert_ne!(test.snapshot(), before);
    test.controller.rollback_transports(test.now).unwrap();
    assert_eq!(test.snapshot(), before);

    let restart = with(peer_offer("0:a", &[]), "0", |content| {
        content.transport.ice.as_mut().unwrap().ufrag = "fresh".to_owned();
    });
    test.set_remote(SdpType::Offer, &restart).unwrap();
    assert_ne!(test.snapshot(), before);
    test.controller.rollback_transports(test.now).unwrap();
    assert_eq!(test.snapshot(), before);
}

/// Transports that are no longer needed are closed, and their sockets handed out to be closed before they go.
#[test]
fn unused_transports_are_closed_and_drained() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let gone = test.ice("1").meta().socket;
    assert!(test.controller.owns_socket(gone));
    test.set_remote(SdpType::Answer, &peer("0:a 1:v", &["0 1"], ConnectionRole::Active)).unwrap();
    test.process();
    assert!(test.controller.owns_socket(gone));
    let Some(IoRequest::CloseSocket { id }) = test.controller.poll_io_request() else { panic!() };
    assert_eq!(id, gone);
    assert!(test.controller.poll_io_request().is_none());
    test.process();
    assert!(!test.controller.owns_socket(gone));
    assert!(!test.controller.is_drained());
}

#[test]
fn close_ends_everything_quietly() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a 1:d", &[], ("0:a 1:d", &[]));
    test.dtls("0").set_writable(true);
    let now = test.now;
    test.ice("0").set_timeout(Some(now));
    test.process();
    test.events();
    test.controller.close(now);
    test.controller.close(now);
    assert!(test.controller.is_closed() && !test.controller.is_drained());
    assert_eq!(test.controller.ice_connection_state(), IceConnectionState::Closed);
    assert_eq!(test.controller.peer_connection_state(), PeerConnectionState::Closed);
    assert_eq!((test.map().as_str(), test.controller.transports().count()), ("", 0));

    let mut closed = Vec::new();
    while let Some(request) = test.controller.poll_io_request() {
        let IoRequest::CloseSocket { id } = request else { panic!("{request:?}") };
        closed.push(id);
    }
    assert_eq!(closed.len(), 2);
    test.controller.for_each_transmit_queue(|queue| assert!(queue.is_empty()));
    test.process();
    assert!(test.controller.is_drained());
    assert_eq!(test.controller.next_timeout(), None);
    assert_eq!(test.events(), []);

    // All that is asked afterwards is refused.
    let offer = peer_offer("0:a", &[]);
    assert_eq!(test.set_remote(SdpType::Offer, &offer), Err(JsepError::Closed));
    assert_eq!(test.controller.rollback_transports(now), Err(JsepError::Closed));
    assert_eq!(test.controller.transports_for_offer(&[], false), Err(JsepError::Closed));
    assert_eq!(test.controller.transports_for_answer(&[]), Err(JsepError::Closed));
    assert_eq!(test.controller.add_remote_candidates(now, "0", vec![candidate(1)]), Err(JsepError::Closed));
    assert_eq!(test.controller.end_of_candidates(now, "0"), Err(JsepError::Closed));
    assert!(test.controller.sctp_or_create().is_none());
    let options = Default::default();
    assert_eq!(test.controller.send_rtp_with(now, "0", &options, 12, |_| 12), Err(SendError::Closed));
    assert_eq!(test.controller.send_rtcp_with(now, "0", &options, 12, |_| 12), Err(SendError::Closed));
    test.controller.maybe_start_gathering(now);
    test.controller.handle_timeout(now);
    test.controller.handle_unblocked(now);
    test.process();
    assert_eq!(test.events(), []);
}

#[test]
fn close_with_an_offer_pending() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.controller.maybe_start_gathering(test.now);
    test.controller.close(test.now);
    let requests = std::iter::from_fn(|| test.controller.poll_io_request()).count();
    assert_eq!(requests, 2);
    assert!(test.controller.is_drained());
    assert_eq!(test.ice_after_close(), 0);
}

impl Test {
    fn ice_after_close(&self) -> usize {
        self.controller.closing.iter().filter(|transport| transport.ice().writable()).count()
    }
}
