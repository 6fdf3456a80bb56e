// A program of ours as a process of its own: started on a free port, its log kept, ended with the test.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';

const START_MS = 30_000;
const FOLDER = process.env.PEERSTACK_EXAMPLES ?? fileURLToPath(new URL('../../../target/debug/examples', import.meta.url));

export class Program {
  /** Starts an example; `address` is where it serves HTTP. */
  static async start(name, args = []) {
    const program = new Program();
    program.name = name;
    program.lines = [];
    program.binary = `${FOLDER}/${name}`;
    if (!existsSync(program.binary)) throw new Error(`${program.binary} is not built: cargo build --example ${name}`);
    await program.#start(args);
    return program;
  }

  #start(args) {
    const RUST_LOG = process.env.RUST_LOG ?? 'warn,peerstack=debug';
    const env = { ...process.env, RUST_LOG, NO_COLOR: '1' };
    this.child = spawn(this.binary, ['--port', '0', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => { this.child.on('exit', (code, signal) => resolve(code ?? signal)); });
    createInterface({ input: this.child.stderr }).on('line', (line) => this.lines.push(line));
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${this.name} told no address\n${this.log()}`)), START_MS);
      this.child.on('error', reject);
      this.ended.then((code) => reject(new Error(`${this.name} ended with ${code}\n${this.log()}`)));
      createInterface({ input: this.child.stdout }).on('line', (line) => {
        this.lines.push(line);
        const address = /^peerstack \S+: (http:\S+)\/$/.exec(line)?.[1];
        if (!address) return;
        clearTimeout(late);
        this.address = address;
        resolve();
      });
    });
  }

  log(last = 200) {
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
