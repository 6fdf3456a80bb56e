//! `application/trickle-ice-sdpfrag` (RFC 8840 section 9): the candidates of a PATCH.

use peerstack::IceCandidateInit;

/// The candidates of a fragment, each with its section and generation; an empty one where the fragment tells the end.
pub(crate) fn candidates(fragment: &str) -> Vec<IceCandidateInit> {
    let (mut mid, mut ufrag, mut found) = (None, None, Vec::new());
    let mut add = |candidate: &str, mid: &Option<String>, ufrag: &Option<String>| {
        found.push(IceCandidateInit {
            candidate: candidate.to_owned(),
            sdp_mid: mid.clone(),
            username_fragment: ufrag.clone(),
            ..IceCandidateInit::default()
        });
    };
    for line in fragment.lines() {
        let Some((name, value)) =
            line.strip_prefix("a=").map(|line| line.split_once(':').unwrap_or((line, "")))
        else {
            continue;
        };
        match name {
            "mid" => mid = Some(value.to_owned()),
            "ice-ufrag" => ufrag = Some(value.to_owned()),
            "candidate" => add(&line[2..], &mid, &ufrag),
            "end-of-candidates" => add("", &mid, &ufrag),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_names_section_and_generation_of_its_candidates() {
        let fragment = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
                        a=candidate:1 1 UDP 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
        let found = candidates(fragment);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].candidate, "candidate:1 1 UDP 2122260223 192.0.2.1 61764 typ host");
        assert_eq!(found[0].sdp_mid.as_deref(), Some("0"));
        assert_eq!(found[1].username_fragment.as_deref(), Some("EsAw"));
        assert_eq!(found[1].candidate, "");
        assert!(candidates("v=0\r\nnonsense\r\na=\r\n").is_empty());
    }
}
