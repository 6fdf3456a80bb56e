// Peers of all browsers at once through one UDP port of ours, some offering and some answering.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { browsers, launch } from './lib/browsers.js';
import { EchoServer } from './lib/echo_server.js';
import { openPage, peerOf, report } from './lib/harness.js';
import { servePages } from './lib/page_server.js';

const LIMIT = 240_000;
const ROLES = ['offer', 'answer', 'offer'];

test('peers of all browsers share one UDP port, come and go', { timeout: LIMIT }, async (context) => {
  const console = [];
  const ended = [];
  const peers = [];
  const server = await EchoServer.start(['--udp-port', '0']);
  const add = async (name, browser, address, role) => {
    const page = await openPage(browser, address, console);
    const peer = { name: `${name} ${role}ing`, page, ...peerOf(page, server) };
    peers.push(peer);
    await peer.connect({ role, media: false });
    return peer;
  };
  const echo = (some, seed, count) => Promise.all(some.map((peer, at) => peer.exchange({ count, seed: seed + at })));
  try {
    const pages = await servePages();
    ended.push(() => pages.close());
    const opened = await Promise.all(browsers().map(async (name) => [name, await launch(name)]));
    ended.push(...opened.map(([, browser]) => () => browser.close()));

    await Promise.all(opened.flatMap(([name, browser]) => ROLES.map((role) => add(name, browser, pages.address, role))));
    await echo(peers, 1, 50);
    const port = await onlyPort(peers);
    context.diagnostic(`${peers.length} peers on port ${port}`);

    // One closes and one is closed, each while the others are in the middle of something.
    const [leaving, closed, ...staying] = peers;
    const goesOn = echo(staying, 11, 100);
    await leaving.close();
    const at = await server.closePeer(await closed.id());
    assert.ok(await closed.closed(LIMIT / 4) >= at);
    await goesOn;

    // They come again, and those that stayed notice nothing.
    const others = echo(staying, 21, 100);
    const come = await Promise.all(opened.flatMap(([name, browser]) =>
      ['offer', 'answer'].map((role) => add(name, browser, pages.address, role))));
    await echo(come, 31, 50);
    await others;
    assert.equal(await onlyPort([...staying, ...come]), port);
  } catch (error) {
    const parts = [];
    for (const { name, page } of peers) parts.push(`==== ${name}`, await report({ page, server: { lines: [] }, console: [] }));
    error.message += [...parts, await report({ server, console })].join('\n');
    throw error;
  } finally {
    for (const { page } of peers) await page.close().catch(() => {});
    for (const end of ended.reverse()) await end();
    assert.equal(await server.stop(), 0, 'Ctrl-C ends it in order');
  }
});

/** Our port in every UDP candidate that the peers were told, and in every pair that they use. */
async function onlyPort(peers) {
  const told = await Promise.all(peers.map(({ page }) => page.evaluate(async () => {
    const lines = window.peer.pc.remoteDescription.sdp.match(/^a=candidate:\S+ \d+ udp .*$/gim) ?? [];
    const stats = await window.peer.pc.getStats();
    const used = [...stats.values()]
      .filter(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded')
      .map(({ remoteCandidateId }) => stats.get(remoteCandidateId).port);
    return { signalled: lines.map((line) => Number(line.split(' ')[5])), used };
  })));
  for (const { signalled, used } of told) assert.ok(signalled.length > 0 && used.length > 0, JSON.stringify(told));
  const ports = new Set(told.flatMap(({ signalled, used }) => [...signalled, ...used]));
  assert.equal(ports.size, 1, `one port: ${JSON.stringify(told)}`);
  return [...ports][0];
}
