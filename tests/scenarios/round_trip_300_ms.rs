//! Two sides 300 ms apart there and back, as by satellite or across the world.

use std::time::Duration;

use peerstack::PeerConnectionState;
use peerstack_netsim::{Lab, LinkConfig};

use crate::call::{Call, STEADY, each_seed, pass, phase, two_hosts};
use crate::support::ms;

const ROUND_TRIP: Duration = Duration::from_millis(300);

/// The call begins after as many round trips as with a short way, nothing is taken for lost that is only late,
/// and a minute is heard without a gap.
#[test]
fn the_call_begins_and_stays() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        a.interfaces()[0].link().configure(LinkConfig::latency(ROUND_TRIP / 2 - ms(20)).with_jitter(ms(10)));
        let call = Call::start(&lab, &a, &b).await;
        // Signalling (30 ms a message), a check and its response, DTLS, SCTP and the channel.
        let took = lab.elapsed();
        assert!(took <= ms(60) + 7 * ROUND_TRIP, "{took:?}");
        let begun = lab.elapsed();
        pass(ms(60_000) + phase(seed)).await;
        call.assert_gap(begun, Duration::ZERO..=STEADY);
        assert!(call.message_gap(begun) <= STEADY, "{}", call.story(begun));
        for state in [PeerConnectionState::Disconnected, PeerConnectionState::Failed] {
            call.assert_never(state, Duration::ZERO);
        }
        assert_eq!((call.a.pair_changes(), call.b.pair_changes()), (1, 1));
        let stats = call.a.pc.stats().await.unwrap();
        let measured = stats.transports[0].current_round_trip_time.unwrap();
        assert!((0.29..0.35).contains(&measured), "{measured}");
        call.end().await;
    });
}

/// T06: an outage of four seconds at that distance is no reason to give up, and the call is back a round trip
/// after the network is.
#[test]
fn an_outage_of_four_seconds() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        a.interfaces()[0].link().configure(LinkConfig::latency(ROUND_TRIP / 2));
        let call = Call::start(&lab, &a, &b).await;
        pass(ms(10_000) + phase(seed)).await;
        let cut = lab.elapsed();
        a.interfaces()[0].link().set_up(false);
        pass(ms(4000)).await;
        a.interfaces()[0].link().set_up(true);
        pass(ms(10_000)).await;
        // Audio goes on being sent: what is on its way when the link is back arrives.
        call.assert_gap(cut, ms(4000)..=ms(4000) + ROUND_TRIP + STEADY);
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        call.end().await;
    });
}
