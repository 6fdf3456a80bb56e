//! What the network task tells the signaling task.

use std::sync::Arc;

use peerstack_dtls::DtlsTransportState;
use peerstack_jsep::{IceComponent, TransportId};
use peerstack_p2p::{Candidate, CandidateErrorEvent, IceRole};
use tokio::sync::mpsc;

use crate::data_channel_event::DataChannelEvent;
use crate::data_channel_shared::DataChannelShared;
use crate::media_stream_track::MediaStreamTrack;
use crate::transport_views::{IceChange, SctpView};
use crate::{IceConnectionState, IceGatheringState, PeerConnectionState, RtcError};

/// What the network task tells.
#[derive(Debug)]
pub(crate) enum NetworkEvent {
    IceConnectionState(IceConnectionState),
    ConnectionState(PeerConnectionState),
    GatheringState(IceGatheringState),
    /// Local candidates of the transport that carries this section.
    Candidates {
        transport: TransportId,
        mid: String,
        candidates: Vec<Candidate>,
    },
    CandidateError(CandidateErrorEvent),
    /// All candidates of this section, in its generation, are gathered.
    EndOfCandidates(String),
    /// Local candidates are gone.
    CandidatesRemoved {
        mid: String,
        candidates: Vec<Candidate>,
    },
    IceTransport {
        transport: TransportId,
        component: IceComponent,
        role: IceRole,
        change: IceChange,
    },
    DtlsTransport {
        transport: TransportId,
        component: IceComponent,
        state: DtlsTransportState,
        /// The peer's, in DER, if it is known.
        certificate: Option<Vec<u8>>,
    },
    SctpTransport(SctpView),
    DtlsTransportError {
        transport: TransportId,
        component: IceComponent,
        error: RtcError,
    },
    DataChannel {
        channel: Arc<DataChannelShared>,
        events: mpsc::UnboundedReceiver<DataChannelEvent>,
    },
    UnsignaledTrack {
        ssrc: u32,
        payload_type: u8,
        track: MediaStreamTrack,
    },
}
