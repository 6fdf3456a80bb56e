//! Opus in Ogg (RFC 7845): one stream, a packet on each page's end, positions at 48 kHz.

use std::io::{self, Read, Seek, Write};

use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

/// Opus counts at 48 kHz, whatever it was made from (RFC 7845 section 4).
pub(crate) const CLOCK_RATE: u64 = 48_000;
/// What a decoder is to leave out at the start, in samples: what encoders of browsers need (RFC 7845 section 4.2).
const PRE_SKIP: u16 = 312;

/// Writes packets.
pub(crate) struct Writer<W: Write> {
    packets: PacketWriter<'static, W>,
    serial: u32,
    position: u64,
    /// Written once the next is there: the last one ends the stream.
    waiting: Option<Vec<u8>>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(file: W, serial: u32, channels: u8) -> io::Result<Self> {
        let mut packets = PacketWriter::new(file);
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels);
        head.extend(PRE_SKIP.to_le_bytes());
        head.extend((CLOCK_RATE as u32).to_le_bytes());
        // No gain, and the mapping of mono and stereo.
        head.extend([0, 0, 0]);
        packets.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        let vendor = b"peerstack";
        let mut tags = b"OpusTags".to_vec();
        tags.extend((vendor.len() as u32).to_le_bytes());
        tags.extend(vendor);
        tags.extend(0_u32.to_le_bytes());
        packets.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        Ok(Self { packets, serial, position: 0, waiting: None })
    }

    /// Writes one packet; its time is that of those before it.
    pub(crate) fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        self.flush(PacketWriteEndInfo::NormalPacket)?;
        self.position += samples(packet);
        self.waiting = Some(packet.to_vec());
        Ok(())
    }

    fn flush(&mut self, end: PacketWriteEndInfo) -> io::Result<()> {
        match self.waiting.take() {
            Some(packet) => self.packets.write_packet(packet, self.serial, end, self.position),
            None => Ok(()),
        }
    }

    /// Ends the stream.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.flush(PacketWriteEndInfo::EndStream)
    }
}

/// Reads the packets of a file that holds one stream of Opus.
pub(crate) fn read(file: impl Read + Seek) -> io::Result<Vec<Vec<u8>>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut reader = PacketReader::new(file);
    let mut packets = Vec::new();
    while let Some(packet) = reader.read_packet().map_err(|error| wrong(format!("no Ogg file: {error}")))? {
        packets.push(packet.data);
    }
    if !packets.first().is_some_and(|head| head.starts_with(b"OpusHead")) {
        return Err(wrong("the Ogg file does not begin with OpusHead".to_owned()));
    }
    // The second is OpusTags.
    Ok(packets.split_off(packets.len().min(2)))
}

/// How long a packet is, in samples at 48 kHz (RFC 6716 section 3.1).
pub(crate) fn samples(packet: &[u8]) -> u64 {
    let Some(toc) = packet.first() else { return 0 };
    let config = toc >> 3;
    let frame = match config {
        0..12 => [480, 960, 1_920, 2_880][usize::from(config % 4)],
        12..16 => [480, 960][usize::from(config % 2)],
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |count| u64::from(count & 63)),
    };
    frame * frames
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let packets = [vec![0x78, 1, 2], vec![0x78], vec![0xfb, 2, 0, 0]];
        let mut file = Cursor::new(Vec::new());
        let mut writer = Writer::new(&mut file, 1, 2).unwrap();
        for packet in &packets {
            writer.write(packet).unwrap();
        }
        writer.finish().unwrap();
        file.set_position(0);
        assert_eq!(read(&mut file).unwrap(), packets);
        assert!(read(Cursor::new(b"RIFF")).is_err() || read(Cursor::new(b"RIFF")).unwrap().is_empty());
    }

    #[test]
    fn the_first_byte_tells_how_long_a_packet_is() {
        assert_eq!(samples(&[0x78]), 960, "CELT, 20 ms, one frame");
        assert_eq!(samples(&[0x79]), 1_920, "two");
        assert_eq!(samples(&[0xfb, 3]), 2_880, "three of 20 ms");
        assert_eq!(samples(&[0x08]), 960, "SILK, 20 ms");
        assert_eq!(samples(&[0xe0]), 120, "2.5 ms");
        assert_eq!(samples(&[]), 0);
    }
}
