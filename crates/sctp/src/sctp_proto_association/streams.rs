//! Messages out of streams, and the end of streams the peer reset; part of [`SctpProtoAssociation`], owned by its
//! `SctpTransport` on the network task. RFC 6525; answers to libwebrtc's `net/dcsctp/socket/stream_reset_handler.cc`.

use sctp_proto::PayloadProtocolIdentifier;

use super::SctpProtoAssociation;
use crate::sctp_association::AssociationMessage;

impl SctpProtoAssociation {
    /// A stream that the peer reset while messages wait unread holds the reset, and new data behind it, until
    /// they are read. They are taken out here, and an incomplete rest is given up.
    pub(super) fn finish_resets(&mut self) {
        for sid in self.resetting.clone() {
            if !self.is_retiring(sid) {
                continue;
            }
            while let Some(message) = self.read_association(sid) {
                self.leftover.entry(sid).or_default().push_back(message);
            }
            if self.is_retiring(sid)
                && let Some(Ok(mut stream)) =
                    self.association.as_mut().map(|association| association.stream(sid))
            {
                let _ = stream.stop();
            }
            self.collect_events();
        }
    }

    /// Readable, but closed for writing by no call of ours.
    pub(super) fn is_retiring(&mut self, sid: u16) -> bool {
        matches!(
            self.association.as_mut().map(|association| association.stream(sid)),
            Some(Ok(stream)) if stream.is_readable() && !stream.is_writable()
        )
    }

    pub(super) fn read_association(&mut self, sid: u16) -> Option<AssociationMessage> {
        let mut stream = self.association.as_mut()?.stream(sid).ok()?;
        let mut message = stream.read_sctp().ok()??;
        let (len, chunks) = (message.len(), message.chunks.len());
        let ppid = match message.ppi {
            PayloadProtocolIdentifier::Unknown => self.guard.odd_ppid(sid),
            known => known as u32,
        };
        self.guard.on_read(sid, chunks);
        self.freed += len;
        let payload = message.next(len).map(|chunk| chunk.bytes).unwrap_or_default();
        Some(AssociationMessage { ppid, payload })
    }
}
