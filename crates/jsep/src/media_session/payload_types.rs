//! Which payload type stands for which codec, which id for which header extension.
//!
//! Answers to libwebrtc's `call/payload_type_picker.h` and `pc/used_ids.h`.

use std::collections::BTreeMap;

use crate::codec::Codec;
use crate::session_description::{ContentInfo, RtpExtension, SessionDescription};

/// Most meanings remembered of one number. More than one comes only of sections that are not bundled, or of a
/// peer that breaks the rules.
const MAX_MEANINGS: usize = 8;

/// Everything payload types and header extension ids stood for in this session.
#[derive(Debug, Clone, Default)]
pub(super) struct NumberRegistry {
    codecs: BTreeMap<u8, Vec<Codec>>,
    extensions: BTreeMap<u8, Vec<(String, bool)>>,
}

impl NumberRegistry {
    /// Remembers what a description uses.
    pub(super) fn record(&mut self, description: &SessionDescription) {
        for rtp in description.contents.iter().filter_map(|content| content.description.as_rtp()) {
            for codec in rtp.codecs.iter().filter(|codec| !codec.name.is_empty()) {
                let known = self.codecs.entry(codec.payload_type).or_default();
                if known.len() < MAX_MEANINGS && !known.iter().any(|other| means_same(other, codec)) {
                    known.push(codec.clone());
                }
            }
            for extension in &rtp.header_extensions {
                let known = self.extensions.entry(extension.id).or_default();
                let meaning = (extension.uri.clone(), extension.encrypt);
                if known.len() < MAX_MEANINGS && !known.contains(&meaning) {
                    known.push(meaning);
                }
            }
        }
    }
}

/// Whether a number may stand for both: the same codec, and the same associated one for `rtx` and `red`.
fn means_same(a: &Codec, b: &Codec) -> bool {
    if a.is_rtx() || b.is_rtx() || a.is_red() || b.is_red() {
        return a.is_same_format(b);
    }
    a.matches(b)
}

/// Gives numbers to the sections of one offer.
pub(super) struct NumberPicker<'r> {
    registry: &'r NumberRegistry,
    codecs: BTreeMap<u8, Codec>,
    extensions: BTreeMap<u8, (String, bool)>,
}

impl<'r> NumberPicker<'r> {
    pub(super) fn new(registry: &'r NumberRegistry) -> Self {
        Self { registry, codecs: BTreeMap::new(), extensions: BTreeMap::new() }
    }

    /// The codecs of one section with payload types that hold for the whole session. `before` are the section's
    /// contents on either side, whose numbers come first. A codec that finds no number is left out, and what goes
    /// with it.
    pub(super) fn codecs(&mut self, wanted: &[Codec], before: &[&ContentInfo]) -> Vec<Codec> {
        // Where each wanted payload type went, for `rtx` and `red`.
        let mut moved: BTreeMap<u8, u8> = BTreeMap::new();
        let mut picked: Vec<Option<Codec>> = vec![None; wanted.len()];
        // What others refer to gets its number first.
        for associated in [false, true] {
            for (codec, slot) in wanted.iter().zip(&mut picked) {
                if (codec.is_rtx() || codec.is_red()) != associated {
                    continue;
                }
                let Some(mut codec) = with_associated(codec, |number| moved.get(&number).copied()) else {
                    continue;
                };
                let wanted_number = codec.payload_type;
                let Some(number) = self.payload_type(&codec, before) else {
                    tracing::warn!(codec = %codec.name, "no payload type is left");
                    continue;
                };
                codec.payload_type = number;
                moved.insert(wanted_number, number);
                self.codecs.insert(number, codec.clone());
                *slot = Some(codec);
            }
        }
        let mut list: Vec<Codec> = Vec::new();
        for codec in picked.into_iter().flatten() {
            // Wanted twice is offered once.
            if !list.iter().any(|other| other.payload_type == codec.payload_type) {
                list.push(codec);
            }
        }
        list
    }

    fn payload_type(&self, codec: &Codec, before: &[&ContentInfo]) -> Option<u8> {
        // Sections are bundled: a number means one thing in all of them, parameters included (J23).
        let free_here = |number: &u8| self.codecs.get(number).is_none_or(|other| other.is_same_format(codec));
        let own =
            before.iter().filter_map(|content| content.description.as_rtp()).flat_map(|rtp| &rtp.codecs);
        let own = own.filter(|other| means_same(other, codec)).map(|other| other.payload_type);
        let known = self.registry.codecs.iter();
        let known = known.filter(|(_, list)| matches!(list.as_slice(), [other] if means_same(other, codec)));
        let known = known.map(|(number, _)| *number);
        let unused = |number: &u8| !self.registry.codecs.contains_key(number);
        // The dynamic range, then what RFC 5761 section 4 leaves of the static one.
        let fresh = std::iter::once(codec.payload_type).chain(96..=127).chain(35..=63).filter(unused);
        // What another section of this offer has already.
        let here = self.codecs.iter().filter(|(_, other)| other.is_same_format(codec));
        own.chain(here.map(|(number, _)| *number)).chain(known).chain(fresh).find(free_here)
    }

    /// The header extensions of one section with ids that hold for the whole session.
    pub(super) fn extensions(
        &mut self,
        wanted: &[RtpExtension],
        before: &[&ContentInfo],
        two_byte: bool,
    ) -> Vec<RtpExtension> {
        let mut list: Vec<RtpExtension> = Vec::new();
        for extension in wanted {
            let meaning = (extension.uri.clone(), extension.encrypt);
            if list.iter().any(|other| other.uri == meaning.0 && other.encrypt == meaning.1) {
                continue;
            }
            let Some(id) = self.extension_id(extension, &meaning, before, two_byte) else {
                tracing::warn!(uri = %extension.uri, "no header extension id is left");
                continue;
            };
            self.extensions.insert(id, meaning);
            list.push(RtpExtension { id, ..extension.clone() });
        }
        list
    }

    fn extension_id(
        &self,
        extension: &RtpExtension,
        meaning: &(String, bool),
        before: &[&ContentInfo],
        two_byte: bool,
    ) -> Option<u8> {
        let free_here = |id: &u8| self.extensions.get(id).is_none_or(|other| other == meaning);
        let own = before
            .iter()
            .filter_map(|content| content.description.as_rtp())
            .flat_map(|rtp| &rtp.header_extensions)
            .filter(|other| other.uri == meaning.0 && other.encrypt == meaning.1)
            .map(|other| other.id);
        let known = self.registry.extensions.iter();
        let known = known.filter(|(_, list)| matches!(list.as_slice(), [other] if other == meaning));
        let known = known.map(|(id, _)| *id);
        // 15 is none of the one-byte form, and better left alone in the other (RFC 8285 section 4.2).
        let last = if two_byte { 255 } else { 14 };
        let unused = |id: &u8| *id != 15 && !self.registry.extensions.contains_key(id);
        let preferred = std::iter::once(extension.id).filter(|id| (1..=last).contains(id));
        let fresh = preferred.chain(1..=14).chain(16..=last).filter(unused);
        let here = self.extensions.iter().filter(|(_, other)| *other == meaning).map(|(id, _)| *id);
        own.chain(here).chain(known).chain(fresh).find(free_here)
    }
}

/// A codec with the payload types it refers to put through `moved`; `None` if one has gone.
pub(super) fn with_associated(codec: &Codec, moved: impl Fn(u8) -> Option<u8>) -> Option<Codec> {
    let mut codec = codec.clone();
    if codec.is_rtx() {
        let number = moved(codec.associated_payload_type()?)?;
        codec.params.insert("apt".to_owned(), number.to_string());
    } else if codec.is_red()
        && let Some(list) = codec.params.get_mut("")
    {
        let numbers: Option<Vec<String>> = list
            .split('/')
            .map(|number| number.trim().parse().ok().and_then(&moved).map(|number| number.to_string()))
            .collect();
        *list = numbers?.join("/");
    }
    Some(codec)
}
