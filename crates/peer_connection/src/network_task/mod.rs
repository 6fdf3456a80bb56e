//! The network task: owns the sockets and all transports of its PeerConnections, reads the clock, keeps one
//! timer. Answers to libwebrtc's network thread.
//!
//! One turn: take commands, read what is ready, run what is due, `process` the connections touched, carry out
//! what they ask for, write out, sleep until the earliest time-out.

mod commands;
mod connection;
mod data_channels;
mod media;
mod network_event;
mod rtcp;
mod shared_socket_factory;
mod sockets;
mod streams;
mod transport_factory;
mod udp_mux;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use peerstack_base::{
    DnsResolver, IoRequest, MdnsResponder, Network, NetworkManager, PacketClass, PacketSocketFactory, Random,
    ResolveId, SocketId, WallClock,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub(crate) use self::commands::{
    ChannelKey, ConnectionCommand, ConnectionConfig, MediaSection, NetworkHandle, NetworkTaskHandle,
    SectionEncoding, TransceiverId, Transports,
};
use self::commands::{ConnectionId, NetworkCommand};
use self::connection::Connection;
pub(crate) use self::network_event::NetworkEvent;
use self::shared_socket_factory::SharedSocketFactory;
use self::sockets::{FlushOutcome, Ready, ReadyQueue, SocketTable};
use self::streams::StreamTable;
use crate::RtcError;
use crate::configuration::PeerConnectionDependencies;

/// Commands taken in one turn.
const MAX_COMMANDS: usize = 256;
/// Rounds of `process` and requests in one turn; more than two are never seen.
const MAX_ROUNDS: usize = 16;

/// A closed connection whose last words did not leave in this time is dropped with them.
const LINGER: Duration = Duration::from_secs(2);

type Resolved = (ConnectionId, ResolveId, io::Result<Vec<IpAddr>>);

/// A closed connection that still has something to send.
#[derive(Debug)]
struct Closing {
    latest: Instant,
    replies: Vec<oneshot::Sender<()>>,
}

/// The task's own.
#[derive(Debug)]
pub(crate) struct NetworkTask {
    commands: mpsc::UnboundedReceiver<NetworkCommand>,
    connections: BTreeMap<ConnectionId, Connection>,
    touched: BTreeSet<ConnectionId>,
    closing: BTreeMap<ConnectionId, Closing>,
    sockets: SocketTable,
    /// What connections asked for while datagrams were handed to them; carried out when they are settled.
    asked: BTreeMap<ConnectionId, Vec<IoRequest>>,
    streams: StreamTable,
    ready: Arc<ReadyQueue>,
    factory: SharedSocketFactory,
    network_manager: Box<dyn NetworkManager>,
    networks: Vec<Network>,
    dns: Arc<dyn DnsResolver>,
    resolutions: JoinSet<Resolved>,
    mdns_responder: Box<dyn MdnsResponder>,
    /// Names that connections had registered.
    mdns_names: BTreeMap<String, ConnectionId>,
    wall_clock: Arc<dyn WallClock>,
    random: Random,
    factory_gone: bool,
}

impl NetworkTask {
    /// The task, to be spawned, and the factory's handle on it. Within a runtime.
    ///
    /// # Errors
    /// If the port that all connections are to share cannot be had.
    pub(crate) fn new(
        dependencies: PeerConnectionDependencies,
        random: Random,
    ) -> Result<(NetworkTaskHandle, Self), RtcError> {
        let (sender, commands) = mpsc::unbounded_channel();
        let ready = Arc::new(ReadyQueue::default());
        let socket_factory: Box<dyn PacketSocketFactory> = dependencies.packet_socket_factory;
        let factory = SharedSocketFactory::new(socket_factory, dependencies.udp_mux);
        let mut task = Self {
            commands,
            connections: BTreeMap::new(),
            touched: BTreeSet::new(),
            closing: BTreeMap::new(),
            sockets: SocketTable::new(Arc::clone(&ready)),
            asked: BTreeMap::new(),
            streams: StreamTable::new(Arc::clone(&ready)),
            ready,
            factory,
            network_manager: dependencies.network_manager,
            networks: Vec::new(),
            dns: dependencies.dns_resolver,
            resolutions: JoinSet::new(),
            mdns_responder: dependencies.mdns_responder,
            mdns_names: BTreeMap::new(),
            wall_clock: dependencies.wall_clock,
            random,
            factory_gone: false,
        };
        task.open_shared_sockets()?;
        Ok((NetworkTaskHandle::new(sender, task.factory.clone()), task))
    }

    /// Opens the shared sockets now, so that a port that is taken is told to whoever makes the factory. Other
    /// addresses, loopback among them, follow when a connection needs them.
    fn open_shared_sockets(&mut self) -> Result<(), RtcError> {
        if !self.factory.is_shared() {
            return Ok(());
        }
        for network in self.network_manager.networks() {
            let Some(ip) = network.ips.iter().copied().find(|ip| is_usable(*ip)) else { continue };
            match self.factory.shared_udp_socket(ip) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) =>
                {
                    let text = format!("the shared UDP port of {ip} cannot be had: {error}");
                    return Err(RtcError::operation(text));
                }
                // An address that cannot be used now, for example while it is being checked for duplicates.
                Err(error) => {
                    tracing::debug!(target: "peerstack::network", %ip, %error, "no shared UDP socket");
                }
                Ok(_) => {}
            }
        }
        self.take_over_shared_sockets();
        Ok(())
    }

    fn take_over_shared_sockets(&mut self) {
        for opened in self.factory.take_opened() {
            let counters = Arc::clone(self.factory.counters());
            self.sockets.insert_shared(opened.local, opened.socket, counters);
        }
    }

    /// Runs until the factory and all connections are gone.
    pub(crate) async fn run(mut self) {
        let mut commands = Vec::with_capacity(MAX_COMMANDS);
        loop {
            let deadline = self.next_timeout();
            let sleep = async move {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                taken = self.commands.recv_many(&mut commands, MAX_COMMANDS) => if taken == 0 { break },
                () = self.ready.notified() => {}
                Some(Ok(resolved)) = self.resolutions.join_next() => self.handle_resolved(resolved),
                () = sleep => {}
            }
            self.turn(&mut commands);
            if self.factory_gone && self.connections.is_empty() {
                break;
            }
        }
    }

    fn turn(&mut self, commands: &mut Vec<NetworkCommand>) {
        let now = now();
        for command in commands.drain(..) {
            self.handle_command(now, command);
        }
        for ready in self.ready.take() {
            self.handle_ready(now, ready);
        }
        self.handle_timeouts(now);
        for _ in 0..MAX_ROUNDS {
            if self.touched.is_empty() {
                break;
            }
            for id in std::mem::take(&mut self.touched) {
                self.settle(now, id);
            }
        }
    }

    fn handle_command(&mut self, now: Instant, command: NetworkCommand) {
        match command {
            NetworkCommand::Add(id, config, shared) => {
                if self.connections.is_empty() {
                    self.networks = self.network_manager.networks();
                    if self.watch_networks() {
                        self.ready.waker(Ready::Networks).wake();
                    }
                }
                let random = self.random.fork();
                let pool_size = config.ice_candidate_pool_size;
                let mut connection = Connection::new(
                    *config,
                    shared,
                    random,
                    self.factory.clone(),
                    self.networks.clone(),
                    Arc::clone(&self.wall_clock),
                );
                if pool_size > 0 {
                    connection.set_candidate_pool_size(now, pool_size);
                    self.touched.insert(id);
                }
                self.connections.insert(id, connection);
            }
            NetworkCommand::Connection(id, ConnectionCommand::Close { reply }) => {
                self.close(now, id, reply);
            }
            NetworkCommand::Connection(id, command) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.handle_command(now, command);
                    self.touched.insert(id);
                }
            }
            NetworkCommand::FactoryGone => self.factory_gone = true,
        }
    }

    /// Asks to be woken when networks change. Whether they changed already.
    fn watch_networks(&mut self) -> bool {
        let waker = self.ready.waker(Ready::Networks);
        self.network_manager.poll_changed(&mut Context::from_waker(&waker)).is_ready()
    }

    /// Tells the connections if networks changed. Without connections nobody asks until there is one.
    fn update_networks(&mut self, now: Instant) {
        if self.connections.is_empty() || !self.watch_networks() {
            return;
        }
        let networks = self.network_manager.networks();
        // A change from here on wakes the task again.
        if self.watch_networks() {
            self.ready.waker(Ready::Networks).wake();
        }
        if networks == self.networks {
            return;
        }
        tracing::debug!(target: "peerstack::network", count = networks.len(), "networks changed");
        self.networks = networks;
        let networks = &self.networks;
        let listed = |ip| networks.iter().any(|network| network.ips.contains(&ip));
        for local in self.sockets.close_unused_shared(listed) {
            self.factory.forget_shared(local);
        }
        for (id, connection) in &mut self.connections {
            connection.set_networks(now, &self.networks);
            self.touched.insert(*id);
        }
    }

    fn handle_ready(&mut self, now: Instant, ready: Ready) {
        match ready {
            Ready::Socket(id) => self.handle_ready_socket(now, id),
            Ready::Connection(id) => {
                self.touched.insert(id);
            }
            Ready::Networks => self.update_networks(now),
        }
    }

    fn handle_ready_socket(&mut self, now: Instant, id: SocketId) {
        let Self { connections, sockets, streams, asked, touched, .. } = self;
        sockets.read(id, |owner, table, datagram, meta| {
            let Some(connection) = connections.get_mut(&owner) else { return };
            let is_stun = PacketClass::of(datagram) == PacketClass::Stun;
            connection.receive(now, datagram, meta);
            touched.insert(owner);
            // What a check brought counts for the datagrams behind it already.
            if let Some(table) = table.filter(|_| is_stun) {
                while let Some(request) = connection.poll_io_request() {
                    match request {
                        IoRequest::AddUdpMuxRoute { id, remote, answered } if table.has(id) => {
                            table.add_route(now, id, remote, answered);
                        }
                        other => asked.entry(owner).or_default().push(other),
                    }
                }
            }
        });
        touched.extend(sockets.unblock_shared(id));
        let Some(owner) = sockets.owner(id).or_else(|| streams.owner(id)) else { return };
        let Some(connection) = connections.get_mut(&owner) else { return };
        for event in streams.poll(id, |packet, meta| connection.receive(now, packet, meta)) {
            connection.handle_socket_event(now, &event);
        }
        touched.insert(owner);
    }

    fn handle_resolved(&mut self, (id, resolve, result): Resolved) {
        let addresses = result.unwrap_or_else(|error| {
            tracing::debug!(target: "peerstack::network", %error, "name not resolved");
            Vec::new()
        });
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.handle_resolved(now(), resolve, &addresses);
            self.touched.insert(id);
        }
    }

    fn handle_timeouts(&mut self, now: Instant) {
        for (id, connection) in &mut self.connections {
            if connection.next_timeout().is_some_and(|at| at <= now) {
                connection.handle_timeout(now);
                self.touched.insert(*id);
            }
        }
        let late = self.closing.iter().filter(|(_, closing)| closing.latest <= now);
        self.touched.extend(late.map(|(id, _)| *id));
    }

    /// `process`, carry out requests, write out.
    fn settle(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.process(now);
        let waker = self.ready.waker(Ready::Connection(id));
        if connection.poll_wake(&mut Context::from_waker(&waker)).is_ready() {
            self.touched.insert(id);
        }
        // Sockets are closed only after what waits for them went out.
        let mut closing = Vec::new();
        let mut requests = self.asked.remove(&id).unwrap_or_default();
        requests.extend(std::iter::from_fn(|| connection.poll_io_request()));
        for request in requests {
            self.carry_out(now, id, request, &mut closing);
        }
        self.flush(now, id);
        for socket in closing {
            self.sockets.remove(socket);
            self.streams.close(socket);
        }
        self.maybe_finish_close(now, id);
    }

    /// Does what a connection asks; sockets that it is done with are added to `closing`.
    fn carry_out(&mut self, now: Instant, id: ConnectionId, request: IoRequest, closing: &mut Vec<SocketId>) {
        match request {
            IoRequest::AddUdpSocket { id: socket, socket: io } => self.sockets.insert(socket, io, id),
            IoRequest::JoinUdpMux { id: socket, local, ufrag } => {
                self.take_over_shared_sockets();
                self.sockets.join(local, socket, id, ufrag);
            }
            IoRequest::AddUdpMuxRoute { id: socket, remote, answered } => {
                self.sockets.add_route(now, socket, remote, answered);
            }
            IoRequest::RemoveUdpMuxRoute { id: socket, remote } => {
                self.sockets.remove_route(socket, remote);
            }
            IoRequest::AddStream { id: socket, socket: io, framing } => {
                self.streams.insert(socket, io, framing, id);
            }
            IoRequest::AddListener { id: socket, listener, framing } => {
                self.streams.insert_listener(socket, listener, framing, id);
            }
            IoRequest::CloseSocket { id: socket } => closing.push(socket),
            IoRequest::Resolve { id: resolve, name } => {
                let answer = self.dns.resolve(&name);
                self.resolutions.spawn(async move { (id, resolve, answer.await) });
            }
            IoRequest::RegisterMdnsName { name, address } => {
                self.mdns_responder.register(&name, address);
                self.mdns_names.insert(name, id);
            }
            IoRequest::RemoveMdnsName { name } => {
                self.mdns_responder.remove(&name);
                self.mdns_names.remove(&name);
            }
            other => tracing::warn!(target: "peerstack::network", ?other, "request not known"),
        }
    }

    fn flush(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (mut errors, mut unblocked) = (Vec::new(), false);
        connection.for_each_transmit_queue(|queue| {
            let outcome = self.sockets.flush(id, queue, &mut self.streams, |socket, error| {
                errors.push((socket, io::Error::new(error.kind(), error.to_string())));
            });
            let (FlushOutcome::Done { unblocked: one } | FlushOutcome::Blocked { unblocked: one }) = outcome;
            unblocked |= one;
        });
        for (socket, error) in &errors {
            connection.handle_send_error(now, *socket, error);
        }
        if unblocked {
            connection.handle_unblocked(now);
        }
        if unblocked || !errors.is_empty() {
            self.touched.insert(id);
        }
    }

    fn close(&mut self, now: Instant, id: ConnectionId, reply: oneshot::Sender<()>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            let _ = reply.send(());
            return;
        };
        connection.close(now);
        let closing = Closing { latest: now + LINGER, replies: Vec::new() };
        self.closing.entry(id).or_insert(closing).replies.push(reply);
        self.settle(now, id);
    }

    /// Forgets a closed connection that has said all it had to say, which most have at once.
    fn maybe_finish_close(&mut self, now: Instant, id: ConnectionId) {
        let Some(latest) = self.closing.get(&id).map(|closing| closing.latest) else { return };
        let drained = self.connections.get_mut(&id).is_none_or(Connection::is_drained);
        if !drained && now < latest {
            return;
        }
        self.sockets.remove_of(id);
        self.streams.remove_of(id);
        for (name, _) in self.mdns_names.extract_if(.., |_, owner| *owner == id) {
            self.mdns_responder.remove(&name);
        }
        self.connections.remove(&id);
        self.asked.remove(&id);
        self.touched.remove(&id);
        for reply in self.closing.remove(&id).into_iter().flat_map(|closing| closing.replies) {
            let _ = reply.send(());
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let closing = self.closing.values().map(|closing| closing.latest);
        self.connections.values().filter_map(Connection::next_timeout).chain(closing).min()
    }
}

/// Whether candidates of this address may be made for others than this host itself.
fn is_usable(ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !ip.is_loopback() && !ip.is_multicast() && !link_local
}

#[expect(clippy::disallowed_methods, reason = "the one place where the layers' time comes from")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
