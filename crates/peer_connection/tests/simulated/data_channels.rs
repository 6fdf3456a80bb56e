//! Data channels as applications see them: options, what `send` refuses, messages, back-pressure, the end.

use bytes::Bytes;
use peerstack_netsim::LossModel;
use peerstack_peer_connection::{
    Configuration, DataChannel, DataChannelEvent as Event, DataChannelInit, DataChannelMessage,
    DataChannelState, IceConnectionState, MediaStreamTrack, OfferOptions, PeerConnectionState, PriorityType,
    RtcError, RtcErrorDetail, RtcErrorKind, Settings, TrackKind,
};

use crate::harness::{
    Peer, ms, negotiate, negotiate_changed, negotiate_without, pass, send_media, two_peers, two_peers_with,
};

/// An open channel and its other end.
async fn open(a: &Peer, b: &mut Peer, init: DataChannelInit) -> (DataChannel, DataChannel) {
    let channel = a.pc.create_data_channel("data", init).unwrap();
    if a.pc.current_remote_description().is_none() {
        negotiate(a, b).await;
    }
    let remote = b.channels.recv().await.unwrap();
    assert_eq!(channel.next_event().await, Some(Event::Open));
    assert_eq!(remote.next_event().await, Some(Event::Open));
    (channel, remote)
}

async fn message(channel: &DataChannel) -> DataChannelMessage {
    loop {
        if let Event::Message(message) = channel.next_event().await.unwrap() {
            return message;
        }
    }
}

/// The next event but for those that all sent messages left.
async fn next(channel: &DataChannel) -> Option<Event> {
    loop {
        match channel.next_event().await {
            Some(Event::BufferedAmountLow) => {}
            event => return event,
        }
    }
}

/// All that is still to come.
async fn rest(channel: &DataChannel) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = next(channel).await {
        events.push(event);
    }
    events
}

fn kind(result: Result<(), RtcError>) -> RtcErrorKind {
    let error = result.unwrap_err();
    assert!(error.message.len() > 20, "{error}");
    error.kind
}

/// K01: every option reaches the peer, and each channel carries both kinds of messages.
#[tokio::test(start_paused = true)]
async fn options_reach_the_peer() {
    let (_lab, a, mut b) = two_peers(45, ms(5));
    let plain = DataChannelInit::default;
    let options = [
        plain(),
        DataChannelInit { ordered: false, ..plain() },
        DataChannelInit { max_retransmits: Some(0), priority: PriorityType::VeryLow, ..plain() },
        DataChannelInit { ordered: false, max_retransmits: Some(65_535), ..plain() },
        DataChannelInit { max_packet_life_time: Some(1), priority: PriorityType::High, ..plain() },
        DataChannelInit { ordered: false, max_packet_life_time: Some(65_535), ..plain() },
        DataChannelInit { protocol: "p".repeat(65_535), priority: PriorityType::Medium, ..plain() },
    ];
    for (index, init) in options.iter().enumerate() {
        let label = "ä".repeat(index * 300);
        let channel = a.pc.create_data_channel(&label, init.clone()).unwrap();
        if index == 0 {
            negotiate(&a, &b).await;
        }
        let remote = b.channels.recv().await.unwrap();
        for end in [&channel, &remote] {
            assert_eq!((end.label(), end.protocol()), (label.as_str(), init.protocol.as_str()));
            assert_eq!((end.ordered(), end.negotiated()), (init.ordered, false));
            assert_eq!(end.max_retransmits(), init.max_retransmits);
            assert_eq!(end.max_packet_life_time(), init.max_packet_life_time);
            assert_eq!(end.priority(), init.priority);
        }
        // An announced channel is open when it is told, and says so once.
        assert_eq!(remote.ready_state(), DataChannelState::Open);
        assert_eq!(remote.next_event().await, Some(Event::Open));
        assert_eq!(channel.next_event().await, Some(Event::Open));
        for message in
            [DataChannelMessage::from("text ✓"), vec![0, 159, 146, 150].into(), "".into(), vec![].into()]
        {
            channel.send(message.clone()).unwrap();
            assert_eq!(next(&remote).await, Some(Event::Message(message.clone())));
            remote.send(message.clone()).unwrap();
            assert_eq!(next(&channel).await, Some(Event::Message(message)));
        }
        let stats = a.pc.stats().await.unwrap();
        let stats = stats.data_channels.iter().find(|one| one.label == label).unwrap();
        assert_eq!((stats.messages_sent, stats.bytes_sent, stats.messages_received), (4, 12, 4));
    }
}

/// K06, K08: what `send` refuses has W3C's name and changes nothing: not open, too large, no room.
#[tokio::test(start_paused = true)]
async fn send_refuses_by_name() {
    let (_lab, a, mut b) = two_peers(46, ms(5));
    let early = a.pc.create_data_channel("early", DataChannelInit::default()).unwrap();
    assert_eq!(kind(early.send("x")), RtcErrorKind::InvalidStateError);
    assert_eq!(early.buffered_amount(), 0);
    negotiate(&a, &b).await;
    b.channels.recv().await.unwrap();
    let (channel, remote) = open(&a, &mut b, DataChannelInit::default()).await;
    assert_eq!(kind(channel.send(vec![0; 262_145])), RtcErrorKind::TypeError);
    assert_eq!(channel.buffered_amount(), 0);
    let large = Bytes::from(vec![7; 262_144]);
    let mut accepted = 0;
    let error = loop {
        match channel.send(large.clone()) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind, accepted), (RtcErrorKind::OperationError, 64));
    assert_eq!(channel.buffered_amount(), 16 << 20);
    // Closed while it is full: all that was taken arrives, and nothing that was refused.
    channel.close();
    assert_eq!(kind(channel.send("late")), RtcErrorKind::InvalidStateError);
    for _ in 0..accepted {
        assert_eq!(message(&remote).await, DataChannelMessage::Binary(large.clone()));
    }
    assert_eq!(rest(&remote).await, [Event::Closing, Event::Closed]);
    assert_eq!(rest(&channel).await.last(), Some(&Event::Closed));
    assert_eq!(kind(channel.send("late")), RtcErrorKind::InvalidStateError);
    let stats = b.pc.stats().await.unwrap();
    assert!(stats.data_channels.iter().all(|one| one.label == "early"));
}

/// K27: `buffered_amount` grows with `send` at once and falls as bytes leave; its low threshold is told when it is
/// crossed from above, once.
#[tokio::test(start_paused = true)]
async fn the_low_threshold_is_told_once() {
    let (_lab, a, mut b) = two_peers(47, ms(5));
    let (channel, remote) = open(&a, &mut b, DataChannelInit::default()).await;
    channel.set_buffered_amount_low_threshold(100_000);
    channel.send(vec![0; 90_000]).unwrap();
    assert_eq!(channel.buffered_amount(), 90_000);
    message(&remote).await;
    for _ in 0..4 {
        channel.send(vec![0; 100_000]).unwrap();
    }
    assert_eq!(channel.next_event().await, Some(Event::BufferedAmountLow));
    assert!(channel.buffered_amount() <= 100_000);
    for _ in 0..4 {
        message(&remote).await;
    }
    pass(ms(1_000)).await;
    assert_eq!((channel.buffered_amount(), channel.buffered_amount_low_threshold()), (0, 100_000));
    channel.close();
    assert_eq!(rest(&channel).await, [Event::Closed]);
}

/// K08, K17: the largest message is what the peer's SDP says: absent 64 KiB, 0 no limit; and ours says what is set.
#[tokio::test(start_paused = true)]
async fn the_peer_says_how_large_a_message_may_be() {
    let mut settings = Settings::default();
    settings.max_message_size = 1 << 20;
    let configuration = Configuration::new().with_settings(settings);
    for (said, limit) in
        [("a=max-message-size:1000\r\n", 1_000), ("", 65_536), ("a=max-message-size:0\r\n", 1 << 20)]
    {
        let (_lab, a, mut b) = two_peers_with(48, ms(5), &configuration);
        let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        negotiate_changed(&a, &b, |sdp| {
            assert!(sdp.contains("a=max-message-size:1048576\r\n") && sdp.contains("a=sctp-port:5000\r\n"));
            sdp.replace("a=max-message-size:1048576\r\n", said)
        })
        .await;
        let remote = b.channels.recv().await.unwrap();
        assert_eq!(channel.next_event().await, Some(Event::Open));
        let whole = Bytes::from(vec![3; limit]);
        channel.send(whole.clone()).unwrap();
        assert_eq!(message(&remote).await, DataChannelMessage::Binary(whole));
        if limit < 1 << 20 {
            assert_eq!(kind(channel.send(vec![0; limit + 1])), RtcErrorKind::TypeError);
            assert_eq!(channel.ready_state(), DataChannelState::Open);
        }
    }
}

/// K07: a peer that takes no message as large as the OPEN never hears of the channel, whose error says why.
#[tokio::test(start_paused = true)]
async fn an_open_larger_than_the_peer_takes_fails() {
    let (_lab, a, b) = two_peers(49, ms(5));
    let channel = a.pc.create_data_channel("a label", DataChannelInit::default()).unwrap();
    negotiate_changed(&a, &b, |sdp| sdp.replace("max-message-size:262144", "max-message-size:10")).await;
    let Some(Event::Error(error)) = channel.next_event().await else { panic!("no error") };
    assert_eq!(
        (error.kind, error.detail),
        (RtcErrorKind::OperationError, Some(RtcErrorDetail::DataChannelFailure))
    );
    assert!(error.message.contains("a label"), "{error}");
    assert_eq!(rest(&channel).await, [Event::Closed]);
}

/// K05, K11: closing is told once and in order: `Closing` to the side that did not begin, `Closed` to both; a channel
/// closed before it opened never opens, nor is heard of at the peer.
#[tokio::test(start_paused = true)]
async fn the_end_is_told_once() {
    let (_lab, a, mut b) = two_peers(50, ms(5));
    let never = a.pc.create_data_channel("never", DataChannelInit::default()).unwrap();
    never.close();
    assert_eq!(never.ready_state(), DataChannelState::Closing);
    assert_eq!(rest(&never).await, [Event::Closed]);
    let during = a.pc.create_data_channel("during", DataChannelInit::default()).unwrap();
    let (channel, remote) = {
        let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        negotiate(&a, &b).await;
        during.close();
        assert_eq!(rest(&during).await, [Event::Closed]);
        let remote = b.channels.recv().await.unwrap();
        assert_eq!((remote.label(), remote.next_event().await), ("data", Some(Event::Open)));
        assert_eq!(channel.next_event().await, Some(Event::Open));
        (channel, remote)
    };
    channel.send("last").unwrap();
    channel.close();
    channel.close();
    assert_eq!(rest(&channel).await, [Event::Closed]);
    assert_eq!(rest(&remote).await, [Event::Message("last".into()), Event::Closing, Event::Closed]);

    // Either side at the same time.
    let (channel, remote) = open(&a, &mut b, DataChannelInit::default()).await;
    channel.close();
    remote.close();
    assert_eq!((rest(&channel).await, rest(&remote).await), (vec![Event::Closed], vec![Event::Closed]));

    // The callee closes the caller's.
    let (channel, remote) = open(&a, &mut b, DataChannelInit::default()).await;
    remote.close();
    assert_eq!(rest(&channel).await, [Event::Closing, Event::Closed]);
    assert_eq!(rest(&remote).await, [Event::Closed]);

    // A handle that is dropped closes its channel.
    let (channel, remote) = open(&a, &mut b, DataChannelInit::default()).await;
    drop(remote);
    assert_eq!(rest(&channel).await, [Event::Closing, Event::Closed]);
}

/// K05, K11: closing the connection closes its channels at the peer, with the cause of the association's end.
#[tokio::test(start_paused = true)]
async fn the_cause_of_an_abort_is_told() {
    let (_lab, a, mut b) = two_peers(51, ms(5));
    let (channel, remote) = open(&a, &mut b, DataChannelInit::default()).await;
    b.pc.close();
    let Some(Event::Error(error)) = channel.next_event().await else { panic!("no error") };
    assert_eq!(error.kind, RtcErrorKind::OperationError);
    let detail = error.detail.unwrap();
    assert_eq!(detail, RtcErrorDetail::SctpFailure { cause_code: Some(12) });
    assert_eq!(detail.as_str(), "sctp-failure");
    assert_eq!(rest(&channel).await, [Event::Closed]);
    // Who closed is told of no error.
    assert_eq!(rest(&remote).await, [Event::Closed]);
    assert_eq!(kind(channel.send("x")), RtcErrorKind::InvalidStateError);
}

/// K09, K10: what a reliable channel was given during an outage arrives when ICE is connected again, and so after an
/// ICE restart; what an unreliable one was given is gone.
#[tokio::test(start_paused = true)]
async fn an_outage_is_survived() {
    let (_lab, a, mut b) = two_peers(52, ms(5));
    let (reliable, reliable_there) = open(&a, &mut b, DataChannelInit::default()).await;
    let init = DataChannelInit { max_packet_life_time: Some(500), ..DataChannelInit::default() };
    let (mortal, mortal_there) = open(&a, &mut b, init).await;
    for restart in [false, true] {
        let link = b.host.interfaces()[0].link();
        link.set_loss(LossModel::Uniform(1.0));
        pass(ms(8_000)).await;
        assert_eq!(a.pc.ice_connection_state(), IceConnectionState::Disconnected);
        for channel in [&reliable, &mortal] {
            channel.send("during").unwrap();
        }
        pass(ms(2_000)).await;
        link.set_loss(LossModel::None);
        if restart {
            let offer = a.pc.create_offer(OfferOptions::ice_restart()).await.unwrap();
            a.pc.set_local_description(offer.clone()).await.unwrap();
            b.pc.set_remote_description(offer).await.unwrap();
            let answer = b.pc.create_answer().await.unwrap();
            b.pc.set_local_description(answer.clone()).await.unwrap();
            a.pc.set_remote_description(answer).await.unwrap();
        }
        assert_eq!(message(&reliable_there).await, DataChannelMessage::from("during"));
        pass(ms(5_000)).await;
        assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
        mortal.send("after").unwrap();
        assert_eq!(message(&mortal_there).await, DataChannelMessage::from("after"));
    }
}

/// K12: data first and media later, and the other way, on one transport and on one for each.
#[tokio::test(start_paused = true)]
async fn data_and_media_join_each_other() {
    for (data_first, removed) in
        [(true, ""), (false, ""), (true, "a=group:BUNDLE"), (false, "a=group:BUNDLE")]
    {
        let (_lab, a, mut b) = two_peers(53, ms(5));
        let mut channel = None;
        let mut sender = None;
        for data in [data_first, !data_first] {
            if data {
                channel = Some(a.pc.create_data_channel("data", DataChannelInit::default()).unwrap());
            } else {
                sender = Some(a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap());
            }
            negotiate_without(&a, &b, removed).await;
            pass(ms(3_000)).await;
        }
        let (channel, sender) = (channel.unwrap(), sender.unwrap());
        let (remote, track) = (b.channels.recv().await.unwrap(), b.tracks.recv().await.unwrap());
        channel.send("data").unwrap();
        assert_eq!(message(&remote).await, DataChannelMessage::from("data"));
        send_media(&sender, 0, 5).await;
        for number in 0..5 {
            assert_eq!(track.recv().await.unwrap().sequence_number, number);
        }
        let transports = a.pc.stats().await.unwrap().transports.len();
        assert_eq!(transports, if removed.is_empty() { 1 } else { 2 });
    }
}

/// K12: the syntax of before RFC 8841 is understood and answered in.
#[tokio::test(start_paused = true)]
async fn the_old_syntax_works() {
    let (_lab, a, mut b) = two_peers(54, ms(5));
    let channel = a.pc.create_data_channel("old", DataChannelInit::default()).unwrap();
    negotiate_changed(&a, &b, |sdp| {
        sdp.replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5000")
            .replace("a=sctp-port:5000", "a=sctpmap:5000 webrtc-datachannel 1024")
            .replace("a=max-message-size:262144\r\n", "")
    })
    .await;
    let remote = b.channels.recv().await.unwrap();
    assert_eq!(channel.next_event().await, Some(Event::Open));
    channel.send("x").unwrap();
    assert_eq!(message(&remote).await, DataChannelMessage::from("x"));
    assert_eq!(kind(channel.send(vec![0; 65_537])), RtcErrorKind::TypeError);
}

/// K06: messages without content count too: the peer is held back, and none is dropped.
#[tokio::test(start_paused = true)]
async fn empty_messages_hold_the_peer_back() {
    const COUNT: u64 = 40_000;
    let (_lab, a, mut b) = two_peers(41, ms(1));
    let (channel, remote) = open(&a, &mut b, DataChannelInit::default()).await;
    for _ in 0..COUNT {
        channel.send("").unwrap();
    }
    channel.send("last").unwrap();
    pass(ms(60_000)).await;
    let waiting = b.pc.stats().await.unwrap().data_channels[0].messages_received;
    assert!(waiting < COUNT, "all {waiting} of them wait");
    let mut received = 0;
    loop {
        match message(&remote).await {
            message if message.is_empty() => received += 1,
            message => {
                assert_eq!((received, message), (COUNT, DataChannelMessage::from("last")));
                break;
            }
        }
    }
}

/// K06: what waits is bounded over all channels of a connection: the peer's window closes, whatever channel it sends
/// on, and opens when some is read. A channel that is dropped unread gives its part back.
#[tokio::test(start_paused = true)]
async fn all_channels_together_hold_the_peer_back() {
    const SIZE: usize = 256 << 10;
    let (_lab, a, mut b) = two_peers(55, ms(1));
    let mut channels = Vec::new();
    for _ in 0..6 {
        channels.push(open(&a, &mut b, DataChannelInit::default()).await);
    }
    let whole = Bytes::from(vec![1; SIZE]);
    for (channel, _) in &channels {
        for _ in 0..24 {
            channel.send(whole.clone()).unwrap();
        }
    }
    pass(ms(60_000)).await;
    let received = async |b: &Peer| -> u64 {
        b.pc.stats().await.unwrap().data_channels.iter().map(|one| one.bytes_received).sum()
    };
    let waiting = received(&b).await;
    // 32 MiB of 36, the message that was too much, and no more than that.
    assert!(((31 << 20)..=(33 << 20)).contains(&waiting), "{waiting} bytes wait");
    pass(ms(60_000)).await;
    assert_eq!(received(&b).await, waiting);
    // Two thirds of it dropped makes the others go on.
    let dropped: Vec<_> = channels.drain(..4).collect();
    drop(dropped);
    for (_, remote) in &channels {
        for _ in 0..24 {
            assert_eq!(message(remote).await.len(), SIZE);
        }
    }
}
