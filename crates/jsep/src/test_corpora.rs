//! Public corpora of descriptions, where they are present (`PEERSTACK_CORPORA`, or `../shared/corpora` beside the
//! checkout), for tests of this crate and, by `#[path]`, of those above.

use std::path::PathBuf;

/// The files of a corpus, each with its name in it, in order.
pub(crate) fn corpus(name: &str) -> Vec<(String, String)> {
    let root = std::env::var_os("PEERSTACK_CORPORA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora")),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(root.join(name)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        (format!("{name}/{file}"), String::from_utf8_lossy(&bytes).into_owned())
    };
    paths.into_iter().map(read).collect()
}

/// What an excerpt gets in front of it.
const SESSION_LEVEL: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

/// The descriptions in a block of an RFC as they would be on the wire: indentation and prose gone, folded lines joined;
/// an excerpt gets a session level.
pub(crate) fn unfold(text: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        let is_line = line.as_bytes().get(1) == Some(&b'=');
        match texts.last_mut() {
            _ if line == "v=0" => texts.push("v=0".to_owned()),
            None if is_line => texts.push(format!("{SESSION_LEVEL}{line}")),
            Some(text) if is_line => text.extend(["\r\n", line]),
            Some(text) if text.ends_with(':') => text.push_str(line),
            Some(text) if text.ends_with("sha-256") || line.starts_with("raddr") => text.extend([" ", line]),
            _ => {}
        }
    }
    texts
}
