//! Shares one network task among PeerConnections, as libwebrtc shares its network thread. Answers to
//! libwebrtc's `pc/peer_connection_factory.cc`.

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
/// are gone.
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
    /// `InvalidStateError` outside a runtime, unless the dependencies name one.
    pub fn with_dependencies(dependencies: PeerConnectionDependencies) -> Result<Self, RtcError> {
        let runtime = match &dependencies.runtime {
            Some(runtime) => runtime.clone(),
            None => Handle::try_current()
                .map_err(|error| RtcError::invalid_state(format!("no tokio runtime: {error}")))?,
        };
        let mut random = dependencies.random.clone();
        let wall_clock = Arc::clone(&dependencies.wall_clock);
        let (network, task) = NetworkTask::new(dependencies, random.fork());
        spawn(&runtime, task.run());
        Ok(Self { network, runtime, random: Mutex::new(random), wall_clock })
    }

    /// A new connection.
    ///
    /// # Errors
    /// As [`PeerConnection::new`].
    pub fn create_peer_connection(&self, configuration: Configuration) -> Result<PeerConnection, RtcError> {
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

#[expect(
    clippy::disallowed_methods,
    reason = "the two tasks of docs/architecture.md; both end with the connection"
)]
fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
    drop(runtime.spawn(task));
}
