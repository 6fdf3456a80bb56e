//! The short names that packets carry: MID and RID. Answers to libwebrtc's `BaseRtpStringExtension`.

use std::fmt;

/// A MID or RID as a header extension carries it: 1 to 16 bytes. Copied, never allocated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    bytes: [u8; 16],
    len: u8,
}

impl StreamId {
    /// The longest there is (libwebrtc `kMaxValueSizeBytes`; T16).
    pub const MAX_LEN: usize = 16;
    /// Bounds of all there are, for ranges of ordered maps.
    pub(crate) const LOWEST: Self = Self { bytes: [0; 16], len: 0 };
    pub(crate) const HIGHEST: Self = Self { bytes: [0xFF; 16], len: u8::MAX };

    /// From the text of SDP; `None` if it is empty, longer than 16 bytes, or holds what the grammar of a token
    /// (RFC 4566 section 9) does not.
    pub fn new(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes())
    }

    /// From the value of a header extension. Zeros behind the text are padding, as libwebrtc reads it.
    pub fn from_extension(value: &[u8]) -> Option<Self> {
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        Self::from_bytes(value.get(..end)?)
    }

    fn from_bytes(text: &[u8]) -> Option<Self> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        // Visible ASCII: what a packet claims ends up in logs and look-ups.
        if !fits || !text.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        Some(Self { bytes, len: text.len() as u8 })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Its bytes, as a header extension carries them.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T16: longer than 16 bytes is refused.
    #[test]
    fn one_to_sixteen_visible_bytes() {
        assert_eq!(StreamId::new("audio").unwrap().as_str(), "audio");
        assert!(StreamId::new("").is_none());
        assert!(StreamId::new("0123456789abcdef").is_some());
        assert!(StreamId::new("0123456789abcdefg").is_none());
        assert!(StreamId::new("a b").is_none());
        assert_eq!(StreamId::from_extension(b"0\0\0").unwrap(), StreamId::new("0").unwrap());
        assert!(StreamId::from_extension(b"\0").is_none());
        assert!(StreamId::from_extension(&[0xFF]).is_none());
    }
}
