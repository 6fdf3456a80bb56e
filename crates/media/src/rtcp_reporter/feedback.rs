//! Feedback that goes out: requests for key frames, NACKs, estimates (RFC 4585, RFC 5104, REMB).

use super::RtcpReporter;
use crate::rtcp_builder::RtcpBuilder;
use crate::rtp_statistics::MediaKind;

/// Sequence numbers in one NACK: 253 items of the worst kind keep it below 1,200 bytes with a report before it.
const NACKS_PER_PACKET: usize = 253;

impl RtcpReporter {
    /// Asks the sender of a stream for a key frame (RFC 4585 section 6.3.1). Returns whether we receive it.
    pub fn send_pli(&mut self, media_ssrc: u32) -> bool {
        let Some(stream) = self.receive.get_mut(&media_ssrc) else { return false };
        stream.feedback.pli = stream.feedback.pli.saturating_add(1);
        let kind = stream.kind;
        self.send_feedback(kind, |builder, ssrc| {
            builder.pli(ssrc, media_ssrc);
        });
        true
    }

    /// Asks the sender of a stream for a full intra frame (RFC 5104 section 4.3.1). Returns whether we receive it.
    pub fn send_fir(&mut self, media_ssrc: u32) -> bool {
        let Some(stream) = self.receive.get_mut(&media_ssrc) else { return false };
        stream.feedback.fir = stream.feedback.fir.saturating_add(1);
        let (kind, number) = (stream.kind, stream.next_fir);
        stream.next_fir = number.wrapping_add(1);
        self.send_feedback(kind, |builder, ssrc| {
            builder.fir(ssrc, media_ssrc, number);
        });
        true
    }

    /// Asks the sender of a stream for packets again (RFC 4585 section 6.2.1). Returns whether we receive it.
    pub fn send_nack(&mut self, media_ssrc: u32, sequence_numbers: &[u16]) -> bool {
        let Some(kind) = self.receive.get(&media_ssrc).map(|stream| stream.kind) else { return false };
        for some in sequence_numbers.chunks(NACKS_PER_PACKET) {
            if let Some(stream) = self.receive.get_mut(&media_ssrc) {
                stream.feedback.nack = stream.feedback.nack.saturating_add(1);
            }
            self.send_feedback(kind, |builder, ssrc| {
                builder.nack(ssrc, media_ssrc, some);
            });
        }
        true
    }

    /// Tells how much can be received, in bits per second, for up to 31 streams.
    pub fn send_remb(&mut self, bitrate: u64, ssrcs: &[u32]) {
        self.send_feedback(MediaKind::Video, |builder, ssrc| {
            builder.remb(ssrc, bitrate, ssrcs);
        });
    }

    /// In a compound packet that begins with a report, unless it may go alone (RFC 5506).
    fn send_feedback(&mut self, kind: MediaKind, add: impl FnOnce(&mut RtcpBuilder, u32)) {
        let ssrc = self.feedback_ssrc(kind);
        let mut builder = RtcpBuilder::new();
        if !self.config.reduced_size {
            builder.receiver_report(ssrc, &[]).cname(&[ssrc], self.cname());
        }
        add(&mut builder, ssrc);
        self.queue(&builder);
    }

    /// By which of our sources we speak of what we receive: one that sends the same kind, any that sends, or our
    /// own. A source that said goodbye is gone (RFC 3550 section 6.6).
    pub(super) fn feedback_ssrc(&self, kind: MediaKind) -> u32 {
        let of = |same: bool| {
            let mut there = self.send.iter().filter(|(_, stream)| !stream.said_goodbye());
            there.find(|(_, stream)| !same || stream.kind == kind).map(|(ssrc, _)| *ssrc)
        };
        of(true).or_else(|| of(false)).unwrap_or(self.own_ssrc)
    }
}
