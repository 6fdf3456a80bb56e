//! What handles and the signaling task ask of the network task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use peerstack_dtls::{Certificate, DtlsRole};
use peerstack_jsep::{
    Codec, JsepError, RtpExtension, SessionDescription as ParsedDescription, TransportDescription,
};
use peerstack_p2p::{Candidate, CandidatePair};
use peerstack_rtp_transport::SrtpBackendKind;
use peerstack_sctp::{MAX_PEER_NAME_BYTES, MAX_SCTP_STREAMS};
use tokio::sync::{mpsc, oneshot};

use super::network_event::NetworkEvent;
use super::shared_socket_factory::SharedSocketFactory;
use crate::configuration::{BundlePolicy, Configuration, IceTransportPolicy, RtcpMuxPolicy, Settings};
use crate::data_channel_event::{DataChannelEvent, DataChannelMessage, DataChannelState};
use crate::data_channel_init::DataChannelInit;
use crate::data_channel_shared::DataChannelShared;
use crate::dropping_queue::DroppingQueue;
use crate::held_bytes::{Held, HeldBytes};
use crate::media_stream_track::MediaStreamTrack;
use crate::rtp_packet::{RtcpFeedback, RtcpPacket, RtpPacket, RtpSource};
use crate::stats::NetworkSnapshot;
use crate::transport_views::TransportsView;
use crate::unread_gate::UnreadGate;
use crate::{RtcError, RtpTransceiverDirection, SdpType, TrackKind};

/// Bytes of RTP that may wait for the network task before senders are told so.
const MAX_QUEUED_RTP_BYTES: usize = 4 << 20;
/// Data channels one connection may have (libwebrtc `kMaxSctpSid`).
const MAX_DATA_CHANNELS: usize = 1_024;

/// Bytes of messages that may wait for the application on all data channels of a connection before the peer is held
/// back.
pub(super) const MAX_UNREAD_OF_ALL: usize = 32 << 20;

/// Packets of RTCP that wait for the application to read them, of at most 2 KiB each.
const MAX_RAW_RTCP: usize = 256;

/// Names a connection of one network task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Names a data channel of one connection, whatever its stream id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChannelKey(pub(crate) u32);

/// Names a transceiver of one connection, in order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransceiverId(pub(crate) u32);

/// Transport descriptions by mid.
pub(crate) type Transports = BTreeMap<String, TransportDescription>;
type JsepReply<R> = oneshot::Sender<Result<R, JsepError>>;

/// One encoding that a section sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SectionEncoding {
    pub(crate) rid: Option<Arc<str>>,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: u32,
}

/// A section in which RTP flows.
#[derive(Debug, Clone)]
pub(crate) struct MediaSection {
    pub(crate) mid: String,
    pub(crate) id: TransceiverId,
    pub(crate) kind: TrackKind,
    pub(crate) direction: RtpTransceiverDirection,
    pub(crate) receive_codecs: Vec<Codec>,
    pub(crate) send_codecs: Vec<Codec>,
    /// Whether both sides take RTCP feedback that goes alone (RFC 5506).
    pub(crate) reduced_size: bool,
    pub(crate) remote_ssrcs: Vec<u32>,
    /// SSRCs of the peer's retransmissions, each with the one it repairs.
    pub(crate) remote_repairs: Vec<(u32, u32)>,
    pub(crate) receive_extensions: Vec<RtpExtension>,
    pub(crate) send_extensions: Vec<RtpExtension>,
    /// One-byte and two-byte forms of header extensions may be mixed (RFC 8285 section 4.1.2).
    pub(crate) extmap_allow_mixed: bool,
    /// What is sent: one encoding at least.
    pub(crate) encodings: Vec<SectionEncoding>,
    pub(crate) track: MediaStreamTrack,
    pub(crate) feedback: Arc<DroppingQueue<RtcpFeedback>>,
}

/// What a connection is asked.
#[derive(Debug)]
pub(crate) enum ConnectionCommand {
    /// Transport descriptions for an offer.
    OfferTransports {
        mids: Vec<String>,
        ice_restart: bool,
        reply: JsepReply<Transports>,
    },
    /// Transport descriptions for an answer.
    AnswerTransports {
        mids: Vec<String>,
        reply: JsepReply<Transports>,
    },
    /// Puts a description in force, and the sections in which RTP flows from then on, if that changes.
    SetDescription {
        local: bool,
        sdp_type: SdpType,
        description: Box<ParsedDescription>,
        media: Option<Vec<MediaSection>>,
        reply: JsepReply<TransportsView>,
    },
    /// Back to the transports of the last stable state.
    Rollback {
        /// The sections of that state.
        media: Vec<MediaSection>,
        reply: JsepReply<TransportsView>,
    },
    /// Servers and policy for the next gathering; `restart_ice` makes the next offer bring it about.
    SetConfiguration {
        ice_servers: Vec<peerstack_p2p::IceServer>,
        ice_transport_policy: IceTransportPolicy,
        restart_ice: bool,
        /// How many transports are to gather ahead; `None` once a description was set.
        pool_size: Option<u8>,
    },
    AddRemoteCandidate {
        mid: String,
        candidate: Box<Candidate>,
    },
    RemoveRemoteCandidate {
        mid: String,
        candidate: Box<Candidate>,
    },
    EndOfCandidates {
        mid: String,
    },
    /// A packet of the encoding whose SSRC it has.
    SendRtp {
        id: TransceiverId,
        packet: RtpPacket,
        /// It was sent before: it goes as retransmission where that was negotiated.
        again: bool,
    },
    SendRtcp {
        mid: String,
        packet: Bytes,
    },
    SendFeedback(TransceiverId, RtcpFeedback),
    /// The application stopped a transceiver.
    StopSender(TransceiverId),
    OpenDataChannel {
        channel: Arc<DataChannelShared>,
        events: mpsc::UnboundedSender<DataChannelEvent>,
    },
    SendData {
        channel: ChannelKey,
        message: DataChannelMessage,
    },
    ResumeDataChannel(ChannelKey),
    CloseDataChannel(ChannelKey),
    Stats {
        reply: oneshot::Sender<NetworkSnapshot>,
    },
    /// Who was heard in a section lately.
    Sources {
        id: TransceiverId,
        contributing: bool,
        reply: oneshot::Sender<Vec<RtpSource>>,
    },
    SelectedPair {
        reply: oneshot::Sender<Option<CandidatePair>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// What the network task is asked.
#[derive(Debug)]
pub(super) enum NetworkCommand {
    Add(ConnectionId, Box<ConnectionConfig>, Arc<HandleShared>),
    Connection(ConnectionId, ConnectionCommand),
    /// The factory is gone: end with the last connection.
    FactoryGone,
}

/// What a connection is made from.
#[derive(Debug)]
pub(crate) struct ConnectionConfig {
    pub(crate) ice_servers: Vec<peerstack_p2p::IceServer>,
    pub(crate) ice_transport_policy: IceTransportPolicy,
    pub(crate) ice_candidate_pool_size: u8,
    pub(crate) bundle_policy: BundlePolicy,
    pub(crate) rtcp_mux_policy: RtcpMuxPolicy,
    pub(crate) settings: Settings,
    pub(crate) srtp_backend: SrtpBackendKind,
    pub(crate) certificate: Certificate,
    /// RTCP's canonical name of all our streams.
    pub(crate) cname: String,
    pub(crate) events: mpsc::UnboundedSender<NetworkEvent>,
}

impl ConnectionConfig {
    pub(crate) fn new(
        configuration: &Configuration,
        certificate: Certificate,
        cname: String,
        events: mpsc::UnboundedSender<NetworkEvent>,
    ) -> Result<Self, RtcError> {
        let settings = crate::configuration::checked_settings(&configuration.settings)?;
        Ok(Self {
            ice_servers: crate::configuration::parse_ice_servers(&configuration.ice_servers)?,
            ice_transport_policy: configuration.ice_transport_policy,
            ice_candidate_pool_size: configuration.ice_candidate_pool_size,
            bundle_policy: configuration.bundle_policy,
            rtcp_mux_policy: configuration.rtcp_mux_policy,
            srtp_backend: settings.srtp_engine.backend()?,
            settings,
            certificate,
            cname,
            events,
        })
    }
}

/// What the handles of a connection and the network task share beside the queue of commands.
#[derive(Debug)]
pub(crate) struct HandleShared {
    /// The largest message the peer takes, in bytes; 64 KiB until it said so (RFC 8841 section 6.1).
    max_message_size: AtomicUsize,
    queued_rtp: AtomicUsize,
    next_channel: AtomicU32,
    channels: Mutex<Channels>,
    /// Messages of all channels that the application has not taken.
    pub(super) unread: Arc<UnreadGate>,
    /// Labels and protocols of channels that the peer opened.
    peer_names: HeldBytes,
    /// RTCP that is not read here.
    pub(crate) rtcp: DroppingQueue<RtcpPacket>,
    /// What was measured last, once the connection is closed.
    last_stats: Mutex<Option<NetworkSnapshot>>,
}

/// The data channels of a connection, and what decides their ids.
#[derive(Debug, Default)]
struct Channels {
    all: Vec<Weak<DataChannelShared>>,
    /// Our DTLS role, once known: even ids are the client's (RFC 8832 section 6).
    role: Option<DtlsRole>,
    /// Streams that were agreed on, once the association stands.
    max_channels: Option<u16>,
    /// Where the search for a free id begins: one that was just closed rests for as long as possible.
    next_id: u16,
}

impl Channels {
    /// The channels that are not closed.
    fn alive(&mut self) -> Vec<Arc<DataChannelShared>> {
        self.all.retain(|channel| {
            channel.upgrade().is_some_and(|channel| channel.state() != DataChannelState::Closed)
        });
        self.all.iter().filter_map(Weak::upgrade).collect()
    }

    /// An id of ours that no channel has (RFC 8832 section 6).
    fn free_id(&mut self, role: DtlsRole, used: &BTreeSet<u16>) -> Result<u16, RtcError> {
        let first = u16::from(role == DtlsRole::Server);
        let limit = self.max_channels.unwrap_or(MAX_SCTP_STREAMS);
        let ours = (first..limit).step_by(2).filter(|id| !used.contains(id));
        let (before, after): (Vec<u16>, Vec<u16>) = ours.partition(|id| *id < self.next_id);
        let id = after.first().or(before.first()).copied().ok_or_else(|| {
            RtcError::operation(format!("all ids of ours below {limit} are in use by data channels"))
        })?;
        self.next_id = id + 2;
        Ok(id)
    }

    fn id_for(
        &mut self,
        init: &DataChannelInit,
        alive: &[Arc<DataChannelShared>],
    ) -> Result<Option<u16>, RtcError> {
        let used: BTreeSet<u16> = alive.iter().filter_map(|channel| channel.id()).collect();
        match (init.id.filter(|_| init.negotiated), self.role) {
            (Some(id), _) if used.contains(&id) => {
                Err(RtcError::operation(format!("id {id} is in use by another data channel")))
            }
            (Some(id), _) => match self.max_channels.filter(|max| id >= *max) {
                Some(max) => {
                    let text =
                        format!("id {id} of the data channel is not below {max}, the streams agreed on");
                    Err(RtcError::operation(text))
                }
                None => Ok(Some(id)),
            },
            (None, Some(role)) => self.free_id(role, &used).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl HandleShared {
    fn new() -> Self {
        Self {
            max_message_size: AtomicUsize::new(65_536),
            queued_rtp: AtomicUsize::new(0),
            next_channel: AtomicU32::new(0),
            channels: Mutex::new(Channels::default()),
            unread: Arc::new(UnreadGate::new(MAX_UNREAD_OF_ALL)),
            peer_names: HeldBytes::default(),
            rtcp: DroppingQueue::new(MAX_RAW_RTCP),
            last_stats: Mutex::new(None),
        }
    }

    pub(super) fn set_last_stats(&self, snapshot: NetworkSnapshot) {
        *self.last_stats.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// What was measured when the connection was closed.
    pub(crate) fn last_stats(&self) -> NetworkSnapshot {
        self.last_stats.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    pub(super) fn set_max_message_size(&self, bytes: usize) {
        self.max_message_size.store(bytes, Ordering::Release);
    }

    pub(super) fn rtp_taken(&self, bytes: usize) {
        self.queued_rtp.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn lock_channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channels that are not closed.
    pub(crate) fn channels(&self) -> Vec<Arc<DataChannelShared>> {
        self.lock_channels().alive()
    }

    /// What decides the ids of channels made from now on.
    pub(super) fn set_id_rules(&self, role: Option<DtlsRole>, max_channels: Option<u16>) {
        let mut channels = self.lock_channels();
        (channels.role, channels.max_channels) = (role, max_channels);
    }

    /// A channel the application makes, with a key of its own, entered in the list; with its id if that can be told.
    pub(crate) fn register(
        &self,
        label: String,
        mut init: DataChannelInit,
    ) -> Result<Arc<DataChannelShared>, RtcError> {
        let mut channels = self.lock_channels();
        let alive = channels.alive();
        if alive.len() >= MAX_DATA_CHANNELS {
            return Err(RtcError::operation(format!("there are {MAX_DATA_CHANNELS} data channels already")));
        }
        init.id = channels.id_for(&init, &alive)?;
        Ok(self.enter(&mut channels, label, init, None))
    }

    /// A channel the peer made; `None` if its id is taken, or if the names of those it made before, closed ones that
    /// nobody has taken yet among them, are too long.
    pub(super) fn register_incoming(
        &self,
        label: String,
        init: DataChannelInit,
    ) -> Option<Arc<DataChannelShared>> {
        let mut channels = self.lock_channels();
        let alive = channels.alive();
        let taken = alive.iter().any(|channel| channel.id().is_some() && channel.id() == init.id);
        if taken || alive.len() >= MAX_DATA_CHANNELS {
            return None;
        }
        let names = self.peer_names.take(label.len() + init.protocol.len(), MAX_PEER_NAME_BYTES)?;
        Some(self.enter(&mut channels, label, init, Some(names)))
    }

    fn enter(
        &self,
        channels: &mut Channels,
        label: String,
        init: DataChannelInit,
        names: Option<Held>,
    ) -> Arc<DataChannelShared> {
        let key = ChannelKey(self.next_channel.fetch_add(1, Ordering::Relaxed));
        let channel = Arc::new(DataChannelShared::new(key, label, init, Arc::clone(&self.unread), names));
        channels.all.push(Arc::downgrade(&channel));
        channel
    }
}

/// A connection's end of the queue of commands. Commands to a connection that is gone are dropped.
#[derive(Debug, Clone)]
pub(crate) struct NetworkHandle {
    id: ConnectionId,
    commands: mpsc::UnboundedSender<NetworkCommand>,
    shared: Arc<HandleShared>,
}

impl NetworkHandle {
    pub(crate) fn send(&self, command: ConnectionCommand) {
        // The network task is gone only when the connection is freed, and then nothing is to be done.
        let _ = self.commands.send(NetworkCommand::Connection(self.id, command));
    }

    pub(crate) fn shared(&self) -> &Arc<HandleShared> {
        &self.shared
    }

    pub(crate) fn max_message_size(&self) -> usize {
        self.shared.max_message_size.load(Ordering::Acquire)
    }

    pub(crate) fn send_rtp(&self, id: TransceiverId, packet: RtpPacket, again: bool) -> Result<(), RtcError> {
        let len = rtp_cost(&packet);
        let waiting = self.shared.queued_rtp.fetch_add(len, Ordering::AcqRel);
        if waiting + len > MAX_QUEUED_RTP_BYTES {
            self.shared.queued_rtp.fetch_sub(len, Ordering::AcqRel);
            return Err(RtcError::operation(format!("{waiting} bytes of RTP wait to be sent already")));
        }
        self.send(ConnectionCommand::SendRtp { id, packet, again });
        Ok(())
    }
}

/// What a waiting packet counts for.
pub(super) fn rtp_cost(packet: &RtpPacket) -> usize {
    packet.payload.len() + 64
}

/// A factory's end of the queue of commands.
#[derive(Debug)]
pub(crate) struct NetworkTaskHandle {
    commands: mpsc::UnboundedSender<NetworkCommand>,
    next: AtomicU64,
    pub(crate) sockets: SharedSocketFactory,
}

impl NetworkTaskHandle {
    pub(super) fn new(commands: mpsc::UnboundedSender<NetworkCommand>, sockets: SharedSocketFactory) -> Self {
        Self { commands, next: AtomicU64::new(0), sockets }
    }

    pub(crate) fn add_connection(&self, config: ConnectionConfig) -> NetworkHandle {
        let id = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let shared = Arc::new(HandleShared::new());
        let command = NetworkCommand::Add(id, Box::new(config), Arc::clone(&shared));
        let _ = self.commands.send(command);
        NetworkHandle { id, commands: self.commands.clone(), shared }
    }
}

impl Drop for NetworkTaskHandle {
    fn drop(&mut self) {
        let _ = self.commands.send(NetworkCommand::FactoryGone);
    }
}
