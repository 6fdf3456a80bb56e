//! SCTP packets as bytes: a walk over the chunks, checksums, and the few packets we write ourselves. Owned by
//! nobody, no state; the network task calls it through the association. RFC 9260 section 3; answers to
//! libwebrtc's `net/dcsctp/packet/sctp_packet.cc` and `crc32c.cc`.
//!
//! Everything here is total: any bytes give a value or `None`.

use bytes::{BufMut, Bytes, BytesMut};

/// The common header (RFC 9260 section 3.1).
pub(crate) const COMMON_HEADER: usize = 12;
/// A chunk's header (section 3.2).
pub(crate) const CHUNK_HEADER: usize = 4;
/// A DATA chunk's header, the chunk header included (section 3.3.1).
pub(crate) const DATA_HEADER: usize = 16;
/// A SACK's fixed part, the chunk header included (section 3.3.4).
const SACK_HEADER: usize = 16;

/// Chunk types (section 3.2; RFC 6525, RFC 3758).
pub(crate) mod chunk_type {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const INIT: u8 = 1;
    pub(crate) const INIT_ACK: u8 = 2;
    pub(crate) const SACK: u8 = 3;
    pub(crate) const HEARTBEAT: u8 = 4;
    pub(crate) const ABORT: u8 = 6;
    pub(crate) const SHUTDOWN: u8 = 7;
    pub(crate) const SHUTDOWN_ACK: u8 = 8;
    pub(crate) const ERROR: u8 = 9;
    pub(crate) const COOKIE_ECHO: u8 = 10;
    pub(crate) const COOKIE_ACK: u8 = 11;
    pub(crate) const SHUTDOWN_COMPLETE: u8 = 14;
    pub(crate) const RECONFIG: u8 = 130;
    pub(crate) const FORWARD_TSN: u8 = 192;
}

/// DATA flags (section 3.3.1, RFC 7053).
pub(crate) const FLAG_UNORDERED: u8 = 4;
const FLAGS_WHOLE_IMMEDIATE: u8 = 0b1011;

/// Whether serial number `a` is after `b` (RFC 1982; RFC 9260 section 1.6); half the space apart, where no order
/// is defined, counts as after.
pub(crate) fn tsn_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) <= 1 << 31
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// The common header's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommonHeader {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) verification_tag: u32,
}

impl CommonHeader {
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let verification_tag = u32_at(packet, 4)?;
        (packet.len() >= COMMON_HEADER).then_some(())?;
        Some(Self { source_port: u16_at(packet, 0)?, destination_port: u16_at(packet, 2)?, verification_tag })
    }

    fn write(self, into: &mut BytesMut) {
        into.put_u16(self.source_port);
        into.put_u16(self.destination_port);
        into.put_u32(self.verification_tag);
        into.put_u32(0);
    }
}

/// One chunk of a packet, borrowed: header and value, without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRef<'p> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The chunk from its header to the end of its value.
    pub(crate) bytes: &'p [u8],
}

impl ChunkRef<'_> {
    /// TSN, stream, SSN, PPID and payload length, of a DATA chunk.
    pub(crate) fn data(&self) -> Option<DataHeader> {
        if self.kind != chunk_type::DATA || self.bytes.len() < DATA_HEADER {
            return None;
        }
        Some(DataHeader {
            tsn: u32_at(self.bytes, 4)?,
            sid: u16_at(self.bytes, 8)?,
            ssn: u16_at(self.bytes, 10)?,
            ppid: u32_at(self.bytes, 12)?,
            unordered: self.flags & FLAG_UNORDERED != 0,
            len: self.bytes.len() - DATA_HEADER,
        })
    }

    /// Cumulative TSN and advertised window, of a SACK.
    pub(crate) fn sack(&self) -> Option<(u32, u32)> {
        if self.kind != chunk_type::SACK || self.bytes.len() < SACK_HEADER {
            return None;
        }
        Some((u32_at(self.bytes, 4)?, u32_at(self.bytes, 8)?))
    }

    /// Initiate tag, streams out, streams in and initial TSN, of an INIT or INIT ACK.
    pub(crate) fn init(&self) -> Option<InitHeader> {
        if !matches!(self.kind, chunk_type::INIT | chunk_type::INIT_ACK) {
            return None;
        }
        Some(InitHeader {
            initiate_tag: u32_at(self.bytes, 4)?,
            outbound_streams: u16_at(self.bytes, 12)?,
            inbound_streams: u16_at(self.bytes, 14)?,
            initial_tsn: u32_at(self.bytes, 16)?,
        })
    }
}

/// What a DATA chunk says of itself (section 3.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataHeader {
    pub(crate) tsn: u32,
    pub(crate) sid: u16,
    pub(crate) ssn: u16,
    pub(crate) ppid: u32,
    pub(crate) unordered: bool,
    pub(crate) len: usize,
}

/// What an INIT says (section 3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InitHeader {
    pub(crate) initiate_tag: u32,
    pub(crate) outbound_streams: u16,
    pub(crate) inbound_streams: u16,
    pub(crate) initial_tsn: u32,
}

/// The chunks of a packet, or `None` if their lengths do not lie one behind another up to its end.
pub(crate) fn chunks(packet: &[u8]) -> Option<Vec<ChunkRef<'_>>> {
    let mut rest = packet.get(COMMON_HEADER..)?;
    let mut found = Vec::with_capacity(2);
    while !rest.is_empty() {
        let len = usize::from(u16_at(rest, 2)?);
        let bytes = rest.get(..len).filter(|bytes| bytes.len() >= CHUNK_HEADER)?;
        found.push(ChunkRef { kind: *bytes.first()?, flags: *bytes.get(1)?, bytes });
        // The last chunk's padding may be missing: RFC 9260 section 3.2 asks for it, some senders forget.
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(found)
}

/// Writes a packet of these chunks, checksum included.
pub(crate) fn build<'c>(header: CommonHeader, chunks: impl IntoIterator<Item = &'c [u8]>) -> Bytes {
    let mut packet = BytesMut::with_capacity(1280);
    header.write(&mut packet);
    for chunk in chunks {
        packet.extend_from_slice(chunk);
        packet.put_bytes(0, packet.len().next_multiple_of(4) - packet.len());
    }
    seal(packet)
}

fn seal(mut packet: BytesMut) -> Bytes {
    if let Some(checksum) = packet.get_mut(8..COMMON_HEADER) {
        checksum.fill(0);
    }
    let crc = crc32c(&packet);
    if let Some(checksum) = packet.get_mut(8..COMMON_HEADER) {
        checksum.copy_from_slice(&crc.to_le_bytes());
    }
    packet.freeze()
}

/// An ABORT with the cause "User-Initiated Abort" (sections 3.3.7 and 3.3.10.12).
pub(crate) fn abort(header: CommonHeader) -> Bytes {
    build(header, [&[chunk_type::ABORT, 0, 0, 8, 0, 12, 0, 4][..]])
}

/// A DATA chunk with a TSN that was received long ago and the I bit (RFC 7053): handed to our own association
/// it changes nothing and makes it send a SACK at once, with the window as it is now.
pub(crate) fn duplicate_data(header: CommonHeader, received_tsn: u32) -> Bytes {
    let mut chunk = [0; DATA_HEADER + 1];
    chunk[1] = FLAGS_WHOLE_IMMEDIATE;
    chunk[3] = (DATA_HEADER + 1) as u8;
    chunk[4..8].copy_from_slice(&received_tsn.to_be_bytes());
    build(header, [&chunk[..]])
}

/// Cuts a packet that is too large for the path into packets that fit, chunk by chunk; a SACK loses its last
/// gap blocks, which RFC 9260 section 3.3.4 allows. A single chunk that cannot be cut is passed on as it is.
pub(crate) fn fit(packet: Bytes, limit: usize, mut emit: impl FnMut(Bytes)) {
    if packet.len() <= limit {
        return emit(packet);
    }
    let (Some(header), Some(chunks)) = (CommonHeader::parse(&packet), chunks(&packet)) else {
        return emit(packet);
    };
    let shortened: Vec<Bytes> = chunks.iter().map(|chunk| shorten(chunk, limit - COMMON_HEADER)).collect();
    let mut group: Vec<&[u8]> = Vec::new();
    let mut size = COMMON_HEADER;
    for chunk in &shortened {
        let len = chunk.len().next_multiple_of(4);
        if size + len > limit && !group.is_empty() {
            emit(build(header, group.drain(..)));
            size = COMMON_HEADER;
        }
        group.push(chunk);
        size += len;
    }
    if !group.is_empty() {
        emit(build(header, group));
    }
}

fn shorten(chunk: &ChunkRef<'_>, limit: usize) -> Bytes {
    let whole = || Bytes::copy_from_slice(chunk.bytes);
    if chunk.kind != chunk_type::SACK || chunk.bytes.len() <= limit || limit < SACK_HEADER {
        return whole();
    }
    let Some(gaps) = u16_at(chunk.bytes, 12) else { return whole() };
    let kept = usize::from(gaps).min((limit - SACK_HEADER) / 4);
    let Some(blocks) = chunk.bytes.get(SACK_HEADER..SACK_HEADER + 4 * kept) else { return whole() };
    let mut sack = BytesMut::with_capacity(SACK_HEADER + blocks.len());
    sack.put_u8(chunk.kind);
    sack.put_u8(chunk.flags);
    sack.put_u16((SACK_HEADER + blocks.len()) as u16);
    sack.put_slice(chunk.bytes.get(4..12).unwrap_or_default());
    sack.put_u16(kept as u16);
    sack.put_u16(0);
    sack.put_slice(blocks);
    sack.freeze()
}

/// CRC32c (RFC 9260 appendix A): one table, a byte at a time. Only packets we
/// change or write ourselves pass here.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32c_table();
    let mut crc = u32::MAX;
    for byte in bytes {
        crc = TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    }
    !crc
}

const fn crc32c_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: CommonHeader =
        CommonHeader { source_port: 5000, destination_port: 5001, verification_tag: 0x0102_0304 };

    #[test]
    fn crc32c_of_the_check_string() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_built_is_read_back() {
        let packet = build(HEADER, [&[9, 0, 0, 5, 1][..], &[9, 1, 0, 4]]);
        assert_eq!(CommonHeader::parse(&packet), Some(HEADER));
        let chunks = chunks(&packet).unwrap();
        assert_eq!(chunks.len(), 2);
        assert_eq!((chunks[0].kind, chunks[0].bytes.len()), (9, 5));
        assert_eq!((chunks[1].flags, chunks[1].bytes.len()), (1, 4));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        for chunk in [&[0, 0, 0, 3][..], &[0, 0, 0, 9], &[0, 0, 0], &[0]] {
            let mut packet = vec![0; COMMON_HEADER];
            packet.extend_from_slice(chunk);
            assert_eq!(chunks(&packet), None);
        }
        assert_eq!(chunks(&[0; 11]), None);
        assert_eq!(chunks(&[0; 12]), Some(vec![]));
    }

    #[test]
    fn a_packet_too_large_is_cut_at_chunks() {
        let mut chunk = [0; 100];
        chunk[3] = 99;
        let packet = build(HEADER, std::iter::repeat_n(&chunk[..99], 12));
        let mut parts = Vec::new();
        fit(packet, 1191, |part| parts.push(part));
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [1112, 112]);
        assert_eq!(parts.iter().map(|part| chunks(part).unwrap().len()).sum::<usize>(), 12);
    }

    #[test]
    fn a_sack_too_large_loses_its_last_blocks() {
        let mut sack = vec![chunk_type::SACK, 0, 0, 0, 0, 0, 0, 7, 0, 0, 1, 0, 2, 0, 0, 0];
        for block in 0..512_u16 {
            sack.extend_from_slice(&(2 + 3 * block).to_be_bytes());
            sack.extend_from_slice(&(3 + 3 * block).to_be_bytes());
        }
        let len = (sack.len() as u16).to_be_bytes();
        sack[2..4].copy_from_slice(&len);
        let mut parts = Vec::new();
        fit(build(HEADER, [&sack[..]]), 1191, |part| parts.push(part));
        assert_eq!(parts.len(), 1);
        assert!(parts[0].len() <= 1191);
        let chunks = chunks(&parts[0]).unwrap();
        assert_eq!(chunks[0].sack(), Some((7, 256)));
        assert_eq!(u16_at(chunks[0].bytes, 12), Some(290));
    }
}
