//! What all transports together are: the aggregate states of a PeerConnection.
//!
//! Owned by the network task as part of the JsepTransportController. W3C webrtc-pc sections 4.3.2 (gathering),
//! 4.3.3 (connection) and 4.3.4 (ICE connection). Answers to libwebrtc's
//! `JsepTransportController::UpdateAggregateStates_n` in `pc/jsep_transport_controller.cc`.
//!
//! Each state is a function of the transports as they are now and of nothing before: a table can test it.

use std::fmt;

use peerstack_dtls::{DtlsTransportInternal, DtlsTransportState};
use peerstack_p2p::{IceGatheringState as TransportGatheringState, IceRole, IceTransport, IceTransportState};

/// W3C `RTCIceConnectionState` (webrtc-pc section 4.3.4): ICE of all transports together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IceConnectionState {
    /// All transports are new or closed, or there are none.
    #[default]
    New,
    /// Some transport has no usable pair yet; none is disconnected or failed.
    Checking,
    /// All transports have a usable pair.
    Connected,
    /// All transports have a usable pair and are done checking.
    Completed,
    /// Some transport lost its pair; none failed.
    Disconnected,
    /// Some transport failed.
    Failed,
    /// The connection was closed.
    Closed,
}

/// W3C `RTCPeerConnectionState` (webrtc-pc section 4.3.3): ICE and DTLS of all transports together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PeerConnectionState {
    /// All transports are new or closed, or there are none.
    #[default]
    New,
    /// Some transport is not connected yet; none is disconnected or failed.
    Connecting,
    /// ICE and DTLS of all transports are connected.
    Connected,
    /// ICE of some transport is disconnected; none failed.
    Disconnected,
    /// ICE or DTLS of some transport failed.
    Failed,
    /// The connection was closed.
    Closed,
}

/// W3C `RTCIceGatheringState` (webrtc-pc section 4.3.2): gathering of all transports together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IceGatheringState {
    /// None gathers and some did not start, or there are none.
    #[default]
    New,
    /// Some transport gathers.
    Gathering,
    /// All transports are done.
    Complete,
}

/// The aggregate libwebrtc had before W3C's (`cricket::IceConnectionState`): whether packets can be sent, DTLS
/// included, rather than what ICE does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LegacyIceConnectionState {
    /// None of the below.
    #[default]
    Connecting,
    /// ICE of some transport failed.
    Failed,
    /// All transports are writable, DTLS included.
    Connected,
    /// So, and for all of them we control, checks are done and gathering is complete.
    Completed,
}

macro_rules! w3c_words {
    ($state:ty { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $state {
            /// The word of the W3C enum.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $state {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

w3c_words!(IceConnectionState {
    New => "new",
    Checking => "checking",
    Connected => "connected",
    Completed => "completed",
    Disconnected => "disconnected",
    Failed => "failed",
    Closed => "closed",
});
w3c_words!(PeerConnectionState {
    New => "new",
    Connecting => "connecting",
    Connected => "connected",
    Disconnected => "disconnected",
    Failed => "failed",
    Closed => "closed",
});
w3c_words!(IceGatheringState { New => "new", Gathering => "gathering", Complete => "complete" });
w3c_words!(LegacyIceConnectionState {
    Connecting => "connecting",
    Failed => "failed",
    Connected => "connected",
    Completed => "completed",
});

/// What of one transport enters the aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransportState {
    pub(crate) ice: IceTransportState,
    pub(crate) legacy_ice: IceTransportState,
    pub(crate) gathering: TransportGatheringState,
    pub(crate) controlling: bool,
    pub(crate) dtls: DtlsTransportState,
    pub(crate) writable: bool,
}

impl TransportState {
    /// Reads the getters of a transport.
    pub(crate) fn of<D: DtlsTransportInternal>(dtls: &D) -> Self {
        let ice = dtls.ice();
        Self {
            ice: ice.state(),
            legacy_ice: ice.legacy_state(),
            gathering: ice.gathering_state(),
            controlling: ice.ice_role() == IceRole::Controlling,
            dtls: dtls.state(),
            writable: dtls.writable(),
        }
    }

    fn legacy_completed(&self) -> bool {
        self.writable
            && self.legacy_ice == IceTransportState::Completed
            && self.controlling
            && self.gathering == TransportGatheringState::Complete
    }
}

/// The four aggregates at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AggregateStates {
    pub(crate) ice_connection: IceConnectionState,
    pub(crate) connection: PeerConnectionState,
    pub(crate) gathering: IceGatheringState,
    pub(crate) legacy_ice_connection: LegacyIceConnectionState,
}

impl AggregateStates {
    /// Of these transports.
    pub(crate) fn of(transports: &[TransportState]) -> Self {
        Self {
            ice_connection: ice_connection_state(transports),
            connection: peer_connection_state(transports),
            gathering: ice_gathering_state(transports),
            legacy_ice_connection: legacy_ice_connection_state(transports),
        }
    }

    /// Of a connection that was closed.
    pub(crate) fn closed(self) -> Self {
        Self {
            ice_connection: IceConnectionState::Closed,
            connection: PeerConnectionState::Closed,
            legacy_ice_connection: LegacyIceConnectionState::Connecting,
            ..self
        }
    }
}

/// W3C webrtc-pc section 4.3.4, `RTCIceConnectionState`: the first line that applies.
fn ice_connection_state(transports: &[TransportState]) -> IceConnectionState {
    use IceTransportState as Ice;
    let any = |states: &[Ice]| transports.iter().any(|transport| states.contains(&transport.ice));
    let all = |states: &[Ice]| transports.iter().all(|transport| states.contains(&transport.ice));
    if any(&[Ice::Failed]) {
        IceConnectionState::Failed
    } else if any(&[Ice::Disconnected]) {
        IceConnectionState::Disconnected
    } else if all(&[Ice::New, Ice::Closed]) {
        // True of no transports as well.
        IceConnectionState::New
    } else if any(&[Ice::New, Ice::Checking]) {
        IceConnectionState::Checking
    } else if all(&[Ice::Completed, Ice::Closed]) {
        IceConnectionState::Completed
    } else {
        IceConnectionState::Connected
    }
}

/// W3C webrtc-pc section 4.3.3, `RTCPeerConnectionState`: the first line that applies.
fn peer_connection_state(transports: &[TransportState]) -> PeerConnectionState {
    use DtlsTransportState as Dtls;
    use IceTransportState as Ice;
    let any_ice = |states: &[Ice]| transports.iter().any(|transport| states.contains(&transport.ice));
    let all_ice = |states: &[Ice]| transports.iter().all(|transport| states.contains(&transport.ice));
    let any_dtls = |states: &[Dtls]| transports.iter().any(|transport| states.contains(&transport.dtls));
    let all_dtls = |states: &[Dtls]| transports.iter().all(|transport| states.contains(&transport.dtls));
    if any_ice(&[Ice::Failed]) || any_dtls(&[Dtls::Failed]) {
        PeerConnectionState::Failed
    } else if any_ice(&[Ice::Disconnected]) {
        PeerConnectionState::Disconnected
    } else if all_ice(&[Ice::New, Ice::Closed]) && all_dtls(&[Dtls::New, Dtls::Closed]) {
        PeerConnectionState::New
    } else if any_ice(&[Ice::New, Ice::Checking]) || any_dtls(&[Dtls::New, Dtls::Connecting]) {
        PeerConnectionState::Connecting
    } else {
        PeerConnectionState::Connected
    }
}

/// W3C webrtc-pc section 4.3.2, `RTCIceGatheringState`. libwebrtc says "gathering" where some transports are
/// complete and the others new; W3C says "new".
fn ice_gathering_state(transports: &[TransportState]) -> IceGatheringState {
    use TransportGatheringState as Gathering;
    if transports.iter().any(|transport| transport.gathering == Gathering::Gathering) {
        IceGatheringState::Gathering
    } else if transports.iter().all(|transport| transport.gathering == Gathering::Complete)
        && !transports.is_empty()
    {
        IceGatheringState::Complete
    } else {
        IceGatheringState::New
    }
}

/// The order of libwebrtc's original: failed before completed before connected.
fn legacy_ice_connection_state(transports: &[TransportState]) -> LegacyIceConnectionState {
    let some = !transports.is_empty();
    if transports.iter().any(|transport| transport.legacy_ice == IceTransportState::Failed) {
        LegacyIceConnectionState::Failed
    } else if some && transports.iter().all(TransportState::legacy_completed) {
        LegacyIceConnectionState::Completed
    } else if some && transports.iter().all(|transport| transport.writable) {
        LegacyIceConnectionState::Connected
    } else {
        LegacyIceConnectionState::Connecting
    }
}

#[cfg(test)]
#[path = "aggregate_states_tests.rs"]
mod tests;
