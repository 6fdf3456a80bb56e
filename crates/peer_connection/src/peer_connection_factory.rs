//! Shares one network task among PeerConnections, as libwebrtc shares its network thread. Answers to
//! libwebrtc's `pc/peer_connection_factory.cc`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use peerstack_base::{Random, WallClock};
use peerstack_dtls::{Certificate, KeyAlgorithm};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::configuration::{self, Configuration, PeerConnectionDependencies};
use crate::network_task::{ConnectionConfig, NetworkTask, NetworkTaskHandle};
use crate::peer_connection::PeerConnection;
use crate::shared::{Shared, State};
use crate::signaling_task::SignalingTask;
use crate::{RtcError, RtcErrorKind};

/// Makes PeerConnections that share one network task. The task ends when the factory and all its connections
/// are gone. Not W3C's: libwebrtc's `PeerConnectionFactoryInterface`.
#[derive(Debug)]
#[doc(alias = "RTCPeerConnectionFactory")]
pub struct PeerConnectionFactory {
    network: NetworkTaskHandle,
    runtime: Handle,
    random: Mutex<Random>,
    wall_clock: Arc<dyn WallClock>,
}

impl PeerConnectionFactory {
    /// A factory in the real world. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `InvalidStateError` outside a runtime.
    pub fn new() -> Result<Self, RtcError> {
        Self::with_dependencies(PeerConnectionDependencies::default())
    }

    /// A factory in a world of the caller's.
    ///
    /// # Errors
    /// `InvalidStateError` outside a runtime, unless the dependencies name one; `OperationError` if the port
    /// that all connections are to share is taken.
    pub fn with_dependencies(dependencies: PeerConnectionDependencies) -> Result<Self, RtcError> {
        let runtime = match &dependencies.runtime {
            Some(runtime) => runtime.clone(),
            None => Handle::try_current()
                .map_err(|error| RtcError::invalid_state(format!("no tokio runtime: {error}")))?,
        };
        let mut random = dependencies.random.clone();
        let wall_clock = Arc::clone(&dependencies.wall_clock);
        let (network, task) = {
            // Shared sockets are opened now.
            let _runtime = runtime.enter();
            NetworkTask::new(dependencies, random.fork())?
        };
        spawn(&runtime, task.run());
        Ok(Self { network, runtime, random: Mutex::new(random), wall_clock })
    }

    /// The addresses of the UDP sockets that all connections share, where the factory was made with
    /// [`UdpMux`](crate::UdpMux): one for each network, and for loopback once a connection uses it.
    pub fn udp_mux_addresses(&self) -> Vec<SocketAddr> {
        self.network.sockets.shared_addresses()
    }

    /// What the shared UDP sockets dropped so far; all zero without them.
    pub fn udp_mux_stats(&self) -> UdpMuxStats {
        let counters = self.network.sockets.counters();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UdpMuxStats {
            malformed: of(&counters.malformed),
            unknown_ufrag: of(&counters.unknown_ufrag),
            unknown_transaction: of(&counters.unknown_transaction),
            unknown_address: of(&counters.unknown_address),
            refused_routes: of(&counters.refused_routes),
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// As [`PeerConnection::new`].
    pub fn create_peer_connection(&self, configuration: Configuration) -> Result<PeerConnection, RtcError> {
        configuration::check_policies(&configuration, self.network.sockets.is_shared())?;
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner).fork();
        let certificate = match configuration.certificate.clone() {
            Some(certificate) => {
                configuration::check_certificate(&certificate, &*self.wall_clock)?;
                certificate
            }
            None => Certificate::generate(KeyAlgorithm::default(), &*self.wall_clock, &mut random)
                .map_err(|error| RtcError::new(RtcErrorKind::OperationError, error.to_string()))?,
        };
        let (signaling, commands) = mpsc::unbounded_channel();
        let (network_events, network) = mpsc::unbounded_channel();
        let state = State::new(configuration.clone(), random.fork(), "pc");
        let config = ConnectionConfig::new(&configuration, certificate, state.cname.clone(), network_events)?;
        let handle = self.network.add_connection(config);
        let shared = Arc::new(Shared::new(state, configuration, handle, signaling));
        let task = SignalingTask::new(Arc::clone(&shared), &mut random, commands, network);
        spawn(&self.runtime, task.run());
        Ok(PeerConnection::from_shared(shared))
    }
}

/// Datagrams that shared UDP sockets dropped, by why; each costs nothing but the counting. Not W3C's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UdpMuxStats {
    /// Began like STUN and is none.
    pub malformed: u64,
    /// A check for a user fragment that no connection has.
    pub unknown_ufrag: u64,
    /// A response to nothing that was asked, or not from where it was asked.
    pub unknown_transaction: u64,
    /// Neither STUN nor from an address of which a check was authenticated.
    pub unknown_address: u64,
    /// Checks of an address that belongs to another connection, which keeps it.
    pub refused_routes: u64,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the two tasks of docs/architecture.md; both end with the connection"
)]
fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
    drop(runtime.spawn(task));
}
