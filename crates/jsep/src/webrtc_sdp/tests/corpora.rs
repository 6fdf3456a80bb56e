//! Public corpora, where they are present: every text parses, or is rejected with line and reason.

use std::path::PathBuf;

use super::*;

fn corpus(name: &str) -> Vec<(PathBuf, String)> {
    let root = std::env::var_os("PEERSTACK_CORPORA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora")),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(root.join(name)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_default();
        (path, String::from_utf8_lossy(&bytes).into_owned())
    };
    paths.into_iter().map(read).collect()
}

/// The descriptions in a block of an RFC as they would be on the wire: indentation and headings gone, folded lines
/// joined. An excerpt gets a session level in front.
fn unfold(text: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some(text) = texts.last_mut().filter(|_| line != "v=0") else {
            if line == "v=0" {
                texts.push("v=0".to_owned());
            } else if line.as_bytes().get(1) == Some(&b'=') {
                texts.push(format!("{HEAD}{line}"));
            }
            continue;
        };
        let folded = text.ends_with(':') || text.ends_with("sha-256") || line.starts_with("raddr");
        if line.as_bytes().get(1) == Some(&b'=') {
            text.push_str("\r\n");
            text.push_str(line);
        } else if folded {
            text.push_str(if text.ends_with(':') { "" } else { " " });
            text.push_str(line);
        }
    }
    texts
}

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
        for (path, text) in corpus(name) {
            let name = path.display().to_string();
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
    let parsed = corpus.iter().filter(|(path, text)| check(&path.display().to_string(), text)).count();
    assert!(corpus.is_empty() || parsed * 10 > corpus.len() * 8, "{parsed} of {}", corpus.len());
}
