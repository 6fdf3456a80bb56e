//! Names below `.local` in place of host addresses, as an application sees them.

use peerstack_netsim::{StunServer, addr, ip};
use peerstack_peer_connection::{
    Configuration, DataChannelInit, IceServer, PeerConnectionEvent, PeerConnectionFactory,
    PeerConnectionState, Settings,
};

use crate::harness::{dependencies, joined, ms, negotiate, pass, two_hosts};

/// G24: with the setting two hosts connect by names that are made known while the connections live, and neither
/// candidates nor descriptions nor statistics show an address, of neither side, unless a STUN server was asked for it;
/// without it they do.
#[tokio::test(start_paused = true)]
async fn host_addresses_are_told_to_neighbours_alone() {
    for (hide, ask) in [(true, false), (true, true), (false, true)] {
        let (lab, a, b) = two_hosts(61, ms(10));
        let stun = lab.host_at("stun", &lab.internet(), ip("198.51.100.9"));
        StunServer::new(&stun, addr("198.51.100.9:3478"));
        let make = |host, seed| {
            let mut dependencies = dependencies(&lab, host, seed);
            dependencies.dns_resolver = lab.dns_resolver();
            dependencies.mdns_responder = lab.mdns_responder();
            let mut settings = Settings::default();
            settings.mdns_host_candidates = hide;
            let factory = PeerConnectionFactory::with_dependencies(dependencies).unwrap();
            let servers = if ask { vec![IceServer::new("stun:198.51.100.9")] } else { Vec::new() };
            let configuration = Configuration::new().with_ice_servers(servers).with_settings(settings);
            (factory.create_peer_connection(configuration).unwrap(), factory)
        };
        let ((pc_a, _factory_a), (pc_b, _factory_b)) = (make(&a, 1), make(&b, 2));
        let mut events = pc_a.events();
        let (a, b) = joined((pc_a, a), (pc_b, b));
        let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        negotiate(&a, &b).await;
        pass(ms(3_000)).await;
        for pc in [&a.pc, &b.pc] {
            assert_eq!(pc.connection_state(), PeerConnectionState::Connected);
        }
        let mut told = Vec::new();
        while let Some(event) = events.try_next() {
            if let PeerConnectionEvent::IceCandidate(candidate) = event {
                told.push(candidate.candidate);
            }
        }
        let host = told.iter().find(|candidate| candidate.contains(" typ host")).unwrap();
        let name = host.split(' ').nth(4).unwrap().to_owned();
        assert_eq!(name.ends_with(".local"), hide, "{host}");
        let description = a.pc.local_description().unwrap().sdp;
        assert!(description.contains(&name));
        let stats = a.pc.stats().await.unwrap();
        let local = &stats.local_candidates;
        assert!(!local.is_empty());
        let shown = format!("{told:?} {description} {local:?}");
        assert_eq!(shown.contains("192.0.2.1"), ask, "{shown}");
        let reflexive = told.iter().filter(|candidate| candidate.contains("192.0.2.1 "));
        assert_eq!(
            reflexive.filter(|candidate| candidate.contains(" typ srflx")).count(),
            usize::from(hide && ask)
        );
        let pair = a.pc.selected_candidate_pair().await.unwrap().unwrap();
        assert_eq!(format!("{:?}", pair.local).contains("192.0.2.1"), !hide);
        // Nor is shown what the peer's name stands for (webrtc-stats, `RTCIceCandidateStats`): what was signalled is.
        let signalled = !hide || ask;
        let remote = format!("{:?} {:?} {:?}", stats.remote_candidates, pair.remote, stats.transports);
        assert!(signalled || !remote.contains("192.0.2.2"), "{remote}");
        assert!(hide || remote.contains("192.0.2.2"), "{remote}");
        let addresses = stats.remote_candidates.iter().filter_map(|candidate| candidate.address.as_deref());
        let addresses: Vec<&str> = addresses.collect();
        assert!(!addresses.is_empty());
        let names = addresses.iter().filter(|address| address.ends_with(".local")).count();
        assert!(signalled || names == addresses.len(), "{addresses:?}");
        assert!(hide || names == 0, "{addresses:?}");
        assert!(local.iter().any(|candidate| candidate.address.as_ref() == Some(&name)));

        let known = || lab.dns_resolver().resolve(&name);
        assert_eq!(known().await.is_ok(), hide);
        for pc in [&a.pc, &b.pc] {
            pc.close();
            pc.closed().await;
        }
        assert!(known().await.is_err(), "a closed connection has no name");
    }
}
