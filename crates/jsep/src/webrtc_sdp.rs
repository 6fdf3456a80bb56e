//! The text of a session description: [`parse`] and [`serialize`].
//!
//! Pure functions, called by the signaling task. RFC 8866 with the attributes of RFC 9429 section 5.8. Answers to
//! libwebrtc's `api/webrtc_sdp.cc`. The `sdp` crate reads and writes the lines; where its grammar is narrower
//! than what browsers exchange (media and protocol words it does not know, signed or huge bandwidths), the line
//! is read here and does not reach it. None of its types leave this module.

mod attributes;
mod lines;
mod media;
mod serialize;
mod session;
mod simulcast;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use thiserror::Error;

use crate::session_description::SessionDescription;
use lines::{Document, Line};

pub use serialize::serialize;

/// The longest text [`parse`] looks at, in bytes: less than 1 MiB.
pub const MAX_SDP_BYTES: usize = (1 << 20) - 1;

/// The most m-sections [`parse`] takes.
pub const MAX_MEDIA_SECTIONS: usize = 512;

/// How much of an offending line an error repeats, in characters.
const MAX_QUOTED_CHARS: usize = 160;

/// Why a text is not a session description we can use.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("line {line_number}: {reason}: {line:?}")]
pub struct SdpParseError {
    /// Counted from 1; the line after the last one if the text ends too early.
    pub line_number: usize,
    /// The line, shortened; without the secret if it holds one.
    pub line: String,
    /// What is wrong with it.
    pub reason: Cow<'static, str>,
}

impl SdpParseError {
    fn at(line: &Line<'_>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(line.number, line.text, reason)
    }

    fn new(line_number: usize, text: &str, reason: impl Into<Cow<'static, str>>) -> Self {
        // Passwords and SDES keys go into nobody's log.
        let secret = ["a=ice-pwd:", "a=crypto:", "k="].iter().find(|prefix| text.starts_with(**prefix));
        let line = match secret {
            Some(prefix) => format!("{prefix}..."),
            None => text.chars().take(MAX_QUOTED_CHARS).collect(),
        };
        Self { line_number, line, reason: reason.into() }
    }
}

/// Reads a session description (RFC 8866, RFC 9429 section 5.8). Lines may end in CRLF or LF, the last one in
/// nothing. Attributes of the session level are inherited by the m-sections. Attributes that are not known are
/// ignored; m-sections that are not known are kept as rejected ones.
///
/// What only the exchange can tell (whether a mid existed, whether an answer fits its offer) is not looked at.
///
/// # Errors
/// The first line that is wrong, and why. Texts beyond [`MAX_SDP_BYTES`] or [`MAX_MEDIA_SECTIONS`] are refused
/// before they are read.
pub fn parse(text: &str) -> Result<SessionDescription, SdpParseError> {
    let document = Document::split(text)?;
    let description = document.read_lines()?;
    session::build(&document, &description)
}

/// Whether a text can be a mid.
pub(crate) fn check_mid(mid: &str) -> Result<(), Cow<'static, str>> {
    attributes::mid(mid).map(|_| ())
}
