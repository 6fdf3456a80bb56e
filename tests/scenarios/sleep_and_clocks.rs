//! The machine sleeps, or its clock is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use peerstack::base::WallClock;
use peerstack::{Configuration, PeerConnectionState};
use peerstack_netsim::Lab;

use crate::call::{CHECK_RECEIVING_INTERVAL, Call, STEADY, each_seed, pass, phase, two_hosts};
use crate::support::{self, ms};

/// The whole machine stands still for ten seconds, with both sides on it: nothing had a chance to be answered,
/// so nothing is given up, and the call goes on at once.
#[test]
fn ten_seconds_of_sleep_are_a_pause() {
    each_seed(async |seed| {
        let (lab, _, call) = Call::settled(seed).await;
        let slept = lab.elapsed();
        tokio::time::advance(Duration::from_secs(10)).await;
        pass(ms(5000)).await;
        call.assert_gap(slept, ms(9900)..=ms(10_000) + CHECK_RECEIVING_INTERVAL + STEADY);
        call.assert_never(PeerConnectionState::Failed, slept);
        call.end().await;
    });
}

/// RFC 7675: after half a minute consent is gone, and it is not assumed: the call has failed, and goes on after
/// an ICE restart.
#[test]
fn half_a_minute_of_sleep_ends_consent() {
    each_seed(async |seed| {
        let (lab, _, call) = Call::settled(seed).await;
        tokio::time::advance(Duration::from_secs(31)).await;
        call.until(ms(1000), Call::has_failed).await;
        let restarted = lab.elapsed();
        call.restart_ice().await;
        pass(ms(10_000)).await;
        call.assert_gap(restarted, ms(60)..=ms(500));
        call.end().await;
    });
}

/// The lab's date, and what somebody added to it.
#[derive(Debug)]
struct SetClock {
    inner: Arc<dyn WallClock>,
    offset: AtomicI64,
}

impl WallClock for SetClock {
    fn now(&self) -> SystemTime {
        let offset = self.offset.load(Ordering::Relaxed);
        let now = self.inner.now();
        if offset < 0 {
            now - Duration::from_secs(offset.unsigned_abs())
        } else {
            now + Duration::from_secs(offset.unsigned_abs())
        }
    }
}

/// The date jumps by an hour, a year, and back before the call began: nothing but dates depends on it.
#[test]
fn a_clock_that_is_set_is_not_noticed() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        let clock = Arc::new(SetClock { inner: lab.wall_clock(), offset: AtomicI64::new(0) });
        let mut dependencies = support::dependencies(&lab, &a);
        dependencies.wall_clock = Arc::clone(&clock) as Arc<dyn WallClock>;
        let call =
            Call::start_from(&lab, (Configuration::new(), dependencies), (&b, Configuration::new())).await;
        let begun = lab.elapsed();
        for offset in [3600, -3600, 365 * 86_400, -86_400, i64::from(u32::MAX)] {
            pass(ms(6000) + phase(seed)).await;
            clock.offset.store(offset, Ordering::Relaxed);
            let stats = call.a.pc.stats().await.unwrap();
            assert!(stats.transports[0].current_round_trip_time.unwrap() < 0.2);
        }
        pass(ms(6000)).await;
        call.assert_gap(begun, ms(0)..=STEADY);
        for state in [PeerConnectionState::Disconnected, PeerConnectionState::Failed] {
            call.assert_never(state, begun);
        }
        call.end().await;
    });
}
