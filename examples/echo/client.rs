//! The other side: connects to an echo server over HTTP, sends, and requires what it sent.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::{Method, Uri};
use peerstack::base::Random;
use peerstack::{
    DataChannel, DataChannelInit, IceCandidateErrorEvent, MediaStreamTrack, PeerConnection,
    PeerConnectionEvent, PeerConnectionEvents, PeerConnectionState, RtpTransceiver, RtpTransceiverDirection,
    RtpTransceiverInit, SessionDescription, TrackKind,
};

use tokio::time::timeout;

use crate::args::Args;
use crate::client_data::{self, DataReport};
use crate::client_rtp::{self, RtpReport};
use crate::echo_peer::gathered;
use crate::hub::{configuration, dependencies};
use crate::server::Description;
use crate::{http_client, stats, wrong_use};

/// The offer waits for its candidates no longer.
const GATHERING: Duration = Duration::from_secs(3);
/// From the answer to the open data channel.
const CONNECT: Duration = Duration::from_secs(20);
/// How long the rate of large messages is measured.
const BULK: Duration = Duration::from_secs(1);

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exercise {
    /// Any echo server: it may decode and encode media anew, so RTP need not come back byte by byte.
    Any,
    /// Our own: everything comes back as it was sent.
    Exact,
}

/// What was measured. Everything past the string may be missing.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) connected_after: Duration,
    pub(crate) answer_after: Duration,
    pub(crate) string_round_trip: Duration,
    pub(crate) messages: Result<DataReport, String>,
    pub(crate) bulk: Result<DataReport, String>,
    pub(crate) rtp: Option<RtpReport>,
    pub(crate) transport: stats::Summary,
    /// What the server says of the same connection, if it says anything.
    pub(crate) server: Option<ServerBytes>,
}

/// Bytes of the transport as the server counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerBytes {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Runs `--client URL`.
pub(crate) async fn run(url: &str, args: &Args) -> ExitCode {
    let uri = match http_client::parse_url(url) {
        Ok(uri) => uri,
        Err(error) => return wrong_use(&format!("--client {error}")),
    };
    let mut args = args.clone();
    // A server on this machine may be reached by loopback alone.
    args.bind = if is_local(&uri) { args.bind } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
    match exercise(&uri, &args, Exercise::Any).await {
        Ok(report) => {
            print(&report);
            println!("The random string came back.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_local(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Connects, exercises, measures, closes. Fails unless a random string came back.
pub(crate) async fn exercise(uri: &Uri, args: &Args, exercise: Exercise) -> Result<Report, String> {
    let pc = PeerConnection::with_dependencies(configuration(args), dependencies(args)?);
    let pc = pc.map_err(|error| format!("no connection: {error}"))?;
    let result = Client::new(&pc, exercise)?.run(uri).await;
    pc.close();
    pc.closed().await;
    result
}

struct Client<'a> {
    pc: &'a PeerConnection,
    events: PeerConnectionEvents,
    channel: DataChannel,
    transceivers: Vec<RtpTransceiver>,
    random: Random,
}

impl<'a> Client<'a> {
    fn new(pc: &'a PeerConnection, exercise: Exercise) -> Result<Self, String> {
        let events = pc.events();
        let channel = pc.create_data_channel("echo", DataChannelInit::default());
        let channel = channel.map_err(|error| format!("no data channel: {error}"))?;
        // Random bytes are no video that a decoding server could send back.
        let kinds: &[_] = match exercise {
            Exercise::Any => &[TrackKind::Audio],
            Exercise::Exact => &[TrackKind::Audio, TrackKind::Video],
        };
        let mut transceivers = Vec::new();
        for &kind in kinds {
            let init = RtpTransceiverInit::new(RtpTransceiverDirection::Sendrecv)
                .with_streams(["client".to_owned()]);
            let transceiver = pc.add_transceiver_with_track(MediaStreamTrack::new(kind), init);
            transceivers.push(transceiver.map_err(|error| format!("no {}: {error}", kind.as_str()))?);
        }
        Ok(Self { pc, events, channel, transceivers, random: Random::from_system() })
    }

    async fn run(&mut self, uri: &Uri) -> Result<Report, String> {
        let started = Instant::now();
        let peer_id = self.negotiate(uri).await?;
        let answer_after = started.elapsed();
        self.connected().await?;
        let connected_after = started.elapsed();
        let string_round_trip = client_data::random_string(&self.channel, &mut self.random).await?;
        let messages = client_data::messages(&self.channel, &mut self.random).await;
        let bulk = match &messages {
            Ok(_) => client_data::bulk(&self.channel, &mut self.random, BULK).await,
            Err(error) => Err(error.clone()),
        };
        let rtp = self.rtp().await;
        let transport = stats::summary(self.pc).await;
        let server = match peer_id {
            Some(id) => server_bytes(uri, &id).await,
            None => None,
        };
        Ok(Report {
            connected_after,
            answer_after,
            string_round_trip,
            messages,
            bulk,
            rtp,
            transport,
            server,
        })
    }

    /// Exchanges offer and answer. Gives the server's name for us, if it is a peerstack.
    async fn negotiate(&mut self, uri: &Uri) -> Result<Option<String>, String> {
        let offer = self.pc.create_offer(Default::default()).await;
        let offer = offer.map_err(|error| format!("no offer could be made: {error}"))?;
        let set = self.pc.set_local_description(offer).await;
        set.map_err(|error| format!("the offer could not be set: {error}"))?;
        gathered(self.pc, GATHERING).await;
        let offer = self.pc.local_description().ok_or("the offer is gone")?;
        if !offer.sdp.contains("a=candidate:") {
            // With `--relay-only` it is the servers' fault.
            return Err(format!("there is no candidate to connect from{}", self.ice_server_errors().await));
        }
        let body = Description { kind: "offer".to_owned(), sdp: offer.sdp };
        let body = serde_json::to_string(&body).map_err(|error| format!("the offer is no JSON: {error}"))?;
        let response = http_client::request(Method::POST, uri, Some(body)).await?;
        if response.status != 200 {
            let text = String::from_utf8_lossy(&response.body);
            let text: String = text.chars().take(300).collect();
            return Err(format!("{uri} said {}: {}", response.status, text.trim()));
        }
        let answer: Description = serde_json::from_slice(&response.body)
            .map_err(|error| format!("{uri} did not answer with a description: {error}"))?;
        if answer.kind != "answer" {
            return Err(format!("{uri} answered with the type {:?}, not \"answer\"", answer.kind));
        }
        let set = self.pc.set_remote_description(SessionDescription::answer(answer.sdp)).await;
        set.map_err(|error| format!("the answer cannot be used: {error}"))?;
        Ok(response.peer_id)
    }

    /// What ICE servers had to say so far.
    async fn ice_server_errors(&mut self) -> String {
        let mut text = String::new();
        while let Ok(Some(event)) = timeout(Duration::ZERO, self.events.next()).await {
            if let PeerConnectionEvent::IceCandidateError(error) = event {
                text.push_str(&said(&error));
            }
        }
        text
    }

    /// Waits for the data channel, and gives up at once when the connection fails.
    async fn connected(&mut self) -> Result<(), String> {
        let (channel, events) = (&self.channel, &mut self.events);
        let (mut dtls_error, mut servers) = (None, String::new());
        let failed = async {
            while let Some(event) = events.next().await {
                match event {
                    PeerConnectionEvent::DtlsTransportError(event) => dtls_error = Some(event.error.message),
                    PeerConnectionEvent::IceCandidateError(error) => servers.push_str(&said(&error)),
                    PeerConnectionEvent::ConnectionStateChange(PeerConnectionState::Failed) => break,
                    _ => {}
                }
            }
            match dtls_error {
                Some(error) => format!("the DTLS handshake failed: {error}"),
                None => format!("ICE failed: no pair of candidates gets through{servers}"),
            }
        };
        tokio::select! {
            result = client_data::opened(channel, CONNECT) => result.map_err(|error| {
                format!("{error} (connection {:?}, ICE {:?})", self.pc.connection_state(), self.pc.ice_connection_state())
            }),
            error = failed => Err(error),
        }
    }

    async fn rtp(&mut self) -> Option<RtpReport> {
        let mut total: Option<RtpReport> = None;
        for transceiver in &self.transceivers {
            if let Some(report) = client_rtp::exchange(transceiver, &mut self.random).await {
                total = Some(total.map_or(report, |before| before.plus(report)));
            }
        }
        total
    }
}

/// An error of an ICE server as a part of a sentence.
fn said(error: &IceCandidateErrorEvent) -> String {
    format!("; {}: {} ({})", error.url, error.error_text, error.error_code)
}

/// Prints the table.
pub(crate) fn print(report: &Report) {
    let row = |name: &str, value: String| println!("  {name:<18}{value}");
    row("answered", format!("{} after the start", milliseconds(report.answer_after)));
    row("data channel open", format!("{} after the start", milliseconds(report.connected_after)));
    row("string back", milliseconds(report.string_round_trip));
    match &report.messages {
        Ok(data) => {
            let left_out = match data.too_large {
                0 => String::new(),
                count => format!(", {count} not sent: larger than the peer takes"),
            };
            let (messages, bytes) = (data.messages, data.bytes);
            row("messages", format!("{messages}, {bytes} bytes, all equal and in order{left_out}"));
        }
        Err(error) => row("messages", format!("FAILED: {error}")),
    }
    match &report.bulk {
        Ok(data) => {
            let rate = data.bytes_per_second / 1e6;
            row("data both ways", format!("{rate:.1} MB/s ({} messages of 64 KiB)", data.messages));
        }
        Err(error) => row("data both ways", format!("FAILED: {error}")),
    }
    match &report.rtp {
        Some(rtp) => {
            let (sent, equal, lost, resent) = (rtp.sent, rtp.equal, rtp.lost(), rtp.resent);
            let trip = rtp.median_round_trip.map_or_else(|| "-".to_owned(), milliseconds);
            let other = rtp.came.saturating_sub(equal);
            row("RTP packets", format!("{sent} sent, {equal} echoed, {lost} lost, {resent} sent again"));
            if other > 0 {
                row("", format!("{other} others came: the server makes its own, or repeats"));
            }
            row("RTP round trip", trip);
        }
        None => row("RTP packets", "none: the server did not agree to media both ways".to_owned()),
    }
    for (name, value) in report.transport.rows() {
        row(name, value);
    }
    if let Some(ServerBytes { sent, received }) = report.server {
        row("server says", format!("{sent} sent, {received} received"));
    }
}

async fn server_bytes(uri: &Uri, id: &str) -> Option<ServerBytes> {
    let uri = http_client::with_path(uri, &format!("/peers/{id}/stats")).ok()?;
    let response = http_client::request(Method::GET, &uri, None).await.ok()?;
    let value: serde_json::Value = serde_json::from_slice(&response.body).ok()?;
    let transport = value.get("transport")?;
    let number = |name| transport.get(name).and_then(serde_json::Value::as_u64);
    Some(ServerBytes { sent: number("bytes_sent")?, received: number("bytes_received")? })
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    #[test]
    fn loopback_is_used_for_servers_of_this_machine_alone() {
        for (url, local) in [
            ("http://127.0.0.1:1/", true),
            ("http://localhost", true),
            ("http://[::1]:80/x", true),
            ("http://192.0.2.1/", false),
            ("http://example.org/", false),
        ] {
            assert_eq!(is_local(&url.parse().unwrap()), local, "{url}");
        }
    }

    /// A server that reads a request and answers each with the same bytes.
    async fn answering(answer: impl Into<Vec<u8>>) -> (Uri, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let uri = format!("http://{}/offer", listener.local_addr().unwrap()).parse().unwrap();
        let answer = answer.into();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 65_536]).await;
                let _ = stream.write_all(&answer).await;
            }
        });
        (uri, task)
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_server_that_is_none_gets_a_sentence() {
        let answer = r#"{"type":"answer","sdp":"v=0"}"#;
        for (answer, part) in [
            (b"\x00\xff garbage\r\n\r\n".to_vec(), "broke off"),
            (Vec::new(), "broke off"),
            (http("503 Full", "The server is full.").into_bytes(), "said 503: The server is full."),
            (http("200 OK", "<html>").into_bytes(), "did not answer with a description"),
            (
                http("200 OK", r#"{"type":"offer","sdp":"v=0"}"#).into_bytes(),
                "answered with the type \"offer\"",
            ),
            (http("200 OK", answer).into_bytes(), "the answer cannot be used"),
        ] {
            let (uri, serving) = answering(answer).await;
            let error = exercise(&uri, &Args::default(), Exercise::Any).await.unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
            serving.abort();
        }
    }

    #[tokio::test]
    async fn a_closed_port_gets_a_sentence() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let uri = format!("http://{}/offer", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let error = exercise(&uri, &Args::default(), Exercise::Any).await.unwrap_err();
        assert!(error.contains("cannot be reached"), "{error}");
    }
}
