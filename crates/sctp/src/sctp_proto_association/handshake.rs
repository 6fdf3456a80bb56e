//! Who begins, and what an INIT means where the handshake stands; part of [`SctpProtoAssociation`], owned by its
//! `SctpTransport` on the network task. RFC 9260 section 5; answers to libwebrtc's `net/dcsctp/socket/dcsctp_socket.cc`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{ClientConfig, DatagramEvent, Endpoint, EndpointConfig, ServerConfig, TransportConfig};

use super::{DATA_OVERHEAD, Deadline, PEER, Phase, SctpProtoAssociation};
use crate::sctp_association::{AssociationConfig, AssociationError, AssociationOpening, SctpCloseReason};
use crate::sctp_packet::{ChunkRef, CommonHeader, InitHeader, chunk_type};
use crate::sctp_packet_guard::PacketGuard;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

pub(super) fn transport_config(config: &AssociationConfig) -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(config.receive_buffer)
        .with_max_send_message_size(u32::MAX)
        .with_max_receive_message_size(config.max_receive_message_size)
        .with_max_num_outbound_streams(config.max_streams)
        .with_max_num_inbound_streams(config.max_streams)
        .with_rto_initial_ms(millis(config.rto_initial))
        .with_rto_min_ms(millis(config.rto_min))
        .with_rto_max_ms(millis(config.rto_max))
        .with_max_init_retransmits(config.max_init_retransmits.map(usize::from))
        // DATA is never given up: whether the path is dead is for ICE's consent to say (RFC 7675).
        .with_max_data_retransmits(None)
        .with_local_port(config.local_port)
        .with_remote_port(config.remote_port)
}

pub(super) fn new_endpoint(config: &AssociationConfig) -> Endpoint {
    let mut endpoint = EndpointConfig::new();
    let payload = config.max_packet_size.saturating_sub(DATA_OVERHEAD).clamp(256, 16_384) / 4 * 4;
    endpoint.max_payload_size(payload as u32);
    let mut server = ServerConfig::default();
    server.transport = Arc::new(transport_config(config));
    Endpoint::new(Arc::new(endpoint), Some(Arc::new(server)))
}

fn init_of(chunk: &[u8]) -> Option<InitHeader> {
    ChunkRef { kind: *chunk.first()?, flags: *chunk.get(1)?, bytes: chunk }
        .init()
        .filter(|_| chunk.first() == Some(&chunk_type::INIT))
}

impl SctpProtoAssociation {
    pub(super) fn connect(
        &mut self,
        now: Instant,
        init: Option<(Bytes, Bytes)>,
    ) -> Result<(), AssociationError> {
        let mut client = ClientConfig::default();
        client.transport = Arc::new(transport_config(&self.config));
        if let Some((local, remote)) = init {
            let no_init = |which: &str| AssociationError::Config(format!("the {which} INIT is none"));
            let ours = init_of(&local).ok_or_else(|| no_init("local"))?;
            let theirs = init_of(&remote).ok_or_else(|| no_init("remote"))?;
            self.guard.local_tag = Some(ours.initiate_tag);
            self.guard.highest_sent = Some(ours.initial_tsn.wrapping_sub(1));
            self.learn_peer(&theirs);
            self.header = Some(CommonHeader {
                source_port: self.config.local_port,
                destination_port: self.config.remote_port,
                verification_tag: theirs.initiate_tag,
            });
            client = client.with_snap(local, remote);
        }
        let (handle, association) = self
            .endpoint
            .connect(client, PEER)
            .map_err(|error| AssociationError::Config(error.to_string()))?;
        // The crate took the system's time for this one deadline.
        self.deadline =
            association.poll_timeout().map(|theirs| Deadline { theirs, ours: now + self.config.rto_initial });
        self.handle = handle;
        self.association = Some(association);
        self.phase = Phase::Connecting(false);
        self.collect_events();
        Ok(())
    }

    pub(super) fn learn_peer(&mut self, init: &InitHeader) {
        self.guard.set_peer_initial_tsn(init.initial_tsn);
        self.max_streams = self.config.max_streams.min(init.inbound_streams).min(init.outbound_streams);
    }

    /// An INIT: section 5.2.1 when both begin at once, 5.2.2 when one comes late.
    pub(super) fn receive_init(&mut self, now: Instant, packet: &[u8], init: &InitHeader) {
        let take = match self.phase {
            Phase::Waiting(_) => true,
            // Both began. A peer that keeps to section 5.2.1 answers ours whatever we do; two of our kind must
            // not both give way or both insist, so the DTLS client's wins. (Not the larger tag's: tags are
            // random, and no two runs would be alike.)
            Phase::Connecting(false) => self.opening == AssociationOpening::Passive,
            Phase::Connecting(true) => self.peer_may_be_new,
            Phase::Accepting(tag) if tag == init.initiate_tag => {
                self.feed(now, Bytes::copy_from_slice(packet));
                return;
            }
            Phase::Accepting(_) => true,
            // A peer that began anew knows none of our channels (RFC 9260 section 5.2.4.1 would go on with them). It
            // sends its INIT again, to the association that takes the place of this one.
            Phase::Established
                if self.peer_may_be_new
                    && self.header.map(|header| header.verification_tag) != Some(init.initiate_tag) =>
            {
                return self.closed(SctpCloseReason::Replaced);
            }
            // A late copy: who begins anew has a new DTLS association.
            Phase::Established | Phase::Closed => false,
        };
        if !take {
            self.stats.refused += 1;
            return;
        }
        self.accept(now, packet, init);
    }

    pub(super) fn accept(&mut self, now: Instant, packet: &[u8], init: &InitHeader) {
        let mut endpoint = new_endpoint(&self.config);
        let answer = endpoint.handle(now, PEER, None, None, Bytes::copy_from_slice(packet));
        let Some((handle, DatagramEvent::NewAssociation(mut association))) = answer else {
            self.stats.refused += 1;
            return;
        };
        // An INIT that breaks section 3.3.2 is not answered: then nothing happened.
        let Some(transmit) = association.poll_transmit(now) else {
            self.stats.refused += 1;
            return;
        };
        self.guard = PacketGuard::new(self.config.max_streams, self.config.receive_buffer);
        self.learn_peer(init);
        self.endpoint = endpoint;
        self.handle = handle;
        self.association = Some(association);
        self.phase = Phase::Accepting(init.initiate_tag);
        self.deadline = None;
        self.out.clear();
        self.queue(now, transmit.payload);
    }
}
