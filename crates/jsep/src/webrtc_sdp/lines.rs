//! From text to numbered lines, and through the `sdp` crate.

use std::io::Cursor;

use super::{MAX_MEDIA_SECTIONS, MAX_SDP_BYTES, SdpParseError};

/// One line of the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'t> {
    /// Counted from 1.
    pub(super) number: usize,
    /// The letter before `=`.
    pub(super) kind: u8,
    /// What stands behind `=`, without white space around it.
    pub(super) value: &'t str,
    /// All of it.
    pub(super) text: &'t str,
}

/// An m-section: its m-line and the lines below it.
#[derive(Debug)]
pub(super) struct Section<'t> {
    pub(super) head: Line<'t>,
    pub(super) lines: Vec<Line<'t>>,
}

/// The text, cut into lines.
#[derive(Debug)]
pub(super) struct Document<'t> {
    pub(super) session: Vec<Line<'t>>,
    pub(super) media: Vec<Section<'t>>,
}

/// The words of an m-line the `sdp` crate knows.
const KNOWN_MEDIA: [&str; 6] = ["audio", "video", "text", "application", "message", "image"];
const KNOWN_PROTOCOLS: [&str; 9] = ["UDP", "RTP", "AVP", "SAVP", "SAVPF", "TLS", "DTLS", "SCTP", "AVPF"];

impl<'t> Document<'t> {
    /// Cuts the text and checks what holds for each line.
    pub(super) fn split(text: &'t str) -> Result<Self, SdpParseError> {
        if text.len() > MAX_SDP_BYTES {
            let reason = format!("{} bytes are more than {MAX_SDP_BYTES}", text.len());
            return Err(SdpParseError::new(1, "", reason));
        }
        let mut document = Self { session: Vec::new(), media: Vec::new() };
        for (index, text) in text.split('\n').enumerate() {
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.trim().is_empty() {
                continue;
            }
            let line = split_line(index + 1, text)?;
            if line.kind == b'm' {
                if document.media.len() == MAX_MEDIA_SECTIONS {
                    let reason = format!("more than {MAX_MEDIA_SECTIONS} m-sections");
                    return Err(SdpParseError::at(&line, reason));
                }
                document.media.push(Section { head: line, lines: Vec::new() });
            } else if let Some(section) = document.media.last_mut() {
                section.lines.push(line);
            } else {
                document.session.push(line);
            }
        }
        Ok(document)
    }

    /// All lines in order.
    fn all(&self) -> impl Iterator<Item = &Line<'t>> {
        let media =
            self.media.iter().flat_map(|section| std::iter::once(&section.head).chain(&section.lines));
        self.session.iter().chain(media)
    }

    /// Lets the `sdp` crate read the lines. Its attributes come in our order, so the n-th `a=` of a section there
    /// is the n-th here.
    pub(super) fn read_lines(&self) -> Result<sdp::SessionDescription, SdpParseError> {
        let mut text = String::new();
        let mut origins = Vec::new();
        for line in self.all() {
            match line.kind {
                // Of no use to WebRTC (RFC 9429 section 5.8.1), or read by us.
                b'i' | b'u' | b'e' | b'p' | b'r' | b'z' | b'k' | b'b' => continue,
                b'm' => text.push_str(&readable_m_line(line)?),
                kind => {
                    text.push(char::from(kind));
                    text.push('=');
                    text.push_str(line.value);
                }
            }
            text.push_str("\r\n");
            origins.push((text.len(), line));
        }
        let mut reader = Cursor::new(text.as_bytes());
        sdp::SessionDescription::unmarshal(&mut reader).map_err(|error| {
            // The reader stands in or right behind the line that was not liked.
            let position = usize::try_from(reader.position()).unwrap_or(usize::MAX).saturating_sub(1);
            let ended = matches!(&error, sdp::Error::SdpInvalidSyntax(text) if text.is_empty());
            match origins.iter().find(|(end, _)| position < *end) {
                Some((_, line)) if !ended => SdpParseError::at(line, reason_of(&error)),
                _ => {
                    let last = self.all().last().map_or(0, |line| line.number);
                    SdpParseError::new(last + 1, "", "the description ends before its t= line")
                }
            }
        })
    }
}

fn split_line(number: usize, text: &str) -> Result<Line<'_>, SdpParseError> {
    let fail = |reason: &'static str| Err(SdpParseError::new(number, text, reason));
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return fail("a control character");
    }
    match text.as_bytes() {
        [kind, b'=', ..] if kind.is_ascii_lowercase() => {
            let value = text.get(2..).unwrap_or_default().trim();
            Ok(Line { number, kind: *kind, value, text })
        }
        _ => fail("not of the form <letter>=<value>"),
    }
}

/// The m-line with words the `sdp` crate knows in the place of those it does not.
fn readable_m_line(line: &Line<'_>) -> Result<String, SdpParseError> {
    let mut fields = line.value.split_whitespace();
    let (Some(media), Some(port), Some(protocol)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(SdpParseError::at(line, "an m-line has media, port, protocol and formats"));
    };
    let media = if KNOWN_MEDIA.contains(&media) { media } else { "application" };
    let known = protocol.split('/').all(|word| KNOWN_PROTOCOLS.contains(&word));
    let protocol = if known { protocol } else { "UDP" };
    let mut readable = format!("m={media} {port} {protocol}");
    let mut formats = fields.peekable();
    // Some peers send no format with a section they refuse.
    if formats.peek().is_none() && port == "0" {
        readable.push_str(" 0");
    }
    for format in formats {
        readable.push(' ');
        readable.push_str(format);
    }
    Ok(readable)
}

fn reason_of(error: &sdp::Error) -> String {
    match error {
        sdp::Error::SdpInvalidSyntax(_) => "not a line that can stand here, or not of its form".to_owned(),
        sdp::Error::SdpInvalidValue(_) => "a value that is not allowed".to_owned(),
        sdp::Error::ParseInt(error) => format!("not a number: {error}"),
        _ => "malformed".to_owned(),
    }
}
