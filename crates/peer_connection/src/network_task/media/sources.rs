//! Who was heard in the last ten seconds (webrtc-pc section 5.3, `RTCRtpContributingSource`). On the network task;
//! answers to libwebrtc's `modules/rtp_rtcp/source/source_tracker.cc`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use peerstack_rtp_transport::RtpExtensionType;

use crate::rtp_packet::RtpPacket;

/// How long a source is told after its last packet.
const WINDOW: Duration = Duration::from_secs(10);
/// Sources of one section: a peer that makes up more has those heard longest ago forgotten.
const MAX_SOURCES: usize = 64;

/// What was heard of a source last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::network_task) struct Heard {
    pub(in crate::network_task) at: Instant,
    pub(in crate::network_task) rtp_timestamp: u32,
    /// -dBov, 0 to 127 (RFC 6464, RFC 6465).
    pub(in crate::network_task) level: Option<u8>,
}

/// SSRCs and CSRCs of one section.
#[derive(Debug, Default)]
pub(in crate::network_task) struct Sources {
    /// By whether it is contributing, and its number.
    heard: BTreeMap<(bool, u32), Heard>,
}

impl Sources {
    pub(super) fn note(&mut self, now: Instant, packet: &RtpPacket) {
        let value = |extension: RtpExtensionType| {
            packet.header_extensions.iter().find(|one| *one.uri == *extension.uri()).map(|one| &one.value[..])
        };
        let level = |value: Option<&[u8]>, index: usize| Some(value?.get(index)? & 0x7F);
        let (own, mixed) = (value(RtpExtensionType::AudioLevel), value(RtpExtensionType::CsrcAudioLevel));
        self.insert(now, (false, packet.ssrc), packet.timestamp, level(own, 0));
        for (index, csrc) in packet.csrcs.iter().enumerate() {
            self.insert(now, (true, *csrc), packet.timestamp, level(mixed, index));
        }
    }

    fn insert(&mut self, at: Instant, key: (bool, u32), rtp_timestamp: u32, level: Option<u8>) {
        self.heard.insert(key, Heard { at, rtp_timestamp, level });
        if self.heard.len() > MAX_SOURCES {
            self.heard.retain(|_, heard| at.saturating_duration_since(heard.at) < WINDOW);
        }
        if self.heard.len() > MAX_SOURCES {
            let oldest = self.heard.iter().min_by_key(|(key, heard)| (heard.at, **key)).map(|(key, _)| *key);
            let _ = oldest.and_then(|oldest| self.heard.remove(&oldest));
        }
    }

    /// Those of the last ten seconds, heard last first.
    pub(in crate::network_task) fn since(&self, now: Instant, contributing: bool) -> Vec<(u32, Heard)> {
        let recent = self.heard.iter().filter(|((kind, _), heard)| {
            *kind == contributing && now.saturating_duration_since(heard.at) <= WINDOW
        });
        let mut list: Vec<(u32, Heard)> = recent.map(|((_, source), heard)| (*source, *heard)).collect();
        list.sort_by_key(|(_, heard)| std::cmp::Reverse(heard.at));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds, and no more than there is room for.
    #[test]
    fn sources_are_forgotten() {
        #[expect(clippy::disallowed_methods, reason = "tests count from one real instant")]
        let now = Instant::now();
        let mut sources = Sources::default();
        let packet = |ssrc, csrcs: &[u32]| RtpPacket { ssrc, csrcs: csrcs.to_vec(), ..RtpPacket::default() };
        sources.note(now, &packet(1, &[7, 8]));
        sources.note(now + Duration::from_secs(5), &packet(2, &[8]));
        let told = |at, contributing| -> Vec<u32> {
            sources
                .since(now + Duration::from_secs(at), contributing)
                .iter()
                .map(|(source, _)| *source)
                .collect()
        };
        assert_eq!((told(5, false), told(5, true)), (vec![2, 1], vec![8, 7]));
        assert_eq!((told(11, false), told(11, true)), (vec![2], vec![8]));
        assert_eq!(told(16, false), [0; 0]);
        let mut sources = Sources::default();
        for ssrc in 0..1_000 {
            sources.note(now + Duration::from_millis(u64::from(ssrc)), &packet(ssrc, &[ssrc, ssrc + 1]));
        }
        assert!(sources.heard.len() <= MAX_SOURCES);
        assert_eq!(sources.since(now + Duration::from_secs(1), false)[0].0, 999);
    }
}
