//! IVF, the file that libvpx's tools read and write: a header of 32 bytes, then frames with 12 bytes before each.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

const MAGIC: &[u8; 4] = b"DKIF";
const HEADER: u16 = 32;
/// Bytes of a frame at most: a file that says more is broken.
const MAX_FRAME: u32 = 16 << 20;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// `VP80`, `VP90` or `AV01`.
    pub(crate) codec: [u8; 4],
    /// Pixels.
    pub(crate) width: u16,
    /// Pixels.
    pub(crate) height: u16,
    /// Ticks of a timestamp in a second.
    pub(crate) clock_rate: u32,
}

impl Header {
    fn to_bytes(self, frames: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0_u16, HEADER].iter().flat_map(|value| value.to_le_bytes()));
        bytes.extend(self.codec);
        bytes.extend([self.width, self.height].iter().flat_map(|value| value.to_le_bytes()));
        bytes.extend([self.clock_rate, 1, frames, 0].iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }
}

/// Writes frames; the header's count is right once [`finish`](Self::finish) was called.
pub(crate) struct Writer<W> {
    file: W,
    header: Header,
    frames: u32,
}

impl<W: Write + Seek> Writer<W> {
    pub(crate) fn new(mut file: W, header: Header) -> io::Result<Self> {
        file.write_all(&header.to_bytes(0))?;
        Ok(Self { file, header, frames: 0 })
    }

    /// Writes one frame with its time in ticks from the first.
    pub(crate) fn write(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        let size = u32::try_from(frame.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        self.file.write_all(&size.to_le_bytes())?;
        self.file.write_all(&time.to_le_bytes())?;
        self.file.write_all(frame)?;
        self.frames += 1;
        Ok(())
    }

    /// Writes how many frames there are.
    pub(crate) fn finish(&mut self) -> io::Result<u32> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.header.to_bytes(self.frames))?;
        self.file.seek(SeekFrom::End(0))?;
        self.file.flush()?;
        Ok(self.frames)
    }
}

/// Reads what [`Writer`] writes.
pub(crate) struct Reader<R> {
    file: R,
    pub(crate) header: Header,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(mut file: R) -> io::Result<Self> {
        let mut bytes = [0; HEADER as usize];
        file.read_exact(&mut bytes)?;
        let wrong = |what: &str| io::Error::new(ErrorKind::InvalidData, format!("no IVF file: {what}"));
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if &bytes[..4] != MAGIC {
            return Err(wrong("it does not begin with DKIF"));
        }
        if half(6) != HEADER {
            return Err(wrong("its header is not 32 bytes long"));
        }
        let (rate, scale) = (word(16), word(20));
        if rate == 0 || scale == 0 || rate % scale != 0 {
            return Err(wrong("its clock is not a whole number of ticks in a second"));
        }
        let codec = [bytes[8], bytes[9], bytes[10], bytes[11]];
        let header = Header { codec, width: half(12), height: half(14), clock_rate: rate / scale };
        Ok(Self { file, header })
    }

    /// The next frame and its time; `None` at the end.
    pub(crate) fn next_frame(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut bytes = [0; 12];
        match self.file.read_exact(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let (size, time) = bytes.split_at(4);
        let size = size.try_into().map_or(0, u32::from_le_bytes);
        let time = time.try_into().map_or(0, u64::from_le_bytes);
        if size > MAX_FRAME {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a frame of {size} bytes")));
        }
        let mut frame = vec![0; size as usize];
        self.file.read_exact(&mut frame)?;
        Ok(Some((time, frame)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = Header { codec: *b"VP80", width: 640, height: 360, clock_rate: 90_000 };
        let mut file = Cursor::new(Vec::new());
        let mut writer = Writer::new(&mut file, header).unwrap();
        writer.write(0, b"key").unwrap();
        writer.write(3_000, b"delta").unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        let bytes = file.into_inner();
        assert_eq!(bytes[24], 2, "the number of frames");
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.header, header);
        assert_eq!(reader.next_frame().unwrap(), Some((0, b"key".to_vec())));
        assert_eq!(reader.next_frame().unwrap(), Some((3_000, b"delta".to_vec())));
        assert_eq!(reader.next_frame().unwrap(), None);
        assert!(Reader::new(&b"RIFF"[..]).is_err());
        assert!(Reader::new(&[0; 32][..]).is_err());
    }
}
