//! What travels beside the bytes of a packet.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names a socket for as long as the process lives; never used again after the socket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(u64);

impl SocketId {
    /// A number no other socket of this process has. Numbers rise, so ordered maps keyed by them iterate in
    /// the order of creation.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Explicit congestion notification bits of the IP header (RFC 3168 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Ecn {
    /// Not ECN-capable.
    #[default]
    NotEct,
    /// ECT(1), used by L4S (RFC 9331).
    Ect1,
    /// ECT(0).
    Ect0,
    /// Congestion experienced.
    Ce,
}

/// Where a received datagram came in and from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveMeta {
    /// The socket it came in by.
    pub socket: SocketId,
    /// The sender's transport address.
    pub remote: SocketAddr,
    /// The local address it was sent to, where the system tells.
    pub local_ip: Option<IpAddr>,
    /// ECN bits of its IP header.
    pub ecn: Ecn,
}

/// What a packet is, for those below who treat kinds differently (socket marking, tracing); never looked at
/// to decide how to protect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum PacketKind {
    /// Application data of DTLS, which is SCTP.
    #[default]
    Data,
    /// Audio RTP.
    Audio,
    /// Video RTP.
    Video,
    /// RTCP.
    Rtcp,
    /// STUN and TURN.
    Ice,
    /// DTLS handshake and alerts.
    Dtls,
}

/// How to send one packet (libwebrtc `AsyncSocketPacketOptions`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketOptions {
    /// Pass DTLS by: the packet is SRTP already (libwebrtc `PF_SRTP_BYPASS`).
    pub srtp_bypass: bool,
    /// What it is.
    pub kind: PacketKind,
    /// ECN bits to set.
    pub ecn: Ecn,
}

/// Which protocol a datagram belongs to, by its first byte (RFC 7983 section 7, RFC 9443).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketClass {
    /// 0 to 3: STUN.
    Stun,
    /// 20 to 63: DTLS.
    Dtls,
    /// 64 to 79: TURN ChannelData.
    TurnChannel,
    /// 128 to 191 with an RTCP packet type (192 to 223) in the second byte (RFC 5761 section 4).
    Rtcp,
    /// 128 to 191 otherwise: RTP.
    Rtp,
    /// Anything else, the empty datagram included: to be dropped.
    Unknown,
}

impl PacketClass {
    /// Classifies a datagram. Total: any bytes have a class.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=63) => Self::Dtls,
            Some(64..=79) => Self::TurnChannel,
            Some(128..=191) => match datagram.get(1) {
                Some(192..=223) => Self::Rtcp,
                _ => Self::Rtp,
            },
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_byte_decides_as_in_rfc_7983() {
        for (first, class) in [
            (0, PacketClass::Stun),
            (3, PacketClass::Stun),
            (4, PacketClass::Unknown),
            (19, PacketClass::Unknown),
            (20, PacketClass::Dtls),
            (63, PacketClass::Dtls),
            (64, PacketClass::TurnChannel),
            (79, PacketClass::TurnChannel),
            (80, PacketClass::Unknown),
            (127, PacketClass::Unknown),
            (128, PacketClass::Rtp),
            (191, PacketClass::Rtp),
            (192, PacketClass::Unknown),
        ] {
            assert_eq!(PacketClass::of(&[first, 0]), class, "first byte {first}");
        }
        assert_eq!(PacketClass::of(&[]), PacketClass::Unknown);
        assert_eq!(PacketClass::of(&[128, 200]), PacketClass::Rtcp);
        assert_eq!(PacketClass::of(&[128, 191]), PacketClass::Rtp);
        assert_eq!(PacketClass::of(&[128, 224]), PacketClass::Rtp);
    }

    #[test]
    fn socket_ids_rise() {
        assert!(SocketId::unique() < SocketId::unique());
    }
}
