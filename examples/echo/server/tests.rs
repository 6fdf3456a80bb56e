//! The server over real HTTP on loopback, and what it makes of bodies.

use std::net::SocketAddr;

use peerstack::PeerConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::args::Args;
use crate::echo_peer::gathered;
use crate::http_client;
use crate::hub::configuration;
use crate::listener::bind;

#[test]
fn a_description_is_read_and_what_is_none_gets_a_sentence() {
    assert_eq!(read_description(br#"{"type":"offer","sdp":"v=0"}"#, "offer"), Ok("v=0".to_owned()));
    let cases: [(&[u8], &str); 7] = [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"v=0\r\n", "not JSON"),
        (b"[]", "not JSON"),
        (br#"{"sdp":"v=0"}"#, "missing field `type`"),
        (br#"{"type":"answer","sdp":"v=0"}"#, "\"offer\" is wanted here"),
        (br#"{"type":"offer","sdp":"  "}"#, "empty"),
    ];
    for (body, part) in cases {
        let error = read_description(body, "offer").unwrap_err();
        assert!(error.contains(part), "{error}");
        assert!(error.ends_with('.'));
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    for (path, _, text) in PAGE {
        for line in text.lines().filter(|line| !line.contains("w3.org/2000/svg")) {
            assert!(!line.contains("https://") && !line.contains("http://"), "{path}: {line}");
        }
        let forbidden = ["style=", "onclick="];
        assert!(
            forbidden.iter().all(|part| !text.contains(part)),
            "{path}: the policy forbids {forbidden:?}"
        );
        for import in text.lines().filter_map(|line| line.split_once(" from './")) {
            let name = import.1.trim_end_matches("';");
            assert!(PAGE.iter().any(|(path, ..)| path[1..] == *name), "{path} imports {name}");
        }
    }
}

#[test]
fn a_candidate_is_read_as_a_browser_writes_it() {
    let text = r#"{"candidate":"candidate:1 1 udp 1 1.2.3.4 5 typ host","sdpMid":"0","sdpMLineIndex":0,
                   "usernameFragment":"abcd"}"#;
    let candidate: Candidate = serde_json::from_str(text).unwrap();
    assert_eq!((candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index), (Some("0"), Some(0)));
    assert_eq!(candidate.username_fragment.as_deref(), Some("abcd"));
    let end: Candidate = serde_json::from_str("{\"candidate\":\"\",\"sdpMid\":null}").unwrap();
    assert!(end.candidate.is_empty() && end.sdp_mid.is_none());
}

/// A server on a free port of this machine.
struct Served {
    hub: Arc<Hub>,
    address: SocketAddr,
    serving: JoinHandle<Result<(), String>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Served {
    async fn start() -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let (address, hub) = (listener.local_addr().unwrap(), Arc::new(Hub::new(args()).unwrap()));
        Self { serving: tokio::spawn(serve(listener, Arc::clone(&hub))), hub, address }
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<String>) -> (u16, String) {
        let uri = format!("http://{}{path}", self.address).parse().unwrap();
        let response = http_client::request(method, &uri, Some(body.into())).await.unwrap();
        (response.status, String::from_utf8(response.body).unwrap())
    }
}

fn args() -> Args {
    Args { bind: [127, 0, 0, 1].into(), max_peers: 2, ..Args::default() }
}

async fn offer_of(pc: &PeerConnection) -> String {
    pc.set_local_description(pc.create_offer(Default::default()).await.unwrap()).await.unwrap();
    gathered(pc, Duration::from_secs(3)).await;
    let body = Description { kind: "offer".to_owned(), sdp: pc.local_description().unwrap().sdp };
    serde_json::to_string(&body).unwrap()
}

fn sentence(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_uppercase()) && text.ends_with('.') && !text.contains('\n')
}

#[tokio::test]
async fn what_is_malformed_gets_a_sentence_and_the_server_lives_on() {
    let served = Served::start().await;
    let session = |sdp: &str| serde_json::json!({ "type": "offer", "sdp": sdp }).to_string();
    for (body, part) in [
        (String::new(), "not JSON"),
        ("v=0".to_owned(), "not JSON"),
        ("{".repeat(10_000), "not JSON"),
        ("{\"type\":\"answer\",\"sdp\":\"v=0\"}".to_owned(), "\"offer\" is wanted"),
        ("{\"type\":\"offer\",\"sdp\":5}".to_owned(), "invalid type"),
        (session("hello"), "cannot be used"),
        (session("v=0\r\n"), "cannot be used"),
        (session("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio\r\n"), "cannot be used"),
        (session(&"\u{0}".repeat(1_000)), "cannot be used"),
        ("x".repeat(MAX_BODY + 1), "larger than"),
    ] {
        let (status, text) = served.ask(Method::POST, "/offer", body).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains(part) && sentence(&text), "{part}: {text}");
    }
    served.hub.emptied().await;
    let (status, text) = served.ask(Method::POST, "/session", "").await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test]
async fn bytes_that_are_no_http_end_their_own_connection_alone() {
    let served = Served::start().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"\x00\xff\x16\x03\x01 no HTTP\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The server answers 400 or just closes.
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(served.ask(Method::GET, "/config", "").await.0, 200);
}

#[tokio::test]
async fn addresses_and_methods_that_are_not_there_get_a_sentence() {
    let served = Served::start().await;
    for (method, path, expected) in [
        (Method::GET, "/nothing", 404),
        (Method::GET, "/offer", 405),
        (Method::PUT, "/config", 405),
        (Method::GET, "/peers/nobody/stats", 404),
        (Method::DELETE, "/peers/nobody", 404),
    ] {
        let (status, text) = served.ask(method, path, "").await;
        assert_eq!(status, expected, "{path}");
        assert!(sentence(&text), "{path}: {text}");
    }
}

#[tokio::test]
async fn an_answer_holds_its_candidates() {
    let served = Served::start().await;
    let pc = PeerConnection::new(configuration(&args())).unwrap();
    let _channel = pc.create_data_channel("x", Default::default()).unwrap();
    let (status, text) = served.ask(Method::POST, "/offer", offer_of(&pc).await).await;
    assert_eq!(status, 200, "{text}");
    let answer: Description = serde_json::from_str(&text).unwrap();
    assert_eq!(answer.kind, "answer");
    assert!(answer.sdp.contains("\r\na=candidate:"), "{}", answer.sdp);
    pc.close();
}

#[tokio::test]
async fn beyond_the_limit_of_peers_it_says_503_until_one_has_left() {
    let served = Served::start().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (status, text) = served.ask(Method::POST, "/session", "").await;
        assert_eq!(status, 200, "{text}");
        let session: serde_json::Value = serde_json::from_str(&text).unwrap();
        ids.push(session["id"].as_str().unwrap().to_owned());
    }
    for path in ["/session", "/offer"] {
        let (status, text) = served.ask(Method::POST, path, r#"{"type":"offer","sdp":"v=0"}"#).await;
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("--max-peers") && sentence(&text), "{text}");
    }
    for id in &ids {
        assert_eq!(served.ask(Method::DELETE, &format!("/peers/{id}"), "").await.0, 204);
    }
    served.hub.emptied().await;
    assert_eq!(served.ask(Method::POST, "/session", "").await.0, 200);
    let (status, text) = served.ask(Method::GET, &format!("/peers/{}/stats", ids[0]), "").await;
    assert_eq!((status, text.as_str()), (410, "The peer has ended: closed."));
}

#[tokio::test]
async fn any_page_may_ask() {
    let served = Served::start().await;
    for (method, path) in [("OPTIONS", "/offer"), ("POST", "/offer"), ("GET", "/config")] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("access-control-allow-origin: *\r\n"), "{answer}");
        assert!(answer.contains("access-control-expose-headers: x-peer-id\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn the_page_is_served_with_its_types() {
    let served = Served::start().await;
    for (path, content_type, text) in PAGE {
        assert_eq!(served.ask(Method::GET, path, "").await, (200, text.to_owned()), "{path}");
        let expected = if path.ends_with(".js") { JAVASCRIPT } else { content_type };
        assert_eq!(content_type, expected, "{path}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_a_sentence_that_says_what_to_do() {
    let served = Served::start().await;
    let error = bind(served.address).await.unwrap_err();
    assert!(error.contains("in use already") && error.contains("--port 0"), "{error}");
}
