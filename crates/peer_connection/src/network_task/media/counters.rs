//! Frames and loudness of the streams of one connection, for its statistics. Owned by [`Media`](super::Media), on the
//! network task; webrtc-stats sections 8.2 to 8.5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use peerstack_media::{MAX_STREAMS, MediaCounter, MediaCounts};
use peerstack_rtp_transport::{RtpExtensionType, RtpPacket as RtpPacketView};

use crate::rtp_packet::RtpPacket;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By SSRC: what the application handed over, what of it was sent, what came in.
    handed: BTreeMap<u32, MediaCounter>,
    sent: BTreeMap<u32, MediaCounter>,
    received: BTreeMap<u32, MediaCounter>,
}

/// The counter of a stream. A peer can make up SSRCs: beyond a bound the one that was silent the longest goes.
fn counter(counters: &mut BTreeMap<u32, MediaCounter>, ssrc: u32) -> &mut MediaCounter {
    if counters.len() >= MAX_STREAMS && !counters.contains_key(&ssrc) {
        let silent = counters.iter().min_by_key(|(_, counter)| counter.last_frame()).map(|(ssrc, _)| *ssrc);
        silent.and_then(|ssrc| counters.remove(&ssrc));
    }
    counters.entry(ssrc).or_default()
}

/// RFC 6464 section 3: the level is in the lower seven bits.
fn level(value: &[u8]) -> Option<u8> {
    value.first().map(|byte| byte & 0x7f)
}

impl Counters {
    /// A packet of the application; `sent` if it went out.
    pub(super) fn on_handed(
        &mut self,
        now: Instant,
        ssrc: u32,
        packet: &RtpPacket,
        clock_rate: u32,
        sent: bool,
    ) {
        let uri = RtpExtensionType::AudioLevel.uri();
        let level = packet.header_extensions.iter().find(|one| &*one.uri == uri);
        let level = level.and_then(|one| self::level(&one.value));
        counter(&mut self.handed, ssrc).add(now, packet.timestamp, clock_rate, level);
        if sent {
            counter(&mut self.sent, ssrc).add(now, packet.timestamp, clock_rate, level);
        }
    }

    /// A packet of the peer.
    pub(super) fn on_received(
        &mut self,
        now: Instant,
        packet: &RtpPacketView<'_>,
        uris: &BTreeMap<u8, Arc<str>>,
        clock_rate: u32,
    ) {
        let header = packet.header();
        let uri = RtpExtensionType::AudioLevel.uri();
        let is_level = |id: u8| uris.get(&id).is_some_and(|known| &**known == uri);
        let loudness = header.extensions().find(|one| is_level(one.id)).and_then(|one| level(one.value));
        counter(&mut self.received, header.ssrc()).add(now, header.timestamp(), clock_rate, loudness);
    }

    /// What was handed over for a stream.
    pub(super) fn handed(&self, now: Instant, ssrc: u32) -> MediaCounts {
        self.handed.get(&ssrc).map(|counter| counter.counts(now)).unwrap_or_default()
    }

    /// What of it was sent.
    pub(super) fn sent(&self, now: Instant, ssrc: u32) -> MediaCounts {
        self.sent.get(&ssrc).map(|counter| counter.counts(now)).unwrap_or_default()
    }

    /// What came in of a stream.
    pub(super) fn received(&self, now: Instant, ssrc: u32) -> MediaCounts {
        self.received.get(&ssrc).map(|counter| counter.counts(now)).unwrap_or_default()
    }
}
