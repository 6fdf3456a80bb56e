//! Events that the application does not read, of which a peer can bring about any number: bounded, at no cost to an
//! application that reads.

use peerstack_netsim::Lab;
use peerstack_peer_connection::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelState, PeerConnection,
    PeerConnectionEvent, PeerConnectionEvents,
};

use crate::harness::{dependencies, ms, pass, two_hosts};

/// What may wait for one reader.
const MOST: usize = 2_048;

/// Two connections whose descriptions hold all candidates: nobody reads the events of either.
async fn connected() -> (Lab, PeerConnection, PeerConnection, DataChannel, PeerConnectionEvents) {
    let (lab, a, b) = two_hosts(46, ms(2));
    let [a, b] = [(&a, 46), (&b, 47)].map(|(host, seed)| {
        PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, host, seed)).unwrap()
    });
    let sleeper = b.events();
    let channel = create(&a);
    a.set_local_description(None).await.unwrap();
    pass(ms(2_000)).await;
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    b.set_local_description(None).await.unwrap();
    pass(ms(2_000)).await;
    a.set_remote_description(b.local_description().unwrap()).await.unwrap();
    opened(&channel).await;
    (lab, a, b, channel, sleeper)
}

fn create(pc: &PeerConnection) -> DataChannel {
    pc.create_data_channel("", DataChannelInit::default()).unwrap()
}

async fn opened(channel: &DataChannel) {
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
}

async fn closed(channel: &DataChannel) {
    while channel.next_event().await.is_some() {}
    assert_eq!(channel.ready_state(), DataChannelState::Closed);
}

fn channels(events: &mut PeerConnectionEvents) -> Vec<DataChannel> {
    let all = std::iter::from_fn(|| events.try_next());
    all.filter_map(|event| match event {
        PeerConnectionEvent::DataChannel(channel) => Some(channel),
        _ => None,
    })
    .collect()
}

/// K11: a peer opens and closes channels without end. Who does not read is told of so many of them; while nobody
/// reads, what more the peer opens is closed; who reads is told of all.
#[tokio::test(start_paused = true)]
async fn channels_that_nobody_takes_are_closed() {
    let (_lab, a, b, first, mut sleeper) = connected().await;
    for _ in 0..9 {
        let batch: Vec<_> = (0..250).map(|_| create(&a)).collect();
        for channel in &batch {
            opened(channel).await;
            channel.close();
        }
        for channel in &batch {
            closed(channel).await;
        }
    }
    let refused = create(&a);
    opened(&refused).await;
    pass(ms(500)).await;
    assert_eq!(refused.ready_state(), DataChannelState::Closed);
    assert_eq!(first.ready_state(), DataChannelState::Open);

    let mut reader = b.events();
    let taken = create(&a);
    pass(ms(100)).await;
    let told = channels(&mut reader);
    assert_eq!(told.iter().map(DataChannel::id).collect::<Vec<_>>(), [taken.id()]);
    assert_eq!(
        (taken.ready_state(), told[0].ready_state()),
        (DataChannelState::Open, DataChannelState::Open)
    );

    let told = channels(&mut sleeper);
    assert!((MOST - 50..=MOST).contains(&told.len()), "{}", told.len());
    // The last that waited is one of those that were closed long ago, and now there is room again.
    assert_eq!(told.last().map(DataChannel::ready_state), Some(DataChannelState::Closed));
    let again = create(&a);
    pass(ms(100)).await;
    for events in [&mut reader, &mut sleeper] {
        assert_eq!(channels(events).iter().map(DataChannel::id).collect::<Vec<_>>(), [again.id()]);
    }
}

/// What waits is bounded in bytes too: labels and protocols of 65,535 bytes each are refused beyond 8 MiB, whether
/// their channels are open or were closed again, and taken again once somebody read.
#[tokio::test(start_paused = true)]
async fn names_that_nobody_takes_are_bounded() {
    let (_lab, a, b, first, mut sleeper) = connected().await;
    const NAME: usize = 65_535;
    let fit = (8 << 20) / (2 * NAME);
    let long = || {
        let init = DataChannelInit { protocol: "p".repeat(NAME), ..DataChannelInit::default() };
        a.create_data_channel(&"l".repeat(NAME), init).unwrap()
    };
    let mut open = Vec::new();
    for number in 0..fit {
        let channel = long();
        opened(&channel).await;
        // Every other one goes at once: to whoever did not read it costs as much.
        if number % 2 == 0 {
            channel.close();
            closed(&channel).await;
        } else {
            open.push(channel);
        }
    }
    let refused = long();
    opened(&refused).await;
    pass(ms(1_000)).await;
    assert_eq!(refused.ready_state(), DataChannelState::Closed);
    assert!(open.iter().chain([&first]).all(|channel| channel.ready_state() == DataChannelState::Open));
    // One with a short name has room, and waits like the others.
    let short = create(&a);
    opened(&short).await;
    pass(ms(500)).await;
    assert_eq!(short.ready_state(), DataChannelState::Open);

    let told = channels(&mut sleeper);
    assert_eq!(told.len(), fit + 2);
    assert!(told.iter().all(|channel| channel.label().len() <= NAME && channel.protocol().len() <= NAME));
    drop(told);
    pass(ms(1_000)).await;
    let taken = long();
    opened(&taken).await;
    pass(ms(1_000)).await;
    assert_eq!(taken.ready_state(), DataChannelState::Open);
    let told = channels(&mut sleeper);
    assert_eq!(told.iter().map(DataChannel::id).collect::<Vec<_>>(), [taken.id()]);
    drop(b);
}
