//! Who decides: which connection to check, to select, to prune. It only reads connections; the
//! `P2PTransportChannel` carries out what it answers. Answers to libwebrtc's
//! `p2p/base/ice_controller_interface.h`; owned by the network task.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::connection::{Connection, ConnectionId};
use crate::{IceConfig, IceMode, IceRole, IceSwitchReason, IceTransportState, NominationMode};

/// What a controller may read.
#[derive(Debug, Clone, Copy)]
pub struct IceControllerView<'a> {
    /// The time.
    pub now: Instant,
    /// All connections.
    pub connections: &'a BTreeMap<ConnectionId, Connection>,
    /// Our role.
    pub role: IceRole,
    /// State as the original design computes it: decides what a reserve connection is.
    pub state: IceTransportState,
}

impl<'a> IceControllerView<'a> {
    /// A connection.
    pub fn get(&self, id: ConnectionId) -> Option<&'a Connection> {
        self.connections.get(&id)
    }
}

/// Which connection to check, and when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingResult {
    /// To be checked now.
    pub connection: Option<ConnectionId>,
    /// Ask again after this long.
    pub recheck_delay: Duration,
}

/// Sorting is to be repeated later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IceRecheckEvent {
    /// Why.
    pub reason: IceSwitchReason,
    /// After this long.
    pub recheck_delay: Duration,
}

/// Which connection to select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwitchResult {
    /// To be selected; `None` leaves things as they are.
    pub connection: Option<ConnectionId>,
    /// Whether to sort again later.
    pub recheck_event: Option<IceRecheckEvent>,
}

/// Decides for one ICE transport.
pub trait IceController: Send + Debug {
    /// New timings and modes.
    fn set_ice_config(&mut self, config: &IceConfig);

    /// What carries packets now.
    fn set_selected_connection(&mut self, connection: Option<ConnectionId>);

    /// A connection was made.
    fn add_connection(&mut self, connection: ConnectionId);

    /// A connection is gone.
    fn on_connection_destroyed(&mut self, connection: ConnectionId);

    /// All connections, best first as of the last sorting.
    fn connections(&self) -> &[ConnectionId];

    /// Whether any connection may be checked.
    fn has_pingable_connection(&self, view: &IceControllerView<'_>) -> bool;

    /// Whether this connection may be checked.
    fn is_pingable(&self, view: &IceControllerView<'_>, connection: ConnectionId) -> bool;

    /// Picks at most one connection to check.
    fn select_connection_to_ping(
        &mut self,
        view: &IceControllerView<'_>,
        last_ping_sent: Option<Instant>,
    ) -> PingResult;

    /// The connection was checked.
    fn mark_connection_pinged(&mut self, connection: ConnectionId);

    /// Whether a check of this connection nominates it (RFC 8445 section 8.1.1).
    fn get_use_candidate_attr(
        &self,
        view: &IceControllerView<'_>,
        connection: ConnectionId,
        mode: NominationMode,
        remote_ice_mode: IceMode,
    ) -> bool;

    /// Whether to switch to this connection.
    fn should_switch_connection(
        &mut self,
        view: &IceControllerView<'_>,
        reason: IceSwitchReason,
        connection: ConnectionId,
    ) -> SwitchResult;

    /// Sorts, and says whether to switch to the best.
    fn sort_and_switch_connection(
        &mut self,
        view: &IceControllerView<'_>,
        reason: IceSwitchReason,
    ) -> SwitchResult;

    /// Connections that are not needed any more.
    fn prune_connections(&self, view: &IceControllerView<'_>) -> Vec<ConnectionId>;
}
