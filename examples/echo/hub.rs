//! The table of peers: makes them up to the limit, finds them, and remembers why the last ones ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peerstack::base::Random;
use peerstack::io::BasicPacketSocketFactory;
use peerstack::{
    Configuration, IceCandidateInit, IceServer, IceTransportPolicy, PeerConnectionDependencies,
    PeerConnectionFactory, SessionDescription, Settings, UdpMux,
};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::info;

use crate::args::Args;
use crate::echo_peer::{AnswerError, EchoPeer};

/// A peer with nothing but consent checks for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Peers whose end is remembered, so that the page can say why.
const MAX_ENDED: usize = 256;

/// Why a request was not met. Each is one sentence for the one who asked.
#[derive(Debug)]
pub(crate) enum HubError {
    /// What was sent makes no sense.
    BadRequest(String),
    /// The body has more bytes than this.
    TooLarge(usize),
    /// As many peers as may be.
    Full(usize),
    /// There is no such peer.
    NotFound,
    /// There was such a peer; why it ended.
    Gone(String),
    /// The fault is here.
    Internal(String),
}

impl From<AnswerError> for HubError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Theirs(error) => {
                Self::BadRequest(format!("The description cannot be used: {error}."))
            }
            AnswerError::Ours(error) => Self::Internal(format!("No answer could be made: {error}.")),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    factory: PeerConnectionFactory,
    args: Args,
    idle: Duration,
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    peers: BTreeMap<String, Arc<EchoPeer>>,
    ended: VecDeque<(String, String)>,
    random: Random,
}

impl Hub {
    /// An empty table. Finds out now whether the engines are built in and the servers' URLs parse.
    pub(crate) fn new(args: Args) -> Result<Self, String> {
        let mut dependencies = dependencies(&args)?;
        dependencies.udp_mux = args.udp_port.map(UdpMux::new);
        let factory =
            PeerConnectionFactory::with_dependencies(dependencies).map_err(|error| error.to_string())?;
        let first = factory.create_peer_connection(configuration(&args));
        first.map_err(|error| error.to_string())?.close();
        let places = Arc::new(Semaphore::new(args.max_peers));
        let state = State { peers: BTreeMap::new(), ended: VecDeque::new(), random: Random::from_system() };
        Ok(Self { factory, args, idle: IDLE, places, state: Mutex::new(state) })
    }

    /// The same with another patience.
    #[cfg(test)]
    pub(crate) fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Waits until there is no peer any more.
    #[cfg(test)]
    pub(crate) async fn emptied(&self) {
        let all = self.places.acquire_many(self.args.max_peers as u32).await;
        drop(all.expect("the places are never closed"));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the page needs to know before it connects.
    pub(crate) fn config(&self) -> Value {
        let ice_servers: Vec<_> = self.args.ice_servers().map(for_page).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "iceServers": ice_servers,
            "maxPeers": self.args.max_peers,
            "peers": self.lock().peers.len(),
        })
    }

    /// A new peer that answers an offer: its id and the answer.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        offer: SessionDescription,
    ) -> Result<(String, SessionDescription), HubError> {
        let (peer, place) = self.new_peer()?;
        let started = self.start(peer, place);
        match started.answer(offer).await {
            Ok(answer) => Ok((started.id.clone(), answer)),
            Err(error) => {
                started.pc.close();
                Err(error.into())
            }
        }
    }

    /// A new peer that makes the offer: its id and the offer.
    pub(crate) async fn offer(self: &Arc<Self>) -> Result<(String, SessionDescription), HubError> {
        let (peer, place) = self.new_peer()?;
        let started = self.start(peer, place);
        match started.offer().await {
            Ok(offer) => Ok((started.id.clone(), offer)),
            Err(error) => {
                started.pc.close();
                Err(HubError::Internal(format!("No offer could be made: {error}.")))
            }
        }
    }

    /// The next offer of a peer that is there: tracks added or gone, ICE restarted.
    pub(crate) async fn renegotiate(
        &self,
        id: &str,
        offer: SessionDescription,
    ) -> Result<SessionDescription, HubError> {
        Ok(self.find(id)?.answer(offer).await?)
    }

    /// The answer to an offer that was made here.
    pub(crate) async fn set_answer(&self, id: &str, answer: SessionDescription) -> Result<(), HubError> {
        let peer = self.find(id)?;
        let result = peer.pc.set_remote_description(answer).await;
        result.map_err(|error| AnswerError::Theirs(error).into())
    }

    /// A candidate that came after the description.
    pub(crate) async fn add_candidate(&self, id: &str, candidate: IceCandidateInit) -> Result<(), HubError> {
        let peer = self.find(id)?;
        let result = peer.pc.add_ice_candidate(candidate).await;
        result.map_err(|error| HubError::BadRequest(format!("The candidate cannot be used: {error}.")))
    }

    /// Closes a peer.
    pub(crate) fn close(&self, id: &str) -> Result<(), HubError> {
        self.find(id)?.pc.close();
        Ok(())
    }

    /// A peer that is there.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<EchoPeer>, HubError> {
        let state = self.lock();
        if let Some(peer) = state.peers.get(id) {
            return Ok(Arc::clone(peer));
        }
        let ended = state.ended.iter().find(|(ended, _)| ended == id);
        Err(ended.map_or(HubError::NotFound, |(_, reason)| HubError::Gone(reason.clone())))
    }

    fn new_peer(&self) -> Result<(EchoPeer, OwnedSemaphorePermit), HubError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| HubError::Full(self.args.max_peers))?;
        let pc = self.factory.create_peer_connection(configuration(&self.args));
        let pc = pc.map_err(|error| HubError::Internal(format!("No connection could be made: {error}.")))?;
        // 24 characters of six bits, from letters and digits a URL carries as they are.
        let id = self.lock().random.ice_string(24).replace('+', "-").replace('/', "_");
        Ok((EchoPeer::new(id, pc, self.idle), place))
    }

    /// Enters a peer into the table and runs it until it ends; its place is free once all of it is freed.
    fn start(self: &Arc<Self>, peer: EchoPeer, place: OwnedSemaphorePermit) -> Arc<EchoPeer> {
        let peer = Arc::new(peer);
        let events = peer.pc.events();
        self.lock().peers.insert(peer.id.clone(), Arc::clone(&peer));
        info!(peer = peer.id, "peer");
        let (hub, running) = (Arc::clone(self), Arc::clone(&peer));
        tokio::spawn(async move {
            let reason = running.run(events).await;
            hub.forget(&running.id, reason);
            drop(place);
        });
        peer
    }

    fn forget(&self, id: &str, reason: String) {
        let mut state = self.lock();
        state.peers.remove(id);
        state.ended.push_back((id.to_owned(), reason));
        if state.ended.len() > MAX_ENDED {
            state.ended.pop_front();
        }
    }

    /// Closes all peers and waits until they are freed, but not for ever.
    pub(crate) async fn shut_down(&self, limit: Duration) {
        let peers: Vec<_> = self.lock().peers.values().cloned().collect();
        let closed = async {
            for peer in &peers {
                peer.pc.close();
            }
            for peer in &peers {
                peer.pc.closed().await;
            }
        };
        // Ending the process frees what is left.
        let _ = tokio::time::timeout(limit, closed).await;
    }
}

/// The configuration of each connection here, of the server's peers and of the client.
pub(crate) fn configuration(args: &Args) -> Configuration {
    let mut settings = Settings::default();
    // A page that only this machine reaches may come over the loopback interface.
    settings.allow_loopback = args.bind.is_loopback();
    settings.nat_one_to_one = args.external_ips.clone();
    settings.dtls_engine = args.dtls_engine;
    settings.srtp_engine = args.srtp_engine;
    let mut configuration = Configuration::new().with_settings(settings).with_ice_servers(args.ice_servers());
    configuration.rtcp_mux_policy = args.rtcp_mux;
    if args.relay_only {
        configuration.ice_transport_policy = IceTransportPolicy::Relay;
    }
    configuration
}

/// The world of each connection here: the system's, but for the authorities that are trusted.
pub(crate) fn dependencies(args: &Args) -> Result<PeerConnectionDependencies, String> {
    let mut dependencies = PeerConnectionDependencies::default();
    if let Some(path) = &args.ice_ca {
        let factory = std::fs::read(path)
            .and_then(|pem| BasicPacketSocketFactory::new().with_root_certificates_pem(&pem))
            .map_err(|error| format!("--ice-ca {}: {error}", path.display()))?;
        dependencies.packet_socket_factory = Box::new(factory);
    }
    Ok(dependencies)
}

/// A server as the page's RTCPeerConnection takes it: credentials with TURN only.
fn for_page(server: IceServer) -> Value {
    if server.username.is_empty() {
        return json!({ "urls": server.urls });
    }
    json!({ "urls": server.urls, "username": server.username, "credential": server.credential })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_nothing_is_closed_and_its_place_is_free() {
        let args = Args { max_peers: 1, ..Args::default() };
        let hub = Arc::new(Hub::new(args).unwrap().with_idle(Duration::ZERO));
        let (peer, place) = hub.new_peer().unwrap();
        assert!(matches!(hub.new_peer(), Err(HubError::Full(1))));
        let id = hub.start(peer, place).id.clone();
        hub.emptied().await;
        let ended = hub.find(&id).unwrap_err();
        assert!(matches!(&ended, HubError::Gone(reason) if reason.contains("nothing but consent checks")));
        assert!(matches!(hub.find("another"), Err(HubError::NotFound)));
        assert!(hub.new_peer().is_ok());
    }

    #[tokio::test]
    async fn the_end_of_the_server_ends_its_peers() {
        let hub = Arc::new(Hub::new(Args::default()).unwrap());
        let (id, offer) = hub.offer().await.unwrap();
        assert!(offer.sdp.contains("m=application"), "{}", offer.sdp);
        hub.shut_down(Duration::from_secs(3)).await;
        hub.emptied().await;
        assert!(matches!(hub.find(&id), Err(HubError::Gone(reason)) if reason == "closed"));
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_or_a_wrong_server_shows_at_once() {
        let args = Args { ice_servers: vec!["stun:".to_owned()], ..Args::default() };
        assert!(Hub::new(args).unwrap_err().contains("host is missing"));
        let args = Args { ice_ca: Some("/no/such/file".into()), ..Args::default() };
        assert!(Hub::new(args).unwrap_err().contains("--ice-ca /no/such/file: "));
    }
}
