//! A STUN server: Binding (RFC 8489 section 7), and with two addresses CHANGE-REQUEST (RFC 5780 section 6.1).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use peerstack_stun::{AttributeType, Class, Message, MessageBuilder, Method, error_code};

use crate::host::Host;
use crate::packet::Packet;

/// How a [`StunServer`] behaves; may be changed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StunServerConfig {
    /// Whether it answers at all.
    pub answers: bool,
    /// Answers every request with this error instead.
    pub error: Option<u16>,
    /// Gives MAPPED-ADDRESS in place of XOR-MAPPED-ADDRESS, as servers of RFC 3489 do.
    pub legacy: bool,
    /// Gives this mapped address whatever the source was.
    pub mapped: Option<SocketAddr>,
}

impl Default for StunServerConfig {
    fn default() -> Self {
        Self { answers: true, error: None, legacy: false, mapped: None }
    }
}

#[derive(Debug, Default)]
struct State {
    config: StunServerConfig,
    requests: u64,
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A STUN server on a host of the lab. It runs until [`stop`](Self::stop), dropped or not.
#[derive(Debug, Clone)]
pub struct StunServer {
    host: Host,
    addresses: Vec<SocketAddr>,
    state: Arc<Mutex<State>>,
}

impl StunServer {
    /// Runs a server at an address of this host.
    pub fn new(host: &Host, address: SocketAddr) -> Self {
        Self::serve(host, vec![address], None)
    }

    /// Runs a server at all four combinations of two addresses and two ports, so that it can answer from
    /// another one when asked to, and names the other in OTHER-ADDRESS. The first is the primary one.
    pub fn with_other_address(host: &Host, primary: SocketAddr, other: SocketAddr) -> Self {
        let addresses = [primary.ip(), other.ip()]
            .iter()
            .flat_map(|ip| [primary.port(), other.port()].map(|port| SocketAddr::new(*ip, port)))
            .collect();
        Self::serve(host, addresses, Some((primary, other)))
    }

    fn serve(host: &Host, addresses: Vec<SocketAddr>, two: Option<(SocketAddr, SocketAddr)>) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        for address in &addresses {
            let state = Arc::clone(&state);
            host.serve(*address, move |_, packet| {
                answer(&mut lock(&state), two, packet).into_iter().collect()
            });
        }
        Self { host: host.clone(), addresses, state }
    }

    /// The address to ask.
    pub fn address(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Changes its behaviour.
    pub fn configure(&self, change: impl FnOnce(&mut StunServerConfig)) {
        change(&mut lock(&self.state).config);
    }

    /// Binding requests it received so far.
    pub fn requests(&self) -> u64 {
        lock(&self.state).requests
    }

    /// Ends it.
    pub fn stop(&self) {
        self.addresses.iter().for_each(|address| self.host.stop_serving(*address));
    }
}

fn answer(state: &mut State, two: Option<(SocketAddr, SocketAddr)>, packet: &Packet) -> Option<Packet> {
    let message = Message::parse(&packet.payload).ok()?;
    if message.class() != Class::Request || message.method() != Method::BINDING {
        return None;
    }
    state.requests += 1;
    let config = &state.config;
    if !config.answers {
        return None;
    }
    let known = [AttributeType::KNOWN_STUN, &[AttributeType::CHANGE_REQUEST]].concat();
    let unknown = message.unknown_comprehension_required(&known);
    let error = config.error.or((!unknown.is_empty()).then_some(error_code::UNKNOWN_ATTRIBUTE));
    let class = if error.is_some() { Class::ErrorResponse } else { Class::SuccessResponse };
    let mut builder = MessageBuilder::new(class, Method::BINDING, message.transaction_id());
    let mut source = packet.destination;
    if let Some(code) = error {
        builder.add_error_code(code, error_code::reason(code));
        if code == error_code::UNKNOWN_ATTRIBUTE {
            builder.add_unknown_attributes(&unknown);
        }
    } else {
        let mapped = config.mapped.unwrap_or(packet.source);
        if config.legacy {
            builder.add_mapped_address(mapped);
        } else {
            builder.add_xor_mapped_address(mapped);
        }
        if let Some((primary, other)) = two {
            // RFC 5780 section 6.1, table 1: CHANGE-REQUEST flips what the request was sent to.
            let flip = |is_primary: bool| if is_primary { other } else { primary };
            let other_ip = flip(source.ip() == primary.ip()).ip();
            let other_port = flip(source.port() == primary.port()).port();
            let change = message.change_request();
            builder.add_other_address(SocketAddr::new(other_ip, other_port));
            if change.is_some_and(|change| change.change_ip) {
                source.set_ip(other_ip);
            }
            if change.is_some_and(|change| change.change_port) {
                source.set_port(other_port);
            }
            builder.add_response_origin(source);
        }
    }
    builder.fingerprint();
    Some(Packet::udp(source, packet.source, builder.finish()))
}
