//! Data channels: who gets which id and when, what is refused, what becomes of ids that were used.

use std::collections::BTreeSet;

use peerstack_peer_connection::{
    DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, DataChannelState, RtcError,
    RtcErrorDetail, RtcErrorKind,
};

use crate::harness::{Peer, ms, negotiate, pass, two_peers};

/// Made by both sides with this id.
fn negotiated(id: u16) -> DataChannelInit {
    DataChannelInit { negotiated: true, id: Some(id), ..DataChannelInit::default() }
}

fn create(peer: &Peer) -> DataChannel {
    peer.pc.create_data_channel("", DataChannelInit::default()).unwrap()
}

fn kind(result: Result<DataChannel, RtcError>) -> RtcErrorKind {
    result.unwrap_err().kind
}

async fn opened(channel: &DataChannel) {
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
}

async fn closed(channel: &DataChannel) {
    while channel.next_event().await.is_some() {}
    assert_eq!(channel.ready_state(), DataChannelState::Closed);
}

/// K03: the DTLS client's ids are even, the server's odd: given with the answer to channels made before, at once to
/// those made after. Which ids a channel may be made with, before and after the streams are agreed on.
#[tokio::test(start_paused = true)]
async fn ids_follow_the_role() {
    let (_lab, a, mut b) = two_peers(42, ms(5));
    let (first, fixed, second) =
        (create(&a), a.pc.create_data_channel("", negotiated(3)).unwrap(), create(&a));
    assert_eq!([first.id(), fixed.id(), second.id()], [None, Some(3), None]);
    // Of a channel that is not negotiated the id means nothing.
    let ignored = DataChannelInit { id: Some(9), ..DataChannelInit::default() };
    let ignored = a.pc.create_data_channel("", ignored).unwrap();
    assert_eq!(ignored.id(), None);
    assert_eq!(kind(a.pc.create_data_channel("", negotiated(3))), RtcErrorKind::OperationError);
    assert_eq!(kind(a.pc.create_data_channel("", negotiated(65_535))), RtcErrorKind::TypeError);
    // 65,534 can be asked for; how many streams there are is not known yet.
    let beyond = a.pc.create_data_channel("", negotiated(65_534)).unwrap();
    negotiate(&a, &b).await;
    // The offerer is the DTLS server where the answerer chooses to be active.
    assert_eq!([first.id(), second.id(), ignored.id()], [Some(1), Some(5), Some(7)]);
    let theirs = create(&b);
    assert_eq!(theirs.id(), Some(0));
    match beyond.next_event().await {
        Some(DataChannelEvent::Error(error)) => {
            assert_eq!(error.kind, RtcErrorKind::OperationError);
            assert_eq!(error.detail, Some(RtcErrorDetail::DataChannelFailure));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(beyond.next_event().await, Some(DataChannelEvent::Closed));
    opened(&first).await;
    // Channels are announced in the order of their messages, and have their ids.
    let mut announced = Vec::new();
    for _ in 0..3 {
        announced.push(b.channels.recv().await.unwrap().id());
    }
    assert_eq!(announced, [Some(1), Some(5), Some(7)]);
    assert_eq!(create(&a).id(), Some(9));
    assert_eq!(kind(a.pc.create_data_channel("", negotiated(1_024))), RtcErrorKind::OperationError);
    assert_eq!(kind(a.pc.create_data_channel("", negotiated(5))), RtcErrorKind::OperationError);
    assert_eq!(a.pc.create_data_channel("", negotiated(1_023)).unwrap().id(), Some(1_023));
}

/// K03, K11: an id is not used again while its channel closes, and again when it is closed, from either side.
#[tokio::test(start_paused = true)]
async fn ids_are_used_again() {
    let (_lab, a, mut b) = two_peers(43, ms(5));
    let channel = create(&a);
    negotiate(&a, &b).await;
    let mut remote = b.channels.recv().await.unwrap();
    opened(&channel).await;
    let id = channel.id().unwrap();
    channel.close();
    assert_eq!(channel.ready_state(), DataChannelState::Closing);
    assert_eq!(kind(a.pc.create_data_channel("", negotiated(id))), RtcErrorKind::OperationError);
    closed(&channel).await;
    closed(&remote).await;
    // Both sides make the channel anew under the id that is free again.
    for round in 0..10 {
        let pair = [&a, &b].map(|peer| peer.pc.create_data_channel("again", negotiated(id)).unwrap());
        opened(&pair[0]).await;
        opened(&pair[1]).await;
        pair[round % 2].send("again").unwrap();
        let event = pair[1 - round % 2].next_event().await;
        assert_eq!(event, Some(DataChannelEvent::Message(DataChannelMessage::from("again"))));
        pair[round % 2].close();
        closed(&pair[0]).await;
        closed(&pair[1]).await;
    }
    // One that is announced rests as long as others are free, and then has its turn.
    let mut used = BTreeSet::new();
    for _ in 0..515 {
        let channel = create(&a);
        used.insert(channel.id().unwrap());
        remote = b.channels.recv().await.unwrap();
        assert_eq!(remote.id(), channel.id());
        remote.close();
        closed(&channel).await;
        closed(&remote).await;
    }
    assert_eq!(used.len(), 512);
    assert!(used.iter().all(|id| id % 2 == 1));
}

/// K21, T19, K11: 1,024 channels at once, half of them from either side, each of use; the next is refused and changes nothing;
/// all close, and all can be had again.
#[tokio::test(start_paused = true)]
async fn a_thousand_and_twenty_four_channels() {
    let (_lab, mut a, mut b) = two_peers(44, ms(2));
    let first = create(&a);
    negotiate(&a, &b).await;
    opened(&first).await;
    for round in 0..2 {
        let ours: Vec<_> = (0..512 - usize::from(round == 0)).map(|_| create(&a)).collect();
        let theirs: Vec<_> = (0..512).map(|_| create(&b)).collect();
        for peer in [&a, &b] {
            let refused = peer.pc.create_data_channel("", DataChannelInit::default()).unwrap_err();
            assert_eq!((refused.kind, refused.detail), (RtcErrorKind::OperationError, None));
        }
        let mut announced = Vec::new();
        for _ in 0..512 {
            announced.push(b.channels.recv().await.unwrap());
            announced.push(a.channels.recv().await.unwrap());
            if round == 1 && announced.len() == 1024 {
                break;
            }
        }
        let all = |pc: &[DataChannel]| pc.iter().map(|one| one.id().unwrap()).collect::<BTreeSet<_>>();
        assert_eq!(all(&announced).len(), 1024);
        for channel in ours.iter().chain(&theirs) {
            opened(channel).await;
            channel.send("each").unwrap();
        }
        for channel in &announced {
            while channel.next_event().await != Some(DataChannelEvent::Message("each".into())) {
                if round == 0 && channel.id() == first.id() {
                    break;
                }
            }
        }
        for channel in ours.iter().chain(&theirs) {
            channel.close();
        }
        if round == 0 {
            first.close();
        }
        for channel in ours.iter().chain(&theirs).chain(&announced) {
            closed(channel).await;
        }
        pass(ms(1_000)).await;
        let stats = a.pc.stats().await.unwrap();
        assert_eq!(stats.data_channels.len(), 0);
        assert_eq!(stats.peer_connection.unwrap().data_channels_closed, 1024 * (round + 1));
    }
}
