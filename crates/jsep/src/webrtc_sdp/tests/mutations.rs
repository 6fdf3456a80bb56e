//! Crafted input: nothing panics, whatever it is.

use peerstack_base::Random;

use super::*;

const TOKENS: [&str; 24] = [
    "a=",
    "m=",
    "\r\n",
    "\n",
    ":",
    "/",
    ";",
    ",",
    "=",
    " ",
    "-1",
    "0",
    "255",
    "65536",
    "4294967296",
    "*",
    "~",
    "é",
    "\u{0}",
    "a=mid:",
    "a=simulcast:",
    "a=candidate:",
    "m=application 9 DTLS/SCTP ",
    "18446744073709551616",
];

/// Lines of the session level, the m-line among them, and of the rest, that a text is made of.
const KEPT_LINES: usize = 10;
const TAKEN_LINES: usize = 12;

/// One small change, anywhere.
fn mutate(random: &mut Random, text: &mut String) {
    let place = |random: &mut Random, text: &str| {
        let mut at = random.below(text.len() as u64 + 1) as usize;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (first, second) = (place(random, text), place(random, text));
    let (start, end) = (first.min(second), first.max(second));
    match random.below(6) {
        0 => text.insert_str(start, TOKENS[random.below(TOKENS.len() as u64) as usize]),
        1 => drop(text.drain(start..end.min(start + 24).max(start)).count()),
        2 => {
            // A line again, elsewhere.
            let lines: Vec<&str> = text.lines().collect();
            let line = lines[random.below(lines.len() as u64) as usize].to_owned() + "\r\n";
            let at = text[..start].rfind('\n').map_or(0, |at| at + 1);
            text.insert_str(at, &line);
        }
        3 => {
            // A line less.
            let at = text[..start].rfind('\n').map_or(0, |at| at + 1);
            let end = text[at..].find('\n').map_or(text.len(), |end| at + end + 1);
            text.replace_range(at..end, "");
        }
        4 => {
            let c = char::from(random.below(128) as u8);
            text.insert(start, c);
        }
        _ => text.truncate(text.len() - (end - start) / 16),
    }
}

/// P01 and all rows below it: 100,000 crafted texts give a description that can be written and read again, or an
/// error with a line.
#[test]
fn crafted_texts_never_panic() {
    let mut random = Random::from_seed(0x5d9);
    let seeds: Vec<Vec<&str>> = test_sdp::ALL
        .iter()
        .flat_map(|text| {
            // One section at a time behind the session level: short texts are many texts a second.
            let lines: Vec<&str> = text.lines().collect();
            let heads = lines.iter().enumerate().filter(|(_, line)| line.starts_with("m="));
            let heads: Vec<usize> = heads.map(|(index, _)| index).chain([lines.len()]).collect();
            let section = |pair: &[usize]| [&lines[..heads[0]], &lines[pair[0]..pair[1]]].concat();
            heads.windows(2).map(section).collect::<Vec<_>>()
        })
        .collect();
    let (mut taken, mut refused) = (0, 0);
    for round in 0..100_000_usize {
        // Most of a long section says the same again and again: some of it will do.
        let lines = &seeds[round % seeds.len()];
        let (head, body) = lines.split_at(KEPT_LINES.min(lines.len()));
        let start = random.below(body.len().saturating_sub(TAKEN_LINES) as u64 + 1) as usize;
        let body = &body[start..body.len().min(start + TAKEN_LINES)];
        let mut text = [head, body].concat().join("\r\n");
        for _ in 0..=random.below(3) {
            if text.is_empty() {
                break;
            }
            mutate(&mut random, &mut text);
        }
        match parse(&text) {
            Ok(description) => {
                taken += 1;
                if round % 16 == 0 {
                    let again = serialize(&description);
                    let description = parse(&again).unwrap();
                    assert_eq!(serialize(&description), again, "{text}");
                }
            }
            Err(error) => {
                refused += 1;
                assert!(error.line_number > 0, "{text}");
            }
        }
    }
    assert!(taken > 10_000 && refused > 10_000, "{taken} taken, {refused} refused");
}
