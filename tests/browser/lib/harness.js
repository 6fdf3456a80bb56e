// One test: an echo server, a page, a peer in it; and what all of them said when it fails.

import { EchoServer } from './echo_server.js';

const MAX_LOG = 300;

/** Runs `body({ server, page, peer })` against a fresh server and a fresh page. */
export async function withPeer({ browser, pages, engines = [] }, body) {
  const console = [];
  const server = await EchoServer.start(engines);
  let page;
  try {
    page = await openPage(browser, pages, console);
    await body({ server, page, peer: peerOf(page, server) });
  } catch (error) {
    error.message += await report({ page, server, console });
    throw error;
  } finally {
    await page?.close();
    await server.stop();
  }
}

export async function openPage(browser, address, console) {
  const page = await browser.newPage();
  page.on('console', (message) => console.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => console.push(`error: ${error.stack ?? error}`));
  await page.goto(address);
  await page.waitForFunction(() => window.ready || window.peerstackEcho);
  return page;
}

/** The peer in the page: each method runs there. */
export function peerOf(page, server) {
  const call = (method, ...args) =>
    page.evaluate((method, args) => window.peer[method](...args), method, args);
  return {
    async negotiate(options) {
      await page.evaluate(() => window.newPeer());
      await call('negotiate', { server: server.address, media: true, ...options });
    },
    async connect(options) {
      await this.negotiate(options);
      await call('connected');
    },
    failed: () => call('failed'),
    exchange: (plan) => call('exchange', plan),
    watchMedia: (seconds) => call('watchMedia', seconds),
    stats: () => call('stats'),
    close: () => call('close'),
    closeChannel: () => page.evaluate(() => { const at = Date.now(); window.peer.channel.close(); return at; }),
    /** The wall-clock time of the channel's close event, in milliseconds. */
    closed: (limit) => page.evaluate((limit) => Promise.race([
      window.peer.closed,
      new Promise((_, reject) => { setTimeout(() => reject(new Error(`no close event within ${limit} ms`)), limit); }),
    ]), limit),
    id: () => page.evaluate(() => window.peer.id),
    states: () => page.evaluate(() => window.peer.history.map(({ what }) => what)),
  };
}

/** What all of them said. */
export async function report({ page, server, console }) {
  const seen = await page?.evaluate(() => window.peer?.report()).catch((error) => ({ error: String(error) }));
  const parts = ['', '---- the browser\'s console', ...console];
  if (seen?.history) {
    parts.push('---- the browser\'s connection', ...seen.history.map(({ at, what }) => `${new Date(at).toISOString()} ${what}`));
    for (const [type, sdp] of Object.entries(seen.descriptions)) parts.push(`---- ${type}`, sdp.trim());
    parts.push('---- the browser\'s statistics', JSON.stringify(seen.stats));
  } else if (seen) {
    parts.push('---- the page', JSON.stringify(seen));
  }
  const lines = server.lines.slice(-MAX_LOG);
  parts.push(`---- the echo server (the last ${lines.length} of ${server.lines.length} lines)`, ...lines, '----');
  return parts.join('\n');
}
