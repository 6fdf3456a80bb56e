//! The crate's deadlines brought under our clock and our caps on backing off; part of [`SctpProtoAssociation`], owned
//! by its `SctpTransport` on the network task. RFC 9260 section 6.3; answers to libwebrtc's `net/dcsctp/timer/timer.cc`.

use std::time::{Duration, Instant};

use sctp_proto::Association;

use super::{Deadline, Phase, SctpProtoAssociation};

impl SctpProtoAssociation {
    pub(super) fn our_deadline(&self) -> Option<Instant> {
        let theirs = self.association.as_ref()?.poll_timeout()?;
        match self.deadline {
            Some(deadline) if deadline.theirs == theirs => Some(deadline.ours),
            _ => Some(theirs),
        }
    }

    /// Translates a deadline that is new.
    pub(super) fn rearm(&mut self, now: Instant) {
        let Some(association) = &self.association else { return };
        let theirs = association.poll_timeout();
        if self.deadline.map(|deadline| deadline.theirs) == theirs {
            return;
        }
        let latest = self.longest_wait(association).map(|wait| now + wait);
        self.deadline = theirs
            .zip(latest)
            .and_then(|(theirs, latest)| (theirs > latest).then_some(Deadline { theirs, ours: latest }));
    }

    /// How far ahead a deadline may lie.
    pub(super) fn longest_wait(&self, association: &Association) -> Option<Duration> {
        match self.phase {
            Phase::Established => Some(self.config.max_backoff.max(association.rtt())),
            Phase::Connecting(_) => Some(self.config.max_init_backoff.max(self.config.rto_initial)),
            Phase::Waiting(_) | Phase::Accepting(_) | Phase::Closed => None,
        }
    }

    /// Lets the next timer expire, whatever the crate thinks of the time.
    pub(super) fn expire(&mut self, now: Instant) {
        let Some(association) = &mut self.association else { return };
        let Some(theirs) = association.poll_timeout() else { return };
        let at = theirs.max(now);
        association.handle_timeout(at);
        // What was armed just now counts from `at`.
        self.deadline = association
            .poll_timeout()
            .filter(|_| at > now)
            .map(|theirs| Deadline { theirs, ours: now + theirs.saturating_duration_since(at) });
        if let Some(association) = &self.association
            && let Some(wait) = self.longest_wait(association)
            && let Some(theirs) = association.poll_timeout()
        {
            let ours = self.deadline.map_or(theirs, |deadline| deadline.ours);
            self.deadline = Some(Deadline { theirs, ours: ours.min(now + wait) });
        }
        self.collect_events();
    }
}
