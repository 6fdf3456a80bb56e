//! ChannelData (RFC 8656 section 12.4) and the frames of a byte stream (RFC 4571, RFC 8656 section 12.5): a stream
//! gives the same frames wherever it was cut, and no more bytes than came in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_fuzz::Input;
use peerstack_stun::{ChannelData, Framing, FramingError, StreamDeframer, write_rfc4571_frame};

const CAPACITY: usize = 128 << 10;

fuzz_target!(|data: &[u8]| {
    if let Ok(parsed) = ChannelData::parse(data) {
        let mut written = Vec::new();
        parsed.write(&mut written).unwrap();
        assert!(data.starts_with(&written) && data.len() - written.len() < 4);
        let mut padded = Vec::new();
        parsed.write_padded(&mut padded).unwrap();
        assert_eq!(padded.len() % 4, 0);
        assert_eq!(ChannelData::parse(&padded), Ok(parsed));
    }
    let mut input = Input::new(data);
    let (framing, step) = match input.byte() {
        byte if byte & 1 == 0 => (Framing::Rfc4571, usize::from(byte >> 1) + 1),
        byte => (Framing::Stun, usize::from(byte >> 1) + 1),
    };
    let stream = input.rest();
    let (whole, cut) = (frames(framing, stream, usize::MAX), frames(framing, stream, step));
    assert_eq!(whole, cut);
    if framing == Framing::Rfc4571 {
        let mut again = Vec::new();
        for frame in &whole.0 {
            write_rfc4571_frame(frame, &mut again).unwrap();
        }
        assert!(stream.starts_with(&again));
    }
});

fn frames(framing: Framing, stream: &[u8], step: usize) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let (mut deframer, mut out) = (StreamDeframer::new(framing), Vec::new());
    for mut piece in stream.chunks(step.max(1).min(stream.len().max(1))) {
        loop {
            let taken = deframer.push(piece);
            piece = &piece[taken..];
            assert!(deframer.buffered() <= CAPACITY);
            loop {
                match deframer.next_frame() {
                    Ok(Some(frame)) => out.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(deframer.next_frame(), Err(error), "out of step for good");
                        assert_eq!(deframer.buffered(), 0);
                        return (out, Some(error));
                    }
                }
            }
            if piece.is_empty() {
                break;
            }
            assert!(taken > 0, "a full deframer has a frame to hand out");
        }
    }
    (out, None)
}
