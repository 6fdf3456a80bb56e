// Reads what save-to-disk writes, by the formats' own words, and says what is in it. Throws where something is wrong.

function check(holds, what) {
  if (!holds) throw new Error(what);
}

/** IVF: https://wiki.multimedia.cx/index.php/IVF */
export function ivf(file) {
  check(file.toString('latin1', 0, 4) === 'DKIF' && file.readUInt16LE(6) === 32, 'no IVF header');
  const rate = file.readUInt32LE(16) / file.readUInt32LE(20);
  const announced = file.readUInt32LE(24);
  let [frames, first, last, keyFrameFirst] = [0, null, 0n, false];
  for (let at = 32; at < file.length;) {
    check(at + 12 <= file.length, 'a frame header is cut');
    const [size, time] = [file.readUInt32LE(at), file.readBigUInt64LE(at + 4)];
    check(size > 0 && at + 12 + size <= file.length, 'a frame is cut');
    // RFC 6386 section 9.1: the lowest bit of a key frame is 0.
    if (first === null) keyFrameFirst = (file[at + 12] & 1) === 0;
    check(first === null || time > last, 'time stands still or runs back');
    [first, last] = [first ?? time, time];
    frames += 1;
    at += 12 + size;
  }
  check(frames > 0 && frames === announced, `${frames} frames, ${announced} are announced`);
  return {
    codec: file.toString('latin1', 8, 12), width: file.readUInt16LE(12), height: file.readUInt16LE(14),
    frames, keyFrameFirst, seconds: Number(last - first) / rate,
  };
}

/** Ogg pages (RFC 3533) of one Opus stream (RFC 7845). */
export function oggOpus(file) {
  let [pages, position, ended, serial, sequence] = [0, 0n, false, null, 0];
  let packets = 0;
  for (let at = 0; at < file.length;) {
    check(file.toString('latin1', at, at + 4) === 'OggS', `no page at ${at}`);
    const [flags, segments] = [file[at + 5], file[at + 26]];
    check(!ended, 'a page after the end');
    check(file.readUInt32LE(at + 18) === sequence, 'a page is missing');
    check(serial === null || file.readUInt32LE(at + 14) === serial, 'another stream');
    serial = file.readUInt32LE(at + 14);
    check(crc(file.subarray(at, at + 22), Buffer.alloc(4), file.subarray(at + 26, end(file, at))) === file.readUInt32LE(at + 22), 'a wrong checksum');
    const table = file.subarray(at + 27, at + 27 + segments);
    packets += table.filter((length) => length < 255).length;
    if (pages === 0) check(file.toString('latin1', at + 27 + segments, at + 35 + segments) === 'OpusHead', 'no OpusHead');
    if (pages === 1) check(file.toString('latin1', at + 27 + segments, at + 35 + segments) === 'OpusTags', 'no OpusTags');
    const granule = file.readBigInt64LE(at + 6);
    if (granule >= 0n) {
      check(granule >= position, 'the position runs back');
      position = granule;
    }
    ended = (flags & 4) !== 0;
    sequence += 1;
    pages += 1;
    at = end(file, at);
  }
  check(ended, 'the stream does not end');
  return { pages, packets: packets - 2, seconds: Number(position) / 48_000 };
}

function end(file, at) {
  const segments = file[at + 26];
  const length = file.subarray(at + 27, at + 27 + segments).reduce((sum, part) => sum + part, 0);
  return at + 27 + segments + length;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index << 24;
  for (let bit = 0; bit < 8; bit += 1) value = (value << 1) ^ (value & 0x80000000 ? 0x04c11db7 : 0);
  return value >>> 0;
});

function crc(...parts) {
  let value = 0;
  for (const part of parts) for (const byte of part) value = ((value << 8) ^ TABLE[((value >>> 24) & 255) ^ byte]) >>> 0;
  return value >>> 0;
}
