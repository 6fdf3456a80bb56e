// Each small example does what its README line says, in a browser.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { browsers, launch } from './lib/browsers.js';
import { example, frames } from './lib/example.js';
import { ivf, oggOpus } from './lib/files.js';
import { Program } from './lib/program.js';

const EXAMPLES = ['data-channels', 'perfect-negotiation', 'save-to-disk', 'simulcast-receive', 'stats', 'whip-whep'];

describe('the command line of each example', () => {
  for (const name of EXAMPLES) {
    test(name, async () => {
      const program = await Program.start(name);
      try {
        const { port } = new URL(program.address);
        for (const [args, sentence] of [
          [['--prot', '80'], 'there is no flag --prot'],
          [['--port', 'x'], '--port needs a number'],
          [['--port', port], `${port} is in use already`],
        ]) {
          const { status, stderr } = spawnSync(program.binary, args, { encoding: 'utf8', timeout: 20_000 });
          assert.equal(status, 2);
          assert.ok(stderr.includes(sentence), stderr);
        }
        const help = spawnSync(program.binary, ['--help'], { encoding: 'utf8', timeout: 20_000 });
        assert.equal(help.status, 0);
        assert.ok(help.stdout.includes('--port'));
      } finally {
        await program.stop();
      }
    });
  }
});

for (const name of browsers()) {
  describe(`examples in ${name}`, () => {
    const place = {};
    before(async () => {
      place.browser = await launch(name);
      place.folder = mkdtempSync(join(tmpdir(), 'peerstack-'));
    });
    after(async () => {
      await place.browser?.close();
      if (place.folder) rmSync(place.folder, { recursive: true });
    });
    const folder = () => ['--folder', place.folder];

    example('save-to-disk', place, 'save-to-disk writes files', async ({ open, context }) => {
      const page = await open();
      await page.click('#start');
      await page.waitForFunction(() => window.pc?.connectionState === 'connected', { timeout: 30_000 });
      await new Promise((resolve) => { setTimeout(resolve, 4_000); });
      await page.click('#stop');
      // The program notices by itself that the browser has gone, and completes the files.
      const read = async () => {
        for (const late = Date.now() + 60_000; ; await new Promise((resolve) => { setTimeout(resolve, 200); })) {
          try {
            return [ivf(readFileSync(join(place.folder, 'video.ivf'))), oggOpus(readFileSync(join(place.folder, 'audio.ogg')))];
          } catch (error) {
            if (Date.now() > late) throw error;
          }
        }
      };
      const [video, audio] = await read();
      context.diagnostic(JSON.stringify({ video, audio }));
      assert.ok(video.codec === 'VP80' && video.keyFrameFirst && video.width > 0 && video.height > 0, JSON.stringify(video));
      assert.ok(video.frames > 20 && video.seconds > 2 && video.seconds < 10, JSON.stringify(video));
      assert.ok(audio.seconds > 2 && audio.seconds < 10 && Math.abs(audio.seconds - video.seconds) < 2, JSON.stringify(audio));
    }, folder);

    example('play-from-disk', place, 'play-from-disk plays them', async ({ open, context }) => {
      const page = await open();
      await page.evaluate(() => { document.getElementById('video').muted = false; });
      const decoded = await frames(page, 60);
      const sound = async () => {
        const report = [...(await window.pc.getStats()).values()];
        return report.find(({ type, kind, totalAudioEnergy }) => type === 'inbound-rtp' && kind === 'audio' && totalAudioEnergy > 0);
      };
      await page.waitForFunction(sound, { timeout: 30_000, polling: 200 });
      context.diagnostic(`${decoded} frames`);
    }, folder);

    example('stats', place, 'stats writes a dump of webrtc-internals', async ({ open, context }) => {
      const page = await open();
      const measured = () => {
        const of = (type, kind) => window.measured?.find((object) => object.type === type && (!kind || object.kind === kind));
        return of('inbound-rtp', 'video')?.packetsReceived > 20 && of('outbound-rtp', 'audio')?.packetsSent > 20
          && of('transport')?.dtlsState === 'connected' && of('data-channel')?.messagesReceived > 2 && of('candidate-pair') && of('codec');
      };
      await page.waitForFunction(measured, { timeout: 30_000, polling: 200 });
      await page.evaluate(() => window.pc.close());
      let dump;
      for (const late = Date.now() + 30_000; !dump; await new Promise((resolve) => { setTimeout(resolve, 100); })) {
        if (existsSync(join(place.folder, 'dump'))) dump = JSON.parse(readFileSync(join(place.folder, 'dump'), 'utf8'));
        else if (Date.now() > late) throw new Error('no dump is written');
      }
      const [connection] = Object.values(dump.PeerConnections);
      const types = new Set(Object.values(connection.stats).map(({ statsType }) => statsType));
      for (const type of ['inbound-rtp', 'outbound-rtp', 'transport', 'candidate-pair', 'codec', 'data-channel']) assert.ok(types.has(type), type);
      const received = Object.entries(connection.stats).find(([name, { statsType }]) => statsType === 'inbound-rtp' && name.endsWith('-bytesReceived'));
      const values = JSON.parse(received[1].values);
      assert.ok(values.length > 1 && values.at(-1) > values[0], received[1].values);
      assert.ok(connection.updateLog.some(({ type, value }) => type === 'connectionstatechange' && value === 'connected'));
      context.diagnostic(`${Object.keys(connection.stats).length} series of ${[...types].sort().join(', ')}`);
    }, () => ['--file', join(place.folder, 'dump')]);

    if (name === 'chromium') {
      example('simulcast-receive', place, 'simulcast-receive sends each layer back', async ({ open, context }) => {
        const page = await open();
        const all = () => ['q', 'h', 'f'].every((rid) => window.layers?.[rid]?.packets > 20);
        await page.waitForFunction(all, { timeout: 45_000, polling: 200 });
        const widths = {};
        for (const rid of ['f', 'q', 'h']) {
          await page.click(`#${rid}`);
          const width = { f: 1280, h: 640, q: 320 }[rid];
          await page.waitForFunction((width) => document.getElementById('back').videoWidth === width, { timeout: 30_000, polling: 100 }, width);
          await frames(page, 10);
          widths[rid] = width;
        }
        const layers = await page.evaluate(() => window.layers);
        assert.deepEqual(Object.keys(layers).sort(), ['f', 'h', 'q'], 'each stream in the statistics had its RID');
        assert.ok(Object.values(layers).every(({ frames, bytes }) => frames > 20 && bytes > 1_000), JSON.stringify(layers));
        assert.equal(new Set(Object.values(layers).map(({ ssrc }) => ssrc)).size, 3);
        context.diagnostic(JSON.stringify({ layers, widths }));
      });
    }

    example('data-channels', place, 'data-channels', async ({ open, context }) => {
      const page = await open();
      await page.waitForFunction(() => window.clock, { timeout: 30_000 });
      const replies = await page.evaluate(async () => {
        const ask = (message) => new Promise((resolve) => {
          window.chat.addEventListener('message', ({ data }) => resolve(typeof data === 'string' ? data : [...new Uint8Array(data)]), { once: true });
          window.chat.send(message);
        });
        return [await ask('grüße'), await ask(Uint8Array.of(1, 2, 3))];
      });
      assert.deepEqual(replies, ['"grüße" has 5 characters', [3, 2, 1]]);
      const { came, rate } = await page.evaluate(() => window.download(16 * 2 ** 20));
      assert.equal(came, 16 * 2 ** 20);
      context.diagnostic(`${(rate / 2 ** 20).toFixed(1)} MiB/s`);
    });

    example('perfect-negotiation', place, 'perfect-negotiation', async ({ open, context }) => {
      const page = await open();
      await page.click('#add');
      await page.waitForFunction(() => window.pc.connectionState === 'connected', { timeout: 30_000 });
      await frames(page);
      for (let round = 0; round < 5; round += 1) {
        await page.click('#both');
        await page.waitForFunction(() => window.pc.signalingState === 'stable', { timeout: 30_000 });
      }
      await frames(page);
      context.diagnostic(`${await page.evaluate(() => window.collisions ?? 0)} times two offers met`);
      await page.click('#remove');
      await page.waitForFunction(() => window.pc.getTransceivers().every(({ currentDirection }) => currentDirection !== 'sendrecv'));
      await page.click('#add');
      await frames(page);
    });
  });
}

describe('whip-whep', { skip: !['chromium', 'firefox'].every((name) => browsers().includes(name)) }, () => {
  const place = {};
  before(async () => {
    place.chromium = await launch('chromium');
    place.firefox = await launch('firefox');
  });
  after(async () => {
    await place.chromium?.close();
    await place.firefox?.close();
  });
  for (const [publisher, player] of [['chromium', 'firefox'], ['firefox', 'chromium']]) {
    example('whip-whep', place, `${publisher} publishes, ${player} and ${publisher} play`, async ({ open, program }) => {
      const from = await open('/?publish', place[publisher]);
      await from.waitForFunction(() => window.pc?.connectionState === 'connected', { timeout: 30_000 });
      for (const name of [player, publisher]) {
        const to = await open('/?play', place[name]);
        await to.waitForFunction(() => window.pc?.connectionState === 'connected', { timeout: 30_000 });
        await frames(to, 20);
        const heard = async () => [...(await window.pc.getStats()).values()]
          .some(({ type, kind, packetsReceived }) => type === 'inbound-rtp' && kind === 'audio' && packetsReceived > 10);
        await to.waitForFunction(heard, { timeout: 30_000, polling: 200 });
      }
      // A second publisher is refused; the session's address ends it, once.
      const offer = { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: 'v=0' };
      assert.equal((await fetch(`${program.address}/whip`, offer)).status, 409);
      const session = `${program.address}${await from.evaluate(() => window.session)}`;
      assert.equal((await fetch(session, { method: 'DELETE' })).status, 200);
      assert.equal((await fetch(session, { method: 'DELETE' })).status, 404);
    });
  }

  test('requests that RFC 9725 refuses', async () => {
    const program = await Program.start('whip-whep', ['--token', 'secret']);
    try {
      const ask = async (path, method, headers = {}, body = undefined) =>
        (await fetch(`${program.address}${path}`, { method, headers, body })).status;
      const [sdp, authorization] = ['application/sdp', 'Bearer secret'];
      assert.equal(await ask('/whip', 'POST', { 'content-type': sdp }, 'v=0'), 401);
      assert.equal(await ask('/whip', 'POST', { 'content-type': 'text/plain', authorization }, 'v=0'), 415);
      assert.equal(await ask('/whip', 'POST', { 'content-type': sdp, authorization }, 'no SDP'), 400);
      assert.equal(await ask('/whip', 'POST', { 'content-type': sdp, authorization }, 'no SDP'), 400, 'the place is free again');
      assert.equal(await ask('/whip', 'GET', { authorization }), 405);
      assert.equal(await ask('/sessions/none', 'DELETE', { authorization }), 404);
      const options = await fetch(`${program.address}/whip`, { method: 'OPTIONS' });
      assert.equal(options.status, 204);
      assert.equal(options.headers.get('accept-post'), sdp);
      assert.equal(options.headers.get('access-control-allow-origin'), '*');
    } finally {
      await program.stop();
    }
  });
});
