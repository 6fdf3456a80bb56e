//! The network task's end of the data channels of one connection. Answers to the network half of libwebrtc's
//! `pc/data_channel_controller.cc`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use peerstack_sctp::{
    DataChannelEvent as SctpEvent, DataChannelId, DataChannelInit as SctpInit, DataChannelSendError,
    MessageKind, SctpTransport,
};
use tokio::sync::mpsc;

use super::commands::{ChannelKey, HandleShared};
use crate::data_channel::{
    DataChannelEvent, DataChannelInit, DataChannelMessage, DataChannelShared, DataChannelState,
};
use crate::signaling_task::NetworkEvent;
use crate::stats::PeerConnectionStats;
use crate::{RtcError, RtcErrorKind};

/// Bytes that may wait for the application on one channel before the peer is held back.
const MAX_UNDELIVERED: usize = 8 << 20;

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

    /// Opens what waits for a transport.
    pub(super) fn open_waiting(&mut self, now: Instant, sctp: &mut SctpTransport) {
        let waiting: Vec<_> = self
            .endpoints
            .iter()
            .filter(|(_, endpoint)| endpoint.id.is_none())
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            let Some(endpoint) = self.endpoints.get_mut(&key) else { continue };
            match sctp.create_data_channel(now, to_sctp(&endpoint.shared.label, &endpoint.shared.init)) {
                Ok(id) => {
                    endpoint.id = Some(id);
                    self.by_id.insert(id, key);
                }
                Err(error) => {
                    endpoint.close(Some(RtcError::new(RtcErrorKind::OperationError, error.to_string())));
                    self.endpoints.remove(&key);
                }
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
        if let Some(sctp) = sctp {
            feed(now, sctp, endpoint);
        }
    }

    /// The application took messages: the peer need not be held back any longer.
    pub(super) fn resume(&mut self, now: Instant, sctp: Option<&mut SctpTransport>, key: ChannelKey) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        if endpoint.shared.undelivered() > MAX_UNDELIVERED / 2 {
            return;
        }
        endpoint.shared.paused.store(false, Ordering::Release);
        if let (Some(sctp), Some(id)) = (sctp, endpoint.id) {
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
        while let Some(event) = sctp.poll_event() {
            self.handle_event(now, sctp, handles, network, event);
        }
        for endpoint in self.endpoints.values_mut() {
            let Some(id) = endpoint.id else { continue };
            let had_pending = !endpoint.pending.is_empty();
            feed(now, sctp, endpoint);
            if had_pending && endpoint.closing && endpoint.pending.is_empty() {
                sctp.close_data_channel(now, id);
            }
            release(endpoint, sctp.buffered_amount(id));
        }
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
            SctpEvent::Incoming { id, init } => self.accept(sctp, handles, network, id, init),
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
                endpoint.shared.count_received(message.len());
                endpoint.shared.delivered_to_queue(&message);
                endpoint.tell(DataChannelEvent::Message(message));
                if endpoint.shared.undelivered() > MAX_UNDELIVERED {
                    endpoint.shared.paused.store(true, Ordering::Release);
                    sctp.set_paused(now, id, true);
                }
            }
            SctpEvent::Closing { id } => {
                let Some(endpoint) = self.endpoint(id) else { return };
                endpoint.shared.set_state(DataChannelState::Closing);
                endpoint.tell(DataChannelEvent::Closing);
            }
            SctpEvent::Error { id, error } => {
                let Some(endpoint) = self.endpoint(id) else { return };
                let error = RtcError::new(RtcErrorKind::OperationError, error.to_string());
                endpoint.tell(DataChannelEvent::Error(error));
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
        };
        let Ok(shared) = handles.register(init.label, ours) else { return };
        let (events, receiver) = mpsc::unbounded_channel();
        let key = shared.key;
        self.add(Arc::clone(&shared), events);
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
        ..SctpInit::default()
    }
}

fn to_message(kind: MessageKind, data: Bytes) -> DataChannelMessage {
    match kind {
        MessageKind::Text => DataChannelMessage::Text(String::from_utf8_lossy(&data).into_owned()),
        MessageKind::Binary => DataChannelMessage::Binary(data),
    }
}
