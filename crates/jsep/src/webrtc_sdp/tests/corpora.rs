//! Public corpora, where they are present: every text parses, or is rejected with line and reason.

use super::*;
use crate::test_corpora::{corpus, unfold};

/// Parses and writes again, or checks the error. Returns whether it parsed.
fn check(name: &str, text: &str) -> bool {
    match parse(text) {
        Ok(description) => {
            let again = serialize(&description);
            assert_eq!(serialize(&parse(&again).unwrap()), again, "{name}");
            true
        }
        Err(error) => {
            assert!(error.line_number > 0 && !error.reason.is_empty(), "{name}: {error}");
            false
        }
    }
}

/// P01: the descriptions of RFC 9429 section 7 and of RFC 9143; excerpts get a session level in front.
#[test]
fn descriptions_of_rfcs() {
    for name in ["sdp-jsep", "sdp-bundle"] {
        for (name, text) in corpus(name) {
            for text in unfold(&text) {
                if let Err(error) = parse(&text) {
                    panic!("{name}: {error}\n{text}");
                }
                check(&name, &text);
            }
        }
    }
}

/// P01: texts of other parsers' tests.
#[test]
fn descriptions_of_others() {
    let corpus = corpus("sdp-corpus");
    let parsed = corpus.iter().filter(|(name, text)| check(name, text)).count();
    assert!(corpus.is_empty() || parsed * 10 > corpus.len() * 8, "{parsed} of {}", corpus.len());
}
