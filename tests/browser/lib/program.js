// A program of ours as a process of its own: started on a free port, its log kept, ended with the test.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';

const START_MS = 30_000;
const FOLDER = process.env.PEERSTACK_EXAMPLES ?? fileURLToPath(new URL('../../../target/debug/examples', import.meta.url));

export class Program {
  lines = [];
  #waiting = [];

  /** Starts an example; `address` is where it serves HTTP. */
  static async start(name, args = []) {
    const program = new Program();
    await program.run({ name, binary: `${FOLDER}/${name}`, build: `cargo build --example ${name}`, args });
    return program;
  }

  /** Starts a program that prints its address as `told` says. */
  run({ name, binary, build, args, log = 'warn,peerstack=debug', told = /^peerstack \S+: (http:\S+)\/$/ }) {
    if (!existsSync(binary)) throw new Error(`${binary} is not built: ${build}`);
    this.binary = binary;
    const RUST_LOG = process.env.RUST_LOG ?? log;
    const env = { ...process.env, RUST_LOG, NO_COLOR: '1' };
    this.child = spawn(binary, ['--port', '0', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => { this.child.on('exit', (code, signal) => resolve(code ?? signal)); });
    createInterface({ input: this.child.stderr }).on('line', (line) => this.#line(line));
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${name} told no address\n${this.log()}`)), START_MS);
      this.child.on('error', reject);
      this.ended.then((code) => reject(new Error(`${name} ended with ${code}\n${this.log()}`)));
      createInterface({ input: this.child.stdout }).on('line', (line) => {
        this.#line(line);
        const address = told.exec(line)?.[1];
        if (!address) return;
        clearTimeout(late);
        this.address = address;
        resolve();
      });
    });
  }

  #line(line) {
    this.lines.push(line);
    this.#waiting = this.#waiting.filter((waiting) => !waiting(line));
  }

  /** The first line of the log that holds the text, said already or to come. */
  line(text, limit) {
    const said = this.lines.find((line) => line.includes(text));
    if (said) return Promise.resolve(said);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`"${text}" was not said within ${limit} ms`)), limit);
      this.#waiting.push((line) => {
        if (!line.includes(text)) return false;
        clearTimeout(timer);
        resolve(line);
        return true;
      });
    });
  }

  log(last = Infinity) {
    return this.lines.slice(-last).join('\n');
  }

  async stop() {
    this.child.kill('SIGINT');
    const late = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    const code = await this.ended;
    clearTimeout(late);
    return code;
  }
}
