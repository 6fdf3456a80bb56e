//! Offers, answers and candidates against PeerConnection, in a world without a network: a call that fails changes
//! nothing but what glare took back, an offer that is taken can be answered, nothing hangs.

#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use peerstack_base::{Random, SystemWallClock};
use peerstack_fuzz::Input;
use peerstack_fuzz::ice::{NoNames, OneNetwork, SilentSocketFactory};
use peerstack_peer_connection::{
    BundlePolicy, Certificate, Configuration, DataChannelInit, IceCandidateInit, KeyAlgorithm, OfferOptions,
    PeerConnection, PeerConnectionDependencies, RtpTransceiverInit, SessionDescription, SignalingState,
    TrackKind,
};
use tokio::runtime::Builder;

/// No call waits longer, in virtual time.
const LIMIT: Duration = Duration::from_secs(60);

fn certificate() -> Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    let make = || {
        Certificate::generate(KeyAlgorithm::default(), &SystemWallClock, &mut Random::from_seed(1)).unwrap()
    };
    CERTIFICATE.get_or_init(make).clone()
}

fn connection(policy: BundlePolicy) -> PeerConnection {
    let mut dependencies = PeerConnectionDependencies::default();
    dependencies.packet_socket_factory = Box::new(SilentSocketFactory::default());
    dependencies.network_manager = Box::new(OneNetwork);
    dependencies.dns_resolver = Arc::new(NoNames);
    dependencies.random = Random::from_seed(3);
    let configuration = Configuration::new().with_certificate(certificate()).with_bundle_policy(policy);
    PeerConnection::with_dependencies(configuration, dependencies).unwrap()
}

fuzz_target!(|data: &[u8]| {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut input = Input::new(data);
        let policy =
            [BundlePolicy::Balanced, BundlePolicy::MaxBundle, BundlePolicy::MaxCompat][input.below(3)];
        let peer = connection(policy);
        let mut events = peer.events();
        while !input.is_empty() {
            let action = input.byte();
            let text = String::from_utf8_lossy(input.chunk()).into_owned();
            let step = act(&peer, action, text);
            tokio::time::timeout(LIMIT, step).await.expect("no call hangs");
            tokio::task::yield_now().await;
            while events.try_next().is_some() {}
        }
        peer.close();
        assert!(peer.is_closed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
});

type Snapshot = (SignalingState, Option<SessionDescription>, Option<SessionDescription>, usize);

fn snapshot(peer: &PeerConnection) -> Snapshot {
    let (local, remote) = (peer.local_description(), peer.remote_description());
    (peer.signaling_state(), local, remote, peer.transceivers().len())
}

/// A call that fails changes nothing, but that an offer of ours is taken back for one that is then refused
/// (webrtc-pc section 4.4.1.4).
fn after_refusal(before: Snapshot, was_offer: bool, peer: &PeerConnection) -> Snapshot {
    match before {
        (SignalingState::HaveLocalOffer, _, remote, count) if was_offer => {
            (SignalingState::Stable, peer.current_local_description(), remote, count)
        }
        before => before,
    }
}

async fn act(peer: &PeerConnection, action: u8, text: String) {
    match action % 10 {
        0..=4 => {
            let remote = match action / 64 {
                0 => SessionDescription::pranswer(text),
                1 => SessionDescription::answer(text),
                _ => SessionDescription::offer(text),
            };
            let before = snapshot(peer);
            match peer.set_remote_description(remote).await {
                Ok(()) if peer.signaling_state() == SignalingState::HaveRemoteOffer => {
                    answer(peer, action).await
                }
                Ok(()) => {}
                Err(_) => assert_eq!(snapshot(peer), after_refusal(before, action / 64 > 1, peer)),
            }
        }
        5 => {
            let (mid, candidate) = text.split_once('\n').unwrap_or(("0", &text));
            let candidate = IceCandidateInit {
                candidate: candidate.to_owned(),
                sdp_mid: (action < 128).then(|| mid.to_owned()),
                sdp_mline_index: (action >= 128).then_some(u16::from(action) % 4),
                ..IceCandidateInit::default()
            };
            let _ = peer.add_ice_candidate(candidate).await;
        }
        6 => {
            let kind = if action < 128 { TrackKind::Audio } else { TrackKind::Video };
            if peer.transceivers().len() < 8 {
                let _ = peer.add_transceiver(kind, RtpTransceiverInit::default());
            }
            let _ = peer.create_data_channel(&text, DataChannelInit::default());
        }
        7 => {
            let _ = peer.set_remote_description(SessionDescription::rollback()).await;
        }
        8 => {
            if let Ok(offer) = peer.create_offer(OfferOptions::default()).await {
                peer.set_local_description(offer).await.expect("our offer is taken");
                let _ = peer.set_remote_description(SessionDescription::answer(text)).await;
            }
        }
        _ => {
            peer.restart_ice();
            let _ = peer.stats().await;
        }
    }
}

async fn answer(peer: &PeerConnection, action: u8) {
    let Ok(answer) = peer.create_answer().await else { return };
    if action & 32 == 0 {
        peer.set_local_description(answer).await.expect("our answer is taken");
        assert_eq!(peer.signaling_state(), SignalingState::Stable);
    }
}
