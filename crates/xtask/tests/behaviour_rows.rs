//! docs/behaviours.md against the tests it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The sections of the checklist in their order, 1 to 14, by the letter of their rows, and the number of the last: the NAT
/// matrix, timers and limits, gathering, checks, selection, TURN; DTLS, SRTP and the RTP transport; JSEP transports; offer
/// and answer; ICE at the PeerConnection; transceivers; data channels; SDP; statistics.
const SECTIONS: [(char, u32); 14] = [
    ('N', 9),
    ('T', 20),
    ('G', 40),
    ('C', 32),
    ('S', 25),
    ('U', 18),
    ('D', 25),
    ('J', 23),
    ('O', 34),
    ('I', 14),
    ('R', 19),
    ('K', 28),
    ('P', 14),
    ('Q', 7),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The id, the statement and the cell that says where it is shown, of each row that has an id.
fn rows(text: &str) -> Vec<[&str; 3]> {
    text.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.splitn(3, '|').map(str::trim);
            let row = [cells.next()?, cells.next()?, cells.next()?];
            let digits = row[0].trim_start_matches(|letter: char| letter.is_ascii_uppercase());
            let has_id = digits.len() < row[0].len() && digits.len() >= 2;
            (has_id && digits.chars().all(|digit| digit.is_ascii_digit())).then_some(row)
        })
        .collect()
}

/// What is wrong with a Rust file as the place that shows row `id` by the test `name`.
fn wrong(file: &str, name: &str, id: &str) -> Option<String> {
    let lines: Vec<&str> = file.lines().collect();
    let is_function = |line: &&str| {
        let line = line.trim_start().trim_start_matches("async ");
        line.strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    let Some(at) = lines.iter().position(is_function) else {
        return Some(format!("there is no function {name}"));
    };
    let above = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("#[") || line.starts_with(['"', ')', ']'])
    };
    let head: Vec<&str> = lines.get(..at)?.iter().rev().take_while(above).copied().collect();
    if !head.iter().any(|line| line.trim_start().starts_with("#[") && line.contains("test")) {
        return Some(format!("{name} is not a test"));
    }
    let named =
        head.iter().any(|line| line.trim_start().strip_prefix("///").is_some_and(|text| text.contains(id)));
    (!named).then(|| format!("the doc comment of {name} does not name {id}"))
}

#[test]
fn every_row_is_shown_or_says_why_not() {
    let text = fs::read_to_string(root().join("docs/behaviours.md")).unwrap();
    let (mut ids, mut problems) = (BTreeSet::new(), Vec::new());
    for [id, statement, shown] in rows(&text) {
        if !ids.insert(id) {
            problems.push(format!("{id} stands twice"));
        }
        if statement.is_empty() || shown.is_empty() {
            problems.push(format!("{id} has an empty cell"));
        }
        if let Some(reason) = shown.strip_prefix("not:") {
            if reason.trim().is_empty() {
                problems.push(format!("{id} says no reason"));
            }
            continue;
        }
        for place in shown.split("<br>") {
            let Some((path, name)) = place.trim().split_once(": ") else {
                problems.push(format!("{id}: {place:?} is not a file, a colon and a test"));
                continue;
            };
            let problem = match fs::read_to_string(root().join(path)) {
                Err(error) => Some(error.to_string()),
                Ok(file) if path.ends_with(".rs") => wrong(&file, name, id),
                Ok(file) => (!file.contains(name)).then(|| format!("does not contain {name:?}")),
            };
            problems.extend(problem.map(|problem| format!("{id}: {path}: {problem}")));
        }
    }
    let rows = |(letter, last): (char, u32)| (1..=last).map(move |number| format!("{letter}{number:02}"));
    let demanded: BTreeSet<String> = SECTIONS.into_iter().flat_map(rows).collect();
    problems
        .extend(demanded.iter().filter(|id| !ids.contains(id.as_str())).map(|id| format!("{id} is missing")));
    let unknown = ids.iter().filter(|id| !demanded.contains(**id));
    problems.extend(unknown.map(|id| format!("{id} is of no section")));
    assert!(problems.is_empty(), "docs/behaviours.md:\n{}", problems.join("\n"));
}

/// The ids that a line of the table "Left out, and why" gives a reason for.
fn left_out(map: &str) -> BTreeSet<&str> {
    let table = map.split("\n## ").find(|section| section.starts_with("Left out")).unwrap_or_default();
    let lines = table.lines().filter_map(|line| {
        let (what, why) = line.strip_prefix('|')?.strip_suffix('|')?.split_once('|')?;
        (!why.trim().is_empty()).then_some(what)
    });
    lines.flat_map(|what| what.split(|letter: char| !letter.is_ascii_alphanumeric())).collect()
}

#[test]
fn every_row_is_shown_or_left_out_for_a_reason() {
    let text = fs::read_to_string(root().join("docs/behaviours.md")).unwrap();
    let map = fs::read_to_string(root().join("docs/libwebrtc-map.md")).unwrap();
    let reasons = left_out(&map);
    let open: Vec<&str> = rows(&text)
        .into_iter()
        .filter(|[id, _, shown]| shown.starts_with("not:") && !reasons.contains(id))
        .map(|[id, _, _]| id)
        .collect();
    assert!(open.is_empty(), "neither shown nor left out in docs/libwebrtc-map.md: {open:?}");
}

#[test]
fn a_reason_is_a_cell_of_its_own() {
    let map = "# A\n| X09 | b |\n## Left out, and why\n\n| a | b |\n|---|---|\n| X01, X02: so | why |\n| X03 | |\n## B";
    let reasons = left_out(map);
    assert!(reasons.contains("X01") && reasons.contains("X02"));
    assert!(!reasons.contains("X03") && !reasons.contains("X09"));
}

#[test]
fn what_is_not_shown_is_noticed() {
    let file = "/// X01: so.\n#[test]\nfn shown() {}\n\n/// X02\nfn helper() {}\n";
    assert_eq!(wrong(file, "shown", "X01"), None);
    assert!(wrong(file, "shown", "X02").is_some_and(|why| why.contains("does not name")));
    assert!(wrong(file, "helper", "X02").is_some_and(|why| why.contains("not a test")));
    assert!(wrong(file, "show", "X01").is_some_and(|why| why.contains("no function")));
    assert_eq!(rows("| X01 | a | b |\n|---|---|---|\n| id | a | b |"), [["X01", "a", "b"]]);
}
