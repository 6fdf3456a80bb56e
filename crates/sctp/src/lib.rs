//! SCTP over DTLS and the data channels over it: `SctpTransport` stands beside the RTP transports of a
//! `JsepTransport`, owns no lower layer, and is run by the network task. RFC 8831, RFC 8832, RFC 8841, RFC 9260.

#![forbid(unsafe_code)]

mod data_channel_controller;
mod dcep;
mod sctp_association;
mod sctp_data_channel;
mod sctp_packet;
mod sctp_packet_guard;
mod sctp_proto_association;
mod sctp_sid_allocator;
mod sctp_transport;
#[cfg(test)]
mod test_pair;
#[cfg(test)]
mod transition_tests;

pub use data_channel_controller::MAX_PEER_NAME_BYTES;
pub use dcep::{DataChannelOpen, DcepError, DcepMessage, Reliability};
pub use sctp_association::{
    AssociationConfig, AssociationError, AssociationEvent, AssociationInit, AssociationMessage,
    AssociationOpening, AssociationStats, SctpAssociation, SctpCloseReason, SendOptions,
};
pub use sctp_data_channel::{
    DataChannelError, DataChannelEvent, DataChannelId, DataChannelInit, DataChannelOpenError,
    DataChannelSendError, DataChannelState, DataChannelStats, MessageKind,
};
pub use sctp_proto_association::SctpProtoAssociation;
pub use sctp_sid_allocator::MAX_SCTP_STREAMS;
pub use sctp_transport::{
    SctpStartError, SctpTransport, SctpTransportConfig, SctpTransportEvent, SctpTransportState,
    SctpTransportStats,
};
