//! Sends the RTP of one transceiver back on it, and carries the feedback across: key frame requests to the
//! peer's encoder, lost packets from the history, gaps asked for again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use peerstack::{
    MediaStreamTrack, RtcpFeedback, RtpPacket, RtpReceiver, RtpSender, RtpTransceiver, TrackKind,
};
use tracing::{debug, info};

use crate::counters::Counters;
use crate::echo_stream::EchoStream;

/// Packets taken in one go before feedback and timers get their turn.
const BURST: usize = 64;
/// Packets sent again for one request.
const MAX_RESENT: usize = 128;
/// Key frames are not asked for more often.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(200);

/// Runs until the track ends or the connection is closed.
pub(crate) async fn echo_track(transceiver: RtpTransceiver, counters: Arc<Counters>) {
    let mut echo = TrackEcho {
        track: transceiver.receiver().track(),
        sender: transceiver.sender(),
        receiver: transceiver.receiver(),
        stream: EchoStream::new(),
        last_key_frame: None,
        lost: 0,
        counters,
    };
    info!(mid = transceiver.mid(), kind = echo.track.kind().as_str(), "track");
    echo.run().await;
    let (dropped, lost) = (echo.track.packets_dropped(), echo.stream.lost());
    info!(mid = transceiver.mid(), dropped, lost, "track ended");
}

struct TrackEcho {
    track: MediaStreamTrack,
    sender: RtpSender,
    receiver: RtpReceiver,
    stream: EchoStream,
    last_key_frame: Option<Instant>,
    /// Packets given up so far.
    lost: u64,
    counters: Arc<Counters>,
}

impl TrackEcho {
    async fn run(&mut self) {
        loop {
            let due = self.stream.next_due();
            tokio::select! {
                packet = self.track.recv() => match packet {
                    Some(packet) => self.on_burst(packet),
                    None => return,
                },
                feedback = self.sender.next_feedback() => match feedback {
                    Some(feedback) => self.on_feedback(feedback),
                    None => return,
                },
                () = sleep_until(due) => {}
            }
            self.ask_again();
        }
    }

    fn on_burst(&mut self, first: RtpPacket) {
        self.on_packet(first);
        for _ in 1..BURST {
            match self.track.try_recv() {
                Some(packet) => self.on_packet(packet),
                None => return,
            }
        }
    }

    fn on_packet(&mut self, packet: RtpPacket) {
        self.counters.rtp_in();
        if !self.stream.knows(packet.payload_type) {
            self.stream.set_codecs(&self.sender.codecs());
        }
        let Some(packet) = self.stream.on_packet(Instant::now(), packet) else {
            return self.counters.rtp_not_echoed();
        };
        match self.sender.send_rtp(packet) {
            Ok(()) => self.counters.rtp_out(),
            // The peer only sends (its section is sendonly), or the network task is behind.
            Err(_) => self.counters.rtp_not_echoed(),
        }
    }

    fn on_feedback(&mut self, feedback: RtcpFeedback) {
        match feedback {
            RtcpFeedback::Pli { .. } | RtcpFeedback::Fir { .. } => self.ask_key_frame(),
            RtcpFeedback::Nack { sequence_numbers, .. } => {
                for &number in sequence_numbers.iter().take(MAX_RESENT) {
                    let Some(packet) = self.stream.sent(number) else { continue };
                    if self.sender.send_rtp(packet.clone()).is_ok() {
                        self.counters.rtp_resent();
                    }
                }
            }
            other => debug!(?other, "feedback"),
        }
    }

    fn ask_key_frame(&mut self) {
        if self.track.kind() == TrackKind::Audio {
            return;
        }
        let now = Instant::now();
        let recent = |last: Instant| now.saturating_duration_since(last) < KEY_FRAME_INTERVAL;
        if self.last_key_frame.is_some_and(recent) {
            return;
        }
        if let Some(ssrc) = self.stream.ssrc() {
            self.last_key_frame = Some(now);
            self.receiver.send_pli(ssrc);
            self.counters.key_frame_asked();
        }
    }

    fn ask_again(&mut self) {
        let numbers = self.stream.requests(Instant::now());
        let lost = self.stream.lost();
        if lost != self.lost {
            // The peer cannot know that what it misses never came here, and would wait for it for seconds.
            self.lost = lost;
            self.ask_key_frame();
        }
        if let (false, Some(ssrc)) = (numbers.is_empty(), self.stream.ssrc()) {
            self.counters.rtp_asked_again(numbers.len());
            self.receiver.send_nack(ssrc, numbers);
        }
    }
}

/// Sleeps until an instant, or for good if there is none.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
