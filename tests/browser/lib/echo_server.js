// The echo example as a process of its own: started on a free port, its log kept, ended with the test.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';

const START_MS = 30_000;
const BUILT = fileURLToPath(new URL('../../../target/release/examples/echo', import.meta.url));
const BINARY = process.env.PEERSTACK_ECHO ?? BUILT;
const BUILD = 'cargo build --release --example echo';

export class EchoServer {
  static async start(args = []) {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is not built: ${BUILD}`);
    const server = new EchoServer();
    await server.#start(args);
    return server;
  }

  #start(args) {
    this.lines = [];
    this.waiting = [];
    const RUST_LOG = process.env.RUST_LOG ?? 'warn,echo=info,peerstack=debug';
    const env = { ...process.env, RUST_LOG, NO_COLOR: '1' };
    this.child = spawn(BINARY, ['--port', '0', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => { this.child.on('exit', (code, signal) => resolve(code ?? signal)); });
    createInterface({ input: this.child.stderr }).on('line', (line) => this.#line(line));
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the echo server told no address\n${this.log()}`)), START_MS);
      this.child.on('error', reject);
      this.ended.then((code) => reject(new Error(`the echo server ended with ${code}\n${this.log()}`)));
      createInterface({ input: this.child.stdout }).on('line', (line) => {
        this.#line(line);
        const address = /POST (http:\S+)\/offer/.exec(line)?.[1];
        if (!address) return;
        clearTimeout(late);
        this.address = address;
        resolve();
      });
    });
  }

  #line(line) {
    this.lines.push(line);
    this.waiting = this.waiting.filter((waiting) => !waiting(line));
  }

  /** The first line of the log that holds the text, said already or to come. */
  line(text, limit) {
    const said = this.lines.find((line) => line.includes(text));
    if (said) return Promise.resolve(said);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the echo server did not say "${text}" within ${limit} ms`)), limit);
      this.waiting.push((line) => {
        if (!line.includes(text)) return false;
        clearTimeout(timer);
        resolve(line);
        return true;
      });
    });
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

  log() {
    return this.lines.join('\n');
  }

  async stop() {
    this.child.kill('SIGINT');
    const late = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    const code = await this.ended;
    clearTimeout(late);
    return code;
  }
}

/** The wall-clock time of a line of the log, in milliseconds. */
export function timeOf(line) {
  const time = Date.parse(line.trim().split(/\s/)[0]);
  if (Number.isNaN(time)) throw new Error(`the line begins with no time: ${line}`);
  return time;
}
