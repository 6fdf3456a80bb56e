//! The encodings of a sender and what negotiation makes of them (webrtc-pc sections 4.4.1.4 and 5.2, RFC 8853 section
//! 5.3). Held by the state struct, changed by the signaling task; answers to the simulcast parts of libwebrtc's
//! `pc/sdp_offer_answer.cc` and `pc/rtp_sender.cc`.

use std::collections::BTreeMap;

use peerstack_jsep::{
    MediaDescriptionOptions, MediaKind, RidDescription, RidDirection, RtpMediaContentDescription,
    SimulcastDescription, SimulcastLayer,
};

use crate::rtp_parameters::{MAX_ENCODINGS, RtpEncodingParameters};

/// One encoding: what the application asked for, its SSRCs, and what the peer restricts it to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SendEncoding {
    pub(crate) parameters: RtpEncodingParameters,
    pub(crate) ssrc: u32,
    /// Of its retransmissions (RFC 4588).
    pub(crate) rtx_ssrc: u32,
    /// Payload types the peer takes it in; empty for all (RFC 8851 section 5, `pt`).
    pub(crate) payload_types: Vec<u8>,
    /// The peer's other restrictions (`max-width`, `max-br`, ...).
    pub(crate) restrictions: BTreeMap<String, String>,
    /// The peer asked for it to be paused at first (RFC 8853 section 5.1, `~`). It is the application that pauses:
    /// descriptions neither change nor tell which encodings are active (webrtc-pc section 5.4.1).
    pub(crate) paused: bool,
}

impl SendEncoding {
    pub(crate) fn rid(&self) -> Option<&str> {
        self.parameters.rid.as_deref()
    }
}

/// What the peer says of one encoding it wants to receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedLayer {
    pub(crate) rid: String,
    pub(crate) paused: bool,
    pub(crate) payload_types: Vec<u8>,
    pub(crate) restrictions: BTreeMap<String, String>,
}

/// The layers of a simulcast list, in order, the first alternative of each stream; `direction` is that of the rids'
/// lines. Nothing for audio, which is not sent in several encodings.
fn layers(
    kind: &MediaKind,
    media: &RtpMediaContentDescription,
    list: &[Vec<SimulcastLayer>],
    direction: RidDirection,
) -> Vec<WantedLayer> {
    if *kind != MediaKind::Video {
        return Vec::new();
    }
    let layer = |stream: &Vec<SimulcastLayer>| {
        stream.iter().find_map(|layer| {
            let line = media.rids.iter().find(|rid| rid.rid == layer.rid && rid.direction == direction)?;
            Some(WantedLayer {
                rid: layer.rid.clone(),
                paused: layer.paused,
                payload_types: line.payload_types.clone(),
                restrictions: line.restrictions.clone(),
            })
        })
    };
    list.iter().filter_map(layer).collect()
}

/// The layers the peer wants of us, by its description.
pub(crate) fn wanted_by_peer(kind: &MediaKind, media: &RtpMediaContentDescription) -> Vec<WantedLayer> {
    layers(kind, media, &media.simulcast.recv, RidDirection::Recv)
}

/// The layers our description says we send.
pub(crate) fn said_by_us(kind: &MediaKind, media: &RtpMediaContentDescription) -> Vec<WantedLayer> {
    layers(kind, media, &media.simulcast.send, RidDirection::Send)
}

/// A remote offer to receive simulcast makes the encodings of a sender that has one without a RID (R12). Whether it
/// did.
pub(crate) fn take_offered(
    encodings: &mut Vec<SendEncoding>,
    offered: &[WantedLayer],
    mut fresh_ssrc: impl FnMut() -> u32,
) -> bool {
    let first = match encodings.as_slice() {
        [one] if one.rid().is_none() && !offered.is_empty() => one.clone(),
        _ => return false,
    };
    *encodings = offered
        .iter()
        .filter(|layer| layer.rid.len() <= 16)
        .take(MAX_ENCODINGS)
        .enumerate()
        .map(|(index, layer)| {
            let (ssrc, rtx_ssrc) = match index {
                0 => (first.ssrc, first.rtx_ssrc),
                _ => (fresh_ssrc(), fresh_ssrc()),
            };
            SendEncoding {
                parameters: RtpEncodingParameters {
                    rid: Some(layer.rid.clone()),
                    ..first.parameters.clone()
                },
                ssrc,
                rtx_ssrc,
                payload_types: layer.payload_types.clone(),
                restrictions: layer.restrictions.clone(),
                paused: layer.paused,
            }
        })
        .collect();
    if encodings.is_empty() {
        encodings.push(first);
        return false;
    }
    true
}

/// An answer says which of the layers there are go on (R11): those it does not name are gone, and without simulcast the
/// first is all that is left, without its RID.
pub(crate) fn narrow(encodings: &mut Vec<SendEncoding>, agreed: &[WantedLayer], peer_answers: bool) {
    if encodings.iter().all(|encoding| encoding.rid().is_none()) {
        return;
    }
    let before = encodings.first().cloned();
    let named =
        |encoding: &SendEncoding| agreed.iter().find(|layer| Some(layer.rid.as_str()) == encoding.rid());
    encodings.retain(|encoding| named(encoding).is_some());
    for encoding in encodings.iter_mut() {
        let Some(layer) =
            agreed.iter().find(|layer| Some(layer.rid.as_str()) == encoding.parameters.rid.as_deref())
        else {
            continue;
        };
        if peer_answers {
            encoding.paused = layer.paused;
            encoding.payload_types.clone_from(&layer.payload_types);
            encoding.restrictions.clone_from(&layer.restrictions);
        }
    }
    if encodings.is_empty()
        && let Some(mut first) = before
    {
        first.parameters.rid = None;
        first.payload_types.clear();
        first.restrictions.clear();
        first.paused = false;
        encodings.push(first);
    }
}

/// Layers that the peer sends by an earlier answer of ours are offered to be received further: without a word of them its
/// answer would leave all but the first out (RFC 8853 section 5.3.2).
pub(crate) fn keep_received_layers(
    options: &mut MediaDescriptionOptions,
    before: &RtpMediaContentDescription,
) {
    let received = before.rids.iter().filter(|rid| rid.direction == RidDirection::Recv);
    options.rids.extend(received.cloned());
    options.simulcast.recv.clone_from(&before.simulcast.recv);
}

/// The `a=rid` and `a=simulcast` of what a sender offers (R10), whether it is active or not; nothing if it has no RIDs.
pub(crate) fn describe(encodings: &[SendEncoding]) -> (Vec<RidDescription>, SimulcastDescription) {
    let named = || encodings.iter().filter_map(|encoding| Some((encoding, encoding.rid()?.to_owned())));
    let rids = named().map(|(_, rid)| RidDescription {
        rid,
        direction: RidDirection::Send,
        payload_types: Vec::new(),
        restrictions: BTreeMap::new(),
    });
    let send = named().map(|(_, rid)| vec![SimulcastLayer { rid, paused: false }]);
    (rids.collect(), SimulcastDescription { send: send.collect(), recv: Vec::new() })
}
