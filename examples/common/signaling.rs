//! Descriptions and candidates in JSON, as browsers write them, and the answer to an offer with all its candidates.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use peerstack::{
    DtlsTransportState, IceCandidateInit, IceGatheringState, PeerConnection, PeerConnectionEvent,
    PeerConnectionFactory, PeerConnectionState, RtcError, SdpType, SessionDescription,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Args;

/// An answer that carries its candidates waits for them no longer.
const GATHERING: Duration = Duration::from_secs(3);

/// `RTCSessionDescription` in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    /// `offer`, `answer`, `pranswer` or `rollback`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) sdp: String,
}

impl From<SessionDescription> for Description {
    fn from(description: SessionDescription) -> Self {
        Self { kind: description.sdp_type.as_str().to_owned(), sdp: description.sdp }
    }
}

impl TryFrom<Description> for SessionDescription {
    type Error = Refusal;

    fn try_from(description: Description) -> Result<Self, Refusal> {
        let kinds = [SdpType::Offer, SdpType::Answer, SdpType::Pranswer, SdpType::Rollback];
        let sdp_type = kinds.into_iter().find(|kind| kind.as_str() == description.kind);
        let unknown = || Refusal(format!("{:?} is no type of a description", description.kind));
        Ok(Self { sdp_type: sdp_type.ok_or_else(unknown)?, sdp: description.sdp })
    }
}

/// `RTCIceCandidateInit` in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Candidate {
    #[serde(default)]
    pub(crate) candidate: String,
    pub(crate) sdp_mid: Option<String>,
    pub(crate) sdp_m_line_index: Option<u16>,
    pub(crate) username_fragment: Option<String>,
}

impl From<IceCandidateInit> for Candidate {
    fn from(init: IceCandidateInit) -> Self {
        Self {
            candidate: init.candidate,
            sdp_mid: init.sdp_mid,
            sdp_m_line_index: init.sdp_mline_index,
            username_fragment: init.username_fragment,
        }
    }
}

impl From<Candidate> for IceCandidateInit {
    fn from(json: Candidate) -> Self {
        Self {
            candidate: json.candidate,
            sdp_mid: json.sdp_mid,
            sdp_mline_index: json.sdp_m_line_index,
            username_fragment: json.username_fragment,
        }
    }
}

/// Why a request is not met: one sentence, with status 400.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) String);

impl From<RtcError> for Refusal {
    fn from(error: RtcError) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, self.0).into_response()
    }
}

/// `POST /offer`: each offer gets a connection of its own, which `respond` answers it with. What is refused is closed.
pub(crate) fn offers<R, A>(args: &Args, respond: R) -> Result<Router, String>
where
    R: Fn(PeerConnection, Description) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Json<Description>, Refusal>> + Send,
{
    let factory = Arc::new(PeerConnectionFactory::new().map_err(|error| error.to_string())?);
    let configuration = args.configuration();
    let offer = async move |Json(offer): Json<Description>| -> Result<Json<Description>, Refusal> {
        let pc = factory.create_peer_connection(configuration.clone())?;
        respond(pc.clone(), offer).await.inspect_err(|_| pc.close())
    };
    Ok(Router::new().route("/offer", post(offer)))
}

/// Answers the offer that was set; the answer holds all candidates, so that one HTTP request is all signalling.
pub(crate) async fn answer(pc: &PeerConnection) -> Result<SessionDescription, RtcError> {
    let mut events = pc.events();
    pc.set_local_description(None).await?;
    let complete = async {
        while pc.ice_gathering_state() != IceGatheringState::Complete && events.next().await.is_some() {}
    };
    // A server that does not answer holds gathering up, not the answer.
    let _ = timeout(GATHERING, complete).await;
    pc.local_description()
        .ok_or_else(|| RtcError::new(peerstack::RtcErrorKind::InvalidStateError, "closed meanwhile"))
}

/// Waits until the connection is of no use any more, then frees it.
pub(crate) async fn run_until_over(pc: PeerConnection) {
    let mut events = pc.events();
    while let Some(event) = events.next().await {
        if is_over(&pc, &event) {
            break;
        }
    }
    pc.close();
}

/// Whether a connection is of no use after this event: it failed, or the peer has closed its side. A transport that is
/// closed may also be one that BUNDLE made superfluous.
pub(crate) fn is_over(pc: &PeerConnection, event: &PeerConnectionEvent) -> bool {
    match event {
        PeerConnectionEvent::ConnectionStateChange(state) => *state == PeerConnectionState::Failed,
        PeerConnectionEvent::DtlsTransportStateChange { transport, state: DtlsTransportState::Closed } => {
            let of_media = pc.senders().into_iter().filter_map(|sender| sender.transport());
            of_media.chain(pc.sctp().map(|sctp| sctp.transport())).any(|used| used == *transport)
        }
        _ => false,
    }
}
