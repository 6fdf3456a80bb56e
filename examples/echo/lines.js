// The data channel: lines go out, and each waits for the same to come back.

const WAIT_MS = 10_000;
const MAX_SHOWN = 200;

export class Lines {
  constructor(list) {
    this.list = list;
    this.waiting = [];
  }

  clear() {
    this.abandon();
    this.list.replaceChildren();
  }

  // Sends and shows; resolves to the milliseconds it took there and back, or null if it did not come back.
  send(channel, shown, data) {
    const { item, trip } = this.#show(shown);
    return new Promise((resolve) => {
      const line = { data, at: performance.now(), finish };
      const timer = setTimeout(() => finish(null, 'did not come back'), WAIT_MS);
      const forget = () => { this.waiting = this.waiting.filter((other) => other !== line); };
      function finish(took, problem) {
        clearTimeout(timer);
        forget();
        item.className = took === null ? 'lost' : 'back';
        trip.textContent = took === null ? problem : `back in ${took.toFixed(1)} ms`;
        resolve(took);
      }
      this.waiting.push(line);
      try {
        channel.send(data);
      } catch (error) {
        finish(null, `not sent: ${error.message}`);
      }
    });
  }

  // What came from the server: the first line that waits for it is back.
  receive(data) {
    const line = this.waiting.find((waiting) => same(waiting.data, data));
    line?.finish(performance.now() - line.at);
  }

  // Nothing comes back any more.
  abandon() {
    for (const line of [...this.waiting]) line.finish(null, 'did not come back');
  }

  #show(shown) {
    const item = document.createElement('li');
    const label = document.createElement('span');
    label.className = 'text';
    label.textContent = shown;
    const trip = document.createElement('span');
    trip.className = 'trip';
    trip.textContent = 'on the way';
    item.append(label, trip);
    this.list.append(item);
    while (this.list.children.length > MAX_SHOWN) this.list.firstChild.remove();
    this.list.scrollTop = this.list.scrollHeight;
    return { item, trip };
  }
}

// Text equals text, bytes equal bytes; one as the other is a mistake of the server.
function same(a, b) {
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  const [left, right] = [new Uint8Array(a), new Uint8Array(b)];
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}
