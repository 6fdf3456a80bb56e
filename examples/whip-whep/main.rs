//! A browser, or OBS, publishes by WHIP (RFC 9725), and as many as like play by WHEP (draft-ietf-wish-whep).
//!
//! ```text
//! cargo run --example whip-whep        then open the address it prints: /?publish in one tab, /?play in others
//! ```
//!
//! `stage` carries packets from the one to the others.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(clippy::disallowed_methods, reason = "an application has tasks of its own")]

#[path = "../common/mod.rs"]
mod common;
mod sdpfrag;
mod stage;

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::common::{Args, Flag};
use crate::stage::{Role, Stage};

const SDP: &str = "application/sdp";
const SDPFRAG: &str = "application/trickle-ice-sdpfrag";
const FLAGS: &[Flag] =
    &[Flag { name: "--token", about: "bearer token that is asked for, none if empty", default: "" }];

/// A refusal: status and a sentence.
type Refused = (StatusCode, String);

#[derive(Clone)]
struct Server {
    stage: Arc<Stage>,
    token: Arc<str>,
}

#[tokio::main]
async fn main() -> ExitCode {
    common::run("whip-whep", "A browser publishes by WHIP, others play by WHEP.", FLAGS, router).await
}

fn router(args: &Args) -> Result<Router, String> {
    let stage = Stage::new(args.configuration()).map_err(|error| error.to_string())?;
    let server = Server { stage: Arc::new(stage), token: args.value("--token").into() };
    let endpoint = |role: Role| {
        let start = async move |State(server): State<Server>, headers: HeaderMap, offer: String| {
            server.start(role, &headers, offer).await
        };
        let options = async || ([(HeaderName::from_static("accept-post"), SDP)], StatusCode::NO_CONTENT);
        post(start).options(options)
    };
    let session = axum::routing::patch(
        async |State(server): State<Server>, Path(id): Path<String>, headers: HeaderMap, body: String| {
            server.trickle(&id, &headers, &body).await
        },
    )
    .delete(async |State(server): State<Server>, Path(id): Path<String>, headers: HeaderMap| {
        server.authorized(&headers)?;
        // RFC 9725 section 4.2: the session ends by DELETE.
        server.stage.end(&id).map(|()| StatusCode::OK).map_err(|why| (StatusCode::NOT_FOUND, why))
    });
    let router =
        Router::new().route("/whip", endpoint(Role::Publisher)).route("/whep", endpoint(Role::Player));
    let router = router.route("/sessions/{id}", session).with_state(server);
    Ok(common::page(include_str!("page.html"))
        .merge(router)
        .layer(axum::middleware::map_response(any_origin)))
}

/// Pages of any origin may publish and play (RFC 9725 section 4.2 asks for CORS).
async fn any_origin(method: Method, mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, etag, link"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if method == Method::OPTIONS {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST, PATCH, DELETE, OPTIONS"),
        );
        let wanted = HeaderValue::from_static("authorization, content-type, if-match");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    }
    response
}

impl Server {
    fn authorized(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if self.token.is_empty()
            || given.and_then(|given| given.strip_prefix("Bearer ")) == Some(&*self.token)
        {
            return Ok(());
        }
        Err((StatusCode::UNAUTHORIZED, "The bearer token is missing or wrong.".to_owned()))
    }

    /// An offer comes, its answer goes back with the address of the session.
    async fn start(&self, role: Role, headers: &HeaderMap, offer: String) -> Result<Response, Refused> {
        self.authorized(headers)?;
        expect_type(headers, SDP)?;
        let session = self.stage.start(role, offer).await?;
        let headers = [
            (header::CONTENT_TYPE, SDP.to_owned()),
            (header::LOCATION, format!("/sessions/{}", session.id)),
            (header::ETAG, format!("\"{}\"", session.ice)),
        ];
        Ok((StatusCode::CREATED, headers, session.answer).into_response())
    }

    /// RFC 9725 section 4.3: candidates that were found after the offer.
    async fn trickle(&self, id: &str, headers: &HeaderMap, body: &str) -> Result<StatusCode, Refused> {
        self.authorized(headers)?;
        expect_type(headers, SDPFRAG)?;
        let (pc, ice) = self.stage.session(id).map_err(|why| (StatusCode::NOT_FOUND, why))?;
        let Some(expected) = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()) else {
            return Err((StatusCode::PRECONDITION_REQUIRED, "If-Match is missing.".to_owned()));
        };
        if expected == "*" {
            return Err((
                StatusCode::UNPROCESSABLE_ENTITY,
                "ICE restarts are not for this server.".to_owned(),
            ));
        }
        if expected.trim_matches('"') != ice {
            return Err((StatusCode::PRECONDITION_FAILED, "The session has another ETag.".to_owned()));
        }
        for candidate in sdpfrag::candidates(body) {
            let added = pc.add_ice_candidate(candidate).await;
            added.map_err(|error| {
                (StatusCode::BAD_REQUEST, format!("The candidate cannot be used: {error}."))
            })?;
        }
        Ok(StatusCode::NO_CONTENT)
    }
}

fn expect_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refused> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if given.split(';').next().is_some_and(|given| given.trim().eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("The content type is {given:?}, not {wanted}.")))
}
