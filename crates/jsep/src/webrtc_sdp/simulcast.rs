//! `a=rid` (RFC 8851) and `a=simulcast` (RFC 8853).

use std::collections::BTreeMap;

use super::attributes::{Reason, payload_type};
use crate::session_description::{
    RidDescription, RidDirection, RtpMediaContentDescription, SimulcastDescription, SimulcastLayer,
};

/// Longest RTP stream id we take; the header extension could carry 255 bytes.
const MAX_RID_BYTES: usize = 64;
/// Most layers of a simulcast attribute, alternatives counted.
const MAX_LAYERS: usize = 64;

/// The `rid-id` of RFC 8851 section 10.
fn is_rid(text: &str) -> bool {
    (1..=MAX_RID_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// `a=rid`. `None` if it is malformed: such a line is ignored (RFC 8851 section 6.3.1). Payload types that are no
/// numbers fall away (P10).
pub(super) fn rid(value: &str) -> Option<RidDescription> {
    let mut fields = value.split_whitespace();
    let id = fields.next().filter(|text| is_rid(text))?;
    let direction = match fields.next()? {
        "send" => RidDirection::Send,
        "recv" => RidDirection::Recv,
        _ => return None,
    };
    let mut payload_types = Vec::new();
    let mut restrictions = BTreeMap::new();
    if let Some(text) = fields.next() {
        for restriction in text.split(';').filter(|text| !text.is_empty()) {
            let (name, value) = restriction.split_once('=').unwrap_or((restriction, ""));
            if name.is_empty() {
                return None;
            }
            if name == "pt" {
                payload_types.extend(value.split(',').filter_map(|number| payload_type(number).ok()));
            } else {
                restrictions.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    if fields.next().is_some() {
        return None;
    }
    payload_types.dedup();
    Some(RidDescription { rid: id.to_owned(), direction, payload_types, restrictions })
}

/// `a=simulcast`.
pub(super) fn simulcast(value: &str) -> Result<SimulcastDescription, Reason> {
    let mut fields = value.split_whitespace();
    let (mut send, mut recv) = (None, None);
    while let Some(direction) = fields.next() {
        let slot = match direction {
            "send" => &mut send,
            "recv" => &mut recv,
            _ => return Err("simulcast is followed by send or recv".into()),
        };
        if slot.is_some() {
            return Err("simulcast says one direction twice".into());
        }
        let list = fields.next().ok_or("a direction is followed by a list of rids")?;
        *slot = Some(layers(list)?);
    }
    if send.is_none() && recv.is_none() {
        return Err("simulcast is empty".into());
    }
    Ok(SimulcastDescription { send: send.unwrap_or_default(), recv: recv.unwrap_or_default() })
}

fn layers(list: &str) -> Result<Vec<Vec<SimulcastLayer>>, Reason> {
    if list.split([';', ',']).count() > MAX_LAYERS {
        return Err(format!("more than {MAX_LAYERS} simulcast layers").into());
    }
    let layer = |text: &str| {
        let (rid, paused) = match text.strip_prefix('~') {
            Some(rid) => (rid, true),
            None => (text, false),
        };
        if is_rid(rid) {
            Ok(SimulcastLayer { rid: rid.to_owned(), paused })
        } else {
            Err(Reason::from("not a list of rids"))
        }
    };
    list.split(';').map(|stream| stream.split(',').map(layer).collect()).collect()
}

/// Removes what cannot be meant (P10): rids said twice, payload types that are not in the section, layers without
/// a rid line of the same direction, rids that stand in both directions.
pub(super) fn tidy(rtp: &mut RtpMediaContentDescription) {
    let all = rtp.rids.clone();
    rtp.rids.retain(|rid| all.iter().filter(|other| other.rid == rid.rid).count() == 1);
    for rid in &mut rtp.rids {
        let restricted = !rid.payload_types.is_empty();
        rid.payload_types.retain(|number| rtp.codecs.iter().any(|codec| codec.payload_type == *number));
        if restricted && rid.payload_types.is_empty() {
            // Restricted to nothing we know: cannot be used at all.
            rid.rid.clear();
        }
    }
    rtp.rids.retain(|rid| !rid.rid.is_empty());

    let ids = |list: &[Vec<SimulcastLayer>]| -> Vec<String> {
        list.iter().flatten().map(|layer| layer.rid.clone()).collect()
    };
    let (sent, received) = (ids(&rtp.simulcast.send), ids(&rtp.simulcast.recv));
    let rids = &rtp.rids;
    let keep = |list: &mut Vec<Vec<SimulcastLayer>>, direction: RidDirection, opposite: &[String]| {
        for alternatives in list.iter_mut() {
            alternatives.retain(|layer| {
                !opposite.contains(&layer.rid)
                    && rids.iter().any(|rid| rid.rid == layer.rid && rid.direction == direction)
            });
        }
        list.retain(|alternatives| !alternatives.is_empty());
    };
    keep(&mut rtp.simulcast.send, RidDirection::Send, &received);
    keep(&mut rtp.simulcast.recv, RidDirection::Recv, &sent);
}
