//! The phases of gathering on one network: UDP, relay, TCP, a step delay apart. Owned by a
//! `BasicPortAllocatorSession` on the network task. Answers to libwebrtc's `AllocationSequence` in
//! `p2p/client/basic_port_allocator.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::{IoRequest, Network, PacketSocketFactory, PortRange, SocketId};

/// How far a sequence is (libwebrtc `AllocationSequence::State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AllocationSequenceState {
    /// Made, not started.
    Init,
    /// Going through its phases.
    Running,
    /// Stopped before its last phase.
    Stopped,
    /// Through all phases.
    Completed,
}

/// What is allocated, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AllocationPhase {
    /// Host and server-reflexive candidates over UDP.
    Udp,
    /// Relay candidates.
    Relay,
    /// Host candidates over TCP.
    Tcp,
}

/// The socket a sequence bound in [`AllocationSequence::init`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct BoundSocket {
    pub(crate) id: SocketId,
    pub(crate) local: SocketAddr,
    /// Whether transports of other PeerConnections use it too.
    pub(crate) muxed: bool,
}

/// Allocates ports on one network, phase by phase.
#[derive(Debug)]
pub(crate) struct AllocationSequence {
    pub(crate) network: Network,
    /// The socket that ports of this network share.
    pub(crate) bound: Option<BoundSocket>,
    state: AllocationSequenceState,
    next_phase: Option<AllocationPhase>,
    due: Option<Instant>,
    step_delay: Duration,
    /// Phases with nothing to do take no time.
    has_relays: bool,
    has_tcp: bool,
}

impl AllocationSequence {
    pub(crate) fn new(network: Network, step_delay: Duration, has_relays: bool, has_tcp: bool) -> Self {
        Self {
            network,
            bound: None,
            state: AllocationSequenceState::Init,
            next_phase: Some(AllocationPhase::Udp),
            due: None,
            step_delay,
            has_relays,
            has_tcp,
        }
    }

    /// Binds the shared socket and hands it to the network task, or takes part in the one that all transports
    /// share under this user fragment; with an address and port, the host candidate is ready.
    pub(crate) fn init(
        &mut self,
        factory: &mut dyn PacketSocketFactory,
        ports: Option<PortRange>,
        ufrag: &str,
        io_requests: &mut std::collections::VecDeque<IoRequest>,
    ) -> io::Result<BoundSocket> {
        let ip = self.network.best_ip().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (local, own) = match factory.shared_udp_socket(ip)? {
            Some(local) => (local, None),
            None => {
                let socket = factory.create_udp_socket(SocketAddr::new(ip, 0), ports)?;
                (socket.local_addr()?, Some(socket))
            }
        };
        if local.ip() != ip {
            // A socket of another network would give a candidate that does not say where packets go (G35).
            return Err(io::Error::other(format!("bound to {local} instead of {ip}")));
        }
        let id = SocketId::unique();
        let bound = BoundSocket { id, local, muxed: own.is_none() };
        io_requests.push_back(match own {
            Some(socket) => IoRequest::AddUdpSocket { id, socket },
            None => IoRequest::JoinUdpMux { id, local, ufrag: ufrag.to_owned() },
        });
        self.bound = Some(bound);
        Ok(bound)
    }

    pub(crate) fn state(&self) -> AllocationSequenceState {
        self.state
    }

    /// Starts; the first phase is due at once.
    pub(crate) fn start(&mut self, now: Instant) {
        if self.state == AllocationSequenceState::Init {
            self.state = AllocationSequenceState::Running;
            self.due = Some(now);
        }
    }

    /// Stops, unless it is through.
    pub(crate) fn stop(&mut self) {
        if matches!(self.state, AllocationSequenceState::Init | AllocationSequenceState::Running) {
            self.state = AllocationSequenceState::Stopped;
            self.due = None;
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The phase that is due, if one is; the one after it follows a step delay later, or at once if it has
    /// nothing to do.
    pub(crate) fn poll_phase(&mut self, now: Instant) -> Option<AllocationPhase> {
        if self.state != AllocationSequenceState::Running || self.due.is_none_or(|due| due > now) {
            return None;
        }
        let phase = self.next_phase.take()?;
        let next = match phase {
            AllocationPhase::Udp => Some(AllocationPhase::Relay),
            AllocationPhase::Relay => Some(AllocationPhase::Tcp),
            AllocationPhase::Tcp => None,
        };
        self.next_phase = next;
        match next {
            Some(AllocationPhase::Relay) if self.has_relays => self.due = Some(now + self.step_delay),
            Some(AllocationPhase::Tcp) if self.has_tcp => self.due = Some(now + self.step_delay),
            Some(_) => self.due = Some(now),
            None => {
                self.due = None;
                self.state = AllocationSequenceState::Completed;
            }
        }
        Some(phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network {
            name: "eth0".into(),
            adapter_type: peerstack_base::AdapterType::Ethernet,
            prefix_len: 24,
            ips: vec![IpAddr::from([192, 0, 2, 1])],
            id: 1,
            preference: 127,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn phases_are_a_step_delay_apart_where_there_is_work() {
        let (now, step) = (start(), Duration::from_millis(50));
        let mut sequence = AllocationSequence::new(network(), step, true, false);
        assert_eq!(sequence.state(), AllocationSequenceState::Init);
        assert_eq!(sequence.poll_phase(now), None);
        sequence.start(now);
        assert_eq!(sequence.poll_phase(now), Some(AllocationPhase::Udp));
        assert_eq!(sequence.poll_phase(now), None);
        assert_eq!(sequence.next_timeout(), Some(now + step));
        assert_eq!(sequence.poll_phase(now + step), Some(AllocationPhase::Relay));
        assert_eq!(sequence.poll_phase(now + step), Some(AllocationPhase::Tcp));
        assert_eq!(sequence.state(), AllocationSequenceState::Completed);
        assert_eq!(sequence.next_timeout(), None);
        sequence.stop();
        assert_eq!(sequence.state(), AllocationSequenceState::Completed);
    }

    #[test]
    fn tcp_is_a_step_delay_after_relays() {
        let (now, step) = (start(), Duration::from_millis(50));
        let mut sequence = AllocationSequence::new(network(), step, true, true);
        sequence.start(now);
        for (at, phase) in [(0, AllocationPhase::Udp), (1, AllocationPhase::Relay), (2, AllocationPhase::Tcp)]
        {
            assert_eq!(sequence.next_timeout(), Some(now + at * step));
            assert_eq!(sequence.poll_phase(now + at * step), Some(phase));
        }
        assert_eq!(sequence.state(), AllocationSequenceState::Completed);
    }

    #[test]
    fn without_relays_all_phases_pass_at_once() {
        let now = start();
        let mut sequence = AllocationSequence::new(network(), Duration::from_millis(50), false, false);
        sequence.start(now);
        let phases: Vec<_> = std::iter::from_fn(|| sequence.poll_phase(now)).collect();
        assert_eq!(phases, [AllocationPhase::Udp, AllocationPhase::Relay, AllocationPhase::Tcp]);
    }

    /// G26: stopped in the middle.
    #[test]
    fn a_stopped_sequence_has_no_more_phases() {
        let now = start();
        let mut sequence = AllocationSequence::new(network(), Duration::from_millis(50), true, true);
        sequence.start(now);
        assert!(sequence.poll_phase(now).is_some());
        sequence.stop();
        assert_eq!(sequence.state(), AllocationSequenceState::Stopped);
        assert_eq!(
            (sequence.poll_phase(now + Duration::from_secs(1)), sequence.next_timeout()),
            (None, None)
        );
    }
}
