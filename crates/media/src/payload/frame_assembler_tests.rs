//! Tests of the assembler: order, loss, duplicates, wraps, bounds.

use super::*;
use crate::payload::Packetizer;

/// A VP8 frame of `parts` packets; `number` is its first sequence number.
fn send(assembler: &mut FrameAssembler, number: u16, timestamp: u32, parts: u16, left_out: &[u16]) {
    for packet in packets(number, timestamp, parts) {
        if !left_out.contains(&packet.0) {
            assembler.push(packet.0, packet.1, packet.2, packet.3);
        }
    }
}

fn packets(number: u16, timestamp: u32, parts: u16) -> Vec<(u16, u32, bool, Bytes)> {
    let data = Bytes::from(vec![timestamp as u8 | 1; 60 * usize::from(parts)]);
    let payloads = Packetizer::new(PayloadFormat::Vp8, 64, 0).packetize(&data).unwrap();
    assert_eq!(payloads.len(), usize::from(parts));
    let last = payloads.len() - 1;
    let packet = |(index, payload)| (number.wrapping_add(index as u16), timestamp, index == last, payload);
    payloads.into_iter().enumerate().map(packet).collect()
}

fn popped(assembler: &mut FrameAssembler) -> Vec<(u32, usize, u64)> {
    std::iter::from_fn(|| assembler.pop())
        .map(|frame| (frame.timestamp, frame.data.len(), frame.lost_packets))
        .collect()
}

#[test]
fn frames_come_in_order() {
    let mut assembler = FrameAssembler::new(PayloadFormat::Vp8, 50);
    // Across the wrap, each frame from behind.
    for frame in [packets(65_534, 10, 3), packets(1, 20, 2)] {
        for (number, timestamp, marker, payload) in frame.into_iter().rev() {
            assert!(assembler.pop().is_none_or(|frame| frame.timestamp < timestamp));
            assembler.push(number, timestamp, marker, payload);
        }
    }
    // The first was taken out between.
    assert_eq!(popped(&mut assembler), [(20, 120, 0)]);
    // Twice, and too late: no more frames.
    send(&mut assembler, 1, 20, 2, &[]);
    assert_eq!(popped(&mut assembler), []);
    assert_eq!(assembler.stats(), FrameAssemblerStats { frames: 2, late: 2, ..Default::default() });
    // Without a marker the next timestamp ends a frame.
    let mut one = packets(3, 30, 1).remove(0);
    one.2 = false;
    assembler.push(one.0, one.1, one.2, one.3);
    assert_eq!(popped(&mut assembler), []);
    send(&mut assembler, 4, 40, 1, &[]);
    assert_eq!(popped(&mut assembler), [(30, 60, 0), (40, 60, 0)]);
}

/// A packet is waited for as long as the window says; then its frame is given up, and the next tells how much is missing.
#[test]
fn loss_is_marked() {
    let mut assembler = FrameAssembler::new(PayloadFormat::Vp8, 8);
    send(&mut assembler, 0, 10, 2, &[]);
    send(&mut assembler, 2, 20, 4, &[3]);
    send(&mut assembler, 6, 30, 2, &[]);
    assert_eq!(popped(&mut assembler), [(10, 120, 0)]);
    // It comes after all.
    let late = packets(2, 20, 4).remove(1);
    assembler.push(late.0, late.1, late.2, late.3);
    assert_eq!(popped(&mut assembler), [(20, 240, 0), (30, 120, 0)]);
    // The beginning is lost, the middle, the end, a whole frame.
    for (round, lost) in [&[8u16][..], &[9], &[10], &[8, 9, 10]].into_iter().enumerate() {
        let mut assembler = FrameAssembler::new(PayloadFormat::Vp8, 8);
        send(&mut assembler, 7, 10, 1, &[]);
        send(&mut assembler, 8, 20, 3, lost);
        send(&mut assembler, 11, 30, 10, &[]);
        send(&mut assembler, 21, 40, 1, &[]);
        assert_eq!(popped(&mut assembler), [(10, 60, 0), (30, 600, 3), (40, 60, 0)], "round {round}");
        let stats = assembler.stats();
        assert_eq!((stats.lost, stats.lost + stats.dropped), (lost.len() as u64, 3));
    }
}

#[test]
fn audio_is_a_packet_a_frame() {
    let mut assembler = FrameAssembler::new(PayloadFormat::Whole, 3);
    for number in [0u16, 2, 1, 4, 5, 6, 7] {
        assembler.push(number, u32::from(number) * 960, false, Bytes::from(vec![number as u8; 3]));
    }
    let frames: Vec<_> = std::iter::from_fn(|| assembler.pop()).collect();
    let told: Vec<_> = frames.iter().map(|frame| (frame.sequence_number, frame.lost_packets)).collect();
    assert_eq!(told, [(0, 0), (1, 0), (2, 0), (4, 1), (5, 0), (6, 0), (7, 0)]);
    assert!(frames.iter().all(|frame| frame.key_frame && frame.data[0] == frame.sequence_number as u8));
}

/// Joined in the middle of a frame: nothing until one begins.
#[test]
fn a_frame_without_its_beginning_is_none() {
    let mut assembler = FrameAssembler::new(PayloadFormat::Vp8, 2);
    send(&mut assembler, 0, 10, 3, &[0]);
    send(&mut assembler, 3, 20, 1, &[]);
    assert_eq!(popped(&mut assembler), [(20, 60, 2)]);
}

/// The sender starts anew with other numbers.
#[test]
fn a_jump_is_another_stream() {
    let mut assembler = FrameAssembler::new(PayloadFormat::Vp8, 8);
    send(&mut assembler, 0, 10, 2, &[]);
    assert_eq!(popped(&mut assembler).len(), 1);
    send(&mut assembler, 2, 20, 2, &[3]);
    send(&mut assembler, 20_000, 30, 2, &[]);
    assert_eq!(popped(&mut assembler), [(30, 120, 1)]);
}

/// Whatever comes, memory and work are bounded.
#[test]
fn floods_are_bounded() {
    for format in [PayloadFormat::Vp8, PayloadFormat::Whole, PayloadFormat::Av1] {
        let mut assembler = FrameAssembler::new(format, u16::MAX);
        // One frame that never ends, of empty packets and of large ones.
        for number in 0..20_000u32 {
            assembler.push(number as u16, 7, false, Bytes::new());
        }
        assert!(assembler.packets.len() as u64 <= MAX_WINDOW + 1);
        let large = Bytes::from(vec![0x10; 60_000]);
        for number in 0..2_000u32 {
            assembler.push(number as u16, 8, false, large.clone());
        }
        assert!(assembler.bytes <= MAX_BYTES);
        // Numbers without any order.
        let mut number = 1u16;
        for step in 0..20_000u32 {
            number = number.wrapping_mul(31).wrapping_add(step as u16);
            assembler.push(number, step, step % 3 == 0, Bytes::from_static(&[0x10, 1]));
            let _ = assembler.pop();
            assert!(assembler.packets.len() as u64 <= MAX_WINDOW + 1);
        }
    }
}
