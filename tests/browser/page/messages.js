// Messages out, the same messages back: equal and in order, text as text and bytes as bytes.

const WINDOW = 4 << 20;
const STALL_MS = 30_000;
const MAX = 256 * 1024;
// Both sides of each boundary: the empty message, a packet, Chromium's fragments, 16 bits, the largest.
const EDGES = [0, 1, 2, 3, 4, 1_150, 1_172, 1_200, 1_201, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, MAX - 1, MAX];

/** A generator whose numbers are the same in every run. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function sizeOf(index, next) {
  if (index < 2 * EDGES.length) return EDGES[index >> 1];
  return Math.floor(2 ** (next() * Math.log2(MAX + 1)));
}

function bytesOf(size, next) {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 1) bytes[at] = next() * 256;
  return bytes.buffer;
}

/** Text of exactly so many bytes of UTF-8, with characters of one to four of them. */
function textOf(size, next) {
  const characters = [['e', 1], ['é', 2], ['€', 3], ['😀', 4]];
  const parts = [];
  for (let left = size; left > 0;) {
    const [character, width] = characters[Math.floor(next() * 4)];
    parts.push(width <= left ? character : '.');
    left -= width <= left ? width : 1;
  }
  return parts.join('');
}

function describe(message) {
  return typeof message === 'string'
    ? `text of ${message.length} UTF-16 units` : `binary of ${message.byteLength} bytes`;
}

function same(sent, came) {
  if (typeof sent === 'string' || typeof came === 'string') return sent === came;
  const [left, right] = [new Uint8Array(sent), new Uint8Array(came)];
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}

/** Sends `count` messages and requires each to come back. Gives what was counted. */
export function exchange(channel, { count, seed }) {
  const next = random(seed);
  const waiting = [];
  const result = { messages: 0, bytes: 0, empty: 0, largest: 0 };
  let made = 0;
  let onTheWay = 0;
  return new Promise((resolve, reject) => {
    let stall;
    const end = (error) => {
      clearTimeout(stall);
      channel.removeEventListener('message', onMessage);
      channel.removeEventListener('close', onClose);
      if (error) reject(new Error(error));
      else resolve(result);
    };
    const alive = () => {
      clearTimeout(stall);
      stall = setTimeout(() => end(`nothing came back for ${STALL_MS / 1000} s after ${result.messages} messages; `
        + `${waiting.length} are out, ${channel.bufferedAmount} bytes buffered`), STALL_MS);
    };
    const fill = () => {
      while (made < count && onTheWay < WINDOW) {
        const size = sizeOf(made, next);
        const message = made % 2 ? textOf(size, next) : bytesOf(size, next);
        channel.send(message);
        waiting.push([message, size]);
        onTheWay += size;
        made += 1;
      }
    };
    const onClose = () => end(`the channel was closed after ${result.messages} messages`);
    const onMessage = ({ data }) => {
      const [sent, size] = waiting.shift() ?? [null, 0];
      if (sent === null) return end(`message ${result.messages} was never sent: ${describe(data)}`);
      if (!same(sent, data)) {
        return end(`message ${result.messages} came back changed: ${describe(sent)} went out, ${describe(data)} came`);
      }
      onTheWay -= size;
      result.messages += 1;
      result.bytes += size;
      result.empty += size === 0 ? 1 : 0;
      result.largest = Math.max(result.largest, size);
      if (result.messages === count) return end();
      alive();
      return fill();
    };
    channel.addEventListener('message', onMessage);
    channel.addEventListener('close', onClose);
    alive();
    fill();
  });
}
