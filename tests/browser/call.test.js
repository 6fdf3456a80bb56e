// A call between a browser and the test peer that is negotiated again and again, from either side.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { browsers, launch } from './lib/browsers.js';
import { openPage } from './lib/harness.js';
import { servePages } from './lib/page_server.js';
import { Program } from './lib/program.js';

const LIMIT = 90_000;
const ROUNDS = 5;
const COLLISIONS = 50;
const LONGEST_FREEZE_MS = 1_000;

for (const name of browsers()) {
  describe(`a call with ${name}`, () => {
    const place = { name };
    before(async () => {
      place.pages = await servePages();
      place.peer = await Program.start('test-peer');
      place.browser = await launch(name);
    });
    after(async () => {
      await place.browser?.close();
      await place.peer?.stop();
      await place.pages?.close();
    });
    for (const role of ['offer', 'answer']) {
      describe(role === 'offer' ? 'offering' : 'answering', () => suite(place, role));
    }
    describe('both', () => together(place));
  });
}

/** A test whose `body` runs in the page, with `call` and `options` as its arguments. */
function run(place, name, options, body) {
  test(name, { timeout: LIMIT }, async (context) => {
    const console = [];
    let page;
    try {
      page = await openPage(place.browser, `${place.pages.address}call.html`, console);
      const result = await page.evaluate(async (source, options, server) => {
        window.newCall();
        await window.call.open({ server, ...options });
        // eslint-disable-next-line no-eval
        return (0, eval)(`(${source})`)(window.call, options);
      }, String(body), options, place.peer.address);
      if (result !== undefined) context.diagnostic(JSON.stringify(result));
      const errors = await page.evaluate(() => window.call.errors);
      assert.deepEqual(errors, []);
    } catch (error) {
      throw new Error(`${error.message}${await report(page, place.peer, console)}`);
    } finally {
      await page?.evaluate(() => window.call?.close()).catch(() => {});
      await page?.close();
    }
  });
}

async function report(page, peer, console) {
  const seen = await page?.evaluate(() => window.call?.report()).catch((error) => ({ history: [String(error)] }));
  const parts = ['', '---- the browser\'s console', ...console, '---- the browser\'s connection', ...(seen?.history ?? [])];
  for (const [what, sdp] of seen?.descriptions ?? []) parts.push(`---- ${what}`, sdp.trim());
  parts.push('---- the peer', peer.log(200), '----');
  return parts.join('\n');
}

function suite(place, role) {
  const media = { role, rounds: ROUNDS, longest: LONGEST_FREEZE_MS };

  run(place, 'video is added and removed five times, and frames flow each time', media, async (call, { role, rounds }) => {
    const { pc } = call;
    call.answersWithMedia = true;
    const [video] = call.stream.getVideoTracks();
    const waited = [];
    for (let round = 0; round < rounds; round += 1) {
      const known = new Set(pc.getTransceivers());
      if (role === 'offer') pc.addTrack(video, call.stream);
      else await call.ask('addTrack', { kind: 'video' });
      const transceiver = await call.until('a new section', () =>
        pc.getTransceivers().find((it) => !known.has(it) && it.currentDirection === 'sendrecv'));
      await call.settled();
      waited.push(await call.flows(transceiver.mid));
      // Once without the track, the section staying; then without the section, which the next round takes again.
      const mid = transceiver.mid;
      if (round % 2 === 0) {
        if (role === 'offer') pc.removeTrack(transceiver.sender);
        else await call.ask('removeTrack', { mid });
        // The browser answers a peer that sends no more, and still sends itself.
        await call.until('one way', () => transceiver.currentDirection !== 'sendrecv');
      } else {
        if (role === 'offer') transceiver.stop();
        else await call.ask('stop', { mid });
        await call.until('stopped', () => transceiver.currentDirection === 'stopped');
      }
      await call.settled();
    }
    const lines = pc.localDescription.sdp.match(/^m=video/gm).length;
    if (lines !== 3) throw new Error(`${lines} sections: those that were stopped are not used again`);
    return { msUntilFrames: waited, sections: lines };
  });

  run(place, 'ICE restarts in a call and media goes on', media, async (call, { role, longest }) => {
    const { pc } = call;
    for (const track of call.stream.getTracks()) pc.addTrack(track, call.stream);
    await call.connected();
    const { mid } = pc.getTransceivers().find(({ receiver }) => receiver.track.kind === 'video');
    await call.flows(mid);
    await call.settled();
    const ufrags = () => [pc.localDescription, pc.remoteDescription].map(({ sdp }) => /a=ice-ufrag:(\S+)/.exec(sdp)[1]);
    const seen = [];
    const freeze = await call.longestWithoutFrame(mid, async () => {
      for (let restart = 0; restart < 3; restart += 1) {
        const before = ufrags();
        if (role === 'offer') pc.restartIce();
        else await call.ask('restartIce');
        await call.until('new credentials on both sides', () => ufrags().every((ufrag, at) => ufrag !== before[at]));
        await call.settled();
        await call.until('the new pair', async () => {
          const report = [...(await pc.getStats()).values()];
          const pair = report.find((it) => it.type === 'candidate-pair' && it.nominated && it.state === 'succeeded' && it.bytesSent > 0);
          return pair && ['connected', 'completed'].includes(pc.iceConnectionState);
        });
        await call.flows(mid, 10);
        seen.push(ufrags().join());
      }
    });
    if (freeze > longest) throw new Error(`no frame for ${freeze} ms`);
    if (pc.connectionState !== 'connected') throw new Error(`the connection is ${pc.connectionState}`);
    return { longestWithoutFrameMs: freeze };
  });

  run(place, 'a replaced track is seen at once, without a negotiation', media, async (call, { role }) => {
    const { pc } = call;
    const [red, blue] = ['red', 'blue'].map((colour) => call.picture(colour));
    call.stream = new MediaStream([red]);
    call.answersWithMedia = true;
    if (role === 'offer') pc.addTrack(red, call.stream);
    else await call.ask('addTrack', { kind: 'video' });
    const { sender, mid } = await call.until('a section', () => pc.getTransceivers().find(({ currentDirection }) => currentDirection === 'sendrecv'));
    await call.flows(mid);
    await call.settled();
    const descriptions = call.descriptions.length;
    const shows = (colour) => call.until(colour, () => {
      const [r, , b] = call.colour();
      return colour === 'red' ? r > 128 && b < 96 : b > 128 && r < 96;
    });
    await shows('red');
    await sender.replaceTrack(blue);
    await shows('blue');
    await sender.replaceTrack(null);
    await sender.replaceTrack(red);
    await shows('red');
    // The peer's too: what it sends goes on.
    await call.ask('replaceTrack', { mid });
    await call.flows(mid, 10);
    if (call.descriptions.length !== descriptions) throw new Error('there was a negotiation');
  });

  run(place, 'a data channel of every kind carries text and bytes', { role, media: false }, async (call, { role }) => {
    const bytes = (length) => Uint8Array.from({ length }, (_, at) => at % 251).buffer;
    const messages = ['text', bytes(3), '', bytes(0), 'größer €😀', bytes(16_385), 'x'.repeat(65_537)];
    const reliability = [{}, { maxRetransmits: 0 }, { maxRetransmits: 3 }, { maxPacketLifeTime: 500 }];
    const kinds = [true, false].flatMap((ordered) => reliability.map((limit) => ({ ordered, ...limit })));
    kinds.push({ protocol: 'a protocol ü' }, { negotiated: true, id: 40 }, { negotiated: true, id: 1023, ordered: false, maxRetransmits: 1, protocol: 'p' });
    const make = (label, init) => (role === 'offer'
      ? call.use(call.pc.createDataChannel(label, init))
      : call.ask('createDataChannel', { label, init }));
    const defaults = { ordered: true, maxRetransmits: null, maxPacketLifeTime: null, protocol: '', negotiated: false };
    for (const [at, init] of kinds.entries()) {
      const label = `channel ${at}`;
      await make(label, init);
      // Both sides make what is negotiated.
      if (init.negotiated && role === 'offer') await call.ask('createDataChannel', { label, init });
      if (init.negotiated && role === 'answer') call.use(call.pc.createDataChannel(label, init));
      await call.echoes(label, messages);
      const ours = call.options(label);
      const { readyState, label: name, ...theirs } = (await call.ask('state')).channels.find((it) => it.label === label);
      const wanted = { ...defaults, ...init, id: ours.id };
      for (const [whose, got] of [['the browser', ours], ['the peer', theirs]]) {
        for (const [option, value] of Object.entries(wanted)) {
          if (got[option] !== value) throw new Error(`${label}: ${option} is ${got[option]} at ${whose}, not ${value}`);
        }
      }
      if (readyState !== 'open' || name !== label) throw new Error(`${label} is ${readyState} at the peer`);
    }
    // An id is free again once its channel is closed on both sides.
    const [first, second] = ['channel 0', 'channel 1'].map((label) => call.channels.get(label));
    const { id } = first;
    if (role === 'offer') first.close();
    else await call.ask('closeDataChannel', { label: 'channel 0' });
    await call.until('channel 0 closed', async () => first.readyState === 'closed'
      && (await call.ask('state')).channels.find(({ label }) => label === 'channel 0').readyState === 'closed');
    const again = { negotiated: true, id };
    await call.ask('createDataChannel', { label: 'again', init: again });
    call.use(call.pc.createDataChannel('again', again));
    await call.echoes('again', messages);
    if (second.readyState !== 'open') throw new Error('another channel was closed too');
    return { kinds: kinds.length };
  });
}

function together(place) {
  for (const polite of [true, false]) {
    const name = `both offer at once ${COLLISIONS} times, ${polite ? 'the browser' : 'the peer'} being polite: they agree, and media flows`;
    run(place, name, { polite, count: COLLISIONS, restarts: place.name !== 'firefox' || !polite }, async (call, { count, restarts }) => {
      const { pc } = call;
      for (const track of call.stream.getTracks()) pc.addTrack(track, call.stream);
      await call.connected();
      const [audio, video] = pc.getTransceivers();
      await call.flows(video.mid);
      await call.settled();
      const before = { ours: call.collisions, theirs: (await call.ask('state')).collisions };
      for (let round = 0; round < count; round += 1) {
        // Each side wants something new: the browser its audio one way or both, the peer sometimes new credentials.
        const wanted = round % 2 ? 'sendrecv' : 'sendonly';
        audio.direction = wanted;
        // Firefox cannot take its own offer back for one that restarts ICE: "offer did not request ICE restart".
        await call.collide({ restart: restarts && round % 5 === 0 });
        await call.until(`audio ${wanted}`, () => audio.currentDirection === wanted);
        await call.settled();
      }
      const theirs = await call.settled();
      const met = { ours: call.collisions - before.ours, theirs: theirs.collisions - before.theirs };
      for (const [whose, times] of Object.entries(met)) {
        if (times < count) throw new Error(`two offers met ${times} times (${whose}), not ${count}`);
      }
      await call.flows(video.mid, 10);
      return met;
    });
  }
}
