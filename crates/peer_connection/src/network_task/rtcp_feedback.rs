//! Feedback of RTCP that the application acts on: PLI, FIR, generic NACK (RFC 4585 section 6, RFC 5104 section
//! 4.3.1). Answers to the feedback half of libwebrtc's `modules/rtp_rtcp/source/rtcp_receiver.cc`.

use crate::rtp_packet::RtcpFeedback;

const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const NACK: u8 = 1;
const PLI: u8 = 1;
const FIR: u8 = 4;
/// Sequence numbers of one NACK; a peer that asks for more has lost the connection.
const MAX_NACK: usize = 1_024;

/// Writes one feedback packet (reduced-size, RFC 5506). `None` for what is not written here.
pub(super) fn write(sender_ssrc: u32, feedback: &RtcpFeedback) -> Option<Vec<u8>> {
    let (format, kind, ssrc, body) = match feedback {
        RtcpFeedback::Pli { ssrc } => (PLI, PAYLOAD_FEEDBACK, *ssrc, Vec::new()),
        RtcpFeedback::Nack { ssrc, sequence_numbers } => {
            (NACK, TRANSPORT_FEEDBACK, *ssrc, nack_items(sequence_numbers))
        }
        _ => return None,
    };
    let words = u16::try_from(2 + body.len() / 4).ok()?;
    let mut packet = vec![0x80 | format, kind];
    packet.extend(words.to_be_bytes());
    packet.extend(sender_ssrc.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(body);
    Some(packet)
}

/// PID and the bit mask of the 16 numbers that follow it.
fn nack_items(numbers: &[u16]) -> Vec<u8> {
    let mut items: Vec<(u16, u16)> = Vec::new();
    for number in numbers.iter().take(MAX_NACK) {
        if let Some((first, mask)) = items.last_mut() {
            let distance = number.wrapping_sub(*first);
            if distance == 0 {
                continue;
            }
            if distance <= 16 {
                *mask |= 1 << (distance - 1);
                continue;
            }
        }
        items.push((*number, 0));
    }
    items.into_iter().flat_map(|(first, mask)| [first.to_be_bytes(), mask.to_be_bytes()]).flatten().collect()
}

/// Calls `tell` with each feedback of a compound packet. Total on any bytes: reading ends at what is malformed.
pub(super) fn read(mut compound: &[u8], mut tell: impl FnMut(RtcpFeedback)) {
    while let [first, kind, high, low, ..] = *compound {
        let len = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let Some(packet) = compound.get(..len).filter(|_| first >> 6 == 2) else { return };
        read_one(first & 0x1f, kind, packet, &mut tell);
        compound = compound.get(len..).unwrap_or_default();
    }
}

fn read_one(format: u8, kind: u8, packet: &[u8], tell: &mut impl FnMut(RtcpFeedback)) {
    let Some(ssrc) = word(packet, 8) else { return };
    match (kind, format) {
        (PAYLOAD_FEEDBACK, PLI) => tell(RtcpFeedback::Pli { ssrc }),
        (PAYLOAD_FEEDBACK, FIR) => {
            // The media source field is not used; each entry names its own (RFC 5104 section 4.3.1.1).
            let entries = packet.get(12..).unwrap_or_default().chunks_exact(8);
            for ssrc in entries.filter_map(|entry| word(entry, 0)) {
                tell(RtcpFeedback::Fir { ssrc });
            }
        }
        (TRANSPORT_FEEDBACK, NACK) => {
            let mut sequence_numbers = Vec::new();
            for item in packet.get(12..).unwrap_or_default().chunks_exact(4) {
                let Some(item) = word(item, 0) else { continue };
                let (first, mask) = ((item >> 16) as u16, item as u16);
                sequence_numbers.push(first);
                let lost = (0..16u16).filter(|bit| mask >> bit & 1 == 1);
                sequence_numbers.extend(lost.map(|bit| first.wrapping_add(bit + 1)));
                if sequence_numbers.len() >= MAX_NACK {
                    break;
                }
            }
            if !sequence_numbers.is_empty() {
                tell(RtcpFeedback::Nack { ssrc, sequence_numbers });
            }
        }
        _ => {}
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<RtcpFeedback> {
        let mut found = Vec::new();
        read(bytes, |feedback| found.push(feedback));
        found
    }

    #[test]
    fn what_is_written_is_read() {
        let pli = RtcpFeedback::Pli { ssrc: 7 };
        let nack = RtcpFeedback::Nack { ssrc: 9, sequence_numbers: vec![65_530, 65_535, 3, 100] };
        let mut compound = write(1, &pli).unwrap();
        compound.extend(write(1, &nack).unwrap());
        assert_eq!(all(&compound), [pli, nack]);
        assert_eq!(write(1, &RtcpFeedback::Fir { ssrc: 1 }), None);
    }

    #[test]
    fn truncated_and_flipped_packets_never_panic() {
        let nack = RtcpFeedback::Nack { ssrc: 9, sequence_numbers: vec![1, 2, 40] };
        let packet = write(1, &nack).unwrap();
        for len in 0..packet.len() {
            assert_eq!(all(&packet[..len]), []);
        }
        for bit in 0..packet.len() * 8 {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            all(&flipped);
        }
        assert_eq!(all(&[0x81, 206, 0, 4, 0, 0, 0, 1]), []);
    }
}
