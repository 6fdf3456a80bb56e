//! Every state of an `SctpTransport` and of a data channel, what moves it and where to: triples of (from, event, to)
//! driven through the real objects. What is not in a table moves nothing.

use bytes::Bytes;

use crate::test_pair::{Pair, ms};
use crate::{
    DataChannelEvent, DataChannelId, DataChannelInit, DataChannelState, MessageKind, SctpTransportState,
};

use DataChannelState as Channel;
use SctpTransportState as Transport;

/// How the transport of peer 0 comes to a state.
fn transport_in(state: Transport) -> Pair {
    let mut pair = Pair::new();
    match state {
        Transport::Connecting => pair.start(),
        Transport::Connected => pair.connect(),
        Transport::Closed => {
            pair.connect();
            let now = pair.now;
            pair.peers[0].sctp.close(now);
        }
    }
    assert_eq!(pair.peers[0].sctp.state(), state);
    pair
}

/// What happens to peer 0.
type Event = (&'static str, fn(&mut Pair));

const CONNECT: Event = ("the handshake's packets pass", |pair| pair.run_for(ms(1000)));
const CLOSE: Event = ("close", |pair| {
    let now = pair.now;
    pair.peers[0].sctp.close(now);
    pair.run_for(ms(1000));
});
const PEER_CLOSES: Event = ("the peer closes", |pair| {
    let now = pair.now;
    pair.peers[1].sctp.close(now);
    pair.run_for(ms(1000));
});
const SILENCE: Event = ("the peer says nothing for long", |pair| {
    pair.filter = Some(Box::new(|from, _| from == 0));
    // Something that is not acknowledged.
    let now = pair.now;
    let _ = pair.peers[0].sctp.create_data_channel(now, DataChannelInit::labelled("lost"));
    pair.run_for(ms(600_000));
});
const NOISE: Event = ("packets of no association", |pair| {
    let now = pair.now;
    for packet in [&b""[..], &[0; 12], &[0x13, 0x88, 0x13, 0x88, 9, 9, 9, 9, 0, 0, 0, 0, 6, 0, 0, 4]] {
        pair.peers[0].sctp.receive(now, packet);
    }
});

/// K20, K05: the states of the transport.
#[test]
fn transitions_of_the_transport() {
    let table = [
        (Transport::Connecting, CONNECT, Transport::Connected),
        (Transport::Connecting, CLOSE, Transport::Closed),
        (Transport::Connecting, SILENCE, Transport::Closed),
        (Transport::Connecting, NOISE, Transport::Connecting),
        (Transport::Connected, CONNECT, Transport::Connected),
        (Transport::Connected, CLOSE, Transport::Closed),
        (Transport::Connected, PEER_CLOSES, Transport::Closed),
        // Consent is ICE's to watch over, and an outage may end.
        (Transport::Connected, SILENCE, Transport::Connected),
        (Transport::Connected, NOISE, Transport::Connected),
        // Gone for good.
        (Transport::Closed, CONNECT, Transport::Closed),
        (Transport::Closed, CLOSE, Transport::Closed),
        (Transport::Closed, PEER_CLOSES, Transport::Closed),
        (Transport::Closed, SILENCE, Transport::Closed),
        (Transport::Closed, NOISE, Transport::Closed),
    ];
    for (from, (what, event), to) in table {
        let mut pair = transport_in(from);
        let mut told = pair.peers[0].sctp.subscribe();
        event(&mut pair);
        assert_eq!(pair.peers[0].sctp.state(), to, "{from:?}, {what}");
        let mut states = Vec::new();
        while let Some(event) = told.try_next() {
            if let crate::SctpTransportEvent::StateChange(state) = event {
                states.push(state);
            }
        }
        // Told once, and only what changed.
        let expected: Vec<_> = (from != to).then_some(to).into_iter().collect();
        assert_eq!(states, expected, "{from:?}, {what}");
    }
}

/// How a channel of peer 0 comes to a state.
fn channel_in(state: Channel) -> (Pair, DataChannelId) {
    let init = || DataChannelInit::labelled("channel");
    if state == Channel::Connecting {
        let mut pair = Pair::new();
        pair.start();
        let now = pair.now;
        let id = pair.peers[0].sctp.create_data_channel(now, init()).unwrap();
        return (pair, id);
    }
    let mut pair = Pair::connected();
    let (id, _) = pair.channel(init());
    if state != Channel::Open {
        let now = pair.now;
        pair.peers[0].sctp.close_data_channel(now, id);
    }
    if state == Channel::Closed {
        pair.run_for(ms(2000));
    }
    assert_eq!(pair.peers[0].sctp.data_channel_state(id), state);
    (pair, id)
}

type ChannelEvent = (&'static str, fn(&mut Pair, DataChannelId));

const TIME: ChannelEvent = ("time passes", |pair, _| pair.run_for(ms(2000)));
const CLOSE_CHANNEL: ChannelEvent = ("close", |pair, id| {
    let now = pair.now;
    pair.peers[0].sctp.close_data_channel(now, id);
});
const PEER_CLOSES_CHANNEL: ChannelEvent = ("the peer closes it", |pair, _| {
    let now = pair.now;
    let Some(id) = pair.peers[1].sctp.data_channels().next() else { return };
    pair.peers[1].sctp.close_data_channel(now, id);
    pair.run_for(ms(2000));
});
const SEND: ChannelEvent = ("send", |pair, id| {
    let now = pair.now;
    let _ = pair.peers[0].sctp.send(now, id, MessageKind::Binary, Bytes::from_static(b"data"));
});
const TRANSPORT_CLOSES: ChannelEvent = ("the transport closes", |pair, _| {
    let now = pair.now;
    pair.peers[0].sctp.close(now);
    pair.peers[0].drain();
});

/// K05: the states of a channel.
#[test]
fn transitions_of_a_channel() {
    let table = [
        (Channel::Connecting, TIME, Channel::Open),
        (Channel::Connecting, SEND, Channel::Connecting),
        (Channel::Connecting, CLOSE_CHANNEL, Channel::Closed),
        (Channel::Connecting, TRANSPORT_CLOSES, Channel::Closed),
        (Channel::Open, TIME, Channel::Open),
        (Channel::Open, SEND, Channel::Open),
        (Channel::Open, CLOSE_CHANNEL, Channel::Closing),
        (Channel::Open, PEER_CLOSES_CHANNEL, Channel::Closed),
        (Channel::Open, TRANSPORT_CLOSES, Channel::Closed),
        (Channel::Closing, TIME, Channel::Closed),
        (Channel::Closing, SEND, Channel::Closing),
        (Channel::Closing, CLOSE_CHANNEL, Channel::Closing),
        (Channel::Closing, PEER_CLOSES_CHANNEL, Channel::Closed),
        (Channel::Closing, TRANSPORT_CLOSES, Channel::Closed),
        // Gone for good.
        (Channel::Closed, TIME, Channel::Closed),
        (Channel::Closed, SEND, Channel::Closed),
        (Channel::Closed, CLOSE_CHANNEL, Channel::Closed),
        (Channel::Closed, PEER_CLOSES_CHANNEL, Channel::Closed),
        (Channel::Closed, TRANSPORT_CLOSES, Channel::Closed),
    ];
    for (from, (what, event), to) in table {
        let (mut pair, id) = channel_in(from);
        pair.peers[0].drain();
        pair.peers[0].events.clear();
        event(&mut pair, id);
        assert_eq!(pair.peers[0].sctp.data_channel_state(id), to, "{from:?}, {what}");
        // Told once each, in order, and nothing after closed.
        pair.run_for(ms(2000));
        let told: Vec<_> = pair.peers[0].events.iter().filter_map(|event| told_state(event, id)).collect();
        let after: &[Channel] = match (from, to) {
            (Channel::Connecting, Channel::Closed) => &[Channel::Closed],
            (Channel::Connecting, _) => &[Channel::Open],
            (Channel::Closed, _) | (Channel::Open, Channel::Open) => &[],
            (Channel::Closing, _) => &[Channel::Closed],
            // W3C's closing event is for what the peer began.
            (Channel::Open, _) if what == PEER_CLOSES_CHANNEL.0 => &[Channel::Closing, Channel::Closed],
            (Channel::Open, _) => &[Channel::Closed],
        };
        assert_eq!(told, after, "{from:?}, {what}: {:?}", pair.peers[0].events);
    }
}

fn told_state(event: &DataChannelEvent, channel: DataChannelId) -> Option<Channel> {
    match event {
        DataChannelEvent::Open { id } if *id == channel => Some(Channel::Open),
        DataChannelEvent::Closing { id, .. } if *id == channel => Some(Channel::Closing),
        DataChannelEvent::Closed { id, .. } if *id == channel => Some(Channel::Closed),
        _ => None,
    }
}
