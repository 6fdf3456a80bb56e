//! Two controllers over the real layers (SCTP, SRTP, DTLS, ICE, UDP ports) and a virtual network, in virtual time
//! and without a runtime: offers and answers as text, trickled candidates.

#[cfg(test)]
mod harness;

use std::time::Duration;

use harness::{Pair, Side};
use peerstack_base::PacketOptions;
use peerstack_dtls::DtlsTransportState;
use peerstack_jsep::{
    BundlePolicy, IceConnectionState, IceGatheringState, JsepTransportControllerEvent as Event,
    LegacyIceConnectionState, PeerConnectionState,
};
use peerstack_p2p::IceRole;
use peerstack_rtp_transport::{RtpDemuxerCriteria, SinkId, StreamId};
use peerstack_sctp::{DataChannelEvent, DataChannelInit, DataChannelState, MessageKind, SctpTransportState};

const LAYOUT: [&str; 3] = ["audio", "video", "data"];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rtp(ssrc: u32, number: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, number, 0, 0, 0, 2];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([number; 100]);
    packet
}

fn send_rtp(side: &mut Side, now: std::time::Instant, mid: &str, packet: &[u8]) {
    let sent = side.controller.send_rtp_with(now, mid, &PacketOptions::default(), packet.len(), |slot| {
        slot.copy_from_slice(packet);
        packet.len()
    });
    assert_eq!(sent, Ok(packet.len()));
}

fn states<T>(side: &Side, of: impl Fn(&Event) -> Option<T>) -> Vec<T> {
    side.events.iter().filter_map(of).collect()
}

/// Audio, video and data over one transport: every state in order, RTP and messages both ways, close.
#[test]
fn bundled_sections_connect_over_one_transport() {
    let mut pair = Pair::new(1, BundlePolicy::Balanced);
    let channel = {
        let sctp = pair.a.controller.sctp_or_create().unwrap();
        sctp.create_data_channel(pair.now, DataChannelInit::labelled("chat")).unwrap()
    };
    pair.negotiate(&LAYOUT, true);
    assert!(pair.run_until(seconds(5), Pair::both_connected), "{:?}", pair.a.events);
    pair.run_for(seconds(1));
    for side in [&pair.a, &pair.b] {
        assert_eq!(side.controller.transports().count(), 1);
        let ice = states(side, |event| match event {
            Event::IceConnectionState(state) => Some(*state),
            _ => None,
        });
        assert_eq!(ice[..2], [IceConnectionState::Checking, IceConnectionState::Connected]);
        let connection = states(side, |event| match event {
            Event::PeerConnectionState(state) => Some(*state),
            _ => None,
        });
        assert_eq!(connection, [PeerConnectionState::Connecting, PeerConnectionState::Connected]);
        let gathering = states(side, |event| match event {
            Event::IceGatheringState(state) => Some(*state),
            _ => None,
        });
        assert_eq!(gathering, [IceGatheringState::Gathering, IceGatheringState::Complete]);
        let dtls = states(side, |event| match event {
            Event::DtlsStateChange { state, .. } => Some(*state),
            _ => None,
        });
        assert_eq!(dtls, [DtlsTransportState::Connecting, DtlsTransportState::Connected]);
        let sctp = states(side, |event| match event {
            Event::SctpStateChange { state, .. } => Some(*state),
            _ => None,
        });
        assert_eq!(sctp, [SctpTransportState::Connected]);
    }
    assert_eq!(pair.a.controller.ice_role(), IceRole::Controlling);
    assert_eq!(pair.b.controller.ice_role(), IceRole::Controlled);
    assert_eq!(pair.a.controller.legacy_ice_connection_state(), LegacyIceConnectionState::Completed);
    assert_eq!(pair.b.controller.legacy_ice_connection_state(), LegacyIceConnectionState::Connected);

    // RTP to the sink of its section, both ways.
    let audio =
        RtpDemuxerCriteria { ssrcs: [7].into(), ..RtpDemuxerCriteria::mid(StreamId::new("0").unwrap()) };
    pair.b.controller.set_rtp_sinks("0", vec![(SinkId(1), audio)]).unwrap();
    for number in 0..10 {
        send_rtp(&mut pair.a, pair.now, "0", &rtp(7, number));
        send_rtp(&mut pair.b, pair.now, "1", &rtp(8, number));
    }
    pair.run_for(seconds(1));
    assert_eq!(pair.b.rtp, (0..10).map(|number| (Some(SinkId(1)), rtp(7, number))).collect::<Vec<_>>());
    assert_eq!(pair.a.rtp, (0..10).map(|number| (None, rtp(8, number))).collect::<Vec<_>>());

    // A message both ways.
    let now = pair.now;
    let sctp = pair.a.controller.sctp_mut().unwrap();
    assert_eq!(sctp.data_channel_state(channel), DataChannelState::Open);
    sctp.send(now, channel, MessageKind::Binary, vec![9; 100_000]).unwrap();
    pair.run_for(seconds(2));
    let got = pair.b.data.iter().find_map(|event| match event {
        DataChannelEvent::Message { id, data, .. } => Some((*id, data.len())),
        _ => None,
    });
    let (echo, len) = got.unwrap();
    assert_eq!(len, 100_000);
    pair.b.controller.sctp_mut().unwrap().send(pair.now, echo, MessageKind::Text, "back").unwrap();
    pair.run_for(seconds(1));
    assert!(
        pair.a
            .data
            .iter()
            .any(|event| matches!(event, DataChannelEvent::Message { data, .. } if data == "back"))
    );

    let stats = pair.a.controller.stats(pair.now).remove(0);
    assert_eq!(stats.mids, ["0", "1", "2"]);
    assert!(stats.sent().bytes > 100_000 && stats.received().packets > 10);
    assert_eq!((stats.tls_version, stats.dtls_state), (Some("DTLS 1.3"), DtlsTransportState::Connected));
    assert!(stats.selected_candidate_pair.is_some() && stats.srtp_profile.is_some() && stats.rtt.is_some());
    assert_eq!(stats.rtp.dropped.total(), 0);

    // Close is told to the peer by SCTP and DTLS, and leaves nothing.
    pair.a.controller.close(pair.now);
    pair.run_for(seconds(1));
    assert!(pair.a.controller.is_drained() && pair.a.sockets() == 0);
    assert!(
        pair.b.data.iter().any(|event| matches!(event, DataChannelEvent::Closed { .. })),
        "{:?}",
        pair.b.data
    );
    assert_eq!(pair.b.controller.stats(pair.now)[0].dtls_state, DtlsTransportState::Closed);
    pair.b.controller.close(pair.now);
    pair.run_for(seconds(1));
    assert!(pair.b.controller.is_drained() && pair.b.sockets() == 0);
    assert_eq!((pair.a.controller.next_timeout(), pair.b.controller.next_timeout()), (None, None));
}

/// A peer that does not bundle gets a transport for each m-section, and all of them connect.
#[test]
fn sections_apart_connect_over_transports_of_their_own() {
    let mut pair = Pair::new(2, BundlePolicy::MaxCompat);
    pair.negotiate(&LAYOUT, false);
    assert!(pair.run_until(seconds(5), Pair::both_connected));
    for side in [&pair.a, &pair.b] {
        assert_eq!(side.controller.transports().count(), 3);
        let stats = side.controller.stats(pair.now);
        assert!(stats.iter().all(|stats| stats.dtls_state == DtlsTransportState::Connected));
    }
    send_rtp(&mut pair.a, pair.now, "1", &rtp(9, 1));
    pair.run_for(seconds(1));
    assert_eq!(pair.b.rtp, [(None, rtp(9, 1))]);
}

/// max-bundle gathers once; a section that joins later uses the transport that is there.
#[test]
fn a_later_section_joins_the_transport() {
    let mut pair = Pair::new(3, BundlePolicy::MaxBundle);
    pair.negotiate(&["audio"], true);
    assert!(pair.run_until(seconds(5), Pair::both_connected));
    let sockets = pair.a.sockets();
    pair.negotiate(&["audio", "video", "data"], true);
    pair.run_for(seconds(2));
    for side in [&pair.a, &pair.b] {
        assert_eq!(side.controller.transports().count(), 1);
        assert_eq!(side.controller.peer_connection_state(), PeerConnectionState::Connected);
        assert_eq!(side.sockets(), sockets);
        let sctp = side.controller.transport("2").unwrap().sctp().unwrap();
        assert_eq!(sctp.state(), SctpTransportState::Connected);
    }
}

/// J03, J05: an ICE restart under a running connection: new parameters, packets throughout.
#[test]
fn ice_restarts_under_a_running_connection() {
    let mut pair = Pair::new(4, BundlePolicy::Balanced);
    pair.negotiate(&["audio"], true);
    assert!(pair.run_until(seconds(5), Pair::both_connected));
    let ufrag = |side: &Side| {
        let description = side.controller.transport("0").unwrap().local_description().unwrap();
        description.ice.clone().unwrap().ufrag
    };
    let before = (ufrag(&pair.a), ufrag(&pair.b));
    pair.a.controller.set_needs_ice_restart_flag();
    pair.negotiate(&["audio"], true);
    assert!(!pair.a.controller.needs_ice_restart("0"));
    assert!(ufrag(&pair.a) != before.0 && ufrag(&pair.b) != before.1);
    for number in 0..20 {
        send_rtp(&mut pair.a, pair.now, "0", &rtp(7, number));
        pair.run_for(Duration::from_millis(100));
    }
    assert_eq!(pair.b.rtp.len(), 20);
    let pair_of = |side: &Side| side.controller.stats(pair.now)[0].selected_candidate_pair.clone().unwrap();
    assert_eq!(pair_of(&pair.a).local.username_fragment, ufrag(&pair.a));
    assert!(pair.both_connected());
}

/// Both believe to be controlling: the conflict is settled for all transports, and they connect.
#[test]
fn a_role_conflict_is_settled() {
    let mut pair = Pair::new(5, BundlePolicy::MaxCompat);
    // B's own offer comes first and is taken back by nobody: it answers as a lite peer's partner would.
    pair.b_pretends_lite_offer = true;
    pair.negotiate(&["audio", "video"], false);
    assert_eq!(pair.b.controller.ice_role(), IceRole::Controlling);
    assert!(pair.run_until(seconds(5), Pair::both_connected));
    assert_ne!(pair.a.controller.ice_role(), pair.b.controller.ice_role());
    for side in [&pair.a, &pair.b] {
        for stats in side.controller.stats(pair.now) {
            assert_eq!(stats.ice_role, side.controller.ice_role());
        }
    }
}

/// Two runs from one seed tell the same events at the same times.
#[test]
fn the_same_seed_tells_the_same_story() {
    let story = || {
        let mut pair = Pair::new(6, BundlePolicy::Balanced);
        pair.negotiate(&LAYOUT, true);
        assert!(pair.run_until(seconds(5), Pair::both_connected));
        let names = |side: &Side| -> Vec<String> {
            side.timed.iter().map(|(at, event)| format!("{at:?} {}", name(event))).collect()
        };
        (pair.elapsed(), names(&pair.a), names(&pair.b))
    };
    assert_eq!(story(), story());
}

/// An event without what differs between two runs of one process (numbers of sockets and transports).
fn name(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}
