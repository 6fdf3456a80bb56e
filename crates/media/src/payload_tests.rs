//! Tests of packetizers and depacketizers: what goes in comes out, wire forms of the RFCs, crafted payloads.

use std::time::Duration;

use super::*;

const VIDEO: [PayloadFormat; 6] = [
    PayloadFormat::Vp8,
    PayloadFormat::Vp9,
    PayloadFormat::H264 { single_nal: false },
    PayloadFormat::H264 { single_nal: true },
    PayloadFormat::H265,
    PayloadFormat::Av1,
];

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    // No zeros, so no start codes.
    (0..len).map(|index| ((index * 7 + seed) % 255 + 1) as u8).collect()
}

/// A frame as an encoder of the format gives it, of parts of these lengths.
fn frame(format: PayloadFormat, lens: &[usize]) -> Bytes {
    let mut data = Vec::new();
    match format {
        PayloadFormat::H264 { .. } => {
            for (index, len) in lens.iter().enumerate() {
                data.extend([0, 0, 0, 1, [0x67, 0x68, 0x65, 0x41][index % 4]]);
                data.extend(bytes(*len, index));
            }
        }
        PayloadFormat::H265 => {
            for (index, len) in lens.iter().enumerate() {
                data.extend([0, 0, 0, 1, [32 << 1, 33 << 1, 19 << 1, 1 << 1][index % 4], 1]);
                data.extend(bytes(*len, index));
            }
        }
        PayloadFormat::Av1 => {
            data.extend([0x12, 0]);
            for (index, len) in lens.iter().enumerate() {
                data.push([0x0A, 0x32][index.min(1)]);
                let (low, high) = ((len & 0x7F) as u8, len >> 7);
                match high {
                    0 => data.push(low),
                    1..128 => data.extend([low | 0x80, high as u8]),
                    _ => data.extend([low | 0x80, high as u8 | 0x80, (len >> 14) as u8]),
                }
                data.extend(bytes(*len, index));
            }
        }
        // VP8: a key frame has bit 0 clear. VP9: frame marker 2, profile 0, key frame.
        PayloadFormat::Vp8 => {
            data.push(0x10);
            data.extend(bytes(lens.iter().sum(), 1));
        }
        PayloadFormat::Vp9 => {
            data.push(0x80);
            data.extend(bytes(lens.iter().sum(), 1));
        }
        PayloadFormat::Whole => data.extend(bytes(lens.iter().sum(), 1)),
    }
    data.into()
}

fn round_trip(format: PayloadFormat, frame: &Bytes, room: usize) -> DepacketizedFrame {
    let mut packetizer = Packetizer::new(format, room, 0x7FFF);
    let payloads = packetizer.packetize(frame).unwrap();
    assert!(payloads.iter().all(|payload| (1..=room).contains(&payload.len())), "{format:?} {room}");
    depacketize(format, payloads.iter().map(|payload| &payload[..])).unwrap()
}

/// What is packetized comes out again, whatever the sizes.
#[test]
fn frames_come_out_as_they_went_in() {
    for format in VIDEO {
        for room in [64, 100, 1_140] {
            for lens in
                [&[1][..], &[20, 4, 5], &[30, 4, 63, 64, 65, 61], &[10, 4, 99], &[10, 4, 40_000, 3_000]]
            {
                if format == (PayloadFormat::H264 { single_nal: true })
                    && lens.iter().any(|len| len + 1 > room)
                {
                    continue;
                }
                let frame = frame(format, lens);
                let out = round_trip(format, &frame, room);
                assert_eq!(out.data, frame, "{format:?}, {room} bytes, {lens:?}");
                assert!(out.key_frame);
            }
        }
    }
    let whole = frame(PayloadFormat::Whole, &[160]);
    assert_eq!(round_trip(PayloadFormat::Whole, &whole, 1_140).data, whole);
}

/// Every length around the edges of a packet.
#[test]
fn no_length_is_special() {
    for format in VIDEO {
        for len in 1..400 {
            let lens = [4, len, 7];
            if format == (PayloadFormat::H264 { single_nal: true }) && len + 1 > 64 {
                break;
            }
            let frame = frame(format, &lens);
            assert_eq!(round_trip(format, &frame, 64).data, frame, "{format:?} {len}");
        }
    }
}

#[test]
fn inter_frames_are_told_from_key_frames() {
    let inter = [
        (PayloadFormat::Vp8, vec![0x11, 1, 2]),
        (PayloadFormat::Vp9, vec![0x86, 1, 2]),
        (PayloadFormat::H264 { single_nal: false }, vec![0, 0, 0, 1, 0x41, 1, 2]),
        (PayloadFormat::H265, vec![0, 0, 0, 1, 2, 1, 2]),
        (PayloadFormat::Av1, vec![0x12, 0, 0x32, 2, 1, 2]),
    ];
    for (format, frame) in inter {
        let out = round_trip(format, &frame.clone().into(), 100);
        assert_eq!((out.data, out.key_frame), (frame, false), "{format:?}");
    }
}

/// RFC 7741 section 4.2, RFC 9628 section 4.2: descriptors as the figures have them.
#[test]
fn descriptors_of_vp8_and_vp9() {
    let mut vp8 = Packetizer::new(PayloadFormat::Vp8, 64, 0x1234);
    let payloads = vp8.packetize(&frame(PayloadFormat::Vp8, &[70])).unwrap();
    assert_eq!(
        (&payloads[0][..4], &payloads[1][..4]),
        (&[0x90, 0x80, 0x92, 0x34][..], &[0x80, 0x80, 0x92, 0x34][..])
    );
    let payloads = vp8.packetize(&Bytes::from_static(&[0x11, 2])).unwrap();
    assert_eq!(payloads[0][..], [0x90, 0x80, 0x92, 0x35, 0x11, 2]);
    // All fields of the extension, 7 and 15 bits of picture id.
    for payload in
        [&[0x90, 0xF0, 0x80, 1, 2, 3, 0x10, 9][..], &[0x90, 0xE0, 5, 2, 3, 0x10, 9], &[0x10, 0x10, 9]]
    {
        assert_eq!(depacketize(PayloadFormat::Vp8, [payload].into_iter()).unwrap().data, [0x10, 9]);
    }
    let mut vp9 = Packetizer::new(PayloadFormat::Vp9, 64, 0x7FFF);
    let payloads = vp9.packetize(&frame(PayloadFormat::Vp9, &[70])).unwrap();
    assert_eq!((&payloads[0][..3], &payloads[1][..3]), (&[0x98, 0xFF, 0xFF][..], &[0x94, 0xFF, 0xFF][..]));
    let payloads = vp9.packetize(&Bytes::from_static(&[0x86, 2])).unwrap();
    assert_eq!(payloads[0][..], [0xDC, 0x80, 0, 2, 0x86, 2]);
    // Non-flexible with layers and a scalability structure of two layers and two pictures.
    let structure = [0xAA, 5, 0, 7, 0x38, 1, 64, 0, 180, 2, 128, 1, 104, 2, 0x14, 1, 0x08, 1, 2, 0x80, 9];
    let out = depacketize(PayloadFormat::Vp9, [&structure[..]].into_iter());
    assert_eq!(out.map(|frame| frame.data), Ok(vec![0x80, 9]));
}

/// RFC 6184 sections 5.7.1 and 5.8.
#[test]
fn packets_of_h264() {
    let format = PayloadFormat::H264 { single_nal: false };
    let frame = frame(format, &[3, 2, 100]);
    let payloads = Packetizer::new(format, 64, 0).packetize(&frame).unwrap();
    // SPS and PPS together, the slice in two.
    assert_eq!(payloads[0][..], [0x78, 0, 4, 0x67, 1, 8, 15, 0, 3, 0x68, 2, 9]);
    assert_eq!(
        (&payloads[1][..2], &payloads[2][..2], payloads.len()),
        (&[0x7C, 0x85][..], &[0x7C, 0x45][..], 3)
    );
    // Three bytes of start code, zeros behind the last.
    let short = Bytes::from_static(&[0, 0, 1, 0x09, 0xF0, 0, 0, 1, 0x65, 1, 2, 0, 0]);
    assert_eq!(round_trip(format, &short, 64).data, [0, 0, 0, 1, 0x09, 0xF0, 0, 0, 0, 1, 0x65, 1, 2]);
    let mut modes = Packetizer::new(PayloadFormat::H264 { single_nal: true }, 64, 0);
    assert_eq!(modes.packetize(&frame), Err(PacketizeError::TooLarge { len: 101, room: 64 }));
}

/// AOM's payload format, section 4.3: W counts elements, the last without a length; sizes inside are taken out.
#[test]
fn packets_of_av1() {
    let read = |payloads: &[&[u8]]| depacketize(PayloadFormat::Av1, payloads.iter().copied());
    let unit = [0x12, 0, 0x0A, 1, 7, 0x32, 2, 8, 9];
    assert_eq!(read(&[&[0x28, 2, 0x08, 7, 0x30, 8, 9]]).unwrap().data, unit);
    assert_eq!(read(&[&[0x08, 2, 0x08, 7, 3, 0x30, 8, 9]]).unwrap().data, unit);
    // An element that keeps its own size field, one cut over three packets.
    assert_eq!(read(&[&[0x28, 3, 0x0A, 1, 7, 0x30, 8, 9]]).unwrap().data, unit);
    let cut: [&[u8]; 3] = [&[0x68, 2, 0x08, 7, 0x30], &[0xD0, 8], &[0x90, 9]];
    assert_eq!(read(&cut).unwrap().data, unit);
    assert!(read(&cut[..2]).is_err());
    assert!(read(&[cut[0], cut[2]]).is_ok(), "a lost middle cannot be seen here");
    assert!(read(&cut[1..]).is_err());
}

/// Payloads that crash others, and every prefix and small change of good ones: refused or read, never more.
#[test]
fn crafted_payloads_do_no_harm() {
    let h264 = PayloadFormat::H264 { single_nal: false };
    // Panics in the depacketizer of the crate rtp 0.17.
    assert!(depacketize(h264, [&[0x78, 0, 0, 0x97][..]].into_iter()).is_err());
    for format in VIDEO.into_iter().chain([PayloadFormat::Whole]) {
        assert!(format == PayloadFormat::Whole || depacketize(format, [&[][..]].into_iter()).is_err());
        let good = Packetizer::new(format, 64, 1).packetize(&frame(format, &[10, 20, 33])).unwrap();
        for payload in &good {
            for end in 0..payload.len() {
                let _ = depacketize(format, [&payload[..end]].into_iter());
                for flip in [1u8, 0x80, 0xFF, 0x40] {
                    let mut changed = payload.to_vec();
                    changed[end] ^= flip;
                    let _ = depacketize(format, [&changed[..]].into_iter());
                }
            }
        }
    }
    let refused: [(PayloadFormat, &[u8]); 12] = [
        (PayloadFormat::Vp8, &[0x90, 0x80]),
        (PayloadFormat::Vp8, &[0x80, 0x80, 1, 2]),
        (PayloadFormat::Vp8, &[0x11, 9]),
        (PayloadFormat::Vp9, &[0x90, 0xFF, 0xFF]),
        (PayloadFormat::Vp9, &[0xD8, 1, 3, 3, 3, 3, 3]),
        (PayloadFormat::Vp9, &[0x0A, 0xFF]),
        (h264, &[0x78, 0xFF, 0xFF, 1]),
        (h264, &[0x7C, 0x05, 1]),
        (h264, &[0x7C, 0x85, 1]),
        (PayloadFormat::H265, &[0x62, 1, 0x13, 1]),
        (PayloadFormat::Av1, &[0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        (PayloadFormat::Av1, &[0x30, 1, 0x08]),
    ];
    for (format, payload) in refused {
        assert!(depacketize(format, [payload].into_iter()).is_err(), "{format:?} {payload:02x?}");
    }
}

#[test]
fn frames_that_are_none_are_refused() {
    for format in VIDEO.into_iter().chain([PayloadFormat::Whole]) {
        let mut packetizer = Packetizer::new(format, 0, 0);
        assert_eq!(packetizer.packetize(&Bytes::new()), Err(PacketizeError::Empty));
        // Whatever comes: an error or packets, no more.
        for seed in 0..=255u8 {
            let junk: Vec<u8> = (0..100u8).map(|index| index.wrapping_mul(seed)).collect();
            if let Ok(payloads) = packetizer.packetize(&junk.into()) {
                assert!(payloads.iter().all(|payload| payload.len() <= MIN_PAYLOAD));
            }
        }
    }
    let large = Bytes::from(vec![1; 200]);
    let refused = Packetizer::new(PayloadFormat::Whole, 100, 0).packetize(&large);
    assert_eq!(refused, Err(PacketizeError::TooLarge { len: 200, room: 100 }));
}

#[test]
fn formats_have_names() {
    let of = |name| PayloadFormat::of(name, None);
    assert_eq!(
        (of("OPUS"), of("vp8"), of("rtx")),
        (Some(PayloadFormat::Whole), Some(PayloadFormat::Vp8), None)
    );
    assert_eq!(of("H264"), Some(PayloadFormat::H264 { single_nal: true }));
    assert_eq!(PayloadFormat::of("H264", Some("1")), Some(PayloadFormat::H264 { single_nal: false }));
}

/// RFC 6716 section 3.1, table 2.
#[test]
fn opus_packets_have_durations() {
    let ms = |packet: &[u8]| opus_packet_duration(packet).map(|duration| duration.as_micros() as f64 / 1e3);
    assert_eq!(ms(&[0x78]), Some(20.0));
    assert_eq!(ms(&[0xFC]), Some(20.0));
    assert_eq!(ms(&[0xE1]), Some(5.0));
    assert_eq!(ms(&[0x18]), Some(60.0));
    assert_eq!(
        (ms(&[0x1B, 2]), ms(&[0x1B, 3]), ms(&[0x1B, 0]), ms(&[0x1B]), ms(&[])),
        (Some(120.0), None, None, None, None)
    );
    assert_eq!(opus_packet_duration(&[0x80]), Some(Duration::from_micros(2_500)));
}
