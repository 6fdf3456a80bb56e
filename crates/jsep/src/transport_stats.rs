//! A snapshot of each transport, for `stats()`.
//!
//! Made on the network task, plain data afterwards. W3C webrtc-stats `RTCTransportStats`, `RTCSctpTransportStats`.
//! Answers to libwebrtc's `pc/transport_stats.h` and `JsepTransport::GetStats`.

use std::time::{Duration, Instant};

use peerstack_base::Counter;
use peerstack_dtls::{DtlsRole, DtlsTransportInternal, DtlsTransportState, SrtpProtectionProfile};
use peerstack_p2p::{
    CandidatePair, IceGatheringState, IceRole, IceTransport, IceTransportState, IceTransportStats,
};
use peerstack_rtp_transport::{RtpTransportInternal, RtpTransportStats, SrtpError};
use peerstack_sctp::{SctpTransportState, SctpTransportStats};

use crate::{IceComponent, JsepTransport, JsepTransportController, JsepTransportFactory, TransportId};

/// One transport: of RTP, or of RTCP where that has its own.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TransportStats {
    /// Its name for as long as the controller lives.
    pub id: TransportId,
    /// What it carries.
    pub component: IceComponent,
    /// Whether RTCP has a transport of its own, which comes next.
    pub rtcp_apart: bool,
    /// The mid it was made for.
    pub name: String,
    /// The m-sections that use it, by name.
    pub mids: Vec<String>,
    /// State of ICE.
    pub ice_state: IceTransportState,
    /// Gathering.
    pub ice_gathering_state: IceGatheringState,
    /// Our ICE role.
    pub ice_role: IceRole,
    /// Our user fragment.
    pub ice_local_username_fragment: Option<String>,
    /// The pair that carries packets.
    pub selected_candidate_pair: Option<CandidatePair>,
    /// Smoothed round-trip time of that pair.
    pub rtt: Option<Duration>,
    /// Candidates, pairs and counters of ICE, where the transport keeps some.
    pub ice: Option<IceTransportStats>,
    /// State of DTLS.
    pub dtls_state: DtlsTransportState,
    /// Our DTLS role, once known.
    pub dtls_role: Option<DtlsRole>,
    /// `"DTLS 1.2"` or `"DTLS 1.3"`, once connected.
    pub tls_version: Option<&'static str>,
    /// The cipher suite's IANA name where the engine tells, once connected.
    pub dtls_cipher: Option<String>,
    /// The peer's certificate in DER, once connected.
    pub remote_certificate: Option<Vec<u8>>,
    /// The SRTP profile in force.
    pub srtp_profile: Option<SrtpProtectionProfile>,
    /// Why keys that DTLS exported could not be used, if that happened.
    pub srtp_setup_error: Option<SrtpError>,
    /// RTP and RTCP, and why packets were dropped.
    pub rtp: RtpTransportStats,
    /// Data channels, if they use this transport.
    pub sctp: Option<SctpStats>,
}

/// The SCTP transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SctpStats {
    /// State.
    pub state: SctpTransportState,
    /// The largest message that can be sent, in bytes; 0 before the start.
    pub max_message_size: usize,
    /// Channels there may be, once connected.
    pub max_channels: Option<u16>,
    /// Counters.
    pub stats: SctpTransportStats,
}

impl TransportStats {
    fn of<D: DtlsTransportInternal>(
        id: TransportId,
        transport: &JsepTransport<D>,
        (component, dtls): (IceComponent, &D),
        ice_stats: Option<IceTransportStats>,
    ) -> Self {
        let (ice, rtp) = (dtls.ice(), transport.rtp());
        let local_ice = transport.local_description().and_then(|local| local.ice.as_ref());
        let rtcp_apart = component == IceComponent::Rtp && rtp.rtcp_dtls().is_some();
        let is_rtp = component == IceComponent::Rtp;
        Self {
            id,
            component,
            rtcp_apart,
            name: transport.name().to_owned(),
            mids: Vec::new(),
            ice_state: ice.state(),
            ice_gathering_state: ice.gathering_state(),
            ice_role: ice.ice_role(),
            ice_local_username_fragment: local_ice.map(|ice| ice.ufrag.clone()),
            selected_candidate_pair: ice.selected_candidate_pair(),
            rtt: ice.rtt(),
            ice: ice_stats,
            dtls_state: dtls.state(),
            dtls_role: dtls.role(),
            tls_version: dtls.tls_version(),
            dtls_cipher: dtls.cipher_suite().map(str::to_owned),
            remote_certificate: dtls.remote_certificate().map(<[u8]>::to_vec),
            srtp_profile: rtp.srtp_profile(),
            srtp_setup_error: rtp.setup_error(),
            rtp: rtp.stats(),
            sctp: transport.sctp().filter(|_| is_rtp).map(|sctp| SctpStats {
                state: sctp.state(),
                max_message_size: sctp.max_message_size(),
                max_channels: sctp.max_channels(),
                stats: sctp.stats(),
            }),
        }
    }

    /// Packets and bytes sent: those of ICE where it counts, otherwise what RTP and SCTP handed down.
    pub fn sent(&self) -> Counter {
        match &self.ice {
            Some(ice) => Counter { packets: ice.packets_sent, bytes: ice.bytes_sent },
            None => sum(&self.of_component([self.rtp.rtp_sent, self.rtp.rtcp_sent, self.sctp_counters().0])),
        }
    }

    /// Packets and bytes received: those of ICE where it counts, otherwise what reached RTP and SCTP.
    pub fn received(&self) -> Counter {
        match &self.ice {
            Some(ice) => Counter { packets: ice.packets_received, bytes: ice.bytes_received },
            None => sum(&self.of_component([
                self.rtp.rtp_received,
                self.rtp.rtcp_received,
                self.sctp_counters().1,
            ])),
        }
    }

    /// What of RTP, RTCP and SCTP goes by this transport.
    fn of_component(&self, [rtp, rtcp, sctp]: [Counter; 3]) -> Vec<Counter> {
        match (self.component, self.rtcp_apart) {
            (IceComponent::Rtcp, _) => vec![rtcp],
            (IceComponent::Rtp, true) => vec![rtp, sctp],
            (IceComponent::Rtp, false) => vec![rtp, rtcp, sctp],
        }
    }

    fn sctp_counters(&self) -> (Counter, Counter) {
        self.sctp.map(|sctp| (sctp.stats.sent, sctp.stats.received)).unwrap_or_default()
    }
}

fn sum(counters: &[Counter]) -> Counter {
    counters.iter().fold(Counter::default(), |sum, counter| Counter {
        packets: sum.packets + counter.packets,
        bytes: sum.bytes + counter.bytes,
    })
}

impl<F: JsepTransportFactory> JsepTransportController<F> {
    /// A snapshot of each transport some m-section uses, in the order of their creation; RTCP's own comes after RTP's.
    pub fn stats(&self, now: Instant) -> Vec<TransportStats> {
        let components = self.transports().flat_map(|(id, transport)| {
            transport.components().map(move |component| (id, transport, component))
        });
        components
            .map(|(id, transport, component)| TransportStats {
                mids: self.mids_of(id).map(str::to_owned).collect(),
                ..TransportStats::of(id, transport, component, self.factory().ice_stats(now, component.1))
            })
            .collect()
    }
}
