//! Each item of the public API says where it comes from.
//!
//! A type, a function and a constant that the public crate exports names its source: a section of a W3C specification
//! (webrtc-pc by the numbers of its editor's draft, webrtc-stats by the dictionary, since its drafts renumber their
//! sections), an RFC or a draft, or that it is not W3C's.
//! A member (field, variant, method) has the source of its type, unless that is W3C's and no W3C interface or dictionary has
//! a member of that name: then it names its own source, or says that it is not W3C's. A method that can fail says how.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

const W3C: [&str; 5] = [
    "webrtc-pc section",
    "webrtc-extensions section",
    "webrtc-stats, `RTC",
    "mediacapture-main section",
    "WebIDL",
];
const OTHERS: [&str; 4] = ["RFC ", "draft-", "ot W3C's", "libwebrtc"];
/// Methods of any Rust type.
const USUAL: [&str; 9] = ["new", "default", "fmt", "eq", "clone", "drop", "from", "as_str", "parse"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    /// `Type` or `Type::member`.
    path: String,
    doc: String,
    /// It is a function that returns a `Result`.
    fails: bool,
}

const DECLARED: [&str; 8] =
    ["struct ", "enum ", "trait ", "type ", "const ", "fn ", "async fn ", "const fn "];

fn name(rest: &str) -> String {
    rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// Reads a file line by line, as rustfmt leaves them.
#[derive(Default)]
struct Reader<'f> {
    found: Vec<Item>,
    doc: Vec<&'f str>,
    /// The type whose members come, and whether all of them are public.
    within: Option<(String, bool)>,
    /// Of the public function found last, as long as it goes on.
    signature: Option<String>,
}

/// Public items of a file: types, functions, constants, and members of types.
fn items(text: &str) -> Vec<Item> {
    let mut reader = Reader::default();
    for line in text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")) {
        let trimmed = line.trim_start();
        if let Some(text) = trimmed.strip_prefix("///") {
            reader.doc.push(text.trim());
        } else if !trimmed.is_empty() && !trimmed.starts_with("#[") && !trimmed.starts_with(")]") {
            reader.code(line, trimmed);
            reader.doc.clear();
        }
    }
    reader.found
}

impl Reader<'_> {
    fn code(&mut self, line: &str, trimmed: &str) {
        match line.len() - trimmed.len() {
            0 => self.outer(line),
            4 => self.member(trimmed),
            _ => {}
        }
        // A signature may take several lines.
        if trimmed.starts_with("fn ") || (trimmed.starts_with("pub") && trimmed.contains("fn ")) {
            self.signature = trimmed.starts_with("pub ").then(String::new);
        }
        if let (Some(signature), Some(last)) = (&mut self.signature, self.found.last_mut()) {
            signature.push_str(trimmed);
            last.fails |= signature.contains("-> Result<");
            if line.ends_with(['{', ';', '}']) {
                self.signature = None;
            }
        }
    }

    fn outer(&mut self, line: &str) {
        let declared = line
            .strip_prefix("pub ")
            .and_then(|rest| DECLARED.iter().find_map(|kind| Some((*kind, name(rest.strip_prefix(kind)?)))));
        let implemented = line.strip_prefix("impl ").filter(|rest| !rest.contains(" for "));
        self.within = None;
        if let Some((kind, name)) = declared {
            self.push(name.clone());
            let members = line.ends_with('{') && matches!(kind, "struct " | "enum " | "trait ");
            self.within = members.then_some((name, kind != "struct "));
        } else if let Some(rest) = implemented {
            self.within = Some((name(rest), false));
        }
    }

    fn member(&mut self, trimmed: &str) {
        let Some((owner, all)) = &self.within else { return };
        let member = match trimmed.strip_prefix("pub ") {
            Some(rest) => name(DECLARED.iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or(rest)),
            None if *all && !trimmed.starts_with("pub(") => name(trimmed),
            None => return,
        };
        if !member.is_empty() {
            self.push(format!("{owner}::{member}"));
        }
    }

    fn push(&mut self, path: String) {
        self.found.push(Item { path, doc: self.doc.join(" "), fails: false });
    }
}

/// The names that the public crate exports, with the folder of the crate that has each.
fn exported(lib: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for statement in lib.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next()) {
        let (from, list) = statement.rsplit_once("::").unwrap_or((statement, ""));
        let other = from.split("::").next().and_then(|first| first.strip_prefix("peerstack_"));
        let folder = other.unwrap_or("peer_connection");
        for name in
            list.trim_matches(['{', '}', ' ', '\n']).split(',').map(str::trim).filter(|name| !name.is_empty())
        {
            names.push((folder.to_owned(), name.split(" as ").next().unwrap_or(name).to_owned()));
        }
    }
    names
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    into.sort();
    Ok(())
}

fn of_crate(folder: &str) -> io::Result<Vec<Item>> {
    let (mut paths, mut found) = (Vec::new(), Vec::new());
    files(&root().join("crates").join(folder).join("src"), &mut paths)?;
    let root = root();
    let is_test = |path: &&PathBuf| {
        path.strip_prefix(&root).is_ok_and(|inside| inside.to_string_lossy().contains("test"))
    };
    for path in paths.iter().filter(|path| !is_test(path)) {
        found.extend(items(&fs::read_to_string(path)?));
    }
    Ok(found)
}

fn has(doc: &str, sources: &[&str]) -> bool {
    sources.iter().any(|source| doc.contains(source))
}

/// `local_description` is `localDescription`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut all, word| {
        let mut letters = word.chars();
        all.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        all + letters.as_str()
    })
}

/// What is wrong with the items of one type or function.
fn wrong(items: &[&Item], w3c: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    let Some(own) = items.iter().find(|item| !item.path.contains("::")) else { return problems };
    if !has(&own.doc, &W3C) && !has(&own.doc, &OTHERS) {
        problems.push(format!("{} names no source", own.path));
    }
    for item in items {
        let Some((_, member)) = item.path.split_once("::") else { continue };
        let name = camel(member);
        let known = |name: &str| w3c.iter().any(|known| known.eq_ignore_ascii_case(name));
        // Setters of attributes, and builders of dictionaries.
        let set = member.strip_prefix("set_").or_else(|| member.strip_prefix("with_"));
        let set = set.is_some_and(|rest| known(&camel(rest)));
        let evident = USUAL.contains(&member)
            || set
            || known(&name)
            || known(&format!("get{name}"))
            || known(&format!("on{name}"));
        let of_w3c = has(&own.doc, &W3C) && !own.doc.contains("ot W3C's");
        if of_w3c && !evident && !has(&item.doc, &W3C) && !has(&item.doc, &OTHERS) {
            problems.push(format!("{} has no name of W3C's and names no source", item.path));
        }
        if item.fails && !item.doc.contains("# Errors") {
            problems.push(format!("{} says nothing of its errors", item.path));
        }
    }
    problems
}

#[test]
fn each_public_item_says_where_it_comes_from() {
    let lib = fs::read_to_string(root().join("crates/peer_connection/src/lib.rs")).unwrap();
    let members =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/w3c_members.txt")).unwrap();
    let members: Vec<&str> =
        members.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    let folders = ["peer_connection", "p2p", "dtls", "sctp", "jsep", "rtp_transport", "media", "base"];
    let all: BTreeMap<&str, Vec<Item>> =
        folders.iter().map(|folder| (*folder, of_crate(folder).unwrap())).collect();
    let exported = exported(&lib);
    assert!(exported.len() > 80, "{exported:?}");
    let mut problems = Vec::new();
    for (folder, name) in exported.into_iter().filter(|(_, name)| name != "base") {
        // What a file of ours exports again is in a crate below.
        let has = |folder: &&str| all[*folder].iter().any(|item| item.path == name);
        let Some(folder) = std::iter::once(folder.as_str()).chain(folders).find(has) else {
            problems.push(format!("{name} was not found"));
            continue;
        };
        let own = all[folder].iter().filter(|item| item.path.split("::").next() == Some(name.as_str()));
        problems.extend(wrong(&own.collect::<Vec<_>>(), &members));
    }
    assert!(problems.is_empty(), "{} items:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn what_names_no_source_is_noticed() {
    let text = "\
/// A thing (webrtc-pc section 1).
#[derive(Debug)]
pub struct Thing {
    /// Evident.
    pub mid: String,
    /// Strange.
    pub strange: u8,
    hidden: u8,
}

impl Thing {
    /// Not W3C's.
    pub fn other(
        &self,
    ) -> Result<(), Error> {
    }

    /// Got.
    pub async fn stats(&self) -> Option<u8> {
        None
    }

    fn private(&self) {}
}

/// Says nothing.
pub enum Word {
    /// One.
    One,
}

/// RFC 1.
pub fn free() -> Result<(), Error> {}
";
    let all = items(text);
    let paths: Vec<&str> = all.iter().map(|item| item.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "Thing",
            "Thing::mid",
            "Thing::strange",
            "Thing::other",
            "Thing::stats",
            "Word",
            "Word::One",
            "free"
        ]
    );
    let of = |name: &str| -> Vec<String> {
        let own: Vec<&Item> = all.iter().filter(|item| item.path.split("::").next() == Some(name)).collect();
        wrong(&own, &["mid", "getStats"])
    };
    assert_eq!(
        of("Thing"),
        [
            "Thing::strange has no name of W3C's and names no source",
            "Thing::other says nothing of its errors"
        ]
    );
    assert_eq!(of("Word"), ["Word names no source"]);
    assert!(of("free").is_empty());
    assert_eq!(
        exported("pub use a::{B, C};\npub use peerstack_dtls::D as E;"),
        [("peer_connection", "B"), ("peer_connection", "C"), ("dtls", "D")]
            .map(|(folder, name)| (folder.to_owned(), name.to_owned()))
    );
}
