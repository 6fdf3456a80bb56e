//! DTLS that begins anew under data channels (RFC 8842 section 5.5): the SCTP association goes on over the new one, as it
//! knows nothing of what carries it (RFC 8261, RFC 8841 section 9.3), unless the peer began anew or says other ports.

use peerstack_netsim::{LinkConfig, LossModel};
use peerstack_peer_connection::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, DataChannelState,
    DtlsTransportState, OfferOptions, PeerConnection, PeerConnectionEvent, PeerConnectionEvents,
    PeerConnectionState, SctpTransportState, SessionDescription,
};

use crate::harness::{dependencies, joined, ms, negotiate, negotiate_changed, pass, two_hosts};

/// A fingerprint of nobody's, beside the true one.
const ANOTHER: &str = "a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:\
                       00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";

fn with_another_fingerprint(sdp: &str) -> String {
    sdp.replacen("a=fingerprint:", &format!("{ANOTHER}a=fingerprint:"), 1)
}

async fn events_of(channel: &DataChannel) -> Vec<DataChannelEvent> {
    let mut events = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(ms(1), channel.next_event()).await {
        if event != DataChannelEvent::BufferedAmountLow {
            events.push(event);
        }
    }
    events
}

fn sctp_states(events: &mut PeerConnectionEvents) -> Vec<SctpTransportState> {
    let state = |event| match event {
        PeerConnectionEvent::SctpTransportStateChange { state, .. } => Some(state),
        _ => None,
    };
    std::iter::from_fn(|| events.try_next()).filter_map(state).collect()
}

fn text(text: String) -> DataChannelEvent {
    DataChannelEvent::Message(DataChannelMessage::from(text.as_str()))
}

/// J02, K13: both sides' fingerprints change, and with the second exchange the roles too: nothing of what was sent before,
/// while and after DTLS began anew is lost or comes twice, and no channel notices.
#[tokio::test(start_paused = true)]
async fn the_association_goes_on_over_another_dtls_association() {
    for roles_change in [false, true] {
        let (lab, a, b) = two_hosts(111, ms(20));
        let make = |host, seed| {
            PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, host, seed)).unwrap()
        };
        let (pc_a, pc_b) = (make(&a, 1), make(&b, 2));
        let (a, mut b) = joined((pc_a, a), (pc_b, b));
        let ours = a.pc.create_data_channel("d", DataChannelInit::default()).unwrap();
        negotiate(&a, &b).await;
        let theirs = b.channels.recv().await.unwrap();
        pass(ms(1_000)).await;
        let (mut a_events, mut b_events) = (a.pc.events(), b.pc.events());
        let (_, _) = (events_of(&ours).await, events_of(&theirs).await);
        for number in 0..50 {
            ours.send(format!("{number}").as_str()).unwrap();
            theirs.send(format!("{number}").as_str()).unwrap();
        }
        let change = |sdp: &str| {
            let sdp = with_another_fingerprint(sdp);
            // B answered as the client; it is told to be the server now.
            if roles_change { sdp.replace("a=setup:actpass", "a=setup:active") } else { sdp }
        };
        negotiate_changed(&a, &b, change).await;
        let transport = a.pc.sctp().unwrap();
        for number in 50..100 {
            ours.send(format!("{number}").as_str()).unwrap();
            theirs.send(format!("{number}").as_str()).unwrap();
            pass(ms(10)).await;
        }
        pass(ms(5_000)).await;
        let expected: Vec<_> = (0..100).map(|number| text(format!("{number}"))).collect();
        assert_eq!((events_of(&ours).await, events_of(&theirs).await), (expected.clone(), expected));
        assert_eq!(transport.state(), SctpTransportState::Connected);
        assert_eq!(transport.transport().state(), DtlsTransportState::Connected);
        let dtls = std::iter::from_fn(|| a_events.try_next()).filter_map(|event| match event {
            PeerConnectionEvent::DtlsTransportStateChange { state, .. } => Some(state),
            PeerConnectionEvent::SctpTransportStateChange { state, .. } => panic!("{state:?}"),
            _ => None,
        });
        let anew = [DtlsTransportState::New, DtlsTransportState::Connecting, DtlsTransportState::Connected];
        assert_eq!(dtls.collect::<Vec<_>>(), anew);
        assert_eq!(sctp_states(&mut b_events), []);
        // Both sides open more, in either role.
        let more = [&a, &b].map(|peer| peer.pc.create_data_channel("e", DataChannelInit::default()).unwrap());
        pass(ms(1_000)).await;
        for channel in more {
            assert_eq!(channel.ready_state(), DataChannelState::Open);
        }
    }
}

/// K13: a peer that took the call over has another association, of which ours knows nothing: the old one's channels end with
/// an error, each once, and new ones work, whether the peer of before said goodbye or not, and on whichever SCTP port.
#[tokio::test(start_paused = true)]
async fn a_peer_that_began_anew_has_another_association() {
    for (farewell, port) in [(false, 5000), (true, 5000), (false, 5007), (true, 5007)] {
        let what = format!("farewell {farewell}, port {port}");
        let (lab, a, b) = two_hosts(112, ms(20));
        let c = lab.host_at("c", &lab.internet(), peerstack_netsim::ip("192.0.2.3"));
        c.interfaces()[0].link().configure(LinkConfig::latency(ms(20)));
        let make = |host, seed| {
            PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, host, seed)).unwrap()
        };
        let (pc_a, pc_b, second) = (make(&a, 1), make(&b, 2), make(&c, 3));
        let (a, mut b) = joined((pc_a, a), (pc_b, b));
        let ours = a.pc.create_data_channel("d", DataChannelInit::default()).unwrap();
        negotiate(&a, &b).await;
        let _theirs = b.channels.recv().await.unwrap();
        pass(ms(1_000)).await;
        let mut events = a.pc.events();
        let _ = events_of(&ours).await;
        let before = a.pc.sctp().unwrap();
        if !farewell {
            b.host.interfaces()[0]
                .link()
                .configure(LinkConfig { loss: LossModel::Uniform(1.0), ..LinkConfig::latency(ms(20)) });
        }
        b.pc.close();
        pass(ms(100)).await;
        // Not delivered to anybody, and not told to be.
        let sent = ours.send("to whom?");
        assert_eq!(sent.is_err(), farewell, "{what}");

        let mut c_events = second.events();
        let offer = a.pc.create_offer(OfferOptions::ice_restart()).await.unwrap();
        a.pc.set_local_description(offer).await.unwrap();
        pass(ms(1_000)).await;
        let changed = |description: SessionDescription| {
            let sdp = description.sdp.replace("a=sctp-port:5000", &format!("a=sctp-port:{port}"));
            SessionDescription { sdp, ..description }
        };
        second.set_remote_description(a.pc.local_description().unwrap()).await.unwrap();
        second.set_local_description(None).await.unwrap();
        pass(ms(1_000)).await;
        a.pc.set_remote_description(changed(second.local_description().unwrap())).await.unwrap();
        let next = a.pc.create_data_channel("e", DataChannelInit::default()).unwrap();
        pass(ms(8_000)).await;
        assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected, "{what}");

        let told = events_of(&ours).await;
        let [DataChannelEvent::Error(error), DataChannelEvent::Closed] = &told[..] else {
            panic!("{what}: {told:?}")
        };
        assert_eq!(ours.ready_state(), DataChannelState::Closed);
        assert_eq!(error.message.contains("another association"), !farewell, "{what}: {error}");
        assert_eq!(before.state(), SctpTransportState::Closed, "{what}");
        if port != 5000 {
            // Nobody listens there: only that what was agreed is what is used can be seen here.
            assert_eq!(a.pc.sctp().unwrap().state(), SctpTransportState::Connecting, "{what}");
            continue;
        }
        assert_ne!(a.pc.sctp().unwrap(), before, "{what}");
        let states = [SctpTransportState::Closed, SctpTransportState::Connected];
        assert_eq!(sctp_states(&mut events), states, "{what}");
        // Made in the old association's last moments, it is of that one or of the next, and says so.
        if next.ready_state() == DataChannelState::Closed {
            let told = events_of(&next).await;
            assert!(
                matches!(&told[..], [.., DataChannelEvent::Error(_), DataChannelEvent::Closed]),
                "{told:?}"
            );
        }
        let last = a.pc.create_data_channel("f", DataChannelInit::default()).unwrap();
        pass(ms(1_000)).await;
        last.send("hello").unwrap();
        pass(ms(1_000)).await;
        let channels = std::iter::from_fn(|| c_events.try_next()).filter_map(|event| match event {
            PeerConnectionEvent::DataChannel(channel) => Some(channel),
            _ => None,
        });
        let found = channels.into_iter().find(|channel| channel.label() == "f").unwrap();
        assert!(events_of(&found).await.contains(&text("hello".to_owned())), "{what}");
    }
}
