//! One connection of the test peer: what it does by itself, and what a test may ask of it.

use std::sync::Arc;
use std::time::Instant;

use peerstack::{
    DataChannel, DataChannelInit, MediaStreamTrack, PeerConnection, PeerConnectionEvent, RtpTransceiver,
    RtpTransceiverDirection, RtpTransceiverInit, SignalingState, TrackKind,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::common::signaling::Refusal;
use crate::counters::Counters;
use crate::echo_channel::echo_channel;
use crate::echo_track::echo_track;
use crate::negotiator::{Message, Negotiator};

/// See the module.
pub(crate) struct Session {
    pub(crate) pc: PeerConnection,
    negotiator: Negotiator,
    counters: Arc<Counters>,
    channels: Vec<DataChannel>,
    /// Mids whose tracks are echoed already: a track may be told again.
    echoed: Vec<RtpTransceiver>,
}

/// `RTCDataChannelInit` in JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Init {
    ordered: bool,
    max_packet_life_time: Option<u16>,
    max_retransmits: Option<u16>,
    protocol: String,
    negotiated: bool,
    id: Option<u16>,
}

impl Default for Init {
    fn default() -> Self {
        let DataChannelInit {
            ordered, max_packet_life_time, max_retransmits, protocol, negotiated, id, ..
        } = DataChannelInit::default();
        Self { ordered, max_packet_life_time, max_retransmits, protocol, negotiated, id }
    }
}

impl Session {
    pub(crate) fn new(pc: PeerConnection, polite: bool) -> Self {
        let negotiator = Negotiator::new(pc.clone(), polite);
        let counters = Arc::new(Counters::new(Instant::now()));
        Self { pc, negotiator, counters, channels: Vec::new(), echoed: Vec::new() }
    }

    pub(crate) async fn on_event(&mut self, event: PeerConnectionEvent) -> Vec<Value> {
        match &event {
            PeerConnectionEvent::Track(event) if !self.echoed.contains(&event.transceiver) => {
                self.echoed.push(event.transceiver.clone());
                tokio::spawn(echo_track(event.transceiver.clone(), Arc::clone(&self.counters)));
            }
            PeerConnectionEvent::DataChannel(channel) => self.echo(channel.clone()),
            _ => {}
        }
        told(self.negotiator.on_event(&event).await)
    }

    pub(crate) async fn on_message(&mut self, message: Message) -> Vec<Value> {
        told(self.negotiator.on_message(message).await)
    }

    fn echo(&mut self, channel: DataChannel) {
        tokio::spawn(echo_channel(channel.clone(), Arc::clone(&self.counters)));
        self.channels.push(channel);
    }

    /// Does what a test asks for; `before` is sent before the result.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        args: &Value,
        before: &mut Vec<Value>,
    ) -> Result<Value, Refusal> {
        match method {
            // An offer now, before anything else of the peer is read; there may be one already.
            "offer" => {
                if args["restart"] == true {
                    self.pc.restart_ice();
                }
                if self.pc.signaling_state() == SignalingState::Stable {
                    before.extend(told(Ok(Some(self.negotiator.describe().await?))));
                }
            }
            "addTrack" => {
                let track = MediaStreamTrack::new(kind(args)?);
                self.pc.add_track(track, &["echo".to_owned()])?;
            }
            "addTransceiver" => {
                let init = RtpTransceiverInit::new(direction(args)?);
                self.pc.add_transceiver(kind(args)?, init)?;
            }
            "removeTrack" => self.pc.remove_track(&self.transceiver(args)?.sender())?,
            "replaceTrack" => {
                let transceiver = self.transceiver(args)?;
                transceiver.sender().replace_track(Some(MediaStreamTrack::new(transceiver.kind())))?;
            }
            "setDirection" => self.transceiver(args)?.set_direction(direction(args)?)?,
            "stop" => self.transceiver(args)?.stop()?,
            "restartIce" => self.pc.restart_ice(),
            "createDataChannel" => {
                let init: Init = serde_json::from_value(args["init"].clone()).map_err(refused)?;
                let channel =
                    self.pc.create_data_channel(args["label"].as_str().unwrap_or_default(), init.into())?;
                self.echo(channel);
            }
            "closeDataChannel" => {
                let label = args["label"].as_str().unwrap_or_default();
                self.channels.iter().filter(|channel| channel.label() == label).for_each(DataChannel::close);
            }
            "state" => return Ok(self.state()),
            _ => return Err(Refusal("there is no such method".to_owned())),
        }
        Ok(Value::Null)
    }

    fn transceiver(&self, args: &Value) -> Result<RtpTransceiver, Refusal> {
        let mid = args["mid"].as_str().map(str::to_owned);
        let found = self.pc.transceivers().into_iter().find(|transceiver| transceiver.mid() == mid);
        found.ok_or_else(|| Refusal(format!("there is no transceiver {mid:?}")))
    }

    fn state(&self) -> Value {
        let pc = &self.pc;
        let transceivers = pc.transceivers().into_iter().map(|transceiver| {
            json!({
                "mid": transceiver.mid(),
                "kind": transceiver.kind().as_str(),
                "direction": transceiver.direction().as_str(),
                "currentDirection": transceiver.current_direction().map(RtpTransceiverDirection::as_str),
                "stopped": transceiver.stopped(),
            })
        });
        let channels = self.channels.iter().map(|channel| {
            json!({
                "label": channel.label(), "protocol": channel.protocol(), "ordered": channel.ordered(),
                "maxPacketLifeTime": channel.max_packet_life_time(), "maxRetransmits": channel.max_retransmits(),
                "negotiated": channel.negotiated(), "id": channel.id(),
                "readyState": format!("{:?}", channel.ready_state()).to_lowercase(),
            })
        });
        json!({
            "signalingState": pc.signaling_state().as_str(),
            "connectionState": pc.connection_state().as_str(),
            "iceConnectionState": pc.ice_connection_state().as_str(),
            "transceivers": transceivers.collect::<Vec<_>>(),
            "channels": channels.collect::<Vec<_>>(),
            "collisions": self.negotiator.collisions,
        })
    }
}

impl From<Init> for DataChannelInit {
    fn from(init: Init) -> Self {
        Self {
            ordered: init.ordered,
            max_packet_life_time: init.max_packet_life_time,
            max_retransmits: init.max_retransmits,
            protocol: init.protocol,
            negotiated: init.negotiated,
            id: init.id,
            ..Self::default()
        }
    }
}

/// The message, or the error for the test to fail by.
fn told(message: Result<Option<Message>, Refusal>) -> Vec<Value> {
    match message {
        Ok(message) => message.iter().filter_map(|message| serde_json::to_value(message).ok()).collect(),
        Err(Refusal(error)) => vec![json!({ "error": error })],
    }
}

fn refused(error: serde_json::Error) -> Refusal {
    Refusal(error.to_string())
}

fn kind(args: &Value) -> Result<TrackKind, Refusal> {
    let kinds = [TrackKind::Audio, TrackKind::Video];
    let found = kinds.into_iter().find(|kind| args["kind"] == kind.as_str());
    found.ok_or_else(|| Refusal(format!("{} is no kind", args["kind"])))
}

fn direction(args: &Value) -> Result<RtpTransceiverDirection, Refusal> {
    use RtpTransceiverDirection::{Inactive, Recvonly, Sendonly, Sendrecv};
    let found =
        [Sendrecv, Sendonly, Recvonly, Inactive].into_iter().find(|it| args["direction"] == it.as_str());
    found.ok_or_else(|| Refusal(format!("{} is no direction", args["direction"])))
}
