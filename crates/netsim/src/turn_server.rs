//! A TURN server over UDP and TCP with long-term credentials (RFC 8656). It answers Binding requests too.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peerstack_base::Random;
use peerstack_stun::{
    AddressFamily, AttributeType, ChannelData, Class, Framing, IntegrityStatus, Message, MessageBuilder,
    Method, PasswordAlgorithm, StreamDeframer, error_code, long_term_key_md5, long_term_key_sha256,
};

use crate::host::Host;
use crate::packet::{Packet, Transport};
use crate::turn_allocation::Allocation;

/// The lifetime that a client gets if it does not ask for another (RFC 8656 section 7.2).
const DEFAULT_LIFETIME: u32 = 600;
/// The protocol number of UDP.
const UDP: u8 = 17;

/// How a [`TurnServer`] behaves; may be changed while it runs.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnServerConfig {
    /// Whether it answers and relays at all.
    pub answers: bool,
    /// The realm.
    pub realm: String,
    /// Passwords by user name.
    pub users: BTreeMap<String, String>,
    /// The longest lifetime of an allocation.
    pub max_lifetime: Duration,
    /// How long a nonce is good; what comes later gets 438 and a new one.
    pub nonce_lifetime: Duration,
    /// Allocations of one user; more get 486.
    pub quota: usize,
    /// Refuses this method with this error, after the credentials were found good.
    pub refuse: BTreeMap<Method, u16>,
    /// Sends clients that ask for an allocation to this server (300).
    pub alternate: Option<SocketAddr>,
    /// Offered as PASSWORD-ALGORITHMS (RFC 8489 section 14.11), best first; empty for MD5 alone, unsaid.
    pub password_algorithms: Vec<PasswordAlgorithm>,
    /// Each nonce is good for one request.
    pub one_time_nonces: bool,
}

impl std::fmt::Debug for TurnServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords stay out.
        f.debug_struct("TurnServerConfig")
            .field("realm", &self.realm)
            .field("users", &self.users.keys())
            .finish_non_exhaustive()
    }
}

impl Default for TurnServerConfig {
    fn default() -> Self {
        Self {
            answers: true,
            realm: "example.org".into(),
            users: BTreeMap::new(),
            max_lifetime: Duration::from_secs(3600),
            nonce_lifetime: Duration::from_secs(3600),
            quota: usize::MAX,
            refuse: BTreeMap::new(),
            alternate: None,
            password_algorithms: Vec::new(),
            one_time_nonces: false,
        }
    }
}

/// The 5-tuple without the server's side: the lab's servers have one address each.
type Client = (Transport, SocketAddr);

#[derive(Debug)]
struct State {
    config: TurnServerConfig,
    address: SocketAddr,
    relay_ips: Vec<IpAddr>,
    allocations: BTreeMap<Client, Allocation>,
    nonce: String,
    nonce_until: Instant,
    keys: BTreeMap<(String, String, bool), Key>,
    /// What came of each stream, and where it came to.
    streams: BTreeMap<SocketAddr, (StreamDeframer, SocketAddr)>,
    random: Random,
    relayed: u64,
}

/// A TURN server on a host of the lab. It runs until [`stop`](Self::stop), dropped or not.
#[derive(Debug, Clone)]
pub struct TurnServer {
    host: Host,
    address: SocketAddr,
    relay_ips: Vec<IpAddr>,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TurnServer {
    /// Runs a server at an address of this host that relays from these addresses of it, of each family the
    /// first; their ports from 49152 upwards must be free.
    pub fn new(host: &Host, address: SocketAddr, relay_ips: &[IpAddr], users: &[(&str, &str)]) -> Self {
        let users = users.iter().map(|(name, password)| ((*name).to_owned(), (*password).to_owned()));
        let config = TurnServerConfig { users: users.collect(), ..TurnServerConfig::default() };
        let (random, now) =
            host.shared.with(|world| (world.random(&format!("turn server {address}")), world.now));
        let state = Arc::new(Mutex::new(State {
            config,
            address,
            relay_ips: relay_ips.to_vec(),
            allocations: BTreeMap::new(),
            nonce: String::new(),
            nonce_until: now,
            keys: BTreeMap::new(),
            streams: BTreeMap::new(),
            random,
            relayed: 0,
        }));
        let client = Arc::clone(&state);
        host.serve(address, move |now, packet| {
            lock(&client).handle_client(now, packet).into_iter().collect()
        });
        for ip in relay_ips {
            let peer = Arc::clone(&state);
            let all = SocketAddr::new(*ip, 0);
            host.serve(all, move |now, packet| lock(&peer).handle_peer(now, packet).into_iter().collect());
        }
        Self { host: host.clone(), address, relay_ips: relay_ips.to_vec(), state }
    }

    /// The address to ask.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers clients over TCP too, at this address of its host. TLS is not simulated: a client that thinks it
    /// speaks it is answered as well.
    pub fn listen_tcp(&self, address: SocketAddr) {
        let state = Arc::clone(&self.state);
        self.host.serve_streams(address, move |now, packet| lock(&state).handle_stream(now, packet));
    }

    /// Changes its behaviour.
    pub fn configure(&self, change: impl FnOnce(&mut TurnServerConfig)) {
        change(&mut lock(&self.state).config);
    }

    /// Allocations that live now: client and relayed address.
    pub fn allocations(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let now = self.host.shared.with(|world| world.now);
        let mut state = lock(&self.state);
        state.expire(now);
        state.allocations.iter().map(|((_, client), made)| (*client, made.relayed)).collect()
    }

    /// Forgets all allocations, as a restart does.
    pub fn forget_allocations(&self) {
        lock(&self.state).allocations.clear();
    }

    /// Restarts: allocations and nonce are forgotten, connections over TCP are reset. What clients still send
    /// by an allocation goes nowhere, silently (RFC 8656 section 11.2); their requests are answered.
    pub fn restart(&self) {
        let streams = {
            let mut state = lock(&self.state);
            state.allocations.clear();
            state.nonce.clear();
            std::mem::take(&mut state.streams)
        };
        let mut addresses: Vec<SocketAddr> = streams.into_values().map(|(_, address)| address).collect();
        addresses.dedup();
        self.host.shared.with(|world| {
            addresses.iter().for_each(|address| world.reset_streams_at(self.host.node, *address));
        });
    }

    /// Makes the nonce stale at once.
    pub fn expire_nonce(&self) {
        let now = self.host.shared.with(|world| world.now);
        lock(&self.state).nonce_until = now;
    }

    /// Packets relayed so far, either way.
    pub fn relayed(&self) -> u64 {
        lock(&self.state).relayed
    }

    /// Ends it.
    pub fn stop(&self) {
        self.host.stop_serving(self.address);
        self.relay_ips.iter().for_each(|ip| self.host.stop_serving(SocketAddr::new(*ip, 0)));
    }
}

/// A long-term key, and whether it is that of SHA-256.
#[derive(Debug, Clone)]
struct Key {
    bytes: Vec<u8>,
    sha256: bool,
}

/// Why a request is refused.
struct Refusal(u16);

impl State {
    fn expire(&mut self, now: Instant) {
        self.allocations.retain(|_, allocation| allocation.expires > now);
    }

    /// A piece of a client's stream, or its end, with which the allocation ends too (RFC 8656 section 5).
    fn handle_stream(&mut self, now: Instant, packet: &Packet) -> Vec<Packet> {
        let client = packet.source;
        if packet.payload.is_empty() {
            self.streams.remove(&client);
            self.allocations.remove(&(Transport::Tcp, client));
            return Vec::new();
        }
        let new = || (StreamDeframer::new(Framing::Stun), packet.destination);
        let (deframer, _) = self.streams.entry(client).or_insert_with(new);
        deframer.push(&packet.payload);
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = deframer.next_frame() {
            frames.push(Packet::stream(client, packet.destination, &*frame));
        }
        frames.iter().filter_map(|frame| self.handle_client(now, frame)).collect()
    }

    fn handle_client(&mut self, now: Instant, packet: &Packet) -> Option<Packet> {
        self.expire(now);
        if !self.config.answers {
            return None;
        }
        let client = (packet.transport, packet.source);
        if let Ok(channel) = ChannelData::parse(&packet.payload) {
            let peer = self.allocations.get(&client)?.peer_of(now, channel.channel)?;
            return self.relay_out(now, client, peer, channel.data);
        }
        let message = Message::parse(&packet.payload).ok()?;
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => {
                self.relay_out(now, client, message.xor_peer_address()?, message.data()?)
            }
            (Class::Request, Method::BINDING) => {
                let mut builder = response(&message, Class::SuccessResponse);
                builder.add_xor_mapped_address(packet.source);
                Some(self.reply(client, builder.finish()))
            }
            (Class::Request, _) => Some(self.request(now, client, &message)),
            _ => None,
        }
    }

    fn reply(&self, client: Client, mut payload: Vec<u8>) -> Packet {
        match client {
            (Transport::Tcp, client) => {
                // ChannelData is padded on a stream (RFC 8656 section 12.5).
                payload.resize(payload.len().next_multiple_of(4), 0);
                let address = self.streams.get(&client).map_or(self.address, |(_, address)| *address);
                Packet::stream(address, client, payload)
            }
            (Transport::Udp, client) => Packet::udp(self.address, client, payload),
        }
    }

    fn relay_out(&mut self, now: Instant, client: Client, peer: SocketAddr, data: &[u8]) -> Option<Packet> {
        let allocation = self.allocations.get(&client)?;
        // RFC 8656 section 11.2: without a permission it is dropped silently.
        if !allocation.is_permitted(now, peer.ip()) {
            return None;
        }
        self.relayed += 1;
        Some(Packet::udp(allocation.relayed, peer, data))
    }

    fn handle_peer(&mut self, now: Instant, packet: &Packet) -> Option<Packet> {
        self.expire(now);
        let found = self.allocations.iter().find(|(_, made)| made.relayed == packet.destination);
        let (client, allocation) = found.filter(|_| self.config.answers)?;
        if !allocation.is_permitted(now, packet.source.ip()) {
            return None;
        }
        let payload = if let Some(channel) = allocation.channel_of(now, packet.source) {
            let len = u16::try_from(packet.payload.len()).ok()?;
            [&channel.to_be_bytes()[..], &len.to_be_bytes(), &packet.payload].concat()
        } else {
            let id = peerstack_stun::TransactionId::new(&mut self.random);
            let mut builder = MessageBuilder::new(Class::Indication, Method::DATA, id);
            builder.add_xor_peer_address(packet.source).add_data(&packet.payload);
            builder.try_finish().ok()?
        };
        let client = *client;
        self.relayed += 1;
        Some(self.reply(client, payload))
    }

    fn request(&mut self, now: Instant, client: Client, message: &Message<'_>) -> Packet {
        let payload = match self.authenticate(now, message) {
            Err(Refusal(code)) => {
                let mut builder = refusal(message, code);
                if matches!(code, error_code::UNAUTHENTICATED | error_code::STALE_NONCE) {
                    let nonce = self.fresh_nonce(now);
                    builder.add_realm(&self.config.realm).add_nonce(&nonce);
                    if !self.config.password_algorithms.is_empty() {
                        builder.add_password_algorithms(&self.config.password_algorithms);
                    }
                }
                builder.finish()
            }
            Ok((username, key)) => {
                let mut builder = match self.carry_out(now, client, message, &username) {
                    Ok(builder) => builder,
                    Err(Refusal(code)) => self.refused(message, code),
                };
                if key.sha256 {
                    builder.integrity_sha256(&key.bytes);
                } else {
                    builder.integrity(&key.bytes);
                }
                builder.finish()
            }
        };
        self.reply(client, payload)
    }

    fn refused(&self, message: &Message<'_>, code: u16) -> MessageBuilder {
        let mut builder = refusal(message, code);
        if let (error_code::TRY_ALTERNATE, Some(alternate)) = (code, self.config.alternate) {
            builder.add_alternate_server(alternate);
        }
        if code == error_code::UNKNOWN_ATTRIBUTE {
            builder
                .add_unknown_attributes(&message.unknown_comprehension_required(AttributeType::KNOWN_TURN));
        }
        builder
    }

    fn fresh_nonce(&mut self, now: Instant) -> String {
        if self.nonce.is_empty() || now >= self.nonce_until {
            // The cookie and the bit of password algorithms (RFC 8489 section 9.2).
            let features = if self.config.password_algorithms.is_empty() { "" } else { "obMatJos2gAAA" };
            self.nonce = format!("{features}{}", self.random.ice_string(16));
            self.nonce_until = now + self.config.nonce_lifetime;
        }
        self.nonce.clone()
    }

    /// RFC 8489 section 9.2.4.
    fn authenticate(&mut self, now: Instant, message: &Message<'_>) -> Result<(String, Key), Refusal> {
        if !message.has(AttributeType::MESSAGE_INTEGRITY)
            && !message.has(AttributeType::MESSAGE_INTEGRITY_SHA256)
        {
            return Err(Refusal(error_code::UNAUTHENTICATED));
        }
        let (Some(username), Some(realm), Some(nonce)) =
            (message.username(), message.realm(), message.nonce())
        else {
            return Err(Refusal(error_code::BAD_REQUEST));
        };
        if nonce != self.nonce || now >= self.nonce_until {
            return Err(Refusal(error_code::STALE_NONCE));
        }
        let offered = &self.config.password_algorithms;
        let returned = message.password_algorithms();
        let sha256 = match message.password_algorithm() {
            Some(algorithm) if offered.contains(&algorithm) && returned.eq(offered.iter().copied()) => {
                algorithm == PasswordAlgorithm::Sha256
            }
            None if offered.is_empty() => false,
            _ => return Err(Refusal(error_code::BAD_REQUEST)),
        };
        let Some(password) = self.config.users.get(username).filter(|_| realm == self.config.realm) else {
            return Err(Refusal(error_code::UNAUTHENTICATED));
        };
        let entry = self.keys.entry((username.to_owned(), password.clone(), sha256));
        let key = entry.or_insert_with(|| {
            let bytes = match sha256 {
                true => long_term_key_sha256(username, realm, password).to_vec(),
                false => long_term_key_md5(username, realm, password).to_vec(),
            };
            Key { bytes, sha256 }
        });
        if message.check_integrity(&key.bytes) != IntegrityStatus::Valid {
            return Err(Refusal(error_code::UNAUTHENTICATED));
        }
        if self.config.one_time_nonces {
            self.nonce_until = now;
        }
        let answer_sha256 = message.has(AttributeType::MESSAGE_INTEGRITY_SHA256);
        Ok((username.to_owned(), Key { sha256: answer_sha256, ..key.clone() }))
    }

    fn carry_out(
        &mut self,
        now: Instant,
        client: Client,
        message: &Message<'_>,
        username: &str,
    ) -> Result<MessageBuilder, Refusal> {
        if !message.unknown_comprehension_required(AttributeType::KNOWN_TURN).is_empty() {
            return Err(Refusal(error_code::UNKNOWN_ATTRIBUTE));
        }
        if let Some(code) = self.config.refuse.get(&message.method()) {
            return Err(Refusal(*code));
        }
        if message.method() == Method::ALLOCATE {
            return self.allocate(now, client, message, username);
        }
        let lifetime = self.lifetime(message);
        let bad = Refusal(error_code::BAD_REQUEST);
        let mismatch = Refusal(error_code::ALLOCATION_MISMATCH);
        let allocation = self.allocations.get_mut(&client).ok_or(mismatch)?;
        if allocation.username != username {
            return Err(Refusal(error_code::WRONG_CREDENTIALS));
        }
        let other_family = |peer: &SocketAddr| peer.is_ipv4() != allocation.relayed.is_ipv4();
        if message.method() != Method::REFRESH && message.xor_peer_addresses().any(|peer| other_family(&peer))
        {
            return Err(Refusal(error_code::PEER_ADDRESS_FAMILY_MISMATCH));
        }
        let mut builder = response(message, Class::SuccessResponse);
        match message.method() {
            Method::REFRESH => {
                allocation.expires = now + Duration::from_secs(lifetime.into());
                builder.add_lifetime(lifetime);
            }
            Method::CREATE_PERMISSION => {
                message.xor_peer_address().ok_or(bad)?;
                message.xor_peer_addresses().for_each(|peer| allocation.permit(now, peer.ip()));
            }
            Method::CHANNEL_BIND => {
                let (Some(channel), Some(peer)) = (message.channel_number(), message.xor_peer_address())
                else {
                    return Err(bad);
                };
                if !peerstack_stun::is_channel_number(channel) || !allocation.bind(now, channel, peer) {
                    return Err(bad);
                }
            }
            _ => return Err(bad),
        }
        self.expire(now);
        Ok(builder)
    }

    /// The lifetime granted, in seconds: what was asked for, up to the longest; 0 ends an allocation.
    fn lifetime(&self, message: &Message<'_>) -> u32 {
        let longest = u32::try_from(self.config.max_lifetime.as_secs()).unwrap_or(u32::MAX);
        match message.lifetime() {
            Some(0) if message.method() == Method::REFRESH => 0,
            asked => asked.unwrap_or(DEFAULT_LIFETIME).max(DEFAULT_LIFETIME).min(longest),
        }
    }

    /// RFC 8656 section 7.2.
    fn allocate(
        &mut self,
        now: Instant,
        client: Client,
        message: &Message<'_>,
        username: &str,
    ) -> Result<MessageBuilder, Refusal> {
        if let Some(made) = self.allocations.get(&client) {
            return if made.made_by == message.transaction_id() {
                Ok(self.allocated(now, client, message))
            } else {
                Err(Refusal(error_code::ALLOCATION_MISMATCH))
            };
        }
        match message.requested_transport() {
            None => return Err(Refusal(error_code::BAD_REQUEST)),
            Some(UDP) => {}
            Some(_) => return Err(Refusal(error_code::UNSUPPORTED_TRANSPORT_PROTOCOL)),
        }
        if self.config.alternate.is_some() {
            return Err(Refusal(error_code::TRY_ALTERNATE));
        }
        let ipv4 = message.requested_address_family() != Some(AddressFamily::Ipv6);
        let relay = self.relay_ips.iter().find(|ip| ip.is_ipv4() == ipv4);
        let relay = *relay.ok_or(Refusal(error_code::ADDRESS_FAMILY_NOT_SUPPORTED))?;
        let of_user = self.allocations.values().filter(|made| made.username == username);
        if of_user.count() >= self.config.quota {
            return Err(Refusal(error_code::ALLOCATION_QUOTA_REACHED));
        }
        let relayed = self.free_port(relay).ok_or(Refusal(error_code::INSUFFICIENT_CAPACITY))?;
        let expires = now + Duration::from_secs(self.lifetime(message).into());
        let made = Allocation::new(relayed, username.to_owned(), message.transaction_id(), expires);
        self.allocations.insert(client, made);
        Ok(self.allocated(now, client, message))
    }

    /// RFC 8656 section 7.2: relayed ports come from 49152 to 65535, hard to guess.
    fn free_port(&mut self, relay: IpAddr) -> Option<SocketAddr> {
        let first = 49_152 + self.random.below(16_384) as u16;
        let taken = |address: &SocketAddr| self.allocations.values().any(|made| made.relayed == *address);
        let mut ports = (first..=u16::MAX).chain(49_152..first).map(|port| SocketAddr::new(relay, port));
        ports.find(|address| *address != self.address && !taken(address))
    }

    fn allocated(&self, now: Instant, client: Client, message: &Message<'_>) -> MessageBuilder {
        let mut builder = response(message, Class::SuccessResponse);
        if let Some(made) = self.allocations.get(&client) {
            let left = made.expires.saturating_duration_since(now).as_secs();
            builder.add_xor_relayed_address(made.relayed).add_xor_mapped_address(client.1);
            builder.add_lifetime(u32::try_from(left).unwrap_or(u32::MAX));
        }
        builder
    }
}

fn response(message: &Message<'_>, class: Class) -> MessageBuilder {
    MessageBuilder::new(class, message.method(), message.transaction_id())
}

fn refusal(message: &Message<'_>, code: u16) -> MessageBuilder {
    let mut builder = response(message, Class::ErrorResponse);
    builder.add_error_code(code, error_code::reason(code));
    builder
}
