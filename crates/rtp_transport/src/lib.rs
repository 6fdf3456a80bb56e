//! RTP over DTLS and ICE: RtpTransport, SrtpTransport, DtlsSrtpTransport, SrtpSession, RtpDemuxer.
//!
//! Packets in: [`DtlsSrtpTransport::receive`] authenticates and decrypts where the datagram lies and says whose
//! the packet is. Packets out: `send_rtp_with` hands out the slot of the transmit queue and seals in it.

#![forbid(unsafe_code)]

mod dtls_srtp_transport;
mod header_extension_map;
mod replay_window;
mod rtp_demuxer;
mod rtp_packet;
mod rtp_packet_writer;
mod rtp_transport;
mod rtp_transport_internal;
mod sent_packets;
mod srtp_backend;
mod srtp_context;
mod srtp_session;
mod srtp_transport;
mod stream_id;
#[cfg(test)]
mod test_util;
#[cfg(feature = "webrtc-srtp")]
mod webrtc_srtp_backend;

pub use dtls_srtp_transport::DtlsSrtpTransport;
pub use header_extension_map::{
    ExtensionIdMapping, ExtensionMapError, RtpExtensionType, RtpHeaderExtension, RtpHeaderExtensionMap,
};
pub use rtp_demuxer::{Demuxed, DemuxerError, MAX_SSRC_BINDINGS, RtpDemuxer, RtpDemuxerCriteria};
pub use rtp_packet::{
    ExtensionElement, ExtensionForm, Extensions, FIXED_HEADER_LEN, ONE_BYTE_PROFILE, RtpError, RtpHeaderView,
    RtpPacket, TWO_BYTE_PROFILE,
};
pub use rtp_packet_writer::{
    RtpFields, RtpHeader, forwarded_len_bound, rewrite_extension_ids, write_forwarded, write_rtp_header,
};
pub use rtp_transport::RtpTransport;
pub use rtp_transport_internal::{
    Received, RtpDropCounters, RtpTransportEvent, RtpTransportInternal, RtpTransportStats, SinkId,
    UnDemuxablePacket,
};
pub use srtp_backend::{SrtpBackend, SrtpBackendKind, SrtpError, SrtpKey, rtcp_overhead, rtp_overhead};
pub use srtp_context::SrtpContext;
pub use srtp_session::SrtpSession;
pub use srtp_transport::SrtpTransport;
pub use stream_id::StreamId;
#[cfg(feature = "webrtc-srtp")]
pub use webrtc_srtp_backend::WebrtcSrtpBackend;
