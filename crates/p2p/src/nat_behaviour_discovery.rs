//! How the NAT before us behaves: discovery against a STUN server with two addresses. Sans-IO; run on one socket
//! by whoever wants to know, no part of a transport. RFC 5780 sections 4.1 to 4.4, and the flow chart of RFC 3489
//! section 10.1 for the classic names; answers to what libwebrtc has in `p2p/stunprober/stun_prober.h`.
//!
//! Filtering is asked for before mapping: the questions about mapping go to the server's other address and would
//! let its answers in.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::Random;
use peerstack_stun::{
    AttributeType, ChangeRequest, Class, Message, MessageBuilder, Method, ResponseResult, StunRequest,
    StunRequestManager, TransactionId,
};

/// How long a test waits for its answer unless told otherwise: four sends of a request with libwebrtc's
/// retransmission times, after which nothing was lost but filtered.
pub const NAT_TEST_TIMEOUT: Duration = Duration::from_millis(3_750);

/// What a mapping or a filter depends on besides our own endpoint (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NatBehaviour {
    /// Nothing.
    EndpointIndependent,
    /// The remote address.
    AddressDependent,
    /// The remote address and port.
    AddressAndPortDependent,
}

/// The classic names (RFC 3489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NatType {
    /// No NAT, and nothing is filtered.
    OpenInternet,
    /// No NAT, but only replies come in.
    SymmetricUdpFirewall,
    /// One mapping for all, and everybody may use it.
    FullCone,
    /// One mapping for all, and addresses that were sent to may use it.
    RestrictedCone,
    /// One mapping for all, and addresses and ports that were sent to may use it.
    PortRestrictedCone,
    /// A mapping for each destination.
    Symmetric,
    /// Nothing comes back.
    UdpBlocked,
}

impl std::fmt::Display for NatType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OpenInternet => "Open Internet",
            Self::SymmetricUdpFirewall => "Symmetric UDP Firewall",
            Self::FullCone => "Full Cone NAT",
            Self::RestrictedCone => "Restricted Cone NAT",
            Self::PortRestrictedCone => "Port Restricted Cone NAT",
            Self::Symmetric => "Symmetric NAT",
            Self::UdpBlocked => "UDP blocked",
        })
    }
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatReport {
    /// The server that was asked.
    pub server: SocketAddr,
    /// Our address.
    pub local: SocketAddr,
    /// Our address as the server sees it; `None` if nothing came back.
    pub mapped: Option<SocketAddr>,
    /// The server's other address; without one behaviours cannot be told.
    pub other: Option<SocketAddr>,
    /// What the mapping depends on; `None` without a NAT, or if it could not be found out.
    pub mapping: Option<NatBehaviour>,
    /// What may come in; `None` if it could not be found out.
    pub filtering: Option<NatBehaviour>,
}

impl NatReport {
    /// Whether a NAT stands between us and the server; `None` if nothing came back.
    pub fn behind_nat(&self) -> Option<bool> {
        self.mapped.map(|mapped| mapped != self.local)
    }

    /// The classic name, as the flow chart of RFC 3489 section 10.1 finds it; `None` if too little is known for
    /// one.
    pub fn nat_type(&self) -> Option<NatType> {
        use NatBehaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        let Some(behind_nat) = self.behind_nat() else { return Some(NatType::UdpBlocked) };
        Some(match (behind_nat, self.filtering?) {
            (false, EndpointIndependent) => NatType::OpenInternet,
            (false, _) => NatType::SymmetricUdpFirewall,
            // The chart asks no further, so that a mapping for each destination goes unnoticed here.
            (true, EndpointIndependent) => NatType::FullCone,
            (true, _) if self.mapping? != EndpointIndependent => NatType::Symmetric,
            (true, AddressDependent) => NatType::RestrictedCone,
            (true, AddressAndPortDependent) => NatType::PortRestrictedCone,
        })
    }
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    /// Where do you see me?
    Binding,
    /// Answer from your other address and port.
    ChangeIpAndPort,
    /// Answer from your other port.
    ChangePort,
    /// Where do you see me from your other address?
    OtherIp,
    /// Where do you see me from your other address and port?
    OtherIpAndPort,
}

/// Which questions are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Binding,
    Filtering,
    Mapping,
    Done,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Open,
    /// The mapped address that the answer held.
    Answered(SocketAddr),
    /// Nothing came.
    Silent,
    /// The server will not or cannot.
    Refused,
}

/// Finds out. Drain [`poll_transmit`](Self::poll_transmit) after each call until [`report`](Self::report) gives
/// the answer.
#[derive(Debug)]
pub struct NatBehaviourDiscovery {
    report: NatReport,
    timeout: Duration,
    random: Random,
    requests: StunRequestManager<Test>,
    stage: Stage,
    deadline: Option<Instant>,
    outcomes: Vec<(Test, Outcome)>,
}

impl NatBehaviourDiscovery {
    /// Begins. `local` is the address of the socket; where that is the "any" address, what the system says of the
    /// first answer stands in. Each test waits for `timeout`.
    pub fn new(
        now: Instant,
        server: SocketAddr,
        local: SocketAddr,
        timeout: Duration,
        random: Random,
    ) -> Self {
        let report = NatReport { server, local, mapped: None, other: None, mapping: None, filtering: None };
        let mut discovery = Self {
            report,
            timeout,
            random,
            requests: StunRequestManager::new(),
            stage: Stage::Binding,
            deadline: None,
            outcomes: Vec::new(),
        };
        discovery.enter(now, Stage::Binding, &[Test::Binding]);
        discovery
    }

    /// The answer, once there is one.
    pub fn report(&self) -> Option<&NatReport> {
        (self.stage == Stage::Done).then_some(&self.report)
    }

    /// The next datagram to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let transmit = self.requests.poll_transmit()?;
        let (test, message) = (*transmit.context, transmit.message.to_vec());
        Some((self.destination(test), message))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.requests.next_timeout()).min()
    }

    /// Sends again what may be lost; what stays without an answer for too long is taken to be filtered.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.requests.handle_timeout(now);
        while self.requests.poll_timed_out().is_some() {}
        if self.deadline.is_some_and(|at| at <= now) {
            self.requests.clear();
            for (_, outcome) in &mut self.outcomes {
                if *outcome == Outcome::Open {
                    *outcome = Outcome::Silent;
                }
            }
            self.advance(now);
        }
    }

    /// Takes a datagram; what is not the answer to a question, from where that has to come, is ignored. `local`
    /// is the address it was sent to, where the system tells.
    pub fn receive(&mut self, now: Instant, datagram: &[u8], remote: SocketAddr, local: Option<IpAddr>) {
        let Ok(message) = Message::parse(datagram) else { return };
        let Some(test) = self.requests.get(message.transaction_id()).copied() else { return };
        let refusal = message.class() == Class::ErrorResponse && remote == self.destination(test);
        if remote != self.source(test) && !refusal {
            // Not from where it was asked for: a server that does not look at CHANGE-REQUEST says nothing of
            // filters.
            if remote == self.destination(test) && message.class() == Class::SuccessResponse {
                self.requests.cancel(message.transaction_id());
                self.settle(now, test, Outcome::Refused);
            }
            return;
        }
        let Some(response) = self.requests.check_response(now, &message) else { return };
        let mapped = message.xor_mapped_address().or_else(|| message.mapped_address());
        let outcome = match (response.result, mapped) {
            (ResponseResult::Success, Some(mapped)) => Outcome::Answered(mapped),
            _ => Outcome::Refused,
        };
        if test == Test::Binding {
            if let (true, Some(ip)) = (self.report.local.ip().is_unspecified(), local) {
                self.report.local.set_ip(ip);
            }
            let server = self.report.server;
            self.report.other = message.other_address().filter(|other| is_usable(server, *other));
        }
        self.settle(now, test, outcome);
    }

    fn settle(&mut self, now: Instant, test: Test, outcome: Outcome) {
        if let Some((_, known)) = self.outcomes.iter_mut().find(|(other, _)| *other == test) {
            *known = outcome;
        }
        if self.outcomes.iter().all(|(_, outcome)| *outcome != Outcome::Open) {
            self.advance(now);
        }
    }

    /// Where a question goes.
    fn destination(&self, test: Test) -> SocketAddr {
        let (server, other) = (self.report.server, self.report.other.unwrap_or(self.report.server));
        match test {
            Test::Binding | Test::ChangeIpAndPort | Test::ChangePort => server,
            Test::OtherIp => SocketAddr::new(other.ip(), server.port()),
            Test::OtherIpAndPort => other,
        }
    }

    /// Where its answer comes from.
    fn source(&self, test: Test) -> SocketAddr {
        let (server, other) = (self.report.server, self.report.other.unwrap_or(self.report.server));
        match test {
            Test::ChangeIpAndPort => other,
            Test::ChangePort => SocketAddr::new(server.ip(), other.port()),
            Test::Binding | Test::OtherIp | Test::OtherIpAndPort => self.destination(test),
        }
    }

    fn outcome(&self, test: Test) -> Outcome {
        let found = self.outcomes.iter().find(|(other, _)| *other == test);
        found.map_or(Outcome::Refused, |(_, outcome)| *outcome)
    }

    fn enter(&mut self, now: Instant, stage: Stage, tests: &[Test]) {
        self.stage = stage;
        self.outcomes = tests.iter().map(|test| (*test, Outcome::Open)).collect();
        self.deadline = (stage != Stage::Done).then(|| now + self.timeout);
        for test in tests {
            let id = TransactionId::new(&mut self.random);
            let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
            match test {
                Test::ChangeIpAndPort => {
                    builder.add_change_request(ChangeRequest { change_ip: true, change_port: true });
                }
                Test::ChangePort => {
                    builder.add_change_request(ChangeRequest { change_ip: false, change_port: true });
                }
                Test::Binding | Test::OtherIp | Test::OtherIpAndPort => {}
            }
            builder.fingerprint();
            // Our own message, one of a few: neither can fail.
            if let Ok(request) = StunRequest::new(builder.finish(), *test) {
                let _ = self.requests.send(now, request.with_known_attributes(AttributeType::KNOWN_STUN));
            }
        }
    }

    /// All questions of a stage have their answers, or none.
    fn advance(&mut self, now: Instant) {
        match self.stage {
            Stage::Binding => {
                if let Outcome::Answered(mapped) = self.outcome(Test::Binding) {
                    self.report.mapped = Some(mapped);
                }
                if self.report.mapped.is_none() || self.report.other.is_none() {
                    return self.enter(now, Stage::Done, &[]);
                }
                self.enter(now, Stage::Filtering, &[Test::ChangeIpAndPort, Test::ChangePort]);
            }
            Stage::Filtering => {
                self.report.filtering =
                    match (self.outcome(Test::ChangeIpAndPort), self.outcome(Test::ChangePort)) {
                        (Outcome::Answered(_), _) => Some(NatBehaviour::EndpointIndependent),
                        (Outcome::Silent, Outcome::Answered(_)) => Some(NatBehaviour::AddressDependent),
                        (Outcome::Silent, Outcome::Silent) => Some(NatBehaviour::AddressAndPortDependent),
                        _ => None,
                    };
                if self.report.behind_nat() == Some(true) {
                    self.enter(now, Stage::Mapping, &[Test::OtherIp, Test::OtherIpAndPort]);
                } else {
                    self.enter(now, Stage::Done, &[]);
                }
            }
            Stage::Mapping => {
                let first = self.report.mapped;
                self.report.mapping = match (self.outcome(Test::OtherIp), self.outcome(Test::OtherIpAndPort))
                {
                    (Outcome::Answered(second), _) if Some(second) == first => {
                        Some(NatBehaviour::EndpointIndependent)
                    }
                    (Outcome::Answered(second), Outcome::Answered(third)) if second == third => {
                        Some(NatBehaviour::AddressDependent)
                    }
                    (Outcome::Answered(_), Outcome::Answered(_)) => {
                        Some(NatBehaviour::AddressAndPortDependent)
                    }
                    _ => None,
                };
                self.enter(now, Stage::Done, &[]);
            }
            Stage::Done => {}
        }
    }
}

/// Whether a server's other address is one that questions may be sent to: another address and another port, of
/// the same family (RFC 5780 section 7.4), and none that more than one host has.
fn is_usable(server: SocketAddr, other: SocketAddr) -> bool {
    let broadcast = matches!(other.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    other.is_ipv4() == server.is_ipv4()
        && other.ip() != server.ip()
        && other.port() != server.port()
        && other.port() != 0
        && other.ip().is_loopback() == server.ip().is_loopback()
        && !(other.ip().is_unspecified() || other.ip().is_multicast() || broadcast)
}

#[cfg(test)]
#[path = "nat_behaviour_discovery_tests.rs"]
mod tests;
