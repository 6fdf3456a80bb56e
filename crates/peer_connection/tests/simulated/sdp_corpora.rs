//! Descriptions of others: each is taken and answered, or refused with the line and the reason. Public corpora are read
//! where they are present (`PEERSTACK_CORPORA`, or `../shared/corpora` beside the checkout); our own blocks always.

use std::fmt;

#[path = "../../../jsep/src/test_corpora.rs"]
mod test_corpora;

use peerstack_peer_connection::{
    Configuration, PeerConnection, RtcErrorDetail, RtcErrorKind, SessionDescription, SignalingState,
};

use self::test_corpora::{corpus, unfold};
use crate::harness::{dependencies, ms, two_hosts};

const CHROMIUM: &str = include_str!("../../../jsep/src/test_sdp/chromium_offer.sdp");
const CHROMIUM_SIMULCAST: &str = include_str!("../../../jsep/src/test_sdp/chromium_simulcast_offer.sdp");
const FIREFOX: &str = include_str!("../../../jsep/src/test_sdp/firefox_offer.sdp");
const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

/// What became of a text that a peer says is its offer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// So many of its sections are taken.
    Answered(usize, usize),
    /// It does not parse, at this line, and why.
    Line(u32, String),
    /// It parses, and cannot be taken by this connection.
    Unusable(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(taken, all) => write!(f, "answered, {taken} of {all} sections taken"),
            Self::Line(_, why) | Self::Unusable(why) => f.write_str(why),
        }
    }
}

async fn offered(pc: &PeerConnection, name: &str, text: &str) -> Outcome {
    let result = pc.set_remote_description(SessionDescription::offer(text)).await;
    let Err(error) = result else {
        let answer = pc.create_answer().await.unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        let sections = |sdp: &str| sdp.lines().filter(|line| line.starts_with("m=")).count();
        let all = sections(text);
        assert_eq!(sections(&answer.sdp), all, "{name}");
        let lines = answer.sdp.lines().filter_map(|line| line.strip_prefix("m="));
        let taken = lines.filter(|line| line.split(' ').nth(1) != Some("0")).count();
        pc.set_local_description(answer).await.unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        assert_eq!(pc.signaling_state(), SignalingState::Stable);
        return Outcome::Answered(taken, all);
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
            Outcome::Line(line_number, error.message)
        }
        _ => {
            assert_eq!(error.kind, RtcErrorKind::InvalidAccessError, "{name}: {error}");
            // Which section, where one is to blame.
            assert!(
                error.message.contains("m-section") || error.message.contains("group"),
                "{name}: {error}"
            );
            Outcome::Unusable(error.message)
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

/// What a WebRTC peer's description has, and an excerpt, or a text that was stripped for publication, lacks: put in, each
/// where the text has none.
fn completed(text: &str) -> String {
    const TRANSPORT: [(&str, &str); 4] = [
        ("a=ice-ufrag:", "a=ice-ufrag:9uB6\r\n"),
        ("a=ice-pwd:", "a=ice-pwd:0123456789abcdefghijklmn\r\n"),
        (
            "a=fingerprint:",
            "a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:\
             00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n",
        ),
        ("a=setup:", "a=setup:actpass\r\n"),
    ];
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("m=") || parts.is_empty() {
            parts.push(String::new());
        }
        // One that was cut down is as good as none.
        let is_cut = line.strip_prefix("a=ice-pwd:").is_some_and(|password| password.len() < 22);
        if let Some(part) = parts.last_mut().filter(|_| !is_cut) {
            part.extend([line, "\r\n"]);
        }
    }
    let session = parts.first().cloned().unwrap_or_default();
    for part in parts.iter_mut().filter(|part| part.starts_with("m=")) {
        for (name, line) in TRANSPORT {
            if !part.contains(name) && !session.contains(name) {
                part.push_str(line);
            }
        }
        let is_rtp = part.starts_with("m=audio") || part.starts_with("m=video");
        if is_rtp && !part.contains("a=rtcp-mux") {
            part.push_str("a=rtcp-mux\r\n");
        }
    }
    let session_level = if session.starts_with("m=") { HEAD } else { "" };
    session_level.to_owned() + &parts.concat()
}

/// P01, P02: the descriptions of RFC 9429 and RFC 9143, whole ones and excerpts, and texts of other parsers' tests, among
/// them what browsers and telephones of ten years offer: as they are, and with what a WebRTC peer's has put in. What
/// becomes of each stands beside this file; there is nothing that a browser would take and this connection does not.
#[tokio::test(start_paused = true)]
async fn descriptions_of_others_are_answered_or_refused_with_a_reason() {
    let mut texts: Vec<(String, String)> = Vec::new();
    for name in ["sdp-jsep", "sdp-bundle"] {
        for (name, text) in corpus(name) {
            let blocks = unfold(&text).into_iter().enumerate();
            texts.extend(blocks.map(|(index, text)| (format!("{name}#{index}"), text)));
        }
    }
    texts.extend(corpus("sdp-corpus"));
    if texts.is_empty() {
        return;
    }
    let as_they_are = outcomes(texts.clone()).await;
    let with_transport = texts.iter().map(|(name, text)| (name.clone(), completed(text))).collect();
    let with_transport = outcomes(with_transport).await;
    let mut rows = String::new();
    for (((name, _), as_it_is), completed) in texts.iter().zip(&as_they_are).zip(&with_transport) {
        // Each line of an RFC is understood; excerpts lack what a connection needs.
        assert!(
            name.starts_with("sdp-corpus") || !matches!(as_it_is, Outcome::Line(..)),
            "{name}: {as_it_is}"
        );
        rows += &format!("{name} | {as_it_is}\n");
        if as_it_is != completed {
            rows += &format!("{name} completed | {completed}\n");
        }
    }
    let expected: String = include_str!("sdp_corpora.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n");
    assert!(rows == expected, "what becomes of them now:\n{rows}");
}

/// P01, P11: what browsers offer today is answered.
#[tokio::test(start_paused = true)]
async fn browsers_offers_are_answered() {
    let texts = [("Chromium", CHROMIUM), ("Chromium, simulcast", CHROMIUM_SIMULCAST), ("Firefox", FIREFOX)];
    let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let answered = |one: Outcome| matches!(one, Outcome::Answered(taken, all) if taken == all);
    assert!(outcomes(texts.to_vec()).await.into_iter().all(answered));
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
        expected.push((bad, Some(line as u32 + 1)));
    }
    let at_line = |outcome: Outcome| match outcome {
        Outcome::Line(line, _) => Some(line),
        _ => None,
    };
    let got = outcomes(texts).await.into_iter().map(at_line);
    let got: Vec<_> = expected.iter().map(|(bad, _)| *bad).zip(got).collect();
    assert_eq!(got, expected);
    // Taken away, a line is missed by what needs it.
    let without = |prefix: &str| -> (String, String) {
        let kept = good.iter().filter(|line| !line.starts_with(prefix));
        (prefix.to_owned(), kept.fold(String::new(), |text, line| text + line + "\r\n"))
    };
    let missing = ["a=ice-ufrag:", "a=fingerprint:", "a=rtcp-mux"].map(without).to_vec();
    assert!(outcomes(missing).await.iter().all(|outcome| !matches!(outcome, Outcome::Answered(..))));
}
