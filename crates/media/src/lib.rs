//! RTCP and statistics of RTP streams: reading and writing RTCP, receive statistics, reports and feedback.

#![forbid(unsafe_code)]

mod media_counter;
mod ntp_time;
mod payload;
mod receive_statistics;
mod rtcp_builder;
mod rtcp_packet;
mod rtcp_reporter;
mod rtp_statistics;
#[cfg(test)]
mod test_util;

pub use media_counter::{MediaCounter, MediaCounts};
pub use ntp_time::{NtpClock, NtpTime};
pub use payload::{
    AssembledFrame, DepacketizeError, DepacketizedFrame, FrameAssembler, FrameAssemblerStats, MIN_PAYLOAD,
    PacketizeError, Packetizer, PayloadFormat, depacketize, opus_packet_duration,
};
pub use receive_statistics::StreamStatistician;
pub use rtcp_builder::{MAX_BLOCKS, RtcpBuilder, RtcpWriteError};
pub use rtcp_packet::{
    Bye, FirEntries, NackItems, ReportBlock, ReportBlocks, RtcpError, RtcpPacket, RtcpPackets, SenderInfo,
    SourceDescription, Ssrcs, packet_type, rtcp_packets,
};
pub use rtcp_reporter::{KeyFrameRequest, MAX_STREAMS, RtcpConfig, RtcpCounters, RtcpEvent, RtcpReporter};
pub use rtp_statistics::{
    FeedbackCounter, InboundRtpStats, MediaKind, OutboundRtpStats, RemoteInboundRtpStats,
    RemoteOutboundRtpStats, RtpPacketInfo, StreamCounter,
};
