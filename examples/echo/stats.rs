//! What is measured of a connection, as JSON for the page and as rows for the terminal.

use std::time::Instant;

use peerstack::{CandidateStats, PeerConnection, StatsReport, TransportStats};
use serde_json::{Value, json};

use crate::echo_peer::EchoPeer;
use crate::hub::HubError;

/// `GET /peers/{id}/stats`.
pub(crate) async fn of_peer(peer: &EchoPeer) -> Result<Value, HubError> {
    let report = peer.pc.stats().await.map_err(|_| HubError::Gone("it is being closed".to_owned()))?;
    let pc = &peer.pc;
    let mut value = of_report(&report);
    let age = Instant::now().saturating_duration_since(peer.started);
    let more = json!({
        "id": peer.id,
        "age_ms": age.as_millis() as u64,
        "signaling_state": pc.signaling_state().as_str(),
        "ice_connection_state": pc.ice_connection_state().as_str(),
        "ice_gathering_state": pc.ice_gathering_state().as_str(),
        "dtls_error": peer.dtls_error(),
        "echo": peer.counters.read(),
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    Ok(value)
}

/// The numbers of the engine. There is one transport unless a peer refuses BUNDLE; it is told first.
fn of_report(report: &StatsReport) -> Value {
    let inbound = report.inbound_rtp.iter().map(|rtp| {
        json!({
            "ssrc": rtp.ssrc, "mid": rtp.mid, "kind": rtp.kind,
            "packets_received": rtp.packets_received, "bytes_received": rtp.bytes_received,
            "packets_lost": rtp.packets_lost, "jitter": rtp.jitter,
        })
    });
    let outbound = report.outbound_rtp.iter().map(|rtp| {
        json!({
            "ssrc": rtp.ssrc, "mid": rtp.mid, "kind": rtp.kind,
            "packets_sent": rtp.packets_sent, "bytes_sent": rtp.bytes_sent,
        })
    });
    let channels = report.data_channels.iter().map(|channel| {
        json!({
            "label": channel.label, "id": channel.data_channel_identifier,
            "state": format!("{:?}", channel.state).to_lowercase(),
            "messages_sent": channel.messages_sent, "bytes_sent": channel.bytes_sent,
        })
    });
    json!({
        "connection_state": report.connection_state.as_str(),
        "transport": report.transports.first().map(of_transport),
        "transports": report.transports.iter().map(of_transport).collect::<Vec<_>>(),
        "selected_pair": report.transports.first().and_then(of_pair),
        "inbound_rtp": inbound.collect::<Vec<_>>(),
        "outbound_rtp": outbound.collect::<Vec<_>>(),
        "data_channels": channels.collect::<Vec<_>>(),
    })
}

fn of_transport(transport: &TransportStats) -> Value {
    json!({
        "mid": transport.mid,
        "bytes_sent": transport.bytes_sent,
        "bytes_received": transport.bytes_received,
        "packets_sent": transport.packets_sent,
        "packets_received": transport.packets_received,
        "ice_state": transport.ice_state,
        "ice_role": transport.ice_role,
        "dtls_state": transport.dtls_state,
        "dtls_role": transport.dtls_role,
        "tls_version": transport.tls_version.as_deref().map(version),
        "dtls_cipher": transport.dtls_cipher,
        "srtp_cipher": transport.srtp_cipher,
    })
}

/// What people call the version that stands in each record's header (RFC 6347, RFC 9147).
fn version(number: &str) -> &str {
    match number {
        "FEFD" => "DTLS 1.2",
        "FEFC" => "DTLS 1.3",
        other => other,
    }
}

fn of_pair(transport: &TransportStats) -> Option<Value> {
    let pair = transport.selected_candidate_pair.as_ref()?;
    let round_trip = transport.current_round_trip_time.map(|seconds| seconds * 1e3);
    Some(json!({
        "local": of_candidate(&pair.local),
        "remote": of_candidate(&pair.remote),
        "round_trip_time_ms": round_trip,
    }))
}

fn of_candidate(candidate: &CandidateStats) -> Value {
    json!({
        "type": candidate.candidate_type.as_str(),
        "address": candidate.address,
        "port": candidate.port,
        "priority": candidate.priority,
    })
}

/// Whether the peer said good-bye: its close_notify came.
pub(crate) async fn closed_by_peer(pc: &PeerConnection) -> bool {
    let Ok(report) = pc.stats().await else { return false };
    !report.transports.is_empty()
        && report.transports.iter().all(|transport| transport.dtls_state == "closed")
}

/// What the terminal's table says of the transport.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    dtls: Option<String>,
    srtp: Option<String>,
    pair: Option<String>,
    round_trip: Option<String>,
    /// Sent and received.
    pub(crate) bytes: Option<(u64, u64)>,
}

impl Summary {
    /// Names and values.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, String)> {
        let unknown = || "not known".to_owned();
        self.all().into_iter().map(move |(name, value)| (name, value.unwrap_or_else(unknown)))
    }

    /// The names of what should be known of a connection that carried data and media, and is not.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.all().into_iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name)
    }

    fn all(&self) -> [(&'static str, Option<String>); 5] {
        let bytes = self.bytes.map(|(sent, received)| format!("{sent} sent, {received} received"));
        [
            ("DTLS", self.dtls.clone()),
            ("SRTP", self.srtp.clone()),
            ("selected pair", self.pair.clone()),
            ("ICE round trip", self.round_trip.clone()),
            ("transport bytes", bytes),
        ]
    }
}

/// Reads the summary; what is not known stays empty.
pub(crate) async fn summary(pc: &PeerConnection) -> Summary {
    let Ok(report) = pc.stats().await else { return Summary::default() };
    report.transports.first().map(summary_of).unwrap_or_default()
}

fn summary_of(transport: &TransportStats) -> Summary {
    let describe = |candidate: &CandidateStats| {
        let address = candidate.address.as_deref().unwrap_or("not signalled");
        format!("{} {address} port {}", candidate.candidate_type, candidate.port)
    };
    let cipher = transport.dtls_cipher.as_deref().unwrap_or("cipher not told");
    let role = transport.dtls_role.as_deref().unwrap_or("no role");
    let pair = transport.selected_candidate_pair.as_ref();
    Summary {
        dtls: transport
            .tls_version
            .as_deref()
            .map(version)
            .map(|version| format!("{version}, {cipher}, {role} here")),
        srtp: transport.srtp_cipher.clone(),
        pair: pair.map(|pair| format!("{}, {}", describe(&pair.local), describe(&pair.remote))),
        round_trip: transport.current_round_trip_time.map(|seconds| format!("{:.1} ms", seconds * 1e3)),
        bytes: Some((transport.bytes_sent, transport.bytes_received)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_named() {
        let mut transport = TransportStats::default();
        transport.tls_version = Some("FEFC".to_owned());
        transport.srtp_cipher = Some("SRTP_AEAD_AES_128_GCM".to_owned());
        let summary = summary_of(&transport);
        assert_eq!(summary.missing().collect::<Vec<_>>(), ["selected pair", "ICE round trip"]);
        assert!(summary.rows().any(|(name, value)| name == "DTLS" && value.starts_with("DTLS 1.3, ")));
        assert!(summary.rows().any(|(name, value)| name == "SRTP" && value == "SRTP_AEAD_AES_128_GCM"));
        assert_eq!(of_transport(&transport)["srtp_cipher"], "SRTP_AEAD_AES_128_GCM");
        assert!(of_pair(&transport).is_none());
    }
}
