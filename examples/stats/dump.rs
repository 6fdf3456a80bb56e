//! The dump of chrome://webrtc-internals: for each member of each object the values of all samples, and what happened.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use peerstack::PeerConnectionEvent;
use serde_json::{Value, json};

/// One connection's.
pub(crate) struct Dump {
    number: u64,
    start: f64,
    /// By `id-member`: the type of the object, when it was first and last seen, the values.
    series: BTreeMap<String, (String, f64, f64, Vec<Value>)>,
    updates: Vec<Value>,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

impl Dump {
    pub(crate) fn new(number: u64, start: f64) -> Self {
        Self { number, start, series: BTreeMap::new(), updates: Vec::new() }
    }

    /// Something that happened, by the browser's name for it.
    pub(crate) fn note(&mut self, name: &str, value: Value) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.updates.push(json!({ "time": now(), "type": name, "value": value }));
    }

    /// The members of each object of a report: a map by id, as JavaScript's `RTCStatsReport` is one.
    pub(crate) fn sample(&mut self, time: f64, report: &Value) {
        for object in objects(report) {
            let (Some(id), Some(kind)) = (object["id"].as_str(), object["type"].as_str()) else { continue };
            for (member, value) in object.as_object().into_iter().flatten() {
                if matches!(member.as_str(), "id" | "type") {
                    continue;
                }
                let new = || (kind.to_owned(), time, time, Vec::new());
                let (_, _, last, values) = self.series.entry(format!("{id}-{member}")).or_insert_with(new);
                *last = time;
                values.push(value.clone());
            }
        }
    }

    /// The file.
    pub(crate) fn to_json(&self) -> Value {
        let series = self.series.iter().map(|(name, (kind, first, last, values))| {
            let values = Value::from(values.clone()).to_string();
            (
                name.clone(),
                json!({ "startTime": first, "endTime": last, "statsType": kind, "values": values }),
            )
        });
        let connection = json!({
            "pid": std::process::id(),
            "url": "peerstack",
            "rtcConfiguration": "{}",
            "constraints": "",
            "stats": series.collect::<BTreeMap<_, _>>(),
            "updateLog": self.updates,
            "startTime": self.start,
        });
        let name = format!("{}-{}", std::process::id(), self.number);
        json!({ "getUserMedia": [], "PeerConnections": { name: connection }, "UserAgent": "peerstack" })
    }
}

/// The objects of a report in JSON, whether it is a map or a list of them.
fn objects(report: &Value) -> Vec<&Value> {
    match report {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// What the page's log calls an event, and what it shows of it.
pub(crate) fn told(event: &PeerConnectionEvent) -> Option<(&'static str, Value)> {
    use PeerConnectionEvent as E;
    Some(match event {
        E::SignalingStateChange(state) => ("signalingstatechange", json!(state.as_str())),
        E::IceConnectionStateChange(state) => ("iceconnectionstatechange", json!(state.as_str())),
        E::IceGatheringStateChange(state) => ("icegatheringstatechange", json!(state.as_str())),
        E::ConnectionStateChange(state) => ("connectionstatechange", json!(state.as_str())),
        E::IceCandidate(candidate) => ("icecandidate", json!(candidate.candidate)),
        E::IceCandidateError(error) => ("icecandidateerror", json!(error.error_text)),
        E::Track(event) => ("track", json!(format!("{} {}", event.track.kind().as_str(), event.track.id()))),
        E::DataChannel(channel) => ("datachannel", json!(channel.label())),
        E::NegotiationNeeded => ("negotiationneeded", json!("")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_all_its_values() {
        let mut dump = Dump::new(3, 1.0);
        for (time, bytes) in [(1.0, 10), (2.0, 20)] {
            dump.sample(time, &json!({ "T0": { "id": "T0", "type": "transport", "bytesSent": bytes } }));
        }
        dump.note("signalingstatechange", json!("stable"));
        let json = dump.to_json();
        let connection = &json["PeerConnections"][format!("{}-3", std::process::id())];
        let expected =
            json!({ "startTime": 1.0, "endTime": 2.0, "statsType": "transport", "values": "[10,20]" });
        assert_eq!(connection["stats"]["T0-bytesSent"], expected);
        assert_eq!(connection["updateLog"][0]["value"], "stable");
    }
}
