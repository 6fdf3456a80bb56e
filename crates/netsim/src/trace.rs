//! Traces: what was sent, received and dropped, comparable between runs and readable as a table.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peerstack_base::PacketClass;

use crate::packet::{DropReason, Packet};

/// Entries kept; what comes later is only counted.
const LIMIT: usize = 1_000_000;
/// Bytes by which DTLS handshake packets may differ between two runs: ECDSA signatures vary in length.
const HANDSHAKE_SLACK: usize = 8;

/// What a DTLS datagram's first record is (RFC 9147 section 4, RFC 6347 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DtlsKind {
    /// Content type 20.
    ChangeCipherSpec,
    /// Content type 21.
    Alert,
    /// Content type 22; the handshake message's type where it is not encrypted.
    Handshake(Option<u8>),
    /// Content type 23.
    ApplicationData,
    /// Content type 26, acknowledgements of DTLS 1.3.
    Ack,
    /// A record of DTLS 1.3 with the unified header; the low two bits of its epoch: 2 is the handshake, 3 the
    /// first application data.
    Ciphertext(u8),
    /// Anything else.
    Other(u8),
}

/// What a packet is, finer than [`PacketClass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TraceKind {
    /// STUN or TURN: method and class (0 request, 1 indication, 2 success, 3 error; RFC 8489 section 5).
    Stun {
        /// The method.
        method: u16,
        /// The class.
        class: u8,
    },
    /// DTLS.
    Dtls(DtlsKind),
    /// TURN ChannelData.
    TurnChannel,
    /// RTCP with the first packet's type.
    Rtcp(u8),
    /// RTP with its payload type.
    Rtp(u8),
    /// Nothing known.
    Unknown,
}

impl TraceKind {
    /// Looks at a datagram. Total: any bytes have a kind.
    pub fn of(datagram: &[u8]) -> Self {
        let second = datagram.get(1).copied().unwrap_or(0);
        match PacketClass::of(datagram) {
            PacketClass::Stun => Self::stun(datagram),
            PacketClass::Dtls => Self::Dtls(dtls_kind(datagram)),
            PacketClass::TurnChannel => Self::TurnChannel,
            PacketClass::Rtcp => Self::Rtcp(second),
            PacketClass::Rtp => Self::Rtp(second & 0x7f),
            PacketClass::Unknown => Self::Unknown,
        }
    }

    fn stun(datagram: &[u8]) -> Self {
        let &[first, second, ..] = datagram else { return Self::Unknown };
        let typ = u16::from_be_bytes([first, second]);
        let method = (typ & 0x000f) | ((typ >> 1) & 0x0070) | ((typ >> 2) & 0x0f80);
        let class = ((typ >> 4) & 1) | ((typ >> 7) & 2);
        Self::Stun { method, class: if class < 4 { class as u8 } else { 0 } }
    }

    fn is_handshake(self) -> bool {
        matches!(self, Self::Dtls(DtlsKind::Handshake(_) | DtlsKind::Ciphertext(2)))
    }
}

fn dtls_kind(datagram: &[u8]) -> DtlsKind {
    match datagram.first().copied().unwrap_or(0) {
        20 => DtlsKind::ChangeCipherSpec,
        21 => DtlsKind::Alert,
        22 => {
            let plaintext = datagram.get(3..5) == Some(&[0, 0]);
            DtlsKind::Handshake(datagram.get(13).copied().filter(|_| plaintext))
        }
        23 => DtlsKind::ApplicationData,
        26 => DtlsKind::Ack,
        first @ 32..=63 => DtlsKind::Ciphertext(first & 3),
        other => DtlsKind::Other(other),
    }
}

impl fmt::Display for TraceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::Stun { method, class } => {
                let class = match class {
                    0 => "request",
                    1 => "indication",
                    2 => "success",
                    _ => "error",
                };
                let method = match method {
                    1 => "Binding",
                    3 => "Allocate",
                    4 => "Refresh",
                    6 => "Send",
                    7 => "Data",
                    8 => "CreatePermission",
                    9 => "ChannelBind",
                    other => return f.pad(&format!("STUN method {other:#x} {class}")),
                };
                format!("STUN {method} {class}")
            }
            Self::Dtls(kind) => match kind {
                DtlsKind::ChangeCipherSpec => "DTLS ChangeCipherSpec".into(),
                DtlsKind::Alert => "DTLS alert".into(),
                DtlsKind::Handshake(Some(typ)) => format!("DTLS {}", handshake_name(typ)),
                DtlsKind::Handshake(None) => "DTLS handshake, encrypted".into(),
                DtlsKind::ApplicationData => "DTLS application data".into(),
                DtlsKind::Ack => "DTLS ACK".into(),
                DtlsKind::Ciphertext(epoch) => format!("DTLS 1.3, epoch {epoch}"),
                DtlsKind::Other(typ) => format!("DTLS content {typ}"),
            },
            Self::TurnChannel => "TURN ChannelData".into(),
            Self::Rtcp(typ) => format!("RTCP {typ}"),
            Self::Rtp(payload_type) => format!("RTP {payload_type}"),
            Self::Unknown => "unknown".into(),
        };
        f.pad(&text)
    }
}

fn handshake_name(typ: u8) -> String {
    match typ {
        1 => "ClientHello".into(),
        2 => "ServerHello".into(),
        3 => "HelloVerifyRequest".into(),
        11 => "Certificate".into(),
        12 => "ServerKeyExchange".into(),
        13 => "CertificateRequest".into(),
        14 => "ServerHelloDone".into(),
        15 => "CertificateVerify".into(),
        16 => "ClientKeyExchange".into(),
        20 => "Finished".into(),
        other => format!("handshake {other}"),
    }
}

/// What happened to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TraceAction {
    /// A socket sent it.
    Sent,
    /// It reached a socket.
    Received,
    /// It ended, and why.
    Dropped(DropReason),
}

/// One line of a [`Trace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEntry {
    /// Virtual time since the lab began.
    pub at: Duration,
    /// What happened.
    pub action: TraceAction,
    /// At which host, router or link.
    pub place: Arc<str>,
    /// Source address as seen there.
    pub from: SocketAddr,
    /// Destination address as seen there.
    pub to: SocketAddr,
    /// What the packet is.
    pub kind: TraceKind,
    /// Bytes of its payload.
    pub len: usize,
}

impl TraceEntry {
    /// Whether the two are the same in two runs: all but the length, and the length too unless the packet is of
    /// a DTLS handshake, where signatures vary by up to 8 bytes.
    pub fn same(&self, other: &Self) -> bool {
        let slack = if self.kind.is_handshake() { HANDSHAKE_SLACK } else { 0 };
        self.at == other.at
            && self.action == other.action
            && self.place == other.place
            && self.from == other.from
            && self.to == other.to
            && self.kind == other.kind
            && self.len.abs_diff(other.len) <= slack
    }
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            TraceAction::Sent => "sent".to_owned(),
            TraceAction::Received => "received".to_owned(),
            TraceAction::Dropped(reason) => format!("dropped: {reason:?}"),
        };
        let ms = self.at.as_nanos() as f64 / 1e6;
        let (from, to) = (self.from.to_string(), self.to.to_string());
        let (place, kind, len) = (&self.place, self.kind, self.len);
        write!(f, "{ms:>12.3} ms  {place:<12} {action:<22} {from:<24} > {to:<24} {kind:<26} {len:>5} B")
    }
}

/// What was sent, received and dropped in a lab, in order. Its `Display` is a table.
///
/// On links with a rate, a DTLS handshake whose signatures differ in length also differs in the time it takes
/// by some nanoseconds: compare runs on links without one, or only what was [`sent`](Self::sent).
#[derive(Debug, Clone, Default)]
pub struct Trace {
    entries: Vec<TraceEntry>,
    left_out: u64,
}

impl Trace {
    pub(crate) fn record(&mut self, at: Duration, action: TraceAction, place: &Arc<str>, packet: &Packet) {
        if self.entries.len() >= LIMIT {
            self.left_out += 1;
            return;
        }
        self.entries.push(TraceEntry {
            at,
            action,
            place: Arc::clone(place),
            from: packet.source,
            to: packet.destination,
            kind: TraceKind::of(&packet.payload),
            len: packet.payload.len(),
        });
    }

    /// All entries in order.
    pub fn entries(&self) -> &[TraceEntry] {
        &self.entries
    }

    /// Entries that were not kept because there were too many.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Only the entries that hold.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&TraceEntry) -> bool) -> Self {
        let entries = self.entries.iter().filter(|entry| keep(entry)).cloned().collect();
        Self { entries, left_out: self.left_out }
    }

    /// Only what sockets sent.
    #[must_use]
    pub fn sent(&self) -> Self {
        self.only(|entry| entry.action == TraceAction::Sent)
    }

    /// Where two runs part, readable, or `None` if they are identical ([`TraceEntry::same`] throughout).
    pub fn first_difference(&self, other: &Self) -> Option<String> {
        let pairs = self.entries.iter().zip(&other.entries);
        let number = pairs.take_while(|(a, b)| a.same(b)).count();
        let show = |entry: Option<&TraceEntry>| entry.map_or("(ended)".to_owned(), ToString::to_string);
        match (self.entries.get(number), other.entries.get(number)) {
            (None, None) if self.left_out == other.left_out => None,
            (None, None) => Some(format!("{} and {} entries were left out", self.left_out, other.left_out)),
            (one, two) => Some(format!("entry {number}:\n  this  {}\n  other {}", show(one), show(two))),
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        if self.left_out > 0 {
            writeln!(f, "({} more left out)", self.left_out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u64, payload: &[u8]) -> Trace {
        let mut trace = Trace::default();
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let packet = Packet::udp(address(1), address(2), payload);
        trace.record(Duration::from_millis(at), TraceAction::Sent, &Arc::from("a"), &packet);
        trace
    }

    #[test]
    fn kinds_name_stun_methods_and_dtls_content() {
        for (bytes, text) in [
            (&[0x00, 0x01][..], "STUN Binding request"),
            (&[0x01, 0x01], "STUN Binding success"),
            (&[0x01, 0x11], "STUN Binding error"),
            (&[0x00, 0x11], "STUN Binding indication"),
            (&[0x01, 0x13], "STUN Allocate error"),
            (&[0x00, 0x17], "STUN Data indication"),
            (&[0x00], "unknown"),
            (&[20], "DTLS ChangeCipherSpec"),
            (&[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1], "DTLS ClientHello"),
            (&[22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1], "DTLS handshake, encrypted"),
            (&[0x2e], "DTLS 1.3, epoch 2"),
            (&[128, 200], "RTCP 200"),
            (&[128, 0xe0], "RTP 96"),
            (&[0x40], "TURN ChannelData"),
            (&[], "unknown"),
        ] {
            assert_eq!(TraceKind::of(bytes).to_string(), text, "{bytes:?}");
        }
    }

    #[test]
    fn runs_are_the_same_but_for_eight_bytes_of_a_handshake() {
        assert_eq!(entry(1, &[22; 100]).first_difference(&entry(1, &[22; 108])), None);
        assert!(entry(1, &[22; 100]).first_difference(&entry(1, &[22; 109])).is_some());
        assert!(entry(1, &[23; 100]).first_difference(&entry(1, &[23; 101])).is_some());
        assert!(entry(1, &[23; 100]).first_difference(&entry(2, &[23; 100])).is_some());
        let ended = entry(1, &[23; 100]).first_difference(&Trace::default()).unwrap();
        assert!(ended.contains("entry 0") && ended.contains("(ended)"), "{ended}");
    }
}
