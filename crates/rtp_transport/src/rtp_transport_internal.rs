//! What the RTP transports have in common: the verbs, the events, the counters. Runs on the network task; answers
//! to libwebrtc's `pc/rtp_transport_internal.h`.

use std::fmt::Debug;
use std::time::Instant;

use peerstack_base::{Counter, EventReceiver, PacketOptions, ReceiveMeta, SendError};
use peerstack_dtls::DtlsTransportInternal;
use peerstack_p2p::NetworkRoute;

use crate::header_extension_map::RtpHeaderExtensionMap;
use crate::rtp_demuxer::RtpDemuxer;
use crate::rtp_packet::RtpPacket;
use crate::stream_id::StreamId;

/// Names a sink, where the layer above has no name of its own for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkId(pub u64);

/// What came out of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<'d, S> {
    /// Nothing for media: DTLS took it (then see `poll_data`), or it was dropped and counted.
    None,
    /// An RTP packet, authenticated and decrypted.
    Rtp {
        /// The packet, in the datagram's buffer.
        packet: RtpPacket<'d>,
        /// Whose it is; `None` if no sink claims its SSRC (the layer above may add one).
        sink: Option<S>,
    },
    /// A compound RTCP packet, authenticated and decrypted, not yet parsed.
    Rtcp(&'d [u8]),
}

/// The first packet of an SSRC that no sink claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnDemuxablePacket {
    /// Its source.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// The media section it says it belongs to.
    pub mid: Option<StreamId>,
    /// The encoding it says it belongs to.
    pub rsid: Option<StreamId>,
}

/// What an RTP transport tells upward.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RtpTransportEvent {
    /// [`RtpTransportInternal::ready_to_send`] changed (D20).
    ReadyToSend(bool),
    /// [`RtpTransportInternal::writable`] changed.
    WritableState(bool),
    /// [`RtpTransportInternal::srtp_active`] changed.
    SrtpActive(bool),
    /// The way packets take changed; SRTP's bytes are counted in its overhead.
    NetworkRouteChange(Option<NetworkRoute>),
    /// An SSRC that no sink claims sent its first packet (once for an SSRC).
    UnDemuxable(UnDemuxablePacket),
}
peerstack_base::layer_event!(RtpTransportEvent, "peerstack::rtp");

/// Why packets were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpDropCounters {
    /// SRTP before there were keys.
    pub no_keys: u64,
    /// Not RTP, not RTCP, or cut off.
    pub malformed: u64,
    /// The tag was wrong.
    pub authentication: u64,
    /// Received before.
    pub replayed: u64,
    /// Older than the replay window.
    pub too_old: u64,
    /// SRTCP without encryption.
    pub not_encrypted: u64,
    /// More SSRCs than state is kept for.
    pub too_many_ssrcs: u64,
    /// Its MID is nobody's.
    pub unknown_mid: u64,
    /// Other refusals of the SRTP backend.
    pub other: u64,
}

impl RtpDropCounters {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { no_keys, malformed, authentication, replayed, too_old, .. } = self;
        let Self { not_encrypted, too_many_ssrcs, unknown_mid, other, .. } = self;
        no_keys
            + malformed
            + authentication
            + replayed
            + too_old
            + not_encrypted
            + too_many_ssrcs
            + unknown_mid
            + other
    }
}

/// Counters of an RTP transport. Bytes are those of the datagram: SRTP's overhead included, IP and UDP not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpTransportStats {
    /// RTP packets that were accepted.
    pub rtp_received: Counter,
    /// Compound RTCP packets that were accepted.
    pub rtcp_received: Counter,
    /// RTP packets that were sent.
    pub rtp_sent: Counter,
    /// Compound RTCP packets that were sent.
    pub rtcp_sent: Counter,
    /// RTP packets that were accepted though no sink claims them.
    pub unclaimed: Counter,
    /// Packets that were dropped.
    pub dropped: RtpDropCounters,
    /// Packets that the SRTP backend did not protect.
    pub protect_failures: u64,
}

/// An RTP transport: RTP and RTCP to and from one peer, protected or not.
pub trait RtpTransportInternal {
    /// The DTLS transport below.
    type Dtls: DtlsTransportInternal;
    /// What names a sink.
    type Sink: Copy + Eq + Debug;

    /// Takes a datagram of one of ICE's sockets. Then drain [`poll_data`](Self::poll_data).
    fn receive<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Received<'d, Self::Sink>;

    /// The next record of DTLS application data (SCTP), see [`DtlsTransportInternal::poll_data`].
    fn poll_data(&mut self) -> Option<&[u8]> {
        self.rtp_dtls_mut().poll_data()
    }

    /// Sends one RTP packet of at most `len` bytes: `write` fills the slot and returns how many bytes count (0
    /// takes it back); it is protected where it lies. Returns that number.
    ///
    /// # Errors
    /// [`SendError::NotWritable`] without keys or connection, [`SendError::Malformed`] if what was written is not
    /// RTP, [`SendError::Protect`] if SRTP refused it, and what the transports below say.
    fn send_rtp_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError>;

    /// Sends one compound RTCP packet, by the RTP transport if RTCP is multiplexed (D20). As
    /// [`send_rtp_with`](Self::send_rtp_with).
    ///
    /// # Errors
    /// As [`send_rtp_with`](Self::send_rtp_with).
    fn send_rtcp_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError>;

    /// When [`handle_timeout`](Self::handle_timeout) is due, the transports below included.
    fn next_timeout(&self) -> Option<Instant>;

    /// Runs what is due in the transports below.
    fn handle_timeout(&mut self, now: Instant);

    /// `process` of the transports below, then drains their events: installs keys, emits own events.
    fn process(&mut self, now: Instant);

    /// A channel of this transport's events from now on.
    fn subscribe(&mut self) -> EventReceiver<RtpTransportEvent>;

    /// Whether packets may be sent: the transports below are writable and, where packets are protected, keys are
    /// installed.
    fn writable(&self) -> bool;

    /// Writable, and not blocked since the last `WouldBlock`.
    fn ready_to_send(&self) -> bool;

    /// Whether packets are protected now.
    fn srtp_active(&self) -> bool;

    /// Whether RTCP takes RTP's transport (RFC 5761).
    fn rtcp_mux_enabled(&self) -> bool;

    /// Sets whether RTCP takes RTP's transport.
    fn set_rtcp_mux_enabled(&mut self, enabled: bool);

    /// The DTLS transport of RTP, and of all there is when RTCP is multiplexed.
    fn rtp_dtls(&self) -> &Self::Dtls;

    /// The DTLS transport of RTP.
    fn rtp_dtls_mut(&mut self) -> &mut Self::Dtls;

    /// The same by the name SCTP knows it by: `sctp.flush(now, rtp.dtls_mut())`.
    fn dtls_mut(&mut self) -> &mut Self::Dtls {
        self.rtp_dtls_mut()
    }

    /// The DTLS transport of RTCP, while it is not multiplexed.
    fn rtcp_dtls(&self) -> Option<&Self::Dtls>;

    /// The DTLS transport of RTCP, while it is not multiplexed.
    fn rtcp_dtls_mut(&mut self) -> Option<&mut Self::Dtls>;

    /// Takes RTCP's transport away, as an answer with rtcp-mux does (D21); keys of RTP stay (D15).
    fn remove_rtcp_dtls(&mut self) -> Option<Self::Dtls>;

    /// Who gets which packet.
    fn demuxer(&self) -> &RtpDemuxer<Self::Sink>;

    /// Who gets which packet.
    fn demuxer_mut(&mut self) -> &mut RtpDemuxer<Self::Sink>;

    /// Negotiated header extensions of what is received.
    fn extensions(&self) -> &RtpHeaderExtensionMap;

    /// Replaces the negotiated header extensions of what is received.
    fn set_extensions(&mut self, extensions: RtpHeaderExtensionMap);

    /// Counters.
    fn stats(&self) -> RtpTransportStats;
}
