// The echo example's own page: opened, it connects by itself, and echoes picture and data.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { browsers, launch } from './lib/browsers.js';
import { EchoServer } from './lib/echo_server.js';
import { openPage } from './lib/harness.js';

const LIMIT = 120_000;

for (const name of browsers()) {
  describe(`the page in ${name}`, () => {
    let browser;
    before(async () => { browser = await launch(name); });
    after(() => browser?.close());
    for (const role of ['offer', 'answer']) {
      test(`connects with the role ${role}, and echoes`, { timeout: LIMIT }, async () => {
        const server = await EchoServer.start();
        const console = [];
        let page;
        try {
          page = await openPage(browser, `${server.address}/?auto=1&source=canvas&role=${role}`, console);
          await page.waitForFunction(() => window.peerstackEcho.channel?.readyState === 'open', { timeout: LIMIT / 3 });
          assert.equal(typeof await page.evaluate(() => window.peerstackEcho.say('hello')), 'number');
          const decoded = async () => {
            const report = await window.peerstackEcho.pc.getStats();
            return [...report.values()].some((entry) => entry.type === 'inbound-rtp' && entry.framesDecoded > 10);
          };
          await page.waitForFunction(decoded, { timeout: LIMIT / 3, polling: 200 });
          assert.equal(await page.evaluate(() => window.peerstackEcho.state), 'connected');
          assert.deepEqual(console.filter((line) => line.startsWith('error')), []);
        } catch (error) {
          const seen = await page?.evaluate(() => ({ state: peerstackEcho.state, error: peerstackEcho.error, log: peerstackEcho.log }))
            .catch(String);
          error.message += ['', ...console, JSON.stringify(seen, null, 1), server.log()].join('\n');
          throw error;
        } finally {
          await page?.close();
          await server.stop();
        }
      });
    }
  });
}
