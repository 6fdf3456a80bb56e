// Chromium and Firefox against the echo peer, offering and answering.
//
// Time limits are generous bounds, except where a second is what is promised.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { browsers, launch } from './lib/browsers.js';
import { timeOf } from './lib/echo_server.js';
import { withPeer } from './lib/harness.js';
import { servePages } from './lib/page_server.js';

const OTHER_ENGINES = ['--dtls-engine', 'webrtc-dtls', '--srtp-engine', 'webrtc-srtp'];
const MESSAGES = 1_000;
const WATCHED_SECONDS = 10;
const LONGEST_FREEZE_MS = 1_000;
const CLOSE_MS = 1_000;
const TOLERANCE = 0.05;
const LIMIT = 180_000;

const VARIANTS = [
  { browser: 'chromium', engines: [] },
  { browser: 'firefox', engines: [] },
  { browser: 'chromium', engines: OTHER_ENGINES },
];

for (const variant of VARIANTS.filter(({ browser }) => browsers().includes(browser))) {
  const engines = variant.engines.length ? ` with ${variant.engines.filter((_, at) => at % 2).join(' and ')}` : '';
  describe(`${variant.browser}${engines}`, () => {
    const place = { engines: variant.engines };
    let pages;
    before(async () => {
      pages = await servePages();
      place.pages = pages.address;
      place.browser = await launch(variant.browser);
    });
    after(async () => {
      await place.browser?.close();
      await pages?.close();
    });
    for (const role of ['offer', 'answer']) {
      describe(role === 'offer' ? 'offering' : 'answering', () => suite(place, role));
    }
  });
}

function suite(place, role) {
  const run = (name, body) => test(name, { timeout: LIMIT }, (context) =>
    withPeer(place, (parts) => body({ ...parts, context })));

  run('1,000 messages come back equal and in order', async ({ peer, context }) => {
    await peer.connect({ role });
    const result = await peer.exchange({ count: MESSAGES, seed: 1 });
    context.diagnostic(JSON.stringify(result));
    assert.equal(result.messages, MESSAGES);
    assert.ok(result.empty >= 2, 'text and bytes of no length');
    assert.equal(result.largest, 256 * 1024);
  });

  run('picture and sound come back, and both sides count the same bytes', async ({ peer, server, context }) => {
    await peer.connect({ role });
    const media = await peer.watchMedia(WATCHED_SECONDS);
    context.diagnostic(JSON.stringify(media));
    assert.ok(media.framesDecoded > WATCHED_SECONDS, `${media.framesDecoded} frames decoded`);
    assert.ok(media.longestWithoutFrameMs <= LONGEST_FREEZE_MS, `no frame for ${media.longestWithoutFrameMs} ms`);
    assert.ok(media.size[0] > 0 && media.size[1] > 0, `the picture is ${media.size}`);
    assert.ok(media.audioPackets > 0, 'no audio came back');
    assert.ok(media.audioEnergy > 0, 'the echoed audio is silence');
    const id = await peer.id();
    const [earlier, theirs, later] = [await server.stats(id), await peer.stats(), await server.stats(id)];
    context.diagnostic(JSON.stringify({ theirs, ours: later }));
    assert.deepEqual(disagreements(earlier, theirs, later), []);
  });

  run('closing the browser\'s side closes our channel within a second', async ({ peer, server }) => {
    await peer.connect({ role });
    const at = await peer.close();
    const after = timeOf(await server.line('data channel closed', LIMIT / 2)) - at;
    assert.ok(after <= CLOSE_MS, `after ${after} ms`);
  });

  run('closing our side closes the browser\'s channel within a second', async ({ peer, server }) => {
    await peer.connect({ role });
    const at = await server.closePeer(await peer.id());
    const after = await peer.closed(LIMIT / 2) - at;
    assert.ok(after <= CLOSE_MS, `after ${after} ms`);
  });

  run('closing the channel alone closes both ends of it within a second', async ({ peer, server }) => {
    await peer.connect({ role });
    const at = await peer.closeChannel();
    const ours = timeOf(await server.line('data channel closed', LIMIT / 2)) - at;
    const theirs = await peer.closed(LIMIT / 2) - at;
    assert.ok(ours <= CLOSE_MS && theirs <= CLOSE_MS, `ours after ${ours} ms, the browser's after ${theirs} ms`);
    assert.ok(!(await peer.states()).includes('connectionState failed'));
  });

  for (const tampered of ['ours', 'theirs']) {
    const whose = tampered === 'ours' ? 'the browser\'s' : 'our';
    run(`one digit of ${whose} fingerprint changed: never connected, and said so`, async ({ peer, server, context }) => {
      await peer.negotiate({ role, tampered });
      await peer.failed();
      const said = await server.line('DTLS handshake failed', LIMIT / 2);
      context.diagnostic(said);
      if (tampered === 'ours') assert.match(said, /fingerprint/);
      const states = await peer.states();
      assert.ok(!states.includes('channel open'), states.join('\n'));
      // The one that answers is the DTLS client, and a DTLS 1.3 client is done before the server has judged its
      // certificate (RFC 8446 section 2): it may be connected until the refusal comes, but gets no data.
      const refused = tampered === 'ours' ? 'browser' : 'echo';
      const client = role === 'answer' ? 'browser' : 'echo';
      const early = refused === client && place.engines.length === 0 ? refused : null;
      if (early !== 'browser') assert.ok(!states.includes('connectionState connected'), states.join('\n'));
      if (early !== 'echo') assert.ok(!server.log().includes('state=Connected'), 'our side was connected');
    });
  }
}

/** The counters in which the two sides differ by more than the tolerance; ours were read before and after. */
function disagreements(earlier, theirs, later) {
  const pairs = [
    ['transport, to us', theirs.transport.bytesSent, (ours) => ours.transport.bytes_received],
    ['transport, from us', theirs.transport.bytesReceived, (ours) => ours.transport.bytes_sent],
  ];
  const sum = (list, kind, name) => list.filter((rtp) => rtp.kind === kind).reduce((total, rtp) => total + rtp[name], 0);
  for (const kind of ['audio', 'video']) {
    pairs.push(
      [`${kind}, to us`, theirs.sent[kind]?.bytesSent, (ours) => sum(ours.inbound_rtp, kind, 'bytes_received')],
      [`${kind}, from us`, theirs.received[kind]?.bytesReceived, (ours) => sum(ours.outbound_rtp, kind, 'bytes_sent')],
    );
  }
  const wrong = [];
  for (const [name, browser, read] of pairs) {
    const [low, high] = [read(earlier) * (1 - TOLERANCE), read(later) * (1 + TOLERANCE)];
    if (!(browser > 0 && browser >= low && browser <= high)) {
      wrong.push(`${name}: the browser counts ${browser}, we ${read(earlier)} to ${read(later)}`);
    }
  }
  return wrong;
}
