//! The network task's end of the data channels of one connection. Answers to the network half of libwebrtc's
//! `pc/data_channel_controller.cc`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use peerstack_sctp::{
    DataChannelError, DataChannelEvent as SctpEvent, DataChannelId, DataChannelInit as SctpInit,
    DataChannelOpenError, DataChannelSendError, MessageKind, SctpTransport, SctpTransportConfig,
};
use tokio::sync::mpsc;

use super::commands::{ChannelKey, HandleShared, MAX_UNREAD_OF_ALL};
use super::network_event::NetworkEvent;
use crate::configuration::Settings;
use crate::data_channel_event::{DataChannelEvent, DataChannelMessage, DataChannelState};
use crate::data_channel_init::{DataChannelInit, PriorityType};
use crate::data_channel_shared::DataChannelShared;
use crate::stats::PeerConnectionStats;
use crate::{RtcError, RtcErrorDetail};

/// How the SCTP transport of a connection is set up.
pub(super) fn sctp_config(settings: &Settings) -> SctpTransportConfig {
    let mut config = SctpTransportConfig::default();
    let size = settings.max_message_size;
    config.association.max_receive_message_size = size;
    // A message is completed in the receive buffer, and others must not wait for that.
    config.association.receive_buffer = config.association.receive_buffer.max(size.saturating_mul(2));
    config.max_undrained = MAX_UNREAD_OF_ALL;
    config
}

#[derive(Debug)]
struct Endpoint {
    shared: Arc<DataChannelShared>,
    events: mpsc::UnboundedSender<DataChannelEvent>,
    /// The transport's name of the channel, once it has one.
    id: Option<DataChannelId>,
    /// Messages the transport had no room for.
    pending: VecDeque<DataChannelMessage>,
    /// Bytes the transport holds of this channel as of the last reading.
    in_transport: usize,
    opened: bool,
    closing: bool,
}

impl Endpoint {
    fn tell(&self, event: DataChannelEvent) {
        // An application that dropped the channel does not want to know.
        let _ = self.events.send(event);
    }

    fn open(&mut self) {
        self.opened = true;
        self.shared.set_state(DataChannelState::Open);
        self.tell(DataChannelEvent::Open);
    }

    fn close(&self, error: Option<RtcError>) {
        if self.shared.state() == DataChannelState::Closed {
            return;
        }
        self.shared.set_state(DataChannelState::Closed);
        if let Some(error) = error {
            self.tell(DataChannelEvent::Error(error));
        }
        self.tell(DataChannelEvent::Closed);
    }
}

/// All channels of a connection.
#[derive(Debug, Default)]
pub(super) struct DataChannels {
    endpoints: BTreeMap<ChannelKey, Endpoint>,
    by_id: BTreeMap<DataChannelId, ChannelKey>,
    /// Those without a stream id so far.
    waiting: BTreeSet<ChannelKey>,
    /// Those with bytes on their way.
    sending: BTreeSet<ChannelKey>,
    /// Channels that opened, and those of them that closed.
    opened: u32,
    closed: u32,
}

impl DataChannels {
    /// The application made a channel; it is opened as soon as there is a transport.
    pub(super) fn add(
        &mut self,
        shared: Arc<DataChannelShared>,
        events: mpsc::UnboundedSender<DataChannelEvent>,
    ) {
        let key = shared.key;
        self.waiting.insert(key);
        let endpoint = Endpoint {
            shared,
            events,
            id: None,
            pending: VecDeque::new(),
            in_transport: 0,
            opened: false,
            closing: false,
        };
        self.endpoints.insert(key, endpoint);
    }

    /// Opens what waits for a transport, and tells channels their ids.
    pub(super) fn open_waiting(&mut self, now: Instant, sctp: &mut SctpTransport) {
        for key in self.waiting.iter().copied().collect::<Vec<_>>() {
            let Some(endpoint) = self.endpoints.get_mut(&key) else {
                self.waiting.remove(&key);
                continue;
            };
            let id = match endpoint.id.map_or_else(|| open(now, sctp, &endpoint.shared), Ok) {
                Ok(id) => id,
                Err(error) => {
                    let error = RtcError::data_channel(
                        format!("the data channel {:?} was not opened: {error}", endpoint.shared.label),
                        RtcErrorDetail::DataChannelFailure,
                    );
                    endpoint.close(Some(error));
                    self.endpoints.remove(&key);
                    self.waiting.remove(&key);
                    continue;
                }
            };
            endpoint.id = Some(id);
            self.by_id.insert(id, key);
            if let Some(sid) = sctp.data_channel_init(id).and_then(|init| init.id) {
                endpoint.shared.set_id(sid);
                self.waiting.remove(&key);
            }
        }
    }

    /// A message of the application.
    pub(super) fn send(
        &mut self,
        now: Instant,
        sctp: Option<&mut SctpTransport>,
        key: ChannelKey,
        message: DataChannelMessage,
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        endpoint.pending.push_back(message);
        self.sending.insert(key);
        if let Some(sctp) = sctp {
            feed(now, sctp, endpoint);
        }
    }

    /// The application took messages of this channel, or of any: the peer need not be held back any longer. What all
    /// channels hold is looked at in [`process`](Self::process), which follows.
    pub(super) fn resume(&mut self, now: Instant, sctp: Option<&mut SctpTransport>, key: ChannelKey) {
        let id = self.endpoints.get(&key).and_then(|endpoint| endpoint.id);
        if let (Some(sctp), Some(id)) = (sctp, id) {
            sctp.set_paused(now, id, false);
        }
    }

    /// The application closes a channel: what it sent before goes out first.
    pub(super) fn close(&mut self, now: Instant, sctp: Option<&mut SctpTransport>, key: ChannelKey) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        endpoint.closing = true;
        match (sctp, endpoint.id) {
            (Some(sctp), Some(id)) => {
                feed(now, sctp, endpoint);
                if endpoint.pending.is_empty() {
                    sctp.close_data_channel(now, id);
                }
            }
            _ => {
                endpoint.close(None);
                self.endpoints.remove(&key);
            }
        }
    }

    /// Hands what the transport tells to channels and application, and takes account of what went out.
    pub(super) fn process(
        &mut self,
        now: Instant,
        sctp: &mut SctpTransport,
        handles: &HandleShared,
        network: &mpsc::UnboundedSender<NetworkEvent>,
    ) {
        // What is handed out counts until the application took it.
        sctp.set_backlog(now, handles.unread.amount());
        loop {
            while let Some(event) = sctp.poll_event() {
                self.handle_event(now, sctp, handles, network, event);
                sctp.set_backlog(now, handles.unread.amount());
            }
            if handles.unread.amount() < MAX_UNREAD_OF_ALL || handles.unread.block_if_full() {
                break;
            }
        }
        self.sending.retain(|key| {
            let Some(endpoint) = self.endpoints.get_mut(key) else { return false };
            let Some(id) = endpoint.id else { return true };
            let had_pending = !endpoint.pending.is_empty();
            feed(now, sctp, endpoint);
            if had_pending && endpoint.closing && endpoint.pending.is_empty() {
                sctp.close_data_channel(now, id);
            }
            release(endpoint, sctp.buffered_amount(id));
            endpoint.in_transport > 0 || !endpoint.pending.is_empty()
        });
    }

    fn handle_event(
        &mut self,
        now: Instant,
        sctp: &mut SctpTransport,
        handles: &HandleShared,
        network: &mpsc::UnboundedSender<NetworkEvent>,
        event: SctpEvent,
    ) {
        match event {
            SctpEvent::Incoming { id, init } => self.accept(now, sctp, handles, network, id, init),
            SctpEvent::Open { id } => {
                let Some(endpoint) = self.by_id.get(&id).and_then(|key| self.endpoints.get_mut(key)) else {
                    return;
                };
                if let Some(sid) = sctp.data_channel_init(id).and_then(|init| init.id) {
                    endpoint.shared.set_id(sid);
                }
                if endpoint.shared.state() == DataChannelState::Connecting {
                    endpoint.open();
                    self.opened += 1;
                }
            }
            SctpEvent::Message { id, kind, data } => {
                let Some(endpoint) = self.endpoint(id) else { return };
                let message = to_message(kind, data);
                let cost = message.cost();
                endpoint.shared.count_received(message.len());
                endpoint.shared.add_unread(cost);
                if endpoint.events.send(DataChannelEvent::Message(message)).is_err() {
                    // The application dropped the channel, and reads no more.
                    endpoint.shared.take_unread(cost);
                } else if endpoint.shared.unread.block_if_full() {
                    sctp.set_paused(now, id, true);
                }
            }
            SctpEvent::Closing { id } => {
                let Some(endpoint) = self.endpoint(id) else { return };
                // W3C: the event is for what the peer began; whoever closed himself knows.
                if endpoint.shared.state() == DataChannelState::Open {
                    endpoint.shared.set_state(DataChannelState::Closing);
                    endpoint.tell(DataChannelEvent::Closing);
                }
            }
            SctpEvent::Error { id, error } => {
                let Some(endpoint) = self.endpoint(id) else { return };
                endpoint.tell(DataChannelEvent::Error(to_rtc_error(&endpoint.shared.label, &error)));
            }
            SctpEvent::Closed { id } => {
                if let Some(endpoint) = self.by_id.remove(&id).and_then(|key| self.endpoints.remove(&key)) {
                    endpoint.close(None);
                    self.closed += u32::from(endpoint.opened);
                }
            }
            // What the application waits for counts what waits above the transport too: see `release`.
            _ => {}
        }
    }

    fn endpoint(&mut self, id: DataChannelId) -> Option<&mut Endpoint> {
        self.endpoints.get_mut(self.by_id.get(&id)?)
    }

    fn accept(
        &mut self,
        now: Instant,
        sctp: &mut SctpTransport,
        handles: &HandleShared,
        network: &mpsc::UnboundedSender<NetworkEvent>,
        id: DataChannelId,
        init: SctpInit,
    ) {
        let ours = DataChannelInit {
            ordered: init.ordered,
            max_packet_life_time: init.max_packet_life_time,
            max_retransmits: init.max_retransmits,
            protocol: init.protocol,
            negotiated: false,
            id: init.id.or_else(|| sctp.data_channel_init(id).and_then(|init| init.id)),
            priority: PriorityType::from_wire(init.priority),
        };
        let Some(shared) = handles.register_incoming(init.label, ours) else {
            // The peer took an id that a channel of ours, made this moment, has (RFC 8832 section 6), or its names
            // pile up: it is refused.
            sctp.close_data_channel(now, id);
            return;
        };
        let (events, receiver) = mpsc::unbounded_channel();
        let key = shared.key;
        self.add(Arc::clone(&shared), events);
        self.waiting.remove(&key);
        if let Some(endpoint) = self.endpoints.get_mut(&key) {
            endpoint.id = Some(id);
        }
        self.by_id.insert(id, key);
        // W3C: an announced channel is open when it is told.
        if let Some(endpoint) = self.endpoints.get_mut(&key) {
            endpoint.open();
            self.opened += 1;
        }
        let _ = network.send(NetworkEvent::DataChannel { channel: shared, events: receiver });
    }

    pub(super) fn stats(&self, timestamp: f64) -> PeerConnectionStats {
        PeerConnectionStats {
            id: "P".to_owned(),
            timestamp,
            data_channels_opened: self.opened,
            data_channels_closed: self.closed,
        }
    }

    /// The connection is closed.
    pub(super) fn close_all(&mut self) {
        for endpoint in std::mem::take(&mut self.endpoints).into_values() {
            endpoint.close(None);
        }
        self.by_id.clear();
    }
}

fn open(
    now: Instant,
    sctp: &mut SctpTransport,
    shared: &DataChannelShared,
) -> Result<DataChannelId, DataChannelOpenError> {
    let init = to_sctp(&shared.label, &shared.init);
    match sctp.create_data_channel(now, init.clone()) {
        // The id was chosen here a moment ago, and the peer or a stream that could not be reset has it: another one.
        Err(DataChannelOpenError::IdInUse(_)) if !init.negotiated => {
            sctp.create_data_channel(now, SctpInit { id: None, ..init })
        }
        result => result,
    }
}

/// webrtc-pc section 6.2: what ends the transport is told as such, with the peer's cause.
fn to_rtc_error(label: &str, error: &DataChannelError) -> RtcError {
    let detail = match error {
        DataChannelError::AssociationClosed(reason) => {
            RtcErrorDetail::SctpFailure { cause_code: reason.cause_code() }
        }
        _ => RtcErrorDetail::DataChannelFailure,
    };
    RtcError::data_channel(format!("the data channel {label:?}: {error}"), detail)
}

fn feed(now: Instant, sctp: &mut SctpTransport, endpoint: &mut Endpoint) {
    let Some(id) = endpoint.id else { return };
    while let Some(message) = endpoint.pending.pop_front() {
        let (kind, data) = match &message {
            DataChannelMessage::Text(text) => (MessageKind::Text, Bytes::copy_from_slice(text.as_bytes())),
            DataChannelMessage::Binary(data) => (MessageKind::Binary, data.clone()),
        };
        let len = data.len();
        match sctp.send(now, id, kind, data) {
            Ok(()) => endpoint.in_transport += len,
            Err(DataChannelSendError::QueueFull { .. }) => {
                endpoint.pending.push_front(message);
                return;
            }
            Err(error) => {
                endpoint.shared.release(len);
                endpoint.tell(DataChannelEvent::Error(RtcError::operation(error.to_string())));
            }
        }
    }
}

fn release(endpoint: &mut Endpoint, in_transport: usize) {
    let gone = endpoint.in_transport.saturating_sub(in_transport);
    endpoint.in_transport = endpoint.in_transport.min(in_transport);
    if gone > 0 && endpoint.shared.release(gone) {
        endpoint.tell(DataChannelEvent::BufferedAmountLow);
    }
}

fn to_sctp(label: &str, init: &DataChannelInit) -> SctpInit {
    SctpInit {
        label: label.to_owned(),
        protocol: init.protocol.clone(),
        ordered: init.ordered,
        max_retransmits: init.max_retransmits,
        max_packet_life_time: init.max_packet_life_time,
        negotiated: init.negotiated,
        id: init.id,
        priority: init.priority.to_wire(),
    }
}

fn to_message(kind: MessageKind, data: Bytes) -> DataChannelMessage {
    match kind {
        MessageKind::Text => DataChannelMessage::Text(String::from_utf8_lossy(&data).into_owned()),
        MessageKind::Binary => DataChannelMessage::Binary(data),
    }
}
