// The echo example as a process of its own: started on a free port, its log kept, ended with the test.

import { fileURLToPath } from 'node:url';

import { Program } from './program.js';

const BUILT = fileURLToPath(new URL('../../../target/release/examples/echo', import.meta.url));
const PROGRAM = {
  name: 'the echo server',
  binary: process.env.PEERSTACK_ECHO ?? BUILT,
  build: 'cargo build --release --example echo',
  log: 'warn,echo=info,peerstack=debug',
  told: /POST (http:\S+)\/offer/,
};

export class EchoServer extends Program {
  static async start(args = []) {
    const server = new EchoServer();
    await server.run({ ...PROGRAM, args });
    return server;
  }

  async get(path) {
    const response = await fetch(`${this.address}/${path}`);
    const text = await response.text();
    return { status: response.status, text, json: response.ok ? JSON.parse(text) : null };
  }

  async stats(id) {
    const { status, text, json } = await this.get(`peers/${id}/stats`);
    if (!json) throw new Error(`no statistics of the peer: ${status} ${text}`);
    return json;
  }

  /** Closes the connection of a peer; gives the wall-clock time of the call in milliseconds. */
  async closePeer(id) {
    const at = Date.now();
    const response = await fetch(`${this.address}/peers/${id}`, { method: 'DELETE' });
    if (!response.ok) throw new Error(`the peer was not closed: ${response.status} ${await response.text()}`);
    return at;
  }
}

/** The wall-clock time of a line of the log, in milliseconds. */
export function timeOf(line) {
  const time = Date.parse(line.trim().split(/\s/)[0]);
  if (Number.isNaN(time)) throw new Error(`the line begins with no time: ${line}`);
  return time;
}
