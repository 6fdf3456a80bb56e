//! Which stream a packet belongs to: RIDs learned from packets (RFC 8852), retransmissions turned into what they repeat
//! and back (RFC 4588). On the network task; answers to libwebrtc's `modules/rtp_rtcp/source/rtp_packet_history.cc` and
//! `call/rtx_receive_stream.cc`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use peerstack_rtp_transport::{RtpExtensionType, StreamId};

use super::{Media, Section};
use crate::network_task::TransceiverId;
use crate::rtp_packet::RtpPacket;

/// Streams of one section whose RID is remembered: a peer that makes up more gains nothing, their packets carry it or
/// have none.
const MAX_LAYERS: usize = 64;
/// Bytes of the original sequence number (RFC 4588 section 4).
const ORIGINAL_SEQUENCE_NUMBER: usize = 2;

/// RIDs by SSRC.
#[derive(Debug, Default)]
pub(super) struct ReceivedLayers {
    /// Whether it repairs the stream of that RID.
    by_ssrc: BTreeMap<u32, (Arc<str>, bool)>,
    /// What streams of retransmissions repeat, by SSRC.
    repaired: BTreeMap<u32, u32>,
    /// The last stream without repair that came.
    primary: Option<u32>,
}

impl ReceivedLayers {
    fn learn(&mut self, ssrc: u32, rid: &str, repairs: bool) {
        let known = self.by_ssrc.get(&ssrc).is_some_and(|(known, kind)| **known == *rid && *kind == repairs);
        if !known && (self.by_ssrc.len() < MAX_LAYERS || self.by_ssrc.contains_key(&ssrc)) {
            self.by_ssrc.insert(ssrc, (Arc::from(rid), repairs));
        }
    }

    fn learn_repair(&mut self, repair: u32, primary: u32) {
        if self.repaired.len() < MAX_LAYERS || self.repaired.contains_key(&repair) {
            self.repaired.insert(repair, primary);
        }
    }

    /// The RID of a stream, its own or that of what it repairs.
    pub(super) fn rid(&self, ssrc: u32) -> Option<Arc<str>> {
        self.by_ssrc.get(&ssrc).map(|(rid, _)| Arc::clone(rid))
    }

    /// The SSRC of a RID's own stream.
    fn ssrc_of(&self, rid: &str) -> Option<u32> {
        let mut own = self.by_ssrc.iter().filter(|(_, (other, repairs))| !repairs && **other == *rid);
        own.next().map(|(ssrc, _)| *ssrc)
    }
}

impl Section {
    /// Gives a received packet its RID, and turns a retransmission into what it repeats. Whether it is for the
    /// application: padding, and what repeats a stream nobody knows, is not.
    pub(super) fn identify(&mut self, packet: &mut RtpPacket) -> bool {
        for (extension, repairs) in
            [(RtpExtensionType::RtpStreamId, false), (RtpExtensionType::RepairedRtpStreamId, true)]
        {
            let mut carried = packet.header_extensions.iter().filter(|one| *one.uri == *extension.uri());
            if let Some(rid) = carried.next().and_then(|one| StreamId::from_extension(&one.value)) {
                self.layers.learn(packet.ssrc, rid.as_str(), repairs);
            }
        }
        packet.rid = self.layers.rid(packet.ssrc);
        let codecs = &self.config.receive_codecs;
        let codec = codecs.iter().find(|codec| codec.payload_type == packet.payload_type);
        match codec.filter(|codec| codec.is_rtx()) {
            None => {
                self.layers.primary = Some(packet.ssrc);
                true
            }
            Some(codec) => match codec.associated_payload_type() {
                Some(payload_type) => self.unwrap(packet, payload_type),
                None => false,
            },
        }
    }

    /// RFC 4588 section 4: the original sequence number stands before the payload.
    fn unwrap(&mut self, packet: &mut RtpPacket, payload_type: u8) -> bool {
        let Some(ssrc) = self.repaired_ssrc(packet) else { return false };
        self.layers.learn_repair(packet.ssrc, ssrc);
        let Some(number) = packet.payload.first_chunk::<ORIGINAL_SEQUENCE_NUMBER>().copied() else {
            return false;
        };
        if packet.payload.len() == ORIGINAL_SEQUENCE_NUMBER {
            // Padding to probe the way with.
            return false;
        }
        packet.ssrc = ssrc;
        packet.payload_type = payload_type;
        packet.sequence_number = u16::from_be_bytes(number);
        packet.payload = packet.payload.slice(ORIGINAL_SEQUENCE_NUMBER..);
        if packet.rid.is_none() {
            packet.rid = self.layers.rid(ssrc);
        }
        true
    }

    /// The stream that a retransmission belongs to.
    fn repaired_ssrc(&self, packet: &RtpPacket) -> Option<u32> {
        let signalled = self.config.remote_repairs.iter().find(|(repair, _)| *repair == packet.ssrc);
        let named = || packet.rid.as_deref().and_then(|rid| self.layers.ssrc_of(rid));
        // Without a word of whose it is: of the only stream there is.
        let only = || self.layers.primary.filter(|_| packet.rid.is_none());
        signalled.map(|(_, primary)| *primary).or_else(named).or_else(only)
    }

    /// Whether the peer may send retransmissions in a stream of their own.
    pub(super) fn receives_rtx(&self) -> bool {
        self.config.receive_codecs.iter().any(peerstack_jsep::Codec::is_rtx)
    }

    /// The SSRCs of retransmissions of a stream, as far as they came.
    pub(super) fn repairs_of(&self, primary: u32) -> impl Iterator<Item = u32> {
        let repaired = self.layers.repaired.iter();
        repaired.filter(move |(_, repaired)| **repaired == primary).map(|(repair, _)| *repair)
    }

    /// Whether retransmissions go in a stream of their own.
    pub(super) fn sends_rtx(&self) -> bool {
        self.config.send_codecs.iter().any(peerstack_jsep::Codec::is_rtx)
    }
}

impl Media {
    /// A packet that is sent again, in the form the peer agreed to.
    pub(in crate::network_task) fn as_retransmission(
        &mut self,
        id: TransceiverId,
        packet: RtpPacket,
    ) -> RtpPacket {
        match self.sections.get_mut(&id) {
            Some(section) => section.as_retransmission(packet),
            None => packet,
        }
    }
}

impl Section {
    /// As RTX (RFC 4588) where its codec has one, as it was otherwise.
    fn as_retransmission(&mut self, packet: RtpPacket) -> RtpPacket {
        let mut codecs = self.config.send_codecs.iter().filter(|codec| codec.is_rtx());
        let rtx = codecs.find(|codec| codec.associated_payload_type() == Some(packet.payload_type));
        let (Some(rtx), Some(encoding)) = (rtx, self.encoding_of(&packet)) else { return packet };
        let (payload_type, ssrc) = (rtx.payload_type, encoding.rtx_ssrc);
        let mut payload = BytesMut::with_capacity(ORIGINAL_SEQUENCE_NUMBER + packet.payload.len());
        payload.put_u16(packet.sequence_number);
        payload.extend_from_slice(&packet.payload);
        // Any beginning is as good (RFC 3550 section 5.1); the packet's own number is as random as the caller chose it.
        let next = self.rtx_sequence.entry(ssrc).or_insert(packet.sequence_number);
        let sequence_number = *next;
        *next = next.wrapping_add(1);
        RtpPacket { payload_type, ssrc, sequence_number, payload: payload.freeze(), ..packet }
    }
}

#[cfg(test)]
#[path = "retransmission_tests.rs"]
mod tests;
