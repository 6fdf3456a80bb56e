//! DCEP (RFC 8832): what is read is written as it came.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_sctp::{DataChannelOpen, DcepMessage, Reliability};

fuzz_target!(|data: &[u8]| {
    let Ok(message) = DcepMessage::parse(data) else { return };
    let written = message.write();
    assert_eq!(DcepMessage::parse(&written).as_ref(), Ok(&message));
    match &message {
        DcepMessage::Ack => assert_eq!(written.len(), 1),
        DcepMessage::Open(open) => {
            assert_eq!((written.len(), open.encoded_len()), (data.len(), data.len()));
            assert_eq!((&written[..4], &written[8..]), (&data[..4], &data[8..]));
            let DataChannelOpen { reliability, .. } = open;
            let said = u32::from_be_bytes([data[4], data[5], data[6], data[7]]);
            if let Reliability::MaxRetransmits(value) | Reliability::MaxPacketLifeTime(value) = *reliability {
                assert_eq!(u32::from(value), said.min(65_535));
            }
        }
    }
});
