//! HTTP: the page, and the echo protocol. Every refusal is one sentence of plain text.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use peerstack::{IceCandidateInit, SessionDescription};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::hub::{Hub, HubError};
use crate::stats;

/// Bytes of a request's body; an offer of a browser has some ten thousand.
const MAX_BODY: usize = 256 << 10;
/// A request takes no longer, gathering included.
const REQUEST: Duration = Duration::from_secs(20);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The page: path, type, text.
const PAGE: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("page.html")),
    ("/page.css", CSS, include_str!("page.css")),
    ("/page.js", JAVASCRIPT, include_str!("page.js")),
    ("/session.js", JAVASCRIPT, include_str!("session.js")),
    ("/source.js", JAVASCRIPT, include_str!("source.js")),
    ("/protocol.js", JAVASCRIPT, include_str!("protocol.js")),
    ("/failures.js", JAVASCRIPT, include_str!("failures.js")),
    ("/lines.js", JAVASCRIPT, include_str!("lines.js")),
    ("/report.js", JAVASCRIPT, include_str!("report.js")),
    ("/plot.js", JAVASCRIPT, include_str!("plot.js")),
    ("/view.js", JAVASCRIPT, include_str!("view.js")),
];

/// Nothing from elsewhere: the page is all here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'";

/// A request's body, or why there is none.
type Body = Result<Bytes, BytesRejection>;

/// A description as the protocol carries it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    /// `offer` or `answer`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) sdp: String,
}

/// An offer made here.
#[derive(Debug, Serialize)]
struct Session {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    sdp: String,
}

/// `RTCIceCandidateInit` as JavaScript writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    candidate: String,
    sdp_mid: Option<String>,
    sdp_m_line_index: Option<u16>,
    username_fragment: Option<String>,
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, hub: Arc<Hub>) -> Result<(), String> {
    axum::serve(listener, router(hub)).await.map_err(|error| format!("the HTTP server ended: {error}"))
}

fn router(hub: Arc<Hub>) -> Router {
    let page = PAGE.into_iter().fold(Router::new(), |router, (path, content_type, text)| {
        router.route(path, get(async move || asset(content_type, text)))
    });
    page.route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .route("/config", get(config))
        .route("/offer", post(offer))
        .route("/session", post(session))
        .route("/session/{id}/answer", post(answer))
        .route("/peers/{id}", delete(close))
        .route("/peers/{id}/offer", post(renegotiate))
        .route("/peers/{id}/candidate", post(candidate))
        .route("/peers/{id}/stats", get(peer_stats))
        .fallback(async || (StatusCode::NOT_FOUND, "There is nothing at this address."))
        .method_not_allowed_fallback(async |method: Method| {
            (StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not what this address is for."))
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(frame))
        .with_state(hub)
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

/// Around every request: a time limit, and the headers that let pages of any origin ask.
async fn frame(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let late = (StatusCode::REQUEST_TIMEOUT, "The request took too long.");
        tokio::time::timeout(REQUEST, next.run(request)).await.unwrap_or_else(|_| late.into_response())
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "x-peer-id"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl IntoResponse for HubError {
    fn into_response(self) -> Response {
        let (status, sentence) = match self {
            Self::BadRequest(sentence) => (StatusCode::BAD_REQUEST, sentence),
            Self::TooLarge(limit) => {
                (StatusCode::BAD_REQUEST, format!("The body is larger than {limit} bytes."))
            }
            Self::Full(limit) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("The server has as many peers as --max-peers allows ({limit}). Try again later."),
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "There is no such peer.".to_owned()),
            Self::Gone(reason) => (StatusCode::GONE, format!("The peer has ended: {reason}.")),
            Self::Internal(sentence) => (StatusCode::INTERNAL_SERVER_ERROR, sentence),
        };
        (status, sentence).into_response()
    }
}

async fn config(State(hub): State<Arc<Hub>>) -> Response {
    axum::Json(hub.config()).into_response()
}

async fn offer(State(hub): State<Arc<Hub>>, body: Body) -> Result<Response, HubError> {
    let offer = description(body, "offer")?;
    let (id, answer) = hub.answer(SessionDescription::offer(offer)).await?;
    Ok(with_id(&id, axum::Json(Description { kind: "answer".to_owned(), sdp: answer.sdp })))
}

async fn session(State(hub): State<Arc<Hub>>) -> Result<Response, HubError> {
    let (id, offer) = hub.offer().await?;
    Ok(with_id(&id, axum::Json(Session { id: id.clone(), kind: "offer", sdp: offer.sdp })))
}

fn with_id(id: &str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(HeaderName::from_static("x-peer-id"), value);
    }
    response
}

async fn answer(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode, HubError> {
    let answer = SessionDescription::answer(description(body, "answer")?);
    hub.set_answer(&id, answer).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn renegotiate(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, HubError> {
    let offer = SessionDescription::offer(description(body, "offer")?);
    let answer = hub.renegotiate(&id, offer).await?;
    Ok(with_id(&id, axum::Json(Description { kind: "answer".to_owned(), sdp: answer.sdp })))
}

async fn candidate(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode, HubError> {
    let body = read(body)?;
    let candidate: Candidate = serde_json::from_slice(&body)
        .map_err(|error| HubError::BadRequest(format!("The body is no candidate in JSON: {error}.")))?;
    let candidate = IceCandidateInit {
        candidate: candidate.candidate,
        sdp_mid: candidate.sdp_mid,
        sdp_mline_index: candidate.sdp_m_line_index,
        username_fragment: candidate.username_fragment,
    };
    hub.add_candidate(&id, candidate).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn close(State(hub): State<Arc<Hub>>, Path(id): Path<String>) -> Result<StatusCode, HubError> {
    hub.close(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn peer_stats(State(hub): State<Arc<Hub>>, Path(id): Path<String>) -> Result<Response, HubError> {
    let peer = hub.find(&id)?;
    Ok(axum::Json(stats::of_peer(&peer).await?).into_response())
}

/// The SDP of a body that holds a description of the kind wanted.
fn description(body: Body, wanted: &str) -> Result<String, HubError> {
    read_description(&read(body)?, wanted).map_err(HubError::BadRequest)
}

fn read(body: Body) -> Result<Bytes, HubError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => HubError::TooLarge(MAX_BODY),
        _ => HubError::BadRequest(format!("The body cannot be read: {rejection}.")),
    })
}

fn read_description(body: &[u8], wanted: &str) -> Result<String, String> {
    let example = format!(r#"{{"type":"{wanted}","sdp":"v=0..."}}"#);
    let description: Description = serde_json::from_slice(body)
        .map_err(|error| format!("The body is not JSON of the form {example}: {error}."))?;
    if description.kind != wanted {
        return Err(format!("The type is {:?}, but {wanted:?} is wanted here.", description.kind));
    }
    if description.sdp.trim().is_empty() {
        return Err("The SDP is empty.".to_owned());
    }
    Ok(description.sdp)
}

#[cfg(test)]
mod tests;
