//! Candidates of an offer that was taken back are told to nobody: the peer knows no such generation.

use std::collections::BTreeSet;

use peerstack_netsim::ip;
use peerstack_peer_connection::{
    Configuration, IceCandidateInit, IceServer, OfferOptions, PeerConnection, PeerConnectionEvent,
    PeerConnectionEvents, RtpTransceiverInit, SessionDescription, TrackKind,
};

use crate::harness::{dependencies, ms, pass, two_hosts};

fn ufrags(pc: &PeerConnection) -> BTreeSet<String> {
    let sdp = pc.local_description().map(|description| description.sdp).unwrap_or_default();
    sdp.lines().filter_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::to_owned).collect()
}

fn candidates(events: &mut PeerConnectionEvents) -> Vec<IceCandidateInit> {
    let all = std::iter::from_fn(|| events.try_next());
    let candidate = |event| match event {
        PeerConnectionEvent::IceCandidate(candidate) => Some(candidate),
        _ => None,
    };
    all.filter_map(candidate).collect()
}

fn are_of(candidates: &[IceCandidateInit], ufrags: &BTreeSet<String>) -> bool {
    candidates.iter().all(|one| one.username_fragment.as_ref().is_some_and(|ufrag| ufrags.contains(ufrag)))
}

/// I01, O21, O22: whoever reads events only once an offer of the peer, or a rollback, has taken its own back, is told
/// none of its candidates, and all of the answer's.
#[tokio::test(start_paused = true)]
async fn what_waited_to_be_read_is_left_out() {
    for glare in [true, false] {
        let (lab, a, b) = two_hosts(101, ms(5));
        let make = |host, seed| {
            PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, host, seed)).unwrap()
        };
        let (a, b) = (make(&a, 1), make(&b, 2));
        let (mut events, mut others) = (a.events(), a.events());
        for pc in [&a, &b] {
            let _ = pc.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
        }
        a.set_local_description(None).await.unwrap();
        let offered = ufrags(&a);
        pass(ms(500)).await;
        // One who reads at once is told.
        let told = candidates(&mut others);
        assert!(told.len() > 1 && are_of(&told, &offered), "{told:?}");

        b.set_local_description(None).await.unwrap();
        if !glare {
            a.set_local_description(SessionDescription::rollback()).await.unwrap();
        }
        a.set_remote_description(b.local_description().unwrap()).await.unwrap();
        a.set_local_description(None).await.unwrap();
        pass(ms(500)).await;
        let answered = ufrags(&a);
        assert!(answered.is_disjoint(&offered));
        let told = candidates(&mut events);
        assert!(are_of(&told, &answered), "glare {glare}: {told:?}");
        let ends = told.iter().filter(|candidate| candidate.candidate.is_empty()).count();
        assert_eq!(ends, 1, "{told:?}");
        assert_eq!(told, candidates(&mut others));
        b.set_remote_description(a.local_description().unwrap()).await.unwrap();
        for candidate in told {
            b.add_ice_candidate(candidate).await.unwrap();
        }
    }
}

/// I01, O22: an ICE restart that is taken back while it gathers: what it finds afterwards is told to nobody, nor is its
/// end, and the transport does not show it; the answer that follows tells of its own generation.
#[tokio::test(start_paused = true)]
async fn what_is_found_afterwards_is_not_told() {
    let (lab, a, b) = two_hosts(102, ms(5));
    // A server that never answers: gathering goes on for long.
    let silent = lab.host_at("silent", &lab.internet(), ip("192.0.2.9"));
    let configuration = Configuration::new().with_ice_servers(vec![IceServer::new("stun:192.0.2.9:3478")]);
    let a = PeerConnection::with_dependencies(configuration, dependencies(&lab, &a, 1)).unwrap();
    let b = PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, &b, 2)).unwrap();
    let mut events = a.events();
    let audio = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    a.set_local_description(None).await.unwrap();
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    b.set_local_description(None).await.unwrap();
    a.set_remote_description(b.local_description().unwrap()).await.unwrap();
    pass(ms(60_000)).await;
    let first = ufrags(&a);
    let told = candidates(&mut events);
    assert!(are_of(&told, &first) && told.iter().any(|one| one.candidate.is_empty()), "{told:?}");

    let restart = a.create_offer(OfferOptions::ice_restart()).await.unwrap();
    a.set_local_description(restart).await.unwrap();
    assert!(ufrags(&a).is_disjoint(&first));
    a.set_local_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(ufrags(&a), first);
    pass(ms(60_000)).await;
    assert_eq!(candidates(&mut events), []);
    let shown = audio.sender().transport().unwrap().ice_transport().local_candidates();
    assert!(shown.iter().all(|one| first.contains(&one.username_fragment)), "{shown:?}");

    // The peer restarts, and the answer does.
    let restart = b.create_offer(OfferOptions::ice_restart()).await.unwrap();
    b.set_local_description(restart).await.unwrap();
    a.set_remote_description(b.local_description().unwrap()).await.unwrap();
    a.set_local_description(None).await.unwrap();
    pass(ms(60_000)).await;
    let told = candidates(&mut events);
    assert!(told.len() > 1 && are_of(&told, &ufrags(&a)) && ufrags(&a).is_disjoint(&first), "{told:?}");
    drop(silent);
}
