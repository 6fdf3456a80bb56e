//! What an answer takes of an offered section: codecs, header extensions, simulcast.

use std::collections::BTreeMap;

use super::MediaDescriptionOptions;
use super::payload_types::with_associated;
use crate::codec::{Codec, RID_URI};
use crate::codec_comparators::{negotiate_h264_level, negotiate_h265_level};
use crate::session_description::{
    RidDescription, RidDirection, RtpExtension, RtpMediaContentDescription, RtpTransceiverDirection,
    SimulcastDescription, SimulcastLayer,
};

/// The codecs both have: our parameters under their payload types (RFC 3264 section 6.1, RFC 9429 section 5.3.1),
/// in the offer's order unless `keep_order`.
pub(super) fn codecs(ours: &[Codec], theirs: &[Codec], keep_order: bool) -> Vec<Codec> {
    // Our payload type -> theirs.
    let mut moved: BTreeMap<u8, u8> = BTreeMap::new();
    // Index in the answer's order, and the codec.
    let mut taken: Vec<(usize, Codec)> = Vec::new();
    for associated in [false, true] {
        for (own_index, own) in ours.iter().enumerate() {
            if (own.is_rtx() || own.is_red()) != associated {
                continue;
            }
            let Some(own_codec) = with_associated(own, |number| moved.get(&number).copied()) else {
                continue;
            };
            let found = theirs.iter().enumerate().find(|(_, their)| {
                let same = if associated { same_associated(&own_codec, their) } else { own.matches(their) };
                same && !taken.iter().any(|(_, codec)| codec.payload_type == their.payload_type)
            });
            let Some((their_index, their)) = found else { continue };
            moved.insert(own.payload_type, their.payload_type);
            let index = if keep_order { own_index } else { their_index };
            taken.push((index, combine(own_codec, own, their)));
        }
    }
    taken.sort_by_key(|(index, _)| *index);
    taken.into_iter().map(|(_, codec)| codec).collect()
}

/// `rtx` and `red` go with the same codecs, which have the offer's payload types by now.
fn same_associated(own: &Codec, their: &Codec) -> bool {
    own.matches(their)
        && own.associated_payload_type() == their.associated_payload_type()
        && match (own.params.get(""), their.params.get("")) {
            (Some(own), Some(their)) => own == their,
            _ => true,
        }
}

fn combine(mut codec: Codec, own: &Codec, their: &Codec) -> Codec {
    codec.payload_type = their.payload_type;
    codec.name.clone_from(&their.name);
    codec.feedback.retain(|feedback| their.feedback.contains(feedback));
    if own.is_named("H264") {
        negotiate_h264_level(&mut codec.params, own, their);
    } else if own.is_named("H265") {
        negotiate_h265_level(&mut codec.params, own, their);
    }
    codec
}

/// The header extensions both have, under the offer's ids, and in the directions both allow (RFC 8285 section 6).
pub(super) fn header_extensions(ours: &[RtpExtension], theirs: &[RtpExtension]) -> Vec<RtpExtension> {
    let mut list: Vec<RtpExtension> = Vec::new();
    for their in theirs {
        let own = ours.iter().find(|own| own.uri == their.uri && own.encrypt == their.encrypt);
        let Some(own) = own else { continue };
        // One id a URI (J23 tolerates two in an offer).
        if list.iter().any(|other| other.uri == own.uri && other.encrypt == own.encrypt) {
            continue;
        }
        let offered = their.direction.unwrap_or_default().reversed();
        let direction = own.direction.unwrap_or_default().intersection(offered);
        if direction == RtpTransceiverDirection::Inactive {
            continue;
        }
        let both = direction == RtpTransceiverDirection::Sendrecv;
        list.push(RtpExtension { id: their.id, direction: (!both).then_some(direction), ..own.clone() });
    }
    list
}

/// RTP stream ids and simulcast (RFC 8853 section 5.3): what the offer has, the other way round, as far as we
/// take part. Payload types of rids are the answer's, after [`codecs`].
pub(super) fn simulcast(
    options: &MediaDescriptionOptions,
    offered: &RtpMediaContentDescription,
    answer: &mut RtpMediaContentDescription,
) {
    // Streams are told apart by the header extension (RFC 8853 section 5.1, R11).
    if !answer.header_extensions.iter().any(|extension| extension.uri == RID_URI) {
        return;
    }
    let mut rids = Vec::new();
    for rid in &offered.rids {
        let Some(own) = wanted_rid(options, rid, answer.direction) else { continue };
        let restricted = !rid.payload_types.is_empty();
        let mut payload_types = rid.payload_types.clone();
        payload_types.retain(|number| answer.codecs.iter().any(|codec| codec.payload_type == *number));
        if restricted && payload_types.is_empty() {
            continue;
        }
        rids.push(RidDescription {
            rid: rid.rid.clone(),
            direction: rid.direction.reversed(),
            payload_types,
            restrictions: own.restrictions.clone(),
        });
    }
    let keep = |list: &[Vec<SimulcastLayer>], direction: RidDirection| -> Vec<Vec<SimulcastLayer>> {
        let known = |layer: &&SimulcastLayer| {
            rids.iter().any(|rid| rid.rid == layer.rid && rid.direction == direction)
        };
        let streams = list.iter().map(|stream| stream.iter().filter(known).cloned().collect::<Vec<_>>());
        streams.filter(|stream| !stream.is_empty()).collect()
    };
    let mut reversed = offered.simulcast.reversed();
    // What we send is not said to be paused: without RTCP's means to resume it (RFC 7728) an answer may not say so (RFC
    // 8853 section 5.3.2).
    reversed.send.iter_mut().flatten().for_each(|layer| layer.paused = false);
    answer.simulcast = SimulcastDescription {
        send: keep(&reversed.send, RidDirection::Send),
        recv: keep(&reversed.recv, RidDirection::Recv),
    };
    answer.rids = rids;
}

/// What we take part in of an offered rid: ours of the same name, or the offered one itself.
fn wanted_rid<'a>(
    options: &'a MediaDescriptionOptions,
    offered: &'a RidDescription,
    direction: RtpTransceiverDirection,
) -> Option<&'a RidDescription> {
    let own = options
        .rids
        .iter()
        .find(|own| own.rid == offered.rid && own.direction == offered.direction.reversed());
    match offered.direction {
        // They receive, we send.
        RidDirection::Recv => own.filter(|_| direction.sends()),
        RidDirection::Send if direction.receives() => {
            own.or_else(|| options.accept_simulcast.then_some(offered))
        }
        RidDirection::Send => None,
    }
}
