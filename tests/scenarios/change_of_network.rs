//! The host moves to a network that was not there when the call began: from one Wi-Fi to another, from Wi-Fi to
//! LTE, from an office behind one NAT to a home behind another. With continual gathering nobody has to do
//! anything; without it an ICE restart does (what users of other engines report: webrtc-rs/webrtc#868, #874,
//! aiortc#1367).

use std::time::Duration;

use peerstack::{Configuration, ContinualGatheringPolicy, IceServer, PeerConnectionState, Settings};
use peerstack_base::AdapterType;
use peerstack_netsim::{Host, Lab, Nat, NatConfig, StunServer, addr, ip};

use crate::call::{Call, FOLLOWING, attach, each_seed, host, pass, phase};
use crate::support::ms;

fn configuration(policy: ContinualGatheringPolicy) -> Configuration {
    let mut settings = Settings::default();
    settings.continual_gathering = policy;
    let servers = [IceServer::new("stun:198.51.100.9:3478")];
    Configuration::new().with_settings(settings).with_ice_servers(servers)
}

/// An office and a mobile network, each behind a NAT, with the travelling host in the office; and a peer whose
/// NAT lets in whoever it sent to.
struct Travel {
    lab: Lab,
    mobile: Nat,
    traveller: Host,
    peer: Host,
}

impl Travel {
    fn new(seed: u64) -> Self {
        let lab = Lab::start(seed);
        StunServer::new(&lab.host_at("stun", &lab.internet(), ip("198.51.100.9")), addr("198.51.100.9:3478"));
        let nat = |name: &str, external: &str| {
            Nat::new(name, &lab.internet(), ip(external), NatConfig::port_restricted())
        };
        let (office, mobile, home) =
            (nat("office", "203.0.113.1"), nat("mobile", "203.0.113.2"), nat("home", "203.0.113.3"));
        let traveller = lab.host("traveller");
        attach(&traveller, "wlan0", AdapterType::Wifi, &office, "192.168.1.2");
        let peer = host(&lab, "peer", &home, "192.168.3.2");
        Self { lab, mobile, traveller, peer }
    }

    async fn call(&self, seed: u64, policy: ContinualGatheringPolicy) -> Call {
        let (traveller, peer) =
            ((&self.traveller, configuration(policy)), (&self.peer, configuration(policy)));
        let call = if seed.is_multiple_of(2) {
            Call::start_with(&self.lab, traveller, peer).await
        } else {
            Call::start_with(&self.lab, peer, traveller).await
        };
        pass(ms(10_000) + phase(seed)).await;
        call
    }
}

/// How long the change may take from the moment the new network is there: gathering, signalling, checks; and for
/// a controlling peer to follow.
fn changing(seed: u64) -> Duration {
    if seed.is_multiple_of(2) { ms(600) } else { FOLLOWING + ms(100) }
}

/// G38: Wi-Fi ends, LTE begins half a second later: the call goes on at once, since the new network's candidates are
/// gathered and signalled as it comes.
#[test]
fn from_wifi_to_lte() {
    each_seed(async |seed| {
        let travel = Travel::new(seed);
        let call = travel.call(seed, ContinualGatheringPolicy::GatherContinually).await;
        let left = travel.lab.elapsed();
        travel.traveller.interfaces()[0].set_up(false);
        pass(ms(500)).await;
        attach(&travel.traveller, "wwan0", AdapterType::Cellular, &travel.mobile, "10.64.0.2");
        pass(ms(10_000)).await;
        call.assert_gap(left, ms(500)..=ms(500) + changing(seed));
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        call.end().await;
    });
}

/// LTE is there before Wi-Fi goes: the reserve is made while both are there, and nothing is missed for long.
#[test]
fn from_wifi_to_lte_with_both_for_a_while() {
    each_seed(async |seed| {
        let travel = Travel::new(seed);
        let call = travel.call(seed, ContinualGatheringPolicy::GatherContinually).await;
        attach(&travel.traveller, "wwan0", AdapterType::Cellular, &travel.mobile, "10.64.0.2");
        pass(ms(5000)).await;
        let left = travel.lab.elapsed();
        travel.traveller.interfaces()[0].set_up(false);
        pass(ms(10_000)).await;
        call.assert_gap(left, Duration::ZERO..=changing(seed));
        call.end().await;
    });
}

/// The same interface in another network, with another address: from one Wi-Fi to the next.
#[test]
fn from_one_wifi_to_another() {
    each_seed(async |seed| {
        let travel = Travel::new(seed);
        let call = travel.call(seed, ContinualGatheringPolicy::GatherContinually).await;
        let left = travel.lab.elapsed();
        travel.traveller.interfaces()[0].move_to(&travel.mobile, &[ip("10.64.0.2")]);
        pass(ms(10_000)).await;
        call.assert_gap(left, ms(100)..=changing(seed));
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        call.end().await;
    });
}

/// I14: as browsers do it: gathering is over, so the application restarts ICE when it sees the connection
/// disconnected; what was said meanwhile in the channel arrives.
#[test]
fn without_continual_gathering_a_restart_moves_the_call() {
    each_seed(async |seed| {
        let travel = Travel::new(seed);
        let call = travel.call(seed, ContinualGatheringPolicy::GatherOnce).await;
        let left = travel.lab.elapsed();
        travel.traveller.interfaces()[0].move_to(&travel.mobile, &[ip("10.64.0.2")]);
        call.until(ms(9000), |call| {
            let disconnected = PeerConnectionState::Disconnected;
            call.a.was(disconnected, left) || call.b.was(disconnected, left)
        })
        .await;
        let restarted = travel.lab.elapsed();
        call.restart_ice().await;
        pass(ms(10_000)).await;
        call.assert_gap(restarted, ms(60)..=ms(1000));
        call.end().await;
    });
}
