//! Payloads of codecs: depacketizers on any payloads, packetizers on any frames and back, frames out of any packets.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use peerstack_fuzz::Input;
use peerstack_media::{
    FrameAssembler, MIN_PAYLOAD, Packetizer, PayloadFormat, depacketize, opus_packet_duration,
};

const FORMATS: [PayloadFormat; 7] = [
    PayloadFormat::Whole,
    PayloadFormat::Vp8,
    PayloadFormat::Vp9,
    PayloadFormat::H264 { single_nal: false },
    PayloadFormat::H264 { single_nal: true },
    PayloadFormat::H265,
    PayloadFormat::Av1,
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let format = FORMATS[usize::from(input.byte()) % FORMATS.len()];
    match input.byte() % 3 {
        0 => read(format, &mut input),
        1 => round_trip(format, &mut input),
        _ => assemble(format, &mut input),
    }
});

/// Payloads of one frame: what comes out is not much more than what went in.
fn read(format: PayloadFormat, input: &mut Input<'_>) {
    let mut payloads = Vec::new();
    while !input.is_empty() {
        let len = input.byte();
        payloads.push(input.take(usize::from(len)));
    }
    let _ = payloads.first().map(|payload| opus_packet_duration(payload));
    let total: usize = payloads.iter().map(|payload| payload.len()).sum();
    if let Ok(frame) = depacketize(format, payloads.into_iter()) {
        assert!(frame.data.len() <= 8 + 5 * total, "{} bytes of {total}", frame.data.len());
    }
}

/// A frame that is packetized comes out as one that packetizes the same way.
fn round_trip(format: PayloadFormat, input: &mut Input<'_>) {
    let room = MIN_PAYLOAD + usize::from(input.byte());
    let frame = Bytes::copy_from_slice(input.rest());
    let Ok(payloads) = Packetizer::new(format, room, 7).packetize(&frame) else { return };
    assert!(payloads.iter().all(|payload| payload.len() <= room));
    let Ok(once) = depacketize(format, payloads.iter().map(|payload| &payload[..])) else {
        panic!("what was packetized is not read again: {frame:02x?}");
    };
    let again = Packetizer::new(format, room, 7).packetize(&once.data.into()).unwrap();
    assert_eq!(again, payloads);
}

/// Packets in any order: frames in order, each packet in one at most.
fn assemble(format: PayloadFormat, input: &mut Input<'_>) {
    let window = u16::from(input.byte()) + 1;
    let mut assembler = FrameAssembler::new(format, window);
    let (mut packets, mut frames) = (0u64, 0u64);
    let mut number = u16::from(input.byte()) << 8;
    while !input.is_empty() {
        let step = input.byte();
        number = number.wrapping_add_signed(i16::from(step as i8) * if step & 1 == 0 { 1 } else { 97 });
        let (timestamp, flags, len) = (u32::from(input.byte()), input.byte(), usize::from(input.byte()) % 24);
        assembler.push(number, timestamp, flags & 1 != 0, Bytes::copy_from_slice(input.take(len)));
        packets += 1;
        while assembler.pop().is_some() {
            frames += 1;
        }
    }
    let stats = assembler.stats();
    assert_eq!(stats.frames, frames);
    assert!(stats.frames + stats.dropped + stats.late <= packets);
}
