//! `RTCStatsReport` (webrtc-pc section 8.3): the objects of all dictionaries, by kind, by id, as JSON, and what a
//! selector reaches of them. Made by the caller from a snapshot of the network task; answers to libwebrtc's
//! `api/stats/rtc_stats_report.h` and `stats/rtc_stats_collector.cc`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::ser::{Serialize, SerializeMap, Serializer};
use tokio::sync::oneshot;

use super::{
    CandidatePairStats, CandidateStats, CertificateStats, CodecStats, DataChannelStats, InboundRtpStats,
    MediaSourceStats, NetworkSnapshot, OutboundRtpStats, PeerConnectionStats, RemoteInboundRtpStats,
    RemoteOutboundRtpStats, TransportStats,
};
use crate::network_task::ConnectionCommand;
use crate::network_task::TransceiverId;
use crate::shared::{Shared, State};
use crate::{MediaStreamTrack, PeerConnectionState, RtcError};

/// All that was measured (`RTCStatsReport`, webrtc-pc section 8.3).
///
/// Serializes as the map JavaScript shows: ids, and for each the object with W3C's member names
/// ([`to_json`](Self::to_json)).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StatsReport {
    /// When it was measured.
    pub timestamp: SystemTime,
    /// The connection state then.
    pub connection_state: PeerConnectionState,
    /// The connection; `None` in the report of a selector.
    pub peer_connection: Option<PeerConnectionStats>,
    /// Transports (webrtc-stats, `RTCStatsType`: `transport`).
    pub transports: Vec<TransportStats>,
    /// Pairs of candidates of all transports (webrtc-stats, `RTCStatsType`: `candidate-pair`).
    pub candidate_pairs: Vec<CandidatePairStats>,
    /// Our candidates.
    pub local_candidates: Vec<CandidateStats>,
    /// The peer's candidates.
    pub remote_candidates: Vec<CandidateStats>,
    /// Ours and the peer's.
    pub certificates: Vec<CertificateStats>,
    /// Those that a stream uses.
    pub codecs: Vec<CodecStats>,
    /// Streams received.
    pub inbound_rtp: Vec<InboundRtpStats>,
    /// Streams sent.
    pub outbound_rtp: Vec<OutboundRtpStats>,
    /// What the peer reports of the streams sent.
    pub remote_inbound_rtp: Vec<RemoteInboundRtpStats>,
    /// What the peer reports of the streams received.
    pub remote_outbound_rtp: Vec<RemoteOutboundRtpStats>,
    /// The tracks that are sent (webrtc-stats, `RTCStatsType`: `media-source`).
    pub media_sources: Vec<MediaSourceStats>,
    /// Data channels that are not closed (webrtc-stats, `RTCStatsType`: `data-channel`).
    pub data_channels: Vec<DataChannelStats>,
}

/// One object of a report (`RTCStats`, webrtc-pc section 8.4). Serializes with its `type`, as W3C's `RTCStatsType`
/// says.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[doc(alias = "RTCStats")]
#[non_exhaustive]
pub enum Stats<'r> {
    /// `codec`.
    Codec(&'r CodecStats),
    /// `inbound-rtp`.
    InboundRtp(&'r InboundRtpStats),
    /// `outbound-rtp`.
    OutboundRtp(&'r OutboundRtpStats),
    /// `remote-inbound-rtp`.
    RemoteInboundRtp(&'r RemoteInboundRtpStats),
    /// `remote-outbound-rtp`.
    RemoteOutboundRtp(&'r RemoteOutboundRtpStats),
    /// `media-source`.
    MediaSource(&'r MediaSourceStats),
    /// `peer-connection`.
    PeerConnection(&'r PeerConnectionStats),
    /// `data-channel`.
    DataChannel(&'r DataChannelStats),
    /// `transport`.
    Transport(&'r TransportStats),
    /// `candidate-pair`.
    CandidatePair(&'r CandidatePairStats),
    /// `local-candidate`.
    LocalCandidate(&'r CandidateStats),
    /// `remote-candidate`.
    RemoteCandidate(&'r CandidateStats),
    /// `certificate`.
    Certificate(&'r CertificateStats),
}

impl<'r> Stats<'r> {
    /// Names the object.
    pub fn id(&self) -> &'r str {
        match self {
            Self::Codec(one) => &one.id,
            Self::InboundRtp(one) => &one.id,
            Self::OutboundRtp(one) => &one.id,
            Self::RemoteInboundRtp(one) => &one.id,
            Self::RemoteOutboundRtp(one) => &one.id,
            Self::MediaSource(one) => &one.id,
            Self::PeerConnection(one) => &one.id,
            Self::DataChannel(one) => &one.id,
            Self::Transport(one) => &one.id,
            Self::CandidatePair(one) => &one.id,
            Self::LocalCandidate(one) | Self::RemoteCandidate(one) => &one.id,
            Self::Certificate(one) => &one.id,
        }
    }

    /// The ids of other objects it refers to.
    pub fn references(&self) -> Vec<&'r str> {
        let ids: Vec<Option<&String>> = match self {
            Self::Codec(one) => vec![Some(&one.transport_id)],
            Self::InboundRtp(one) => {
                vec![Some(&one.transport_id), one.codec_id.as_ref(), one.remote_id.as_ref()]
            }
            Self::OutboundRtp(one) => vec![
                Some(&one.transport_id),
                one.codec_id.as_ref(),
                one.remote_id.as_ref(),
                one.media_source_id.as_ref(),
            ],
            Self::RemoteInboundRtp(one) => {
                vec![Some(&one.transport_id), one.codec_id.as_ref(), Some(&one.local_id)]
            }
            Self::RemoteOutboundRtp(one) => {
                vec![Some(&one.transport_id), one.codec_id.as_ref(), Some(&one.local_id)]
            }
            Self::Transport(one) => vec![
                one.rtcp_transport_stats_id.as_ref(),
                one.selected_candidate_pair_id.as_ref(),
                one.local_certificate_id.as_ref(),
                one.remote_certificate_id.as_ref(),
            ],
            Self::CandidatePair(one) => {
                vec![Some(&one.transport_id), Some(&one.local_candidate_id), Some(&one.remote_candidate_id)]
            }
            Self::LocalCandidate(one) | Self::RemoteCandidate(one) => vec![Some(&one.transport_id)],
            Self::Certificate(one) => vec![one.issuer_certificate_id.as_ref()],
            Self::MediaSource(_) | Self::PeerConnection(_) | Self::DataChannel(_) => Vec::new(),
        };
        ids.into_iter().flatten().map(String::as_str).collect()
    }
}

/// What a report is about.
pub(crate) enum Selector {
    /// All.
    Connection,
    /// What the sender of this transceiver sends.
    Sender(TransceiverId),
    /// What the receiver of this transceiver receives.
    Receiver(TransceiverId),
}

impl Selector {
    /// Of a track (webrtc-pc section 8.2, `getStats`, steps 2 and 3): of the one sender or receiver that has it.
    pub(crate) fn of_track(state: &State, track: &MediaStreamTrack) -> Result<Self, RtcError> {
        let sends = state
            .transceivers
            .iter()
            .filter(|one| one.sender_track.as_ref() == Some(track))
            .map(|one| Self::Sender(one.id));
        let receives = state
            .transceivers
            .iter()
            .filter(|one| one.receiver_track == *track)
            .map(|one| Self::Receiver(one.id));
        let mut found = sends.chain(receives);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (first, _) => {
                let how_many = if first.is_some() {
                    "more than one sender or receiver"
                } else {
                    "no sender and no receiver"
                };
                let text = format!("{how_many} of this connection has the track {:?}", track.id());
                Err(RtcError::invalid_access(text))
            }
        }
    }
}

/// Measures, and keeps what the selector reaches.
pub(crate) async fn collect(shared: &Shared, selector: Selector) -> StatsReport {
    let (reply, answer) = oneshot::channel();
    shared.network.send(ConnectionCommand::Stats { reply });
    let snapshot = match answer.await {
        Ok(snapshot) => snapshot,
        Err(_) => shared.network.shared().last_stats(),
    };
    let state = shared.lock();
    let mut report = StatsReport::new(&state, snapshot);
    let mid = |id: TransceiverId| state.transceiver(id).and_then(|transceiver| transceiver.mid.clone());
    let roots = match selector {
        Selector::Connection => return report,
        Selector::Sender(id) => {
            let mid = mid(id);
            let ours = |one: &&OutboundRtpStats| Some(&one.mid) == mid.as_ref();
            report.outbound_rtp.iter().filter(ours).map(|one| one.id.clone()).collect()
        }
        Selector::Receiver(id) => {
            let mid = mid(id);
            let ours = |one: &&InboundRtpStats| Some(&one.mid) == mid.as_ref();
            report.inbound_rtp.iter().filter(ours).map(|one| one.id.clone()).collect()
        }
    };
    report.keep_reachable(roots);
    report
}

impl StatsReport {
    pub(crate) fn new(state: &State, snapshot: NetworkSnapshot) -> Self {
        let mut report = Self {
            timestamp: snapshot.timestamp.unwrap_or(UNIX_EPOCH),
            connection_state: state.connection_state,
            peer_connection: Some(snapshot.peer_connection),
            transports: snapshot.transports,
            candidate_pairs: snapshot.candidate_pairs,
            local_candidates: snapshot.local_candidates,
            remote_candidates: snapshot.remote_candidates,
            certificates: snapshot.certificates,
            codecs: snapshot.codecs,
            inbound_rtp: snapshot.inbound_rtp,
            outbound_rtp: snapshot.outbound_rtp,
            remote_inbound_rtp: snapshot.remote_inbound_rtp,
            remote_outbound_rtp: snapshot.remote_outbound_rtp,
            media_sources: Vec::new(),
            data_channels: snapshot.data_channels,
        };
        let timestamp = super::milliseconds(report.timestamp);
        for transceiver in &state.transceivers {
            let Some(track) = transceiver.sender_track.as_ref().filter(|_| !transceiver.stopped) else {
                continue;
            };
            let measured = transceiver.mid.as_ref().and_then(|mid| snapshot.media_sources.get(mid));
            let source = MediaSourceStats::new(transceiver.id.0, timestamp, track, measured);
            let mid = transceiver.mid.as_deref();
            for outbound in report.outbound_rtp.iter_mut().filter(|one| Some(one.mid.as_str()) == mid) {
                outbound.media_source_id = Some(source.id.clone());
            }
            report.media_sources.push(source);
        }
        report
    }

    /// All objects, those of one kind together (webrtc-pc section 8.3, the `maplike`).
    pub fn iter(&self) -> impl Iterator<Item = Stats<'_>> {
        let connection = self.peer_connection.iter().map(Stats::PeerConnection);
        connection
            .chain(self.transports.iter().map(Stats::Transport))
            .chain(self.candidate_pairs.iter().map(Stats::CandidatePair))
            .chain(self.local_candidates.iter().map(Stats::LocalCandidate))
            .chain(self.remote_candidates.iter().map(Stats::RemoteCandidate))
            .chain(self.certificates.iter().map(Stats::Certificate))
            .chain(self.codecs.iter().map(Stats::Codec))
            .chain(self.media_sources.iter().map(Stats::MediaSource))
            .chain(self.outbound_rtp.iter().map(Stats::OutboundRtp))
            .chain(self.remote_inbound_rtp.iter().map(Stats::RemoteInboundRtp))
            .chain(self.inbound_rtp.iter().map(Stats::InboundRtp))
            .chain(self.remote_outbound_rtp.iter().map(Stats::RemoteOutboundRtp))
            .chain(self.data_channels.iter().map(Stats::DataChannel))
    }

    /// The object of this id.
    pub fn get(&self, id: &str) -> Option<Stats<'_>> {
        self.iter().find(|stats| stats.id() == id)
    }

    /// The report as JSON: an object of objects, by id, with W3C's member names; what is not known is left out. Not
    /// W3C's.
    pub fn to_json(&self) -> String {
        // Strings as keys and numbers that are finite: there is nothing that JSON could not say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The stats selection algorithm (webrtc-pc section 8.5): these objects, and all they refer to, directly or by
    /// others.
    fn keep_reachable(&mut self, roots: Vec<String>) {
        let mut keep: BTreeSet<String> = BTreeSet::new();
        {
            let all: BTreeMap<&str, Stats<'_>> = self.iter().map(|stats| (stats.id(), stats)).collect();
            let mut next = roots;
            while let Some(id) = next.pop() {
                let Some(stats) = all.get(id.as_str()) else { continue };
                next.extend(
                    stats.references().into_iter().map(str::to_owned).filter(|id| !keep.contains(id)),
                );
                keep.insert(id);
            }
        }
        let keep = |id: &String| keep.contains(id);
        self.peer_connection = None;
        self.transports.retain(|one| keep(&one.id));
        self.candidate_pairs.retain(|one| keep(&one.id));
        self.local_candidates.retain(|one| keep(&one.id));
        self.remote_candidates.retain(|one| keep(&one.id));
        self.certificates.retain(|one| keep(&one.id));
        self.codecs.retain(|one| keep(&one.id));
        self.media_sources.retain(|one| keep(&one.id));
        self.outbound_rtp.retain(|one| keep(&one.id));
        self.remote_inbound_rtp.retain(|one| keep(&one.id));
        self.inbound_rtp.retain(|one| keep(&one.id));
        self.remote_outbound_rtp.retain(|one| keep(&one.id));
        self.data_channels.retain(|one| keep(&one.id));
    }
}

impl Serialize for StatsReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for stats in self.iter() {
            map.serialize_entry(stats.id(), &stats)?;
        }
        map.end()
    }
}
