//! Descriptions of others: each is taken and answered, or refused with the line and the reason. Public corpora are read
//! where they are present (`PEERSTACK_CORPORA`, or `../shared/corpora` beside the checkout); our own blocks always.

use std::path::PathBuf;

use peerstack_peer_connection::{
    Configuration, PeerConnection, RtcErrorDetail, RtcErrorKind, SessionDescription, SignalingState,
};

use crate::harness::{dependencies, ms, two_hosts};

const CHROMIUM: &str = include_str!("../../../jsep/src/test_sdp/chromium_offer.sdp");
const CHROMIUM_SIMULCAST: &str = include_str!("../../../jsep/src/test_sdp/chromium_simulcast_offer.sdp");
const FIREFOX: &str = include_str!("../../../jsep/src/test_sdp/firefox_offer.sdp");

fn corpus(name: &str) -> Vec<(String, String)> {
    let root = std::env::var_os("PEERSTACK_CORPORA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora")),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(root.join(name)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_default();
        (path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned())
    };
    paths.into_iter().map(read).collect()
}

const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

/// The descriptions in a block of an RFC: indentation and prose gone, folded lines joined; an excerpt gets a session level.
fn unfold(text: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        let is_line = line.as_bytes().get(1) == Some(&b'=');
        match texts.last_mut() {
            _ if line == "v=0" => texts.push("v=0".to_owned()),
            None if is_line => texts.push(format!("{HEAD}{line}")),
            Some(text) if is_line => text.extend(["\r\n", line]),
            Some(text) if text.ends_with(':') => text.push_str(line),
            Some(text) if text.ends_with("sha-256") || line.starts_with("raddr") => text.extend([" ", line]),
            _ => {}
        }
    }
    texts
}

/// What became of a text that a peer says is its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Answered,
    /// It does not parse, at this line.
    Line(u32),
    /// It parses, and cannot be taken by this connection.
    Unusable,
}

async fn offered(pc: &PeerConnection, name: &str, text: &str) -> Outcome {
    let result = pc.set_remote_description(SessionDescription::offer(text)).await;
    let Err(error) = result else {
        let answer = pc.create_answer().await.unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        let sections = |sdp: &str| sdp.lines().filter(|line| line.starts_with("m=")).count();
        assert_eq!(sections(&answer.sdp), sections(text), "{name}");
        pc.set_local_description(answer).await.unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        assert_eq!(pc.signaling_state(), SignalingState::Stable);
        return Outcome::Answered;
    };
    assert_eq!(pc.signaling_state(), SignalingState::Stable, "{name}");
    assert!(pc.remote_description().is_none() && pc.transceivers().is_empty(), "{name}");
    assert!(error.message.len() > 20, "{name}: {error}");
    match error.detail {
        Some(RtcErrorDetail::SdpSyntaxError { line_number }) => {
            assert_eq!(error.kind, RtcErrorKind::OperationError, "{name}");
            assert!(error.message.contains(&format!("line {line_number}: ")), "{name}: {error}");
            // A description may end too early: then it is the line that is missing.
            assert!((1..=text.lines().count() as u32 + 1).contains(&line_number), "{name}: {error}");
            Outcome::Line(line_number)
        }
        _ => {
            assert_eq!(error.kind, RtcErrorKind::InvalidAccessError, "{name}: {error}");
            Outcome::Unusable
        }
    }
}

async fn outcomes(texts: Vec<(String, String)>) -> Vec<Outcome> {
    let (lab, host, _other) = two_hosts(70, ms(1));
    let mut outcomes = Vec::new();
    for (name, text) in texts {
        let pc =
            PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, &host, 1)).unwrap();
        outcomes.push(offered(&pc, &name, &text).await);
        pc.close();
        pc.closed().await;
    }
    outcomes
}

/// P01: the descriptions of RFC 9429 and RFC 9143, whole ones and excerpts.
#[tokio::test(start_paused = true)]
async fn descriptions_of_rfcs_are_answered_or_refused_with_a_reason() {
    for name in ["sdp-jsep", "sdp-bundle"] {
        let blocks = corpus(name);
        let texts = blocks
            .into_iter()
            .flat_map(|(path, text)| unfold(&text).into_iter().map(move |text| (path.clone(), text)));
        let outcomes = outcomes(texts.collect()).await;
        // Each line of theirs is understood; excerpts lack what a connection needs.
        assert!(!outcomes.iter().any(|one| matches!(one, Outcome::Line(_))), "{name}: {outcomes:?}");
        let answered = outcomes.iter().filter(|one| **one == Outcome::Answered).count();
        println_once(&format!("{name}: {answered} of {} answered", outcomes.len()));
    }
}

/// P01, P02: texts of other parsers' tests, among them what browsers of ten years offer.
#[tokio::test(start_paused = true)]
async fn descriptions_of_others_are_answered_or_refused_with_a_reason() {
    let texts = corpus("sdp-corpus");
    let outcomes = outcomes(texts).await;
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|one| wanted(one)).count();
    let answered = count(|one| *one == Outcome::Answered);
    let syntax = count(|one| matches!(one, Outcome::Line(_)));
    println_once(&format!(
        "sdp-corpus: {answered} answered, {syntax} refused at a line, {} of no use",
        outcomes.len() - answered - syntax
    ));
    assert!(outcomes.is_empty() || answered >= 9, "{outcomes:?}");
}

fn println_once(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// P01, P11: what browsers offer today is answered.
#[tokio::test(start_paused = true)]
async fn browsers_offers_are_answered() {
    let texts = [("Chromium", CHROMIUM), ("Chromium, simulcast", CHROMIUM_SIMULCAST), ("Firefox", FIREFOX)];
    let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(outcomes(texts.to_vec()).await, [Outcome::Answered; 3]);
}

/// P01 to P14, at the API: one line changed, added or taken away in an offer that is good; what is refused names it.
#[tokio::test(start_paused = true)]
async fn one_bad_line_is_found() {
    let good: Vec<&str> = CHROMIUM.lines().collect();
    let at = |prefix: &str| good.iter().position(|line| line.starts_with(prefix)).unwrap();
    let mut texts = Vec::new();
    let mut expected = Vec::new();
    for (prefix, bad) in [
        ("v=0", "v=1"),
        ("o=", "o=- 1 2"),
        ("t=", "t=a 0"),
        ("a=group:BUNDLE", "a=group:BUNDLE 0 [1"),
        ("m=audio", "m=audio 65536 UDP/TLS/RTP/SAVPF 111"),
        ("c=IN", "c=IN IP9 0.0.0.0"),
        ("a=ice-ufrag:", "a=ice-ufrag:abc"),
        ("a=ice-pwd:", "a=ice-pwd:short"),
        ("a=fingerprint:", "a=fingerprint:sha-256 00:11"),
        ("a=setup:", "a=setup:maybe"),
        ("a=mid:", "a=mid:longer than any mid"),
        ("a=extmap:", "a=extmap:0 urn:x"),
        ("a=msid:", "a=msid:"),
        ("a=rtpmap:", "a=rtpmap:128 opus/48000/2"),
        ("a=rtcp-fb:", "a=rtcp-fb:x nack"),
        ("a=fmtp:", "a=fmtp:x y"),
        ("a=ssrc-group:", "a=ssrc-group:FID 1 1"),
        ("a=ssrc:", "a=ssrc:x cname:y"),
        ("a=sctp-port:", "a=sctp-port:x"),
        ("a=max-message-size:", "a=max-message-size:-1"),
        ("a=rtcp-mux", "a=candidate:1 1 udp 1 203.0.113.1 1 typ moon"),
        ("a=sendrecv", "a=simulcast:send 1 send 2"),
        ("a=rtcp-rsize", "b=AS:-2"),
        ("a=rtcp-mux", "no line at all"),
    ] {
        let line = at(prefix);
        let mut lines = good.clone();
        lines[line] = bad;
        texts.push((bad.to_owned(), lines.join("\r\n")));
        expected.push((bad, Outcome::Line(line as u32 + 1)));
    }
    let got: Vec<_> = expected.iter().map(|(bad, _)| *bad).zip(outcomes(texts).await).collect();
    assert_eq!(got, expected);
    // Taken away, a line is missed by what needs it.
    let without = |prefix: &str| -> (String, String) {
        let kept = good.iter().filter(|line| !line.starts_with(prefix));
        (prefix.to_owned(), kept.fold(String::new(), |text, line| text + line + "\r\n"))
    };
    let missing = ["a=ice-ufrag:", "a=fingerprint:", "a=rtcp-mux"].map(without).to_vec();
    assert!(outcomes(missing).await.iter().all(|outcome| *outcome != Outcome::Answered));
}
