//! Every combination of transport states against W3C's text, written as counts rather than as code.

use super::*;

const ICE: [IceTransportState; 7] = [
    IceTransportState::New,
    IceTransportState::Checking,
    IceTransportState::Connected,
    IceTransportState::Completed,
    IceTransportState::Disconnected,
    IceTransportState::Failed,
    IceTransportState::Closed,
];
const DTLS: [DtlsTransportState; 5] = [
    DtlsTransportState::New,
    DtlsTransportState::Connecting,
    DtlsTransportState::Connected,
    DtlsTransportState::Closed,
    DtlsTransportState::Failed,
];
const GATHERING: [TransportGatheringState; 3] =
    [TransportGatheringState::New, TransportGatheringState::Gathering, TransportGatheringState::Complete];

fn transport(ice: IceTransportState, dtls: DtlsTransportState) -> TransportState {
    TransportState {
        ice,
        legacy_ice: ice,
        gathering: TransportGatheringState::New,
        controlling: true,
        dtls,
        writable: dtls == DtlsTransportState::Connected,
    }
}

fn ice(states: &[IceTransportState]) -> IceConnectionState {
    let transports: Vec<_> = states.iter().map(|&ice| transport(ice, DtlsTransportState::New)).collect();
    AggregateStates::of(&transports).ice_connection
}

/// One letter a state: New, Checking, coNnected is `O`, comPleted is `P`, Disconnected, Failed, cLosed.
fn ice_of(letter: char) -> IceTransportState {
    match letter {
        'N' => IceTransportState::New,
        'C' => IceTransportState::Checking,
        'O' => IceTransportState::Connected,
        'P' => IceTransportState::Completed,
        'D' => IceTransportState::Disconnected,
        'F' => IceTransportState::Failed,
        _ => IceTransportState::Closed,
    }
}

/// J06: the ICE connection state of one and of two transports, all combinations.
#[test]
fn ice_connection_state_of_every_pair() {
    use IceConnectionState as State;
    assert_eq!(ice(&[]), State::New);
    let alone = [
        State::New,
        State::Checking,
        State::Connected,
        State::Completed,
        State::Disconnected,
        State::Failed,
        State::New,
    ];
    for (state, expected) in ICE.into_iter().zip(alone) {
        assert_eq!(ice(&[state]), expected, "{state:?} alone");
    }
    // Row and column in the order N C O P D F L.
    let table = ["NCCCDFN", "CCCCDFC", "CCOODFO", "CCOPDFP", "DDDDDFD", "FFFFFFF", "NCOPDFN"];
    for (row, letters) in ICE.into_iter().zip(table) {
        for (column, letter) in ICE.into_iter().zip(letters.chars()) {
            let expected = match ice_of(letter) {
                IceTransportState::New => State::New,
                IceTransportState::Checking => State::Checking,
                IceTransportState::Connected => State::Connected,
                IceTransportState::Completed => State::Completed,
                IceTransportState::Disconnected => State::Disconnected,
                IceTransportState::Failed => State::Failed,
                IceTransportState::Closed => State::Closed,
            };
            assert_eq!(ice(&[row, column]), expected, "{row:?} with {column:?}");
        }
    }
}

/// J06: the connection state of one transport, every ICE state with every DTLS state.
#[test]
fn connection_state_of_every_ice_and_dtls_state() {
    use PeerConnectionState as State;
    assert_eq!(AggregateStates::of(&[]).connection, State::New);
    // Rows: ICE in the order N C O P D F L. Columns: DTLS new, connecting, connected, closed, failed.
    // n new, c connecting, o connected, d disconnected, f failed.
    let table = ["nccnf", "ccccf", "ccoof", "ccoof", "ddddf", "fffff", "nconf"];
    for (ice, letters) in ICE.into_iter().zip(table) {
        for (dtls, letter) in DTLS.into_iter().zip(letters.chars()) {
            let expected = match letter {
                'n' => State::New,
                'c' => State::Connecting,
                'o' => State::Connected,
                'd' => State::Disconnected,
                _ => State::Failed,
            };
            let actual = AggregateStates::of(&[transport(ice, dtls)]).connection;
            assert_eq!(actual, expected, "ICE {ice:?}, DTLS {dtls:?}");
        }
    }
}

/// J06: two transports, all 35 x 35 combinations, against the definition as a count of states.
#[test]
fn connection_state_of_every_pair_of_transports() {
    let all: Vec<_> =
        ICE.into_iter().flat_map(|ice| DTLS.into_iter().map(move |dtls| transport(ice, dtls))).collect();
    for first in &all {
        for second in &all {
            let pair = [*first, *second];
            let ices = |state| pair.iter().filter(|transport| transport.ice == state).count();
            let dtlses = |state| pair.iter().filter(|transport| transport.dtls == state).count();
            let failed = ices(IceTransportState::Failed) + dtlses(DtlsTransportState::Failed);
            let disconnected = ices(IceTransportState::Disconnected);
            let idle = ices(IceTransportState::New)
                + ices(IceTransportState::Closed)
                + dtlses(DtlsTransportState::New)
                + dtlses(DtlsTransportState::Closed);
            let done = ices(IceTransportState::Connected)
                + ices(IceTransportState::Completed)
                + ices(IceTransportState::Closed)
                + dtlses(DtlsTransportState::Connected)
                + dtlses(DtlsTransportState::Closed);
            let expected = match () {
                () if failed > 0 => PeerConnectionState::Failed,
                () if disconnected > 0 => PeerConnectionState::Disconnected,
                () if idle == 4 => PeerConnectionState::New,
                () if done == 4 => PeerConnectionState::Connected,
                () => PeerConnectionState::Connecting,
            };
            assert_eq!(AggregateStates::of(&pair).connection, expected, "{pair:?}");
            let turned = [*second, *first];
            assert_eq!(AggregateStates::of(&turned), AggregateStates::of(&pair), "order matters");
        }
    }
}

/// J07: gathering as soon as one gathers, complete when all are done.
#[test]
fn gathering_state_of_every_pair() {
    use IceGatheringState as State;
    let gathering = |states: &[TransportGatheringState]| {
        let transports: Vec<_> = states
            .iter()
            .map(|&gathering| TransportState {
                gathering,
                ..transport(IceTransportState::New, DtlsTransportState::New)
            })
            .collect();
        AggregateStates::of(&transports).gathering
    };
    assert_eq!(gathering(&[]), State::New);
    for (state, expected) in GATHERING.into_iter().zip([State::New, State::Gathering, State::Complete]) {
        assert_eq!(gathering(&[state]), expected);
    }
    let table = ["ngn", "ggg", "ngc"];
    for (row, letters) in GATHERING.into_iter().zip(table) {
        for (column, letter) in GATHERING.into_iter().zip(letters.chars()) {
            let expected = match letter {
                'n' => State::New,
                'g' => State::Gathering,
                _ => State::Complete,
            };
            assert_eq!(gathering(&[row, column]), expected, "{row:?} with {column:?}");
        }
    }
}

/// J06: the state of libwebrtc's original: every combination of what enters it, for one and two transports.
#[test]
fn legacy_state_of_every_combination() {
    use LegacyIceConnectionState as State;
    assert_eq!(AggregateStates::of(&[]).legacy_ice_connection, State::Connecting);
    let mut all = Vec::new();
    for ice in [
        IceTransportState::New,
        IceTransportState::Checking,
        IceTransportState::Completed,
        IceTransportState::Failed,
    ] {
        for gathering in GATHERING {
            for controlling in [true, false] {
                for writable in [true, false] {
                    all.push(TransportState {
                        gathering,
                        controlling,
                        writable,
                        ..transport(ice, DtlsTransportState::Connected)
                    });
                }
            }
        }
    }
    let alone = |transport: &TransportState| {
        if transport.legacy_ice == IceTransportState::Failed {
            State::Failed
        } else if !transport.writable {
            State::Connecting
        } else if transport.controlling
            && transport.gathering == TransportGatheringState::Complete
            && transport.legacy_ice == IceTransportState::Completed
        {
            State::Completed
        } else {
            State::Connected
        }
    };
    for first in &all {
        assert_eq!(AggregateStates::of(&[*first]).legacy_ice_connection, alone(first), "{first:?}");
        for second in &all {
            let expected = match (alone(first), alone(second)) {
                (State::Failed, _) | (_, State::Failed) => State::Failed,
                (State::Connecting, _) | (_, State::Connecting) => State::Connecting,
                (State::Completed, State::Completed) => State::Completed,
                _ => State::Connected,
            };
            let actual = AggregateStates::of(&[*first, *second]).legacy_ice_connection;
            assert_eq!(actual, expected, "{first:?} with {second:?}");
        }
    }
}

#[test]
fn closing_keeps_what_was_gathered() {
    let done = AggregateStates { gathering: IceGatheringState::Complete, ..AggregateStates::default() };
    let closed = done.closed();
    assert_eq!(closed.ice_connection, IceConnectionState::Closed);
    assert_eq!(closed.connection, PeerConnectionState::Closed);
    assert_eq!(closed.gathering, IceGatheringState::Complete);
}

#[test]
fn words_are_those_of_w3c() {
    assert_eq!(IceConnectionState::Disconnected.to_string(), "disconnected");
    assert_eq!(PeerConnectionState::Connecting.to_string(), "connecting");
    assert_eq!(IceGatheringState::Gathering.to_string(), "gathering");
    assert_eq!(LegacyIceConnectionState::Completed.to_string(), "completed");
}
