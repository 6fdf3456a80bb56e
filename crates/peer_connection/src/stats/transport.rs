//! Statistics of transports: ICE, DTLS, candidates, pairs, certificates.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use peerstack_dtls::DtlsFingerprint;
use peerstack_jsep::{IceComponent, TransportStats as Measured};
use peerstack_p2p::{Candidate, CandidateAddress, CandidateType, ConnectionInfo};
use serde::Serialize;

use super::{NetworkSnapshot, StatsClock, as_word, word};

/// webrtc-stats, `RTCTransportStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TransportStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// The mid that speaks for the transport; not W3C's.
    #[serde(skip)]
    pub mid: String,
    /// The transport of RTCP, where that has its own; this one then counts RTP alone. webrtc-stats had the member as
    /// long as webrtc-pc had [`RtcpMuxPolicy::Negotiate`](crate::RtcpMuxPolicy).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtcp_transport_stats_id: Option<String>,
    /// Payload bytes sent over ICE; connectivity checks and the headers below left out.
    pub bytes_sent: u64,
    /// Payload bytes received over ICE; connectivity checks and the headers below left out.
    pub bytes_received: u64,
    /// Packets sent, connectivity checks left out.
    pub packets_sent: u64,
    /// Packets received, connectivity checks left out.
    pub packets_received: u64,
    /// W3C's word for the DTLS state.
    pub dtls_state: String,
    /// Our DTLS role, `client` or `server`, `unknown` before an answer told it; `None` where the configuration has no
    /// DTLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtls_role: Option<String>,
    /// Version in four upper case hexadecimal digits: `FEFD` is DTLS 1.2, `FEFC` DTLS 1.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// Cipher suite, as IANA names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtls_cipher: Option<String>,
    /// SRTP profile, as IANA names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtp_cipher: Option<String>,
    /// W3C's word for the ICE state.
    pub ice_state: String,
    /// Our ICE role, `controlling` or `controlled`.
    pub ice_role: String,
    /// Our user fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ice_local_username_fragment: Option<String>,
    /// Our certificate; `None` where the configuration has no DTLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_certificate_id: Option<String>,
    /// The peer's certificate, once DTLS is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_certificate_id: Option<String>,
    /// The pair that carries packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selected_candidate_pair_id: Option<String>,
    /// How often the selected pair changed.
    pub selected_candidate_pair_changes: u32,
    /// Round-trip time of the selected pair in seconds, smoothed over connectivity checks; not W3C's.
    #[serde(skip)]
    pub current_round_trip_time: Option<f64>,
    /// The selected pair; not W3C's.
    #[serde(skip)]
    pub selected_candidate_pair: Option<SelectedPairStats>,
}

/// The two ends of the selected pair. Not W3C's: there the report has them by their ids.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SelectedPairStats {
    /// Ours.
    pub local: CandidateStats,
    /// The peer's.
    pub remote: CandidateStats,
}

/// webrtc-stats, `RTCIceCandidateStats`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CandidateStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// Its transport.
    pub transport_id: String,
    /// Address, or the name that was signalled in its place. `None` (`null`) of a peer's candidate that is known from
    /// its checks alone, until it is signalled, and of one of ours that a name hides.
    pub address: Option<String>,
    /// Port.
    pub port: u16,
    /// `udp` or `tcp`.
    pub protocol: String,
    /// Type.
    #[serde(serialize_with = "as_word")]
    pub candidate_type: CandidateType,
    /// Priority.
    pub priority: u32,
    /// URL of the server that gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How a TURN server is reached: `udp`, `tcp` or `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay_protocol: Option<String>,
    /// Foundation.
    pub foundation: String,
    /// Address it is based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related_address: Option<String>,
    /// Port it is based on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related_port: Option<u16>,
    /// User fragment.
    pub username_fragment: String,
    /// `active`, `passive` or `so`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_type: Option<String>,
}

impl CandidateStats {
    fn new(clock: &StatsClock, transport_id: &str, candidate: &Candidate) -> Self {
        Self {
            id: candidate_id(transport_id, candidate),
            timestamp: clock.timestamp(),
            transport_id: transport_id.to_owned(),
            address: shown_address(&candidate.address),
            port: candidate.address.port(),
            protocol: word(&candidate.protocol),
            candidate_type: candidate.candidate_type,
            priority: candidate.priority,
            url: candidate.url.clone(),
            relay_protocol: candidate.relay_protocol.map(str::to_owned),
            foundation: candidate.foundation.clone(),
            related_address: candidate.related_address.map(|related| related.ip().to_string()),
            related_port: candidate.related_address.map(|related| related.port()),
            username_fragment: candidate.username_fragment.clone(),
            tcp_type: candidate.tcp_type.map(|tcp_type| word(&tcp_type)),
        }
    }
}

/// What is secret has neither an address nor a name by now.
fn shown_address(address: &CandidateAddress) -> Option<String> {
    match address {
        CandidateAddress::Ip(address) => Some(address.ip().to_string()),
        CandidateAddress::Name(name, _) => (!name.is_empty()).then(|| name.clone()),
    }
}

/// The same for a candidate each time, told in no other way than by a hash: an address may be a secret. Those whose
/// addresses are differ by their foundations.
fn candidate_id(transport_id: &str, candidate: &Candidate) -> String {
    let mut hasher = DefaultHasher::new();
    candidate.foundation.hash(&mut hasher);
    (&candidate.address, candidate.protocol, candidate.candidate_type, candidate.component).hash(&mut hasher);
    (&candidate.username_fragment, candidate.priority, candidate.tcp_type).hash(&mut hasher);
    format!("I{transport_id}_{:016x}", hasher.finish())
}

/// webrtc-stats, `RTCIceCandidatePairStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CandidatePairStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// Its transport.
    pub transport_id: String,
    /// Our candidate.
    pub local_candidate_id: String,
    /// The peer's candidate.
    pub remote_candidate_id: String,
    /// `waiting`, `in-progress`, `succeeded` or `failed`.
    pub state: String,
    /// Whether the controlling side chose it.
    pub nominated: bool,
    /// Packets sent, checks left out.
    pub packets_sent: u64,
    /// Packets received, checks left out.
    pub packets_received: u64,
    /// Bytes sent, checks left out.
    pub bytes_sent: u64,
    /// Bytes received, checks left out.
    pub bytes_received: u64,
    /// When data was last sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_packet_sent_timestamp: Option<f64>,
    /// When data was last received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_packet_received_timestamp: Option<f64>,
    /// Sum of the round-trip times of all checks in seconds.
    pub total_round_trip_time: f64,
    /// Round-trip time of the last check in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_round_trip_time: Option<f64>,
    /// Checks received.
    pub requests_received: u64,
    /// Checks sent, those that keep consent left out.
    pub requests_sent: u64,
    /// Responses received.
    pub responses_received: u64,
    /// Responses sent.
    pub responses_sent: u64,
    /// Checks sent to keep consent (RFC 7675).
    pub consent_requests_sent: u64,
    /// Packets that could not be sent.
    pub packets_discarded_on_send: u64,
    /// Bytes that could not be sent.
    pub bytes_discarded_on_send: u64,
}

impl CandidatePairStats {
    fn new(clock: &StatsClock, transport_id: &str, pair: &ConnectionInfo) -> Self {
        let local_candidate_id = candidate_id(transport_id, &pair.local_candidate);
        let remote_candidate_id = candidate_id(transport_id, &pair.remote_candidate);
        let stats = &pair.stats;
        Self {
            id: format!("CP{local_candidate_id}_{remote_candidate_id}"),
            timestamp: clock.timestamp(),
            transport_id: transport_id.to_owned(),
            local_candidate_id,
            remote_candidate_id,
            state: word(&pair.state),
            nominated: pair.nominated,
            packets_sent: stats.sent.packets,
            packets_received: stats.received.packets,
            bytes_sent: stats.sent.bytes,
            bytes_received: stats.received.bytes,
            last_packet_sent_timestamp: stats.last_packet_sent.map(|at| clock.at(at)),
            last_packet_received_timestamp: stats.last_packet_received.map(|at| clock.at(at)),
            total_round_trip_time: stats.total_round_trip_time.as_secs_f64(),
            current_round_trip_time: stats.current_round_trip_time.as_ref().map(Duration::as_secs_f64),
            requests_received: stats.requests_received,
            requests_sent: stats.requests_sent_before_first_response,
            responses_received: stats.responses_received,
            responses_sent: stats.responses_sent,
            consent_requests_sent: stats.consent_requests_sent,
            packets_discarded_on_send: stats.discarded_on_send.packets,
            bytes_discarded_on_send: stats.discarded_on_send.bytes,
        }
    }
}

/// webrtc-stats, `RTCCertificateStats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CertificateStats {
    /// Names the object.
    pub id: String,
    /// When it was measured.
    pub timestamp: f64,
    /// Fingerprint: bytes in upper case hexadecimal, colons between them.
    pub fingerprint: String,
    /// The hash function, as `a=fingerprint` names it.
    pub fingerprint_algorithm: String,
    /// The certificate in DER, in base64.
    pub base64_certificate: String,
    /// The certificate that signed it; `None` for one that signed itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_certificate_id: Option<String>,
}

impl CertificateStats {
    /// `None` only if the hash function did not exist.
    pub(crate) fn new(clock: &StatsClock, der: &[u8]) -> Option<Self> {
        let fingerprint = DtlsFingerprint::of_certificate("sha-256", der).ok()?.to_string();
        let (algorithm, value) = fingerprint.split_once(' ')?;
        Some(Self {
            id: format!("CF{value}"),
            timestamp: clock.timestamp(),
            fingerprint: value.to_owned(),
            fingerprint_algorithm: algorithm.to_owned(),
            base64_certificate: base64(der),
            issuer_certificate_id: None,
        })
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4usize {
            let index = (word >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

/// Names the object of RTCP's own transport, given that of RTP's.
fn rtcp_transport_id(rtp: &str) -> String {
    format!("{rtp}_rtcp")
}

/// Names a transport's object.
pub(crate) fn transport_id(id: impl std::fmt::Display) -> String {
    format!("T{id}")
}

/// Adds a transport and what belongs to it: candidates, pairs, certificates.
pub(crate) fn add_transport(
    snapshot: &mut NetworkSnapshot,
    clock: &StatsClock,
    mid: &str,
    measured: &Measured,
    local_certificate: Option<&[u8]>,
) {
    let of_rtp = transport_id(measured.id);
    let rtcp_transport_stats_id = measured.rtcp_apart.then(|| rtcp_transport_id(&of_rtp));
    let id = if measured.component == IceComponent::Rtcp { rtcp_transport_id(&of_rtp) } else { of_rtp };
    let mut certificate_id = |der: &[u8]| {
        let stats = CertificateStats::new(clock, der)?;
        let id = stats.id.clone();
        if snapshot.certificates.iter().all(|known| known.id != id) {
            snapshot.certificates.push(stats);
        }
        Some(id)
    };
    let local_certificate_id = local_certificate.and_then(&mut certificate_id);
    let remote_certificate_id = measured.remote_certificate.as_deref().and_then(certificate_id);
    let mut selected_id = None;
    for pair in measured.ice.iter().flat_map(|ice| &ice.connections) {
        let stats = CandidatePairStats::new(clock, &id, pair);
        if pair.selected {
            selected_id = Some(stats.id.clone());
        }
        snapshot.candidate_pairs.push(stats);
        // The ends of a pair are told even if they are no longer, or not yet, among the candidates.
        add_candidate(&mut snapshot.local_candidates, clock, &id, &pair.local_candidate);
        add_candidate(&mut snapshot.remote_candidates, clock, &id, &pair.remote_candidate);
    }
    for candidate in measured.ice.iter().flat_map(|ice| &ice.local_candidates) {
        add_candidate(&mut snapshot.local_candidates, clock, &id, candidate);
    }
    for candidate in measured.ice.iter().flat_map(|ice| &ice.remote_candidates) {
        add_candidate(&mut snapshot.remote_candidates, clock, &id, candidate);
    }
    let (sent, received) = (measured.sent(), measured.received());
    snapshot.transports.push(TransportStats {
        timestamp: clock.timestamp(),
        mid: mid.to_owned(),
        rtcp_transport_stats_id,
        bytes_sent: sent.bytes,
        bytes_received: received.bytes,
        packets_sent: sent.packets,
        packets_received: received.packets,
        dtls_state: word(&measured.dtls_state),
        dtls_role: match measured.dtls_role {
            Some(role) => Some(word(&role)),
            None => local_certificate.map(|_| "unknown".to_owned()),
        },
        tls_version: measured.tls_version.map(tls_version),
        dtls_cipher: measured.dtls_cipher.clone(),
        srtp_cipher: measured.srtp_profile.map(|profile| profile.as_str().to_owned()),
        ice_state: word(&measured.ice_state),
        ice_role: word(&measured.ice_role),
        ice_local_username_fragment: measured.ice_local_username_fragment.clone(),
        local_certificate_id,
        remote_certificate_id,
        selected_candidate_pair_id: selected_id,
        selected_candidate_pair_changes: measured
            .ice
            .as_ref()
            .map_or(0, |ice| ice.selected_candidate_pair_changes),
        current_round_trip_time: measured.rtt.as_ref().map(Duration::as_secs_f64),
        selected_candidate_pair: measured.selected_candidate_pair.as_ref().map(|pair| SelectedPairStats {
            local: CandidateStats::new(clock, &id, &pair.local),
            remote: CandidateStats::new(clock, &id, &pair.remote),
        }),
        id,
    });
}

fn add_candidate(
    to: &mut Vec<CandidateStats>,
    clock: &StatsClock,
    transport_id: &str,
    candidate: &Candidate,
) {
    let stats = CandidateStats::new(clock, transport_id, candidate);
    if to.iter().all(|known| known.id != stats.id) {
        to.push(stats);
    }
}

/// On the wire DTLS 1.2 is {254, 253}, DTLS 1.3 {254, 252} (RFC 9147 section 5.3).
fn tls_version(name: &str) -> String {
    match name {
        "DTLS 1.2" => "FEFD".to_owned(),
        "DTLS 1.3" => "FEFC".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 section 10.
    #[test]
    fn base64_of_the_rfc() {
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, expected) in vectors.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..len]), *expected);
        }
    }
}
