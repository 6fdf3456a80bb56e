// The echo protocol over HTTP: what is asked of the server, and a sentence for every refusal.

const HTTP_MS = 20_000;

// A failure told to the person: what, why, what to do about it.
export class Failure extends Error {
  constructor(title, text, { hint = '', gone = false } = {}) {
    super(text);
    this.title = title;
    this.hint = hint;
    // The server knew this peer, and does not any more.
    this.gone = gone;
  }
}

export const protocol = {
  // { iceServers, maxPeers, ... }
  config: () => json('GET', 'config'),

  // Offers; gives the answer and the name the server has for us, if it has one.
  async offer(sdp) {
    const response = await ask('POST', 'offer', { type: 'offer', sdp });
    return { id: response.headers.get('x-peer-id'), description: await response.json() };
  },

  // Asks for an offer: { id, type, sdp }.
  session: () => json('POST', 'session'),

  answer: (id, sdp) => ask('POST', `session/${id}/answer`, { type: 'answer', sdp }),

  candidate: (id, candidate) => ask('POST', `peers/${id}/candidate`, candidate),

  stats: (id) => json('GET', `peers/${id}/stats`),

  // Reaches the server even when the page is being left.
  leave(id) {
    fetch(`peers/${id}`, { method: 'DELETE', keepalive: true }).catch(() => {});
  },
};

const json = async (method, path) => (await ask(method, path)).json();

async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(new URL(path, location.href.split('?')[0]), {
      method,
      headers: body ? { 'content-type': 'application/json' } : {},
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(HTTP_MS),
    });
  } catch (error) {
    if (error.name === 'TimeoutError') {
      throw new Failure('The server does not answer', `${location.origin} took longer than ${HTTP_MS / 1000} s.`);
    }
    throw new Failure('The server is not reachable', `Nothing answers at ${location.origin}.`,
      { hint: 'Is it still running? Start it with: cargo run --release --example echo' });
  }
  if (response.ok) return response;
  const sentence = (await response.text().catch(() => '')).trim().slice(0, 500);
  throw refusal(response.status, sentence || `The server answered with status ${response.status}.`);
}

function refusal(status, text) {
  switch (status) {
    case 503: return new Failure('The server is full', text,
      { hint: 'Close another page that is connected, or start the server with a larger --max-peers.' });
    case 400: return new Failure('The server refused the request', text);
    case 404: case 410: return new Failure('The server ended the connection', text,
      { hint: 'Connect again to go on.', gone: true });
    default: return new Failure(`The server answered with ${status}`, text);
  }
}
