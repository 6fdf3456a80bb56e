//! One HTTP request: as much of a client as the echo protocol needs.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

/// A request takes no longer, connecting included.
const LIMIT: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const MAX_BODY: usize = 1 << 20;

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) peer_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// The address of an echo server: the path is `/offer` if the URL has none.
pub(crate) fn parse_url(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(format!("{url}: only http is spoken here, not https")),
        _ => return Err(format!("{url:?} is no URL of the form http://host:port/path")),
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(format!("{url:?} names no host"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Ok(uri);
    }
    with_path(&uri, "/offer")
}

/// The same server, another path.
pub(crate) fn with_path(uri: &Uri, path: &str) -> Result<Uri, String> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().map_err(|error| format!("{path:?} is no path: {error}"))?);
    Uri::from_parts(parts).map_err(|error| format!("{path:?} cannot be asked of {uri}: {error}"))
}

/// Asks, and reads the whole answer. JSON is sent if there is any.
pub(crate) async fn request(method: Method, uri: &Uri, json: Option<String>) -> Result<Response, String> {
    match timeout(LIMIT, exchange(method, uri, json)).await {
        Ok(result) => result,
        Err(_) => Err(format!("{uri} did not answer within {} s", LIMIT.as_secs())),
    }
}

async fn exchange(method: Method, uri: &Uri, json: Option<String>) -> Result<Response, String> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(|error| format!("{uri} cannot be reached: {error}"))?;
    let failed = |error: hyper::Error| format!("{uri} broke off: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "HTTP connection");
        }
    });
    let request = Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(json.unwrap_or_default())))
        .map_err(|error| format!("{uri} cannot be asked: {error}"))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status().as_u16();
    let peer_id = response.headers().get("x-peer-id");
    let peer_id = peer_id.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| format!("{uri}: the answer cannot be read: {error}"))?;
    Ok(Response { status, peer_id, body: body.to_bytes().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_offer_unless_the_url_has_one() {
        let cases = [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/offer"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/offer"),
            ("http://[::1]:80/", "http://[::1]:80/offer"),
            ("http://host/echo", "http://host/echo"),
            ("http://host/?room=1", "http://host/?room=1"),
        ];
        for (url, expected) in cases {
            assert_eq!(parse_url(url).unwrap().to_string(), expected);
        }
        let stats = with_path(&parse_url("http://host:1/offer").unwrap(), "/peers/a/stats").unwrap();
        assert_eq!(stats.to_string(), "http://host:1/peers/a/stats");
    }

    #[test]
    fn what_is_no_url_gets_a_sentence() {
        for url in ["", "host", "host:80", "/offer", "https://host", "ftp://host", "http://", "http:// x"] {
            assert!(parse_url(url).is_err(), "{url}");
        }
        assert!(parse_url("https://host").unwrap_err().contains("not https"));
    }
}
