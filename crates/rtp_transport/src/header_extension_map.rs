//! Which local identifier stands for which RTP header extension (RFC 8285 section 5). Runs on the network task;
//! answers to libwebrtc's `modules/rtp_rtcp/include/rtp_header_extension_map.h`.

use thiserror::Error;

macro_rules! extension_types {
    ($($(#[$doc:meta])* $name:ident = $uri:literal,)*) => {
        /// Header extensions this engine knows by name; the others are kept by their URI.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum RtpExtensionType {
            $($(#[$doc])* $name,)*
        }

        impl RtpExtensionType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The URI of the extmap attribute.
            pub fn uri(self) -> &'static str {
                match self { $(Self::$name => $uri,)* }
            }
        }
    };
}

extension_types! {
    /// Media section's identification tag (RFC 9143 section 15).
    Mid = "urn:ietf:params:rtp-hdrext:sdes:mid",
    /// RID of an encoding (RFC 8852 section 3.1).
    RtpStreamId = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    /// RID of the encoding that a retransmission repairs (RFC 8852 section 3.2).
    RepairedRtpStreamId = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    /// Client-to-mixer audio level (RFC 6464).
    AudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    /// Mixer-to-client audio level (RFC 6465).
    CsrcAudioLevel = "urn:ietf:params:rtp-hdrext:csrc-audio-level",
    /// Absolute send time.
    AbsoluteSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    /// Absolute capture time.
    AbsoluteCaptureTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    /// Transport-wide sequence number.
    TransportSequenceNumber =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    /// Transport-wide sequence number with feedback on request.
    TransportSequenceNumberV2 = "http://www.webrtc.org/experiments/rtp-hdrext/transport-wide-cc-02",
    /// Dependency descriptor of AV1's RTP payload format.
    DependencyDescriptor =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    /// Coordination of video orientation (3GPP TS 26.114).
    VideoOrientation = "urn:3gpp:video-orientation",
    /// Transmission time offset (RFC 5450).
    TransmissionTimeOffset = "urn:ietf:params:rtp-hdrext:toffset",
    /// Playout delay.
    PlayoutDelay = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    /// Content type of video.
    VideoContentType = "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
    /// Timing of video frames.
    VideoTiming = "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
    /// Colour space.
    ColorSpace = "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
    /// Allocation of bit rate to video layers.
    VideoLayersAllocation = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
}

impl RtpExtensionType {
    /// The extension of a URI.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|extension| extension.uri() == uri)
    }
}

/// Why an extension was not registered.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtensionMapError {
    /// Ids 0 and 15 are reserved (RFC 8285 sections 4.2 and 4.3).
    #[error("header extension id {0} is reserved")]
    ReservedId(u8),
    /// The id stands for another extension.
    #[error("header extension id {id} is taken by {uri}")]
    IdTaken {
        /// The id.
        id: u8,
        /// What it stands for.
        uri: String,
    },
}

/// One line of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpHeaderExtension {
    /// Local identifier.
    pub id: u8,
    /// URI.
    pub uri: String,
    /// Whether SRTP encrypts its value (RFC 6904).
    pub encrypt: bool,
}

/// Negotiated header extensions of one transport (in a BUNDLE group one id has one meaning, RFC 9143 section
/// 7.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtpHeaderExtensionMap {
    entries: Vec<RtpHeaderExtension>,
    mid: Option<u8>,
    rid: Option<u8>,
    repaired_rid: Option<u8>,
}

impl RtpHeaderExtensionMap {
    /// Adds an extension. The same again is harmless.
    ///
    /// # Errors
    /// The id is reserved, or stands for another URI.
    pub fn register(&mut self, id: u8, uri: &str, encrypt: bool) -> Result<(), ExtensionMapError> {
        if id == 0 || id == 15 {
            return Err(ExtensionMapError::ReservedId(id));
        }
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            if entry.uri != uri {
                return Err(ExtensionMapError::IdTaken { id, uri: entry.uri.clone() });
            }
            entry.encrypt = encrypt;
            return Ok(());
        }
        self.entries.push(RtpHeaderExtension { id, uri: uri.to_owned(), encrypt });
        match RtpExtensionType::from_uri(uri) {
            Some(RtpExtensionType::Mid) => self.mid = self.mid.or(Some(id)),
            Some(RtpExtensionType::RtpStreamId) => self.rid = self.rid.or(Some(id)),
            Some(RtpExtensionType::RepairedRtpStreamId) => self.repaired_rid = self.repaired_rid.or(Some(id)),
            _ => {}
        }
        Ok(())
    }

    /// Adds a known extension, in the clear.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_type(&mut self, id: u8, extension: RtpExtensionType) -> Result<(), ExtensionMapError> {
        self.register(id, extension.uri(), false)
    }

    /// The id of a known extension.
    pub fn id(&self, extension: RtpExtensionType) -> Option<u8> {
        match extension {
            RtpExtensionType::Mid => self.mid,
            RtpExtensionType::RtpStreamId => self.rid,
            RtpExtensionType::RepairedRtpStreamId => self.repaired_rid,
            _ => self.id_of_uri(extension.uri()),
        }
    }

    /// The id of a URI.
    pub fn id_of_uri(&self, uri: &str) -> Option<u8> {
        self.entries.iter().find(|entry| entry.uri == uri).map(|entry| entry.id)
    }

    /// The URI of an id.
    pub fn uri(&self, id: u8) -> Option<&str> {
        self.entries.iter().find(|entry| entry.id == id).map(|entry| entry.uri.as_str())
    }

    /// The known extension of an id.
    pub fn extension_type(&self, id: u8) -> Option<RtpExtensionType> {
        self.uri(id).and_then(RtpExtensionType::from_uri)
    }

    /// All lines, in order of registration.
    pub fn entries(&self) -> &[RtpHeaderExtension] {
        &self.entries
    }

    /// Ids whose values SRTP encrypts (RFC 6904).
    pub fn encrypted_ids(&self) -> Vec<u8> {
        self.entries.iter().filter(|entry| entry.encrypt).map(|entry| entry.id).collect()
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// From the ids of one negotiation to those of another: for packets that are passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct ExtensionIdMapping {
    to: Box<[u8; 256]>,
}

impl std::fmt::Debug for ExtensionIdMapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self.to.iter().enumerate().filter(|(_, to)| **to != 0);
        f.debug_map().entries(pairs).finish()
    }
}

impl Default for ExtensionIdMapping {
    /// Leaves everything out.
    fn default() -> Self {
        Self { to: Box::new([0; 256]) }
    }
}

impl ExtensionIdMapping {
    /// Ids that mean the same URI in both maps.
    pub fn between(from: &RtpHeaderExtensionMap, to: &RtpHeaderExtensionMap) -> Self {
        let mut mapping = Self::default();
        for entry in &from.entries {
            if let Some(id) = to.id_of_uri(&entry.uri) {
                mapping.set(entry.id, Some(id));
            }
        }
        mapping
    }

    /// Sets where one id goes; `None` leaves the extension out.
    pub fn set(&mut self, from: u8, to: Option<u8>) {
        if let Some(slot) = self.to.get_mut(usize::from(from)) {
            *slot = to.unwrap_or(0);
        }
    }

    /// Where one id goes.
    pub fn get(&self, from: u8) -> Option<u8> {
        self.to.get(usize::from(from)).copied().filter(|to| *to != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_and_types_match() {
        for extension in RtpExtensionType::ALL {
            assert_eq!(RtpExtensionType::from_uri(extension.uri()), Some(*extension));
        }
        assert_eq!(RtpExtensionType::from_uri("urn:nothing"), None);
    }

    #[test]
    fn registers_once_and_refuses_a_second_meaning() {
        let mut map = RtpHeaderExtensionMap::default();
        map.register_type(3, RtpExtensionType::Mid).unwrap();
        map.register_type(3, RtpExtensionType::Mid).unwrap();
        assert_eq!(map.entries().len(), 1);
        assert_eq!(map.register(0, "urn:a", false), Err(ExtensionMapError::ReservedId(0)));
        assert_eq!(map.register(15, "urn:a", false), Err(ExtensionMapError::ReservedId(15)));
        assert!(matches!(map.register(3, "urn:a", false), Err(ExtensionMapError::IdTaken { id: 3, .. })));
        map.register(200, "urn:a", true).unwrap();
        assert_eq!((map.id(RtpExtensionType::Mid), map.id_of_uri("urn:a")), (Some(3), Some(200)));
        assert_eq!((map.extension_type(3), map.uri(200)), (Some(RtpExtensionType::Mid), Some("urn:a")));
        assert_eq!(map.encrypted_ids(), [200]);
    }

    #[test]
    fn a_mapping_knows_what_both_sides_negotiated() {
        let (mut from, mut to) = (RtpHeaderExtensionMap::default(), RtpHeaderExtensionMap::default());
        from.register_type(1, RtpExtensionType::Mid).unwrap();
        from.register_type(2, RtpExtensionType::AudioLevel).unwrap();
        to.register_type(9, RtpExtensionType::Mid).unwrap();
        let mapping = ExtensionIdMapping::between(&from, &to);
        assert_eq!((mapping.get(1), mapping.get(2), mapping.get(0)), (Some(9), None, None));
    }
}
