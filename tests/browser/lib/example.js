// An example with its own page: started, opened in a browser, and what both said when it fails.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { openPage } from './harness.js';
import { Program } from './program.js';

const LIMIT = 90_000;

/** A test of an example: `body({ open, program, context })`, where `open(path)` opens its page. */
export function example(name, place, what, body, args = []) {
  test(what, { timeout: LIMIT }, async (context) => {
    const console = [];
    const pages = [];
    const program = await Program.start(name, typeof args === 'function' ? args() : args);
    const open = async (path = '/', browser = place.browser) => {
      const page = await openPage(browser, `${program.address}${path}`, console);
      pages.push(page);
      return page;
    };
    try {
      await body({ open, program, context });
      for (const page of pages) assert.equal(await page.evaluate(() => window.error ?? null), null);
    } catch (error) {
      const said = await Promise.all(pages.map((page) => page.evaluate(() => [window.error ?? '', document.body.innerText].join('\n')).catch(String)));
      throw new Error([`${error.stack ?? error}`, '---- the pages', ...console, ...said, '---- the program', program.log(), '----'].join('\n'));
    } finally {
      for (const page of pages) await page.close().catch(() => {});
      assert.equal(await program.stop(), 0, 'Ctrl-C ends it in order');
    }
  });
}

/** Waits until so many more frames are decoded by the page's `window.pc`. */
export async function frames(page, count = 10) {
  const decoded = () => page.evaluate(async () => [...(await window.pc.getStats()).values()]
    .filter(({ type }) => type === 'inbound-rtp').reduce((sum, { framesDecoded }) => sum + (framesDecoded ?? 0), 0));
  const start = await decoded();
  const late = Date.now() + 30_000;
  for (;;) {
    const now = await decoded();
    if (now >= start + count) return now;
    if (Date.now() > late) throw new Error(`${now - start} frames of ${count} were decoded`);
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}
