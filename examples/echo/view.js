// What the page shows, apart from plots and lines: state, steps, table, events, failures.

const MAX_LOG = 200;

// Each step, and what it means to someone who has not met the word.
const STEPS = [
  ['media', 'Media', 'camera, microphone'],
  ['offer', 'Offer', 'one side proposes'],
  ['answer', 'Answer', 'the other agrees'],
  ['ice', 'ICE', 'a way for packets'],
  ['dtls', 'DTLS', 'keys to encrypt'],
  ['data', 'Data', 'text and bytes'],
  ['echo', 'Echo', 'the picture is back'],
];

export const $ = (id) => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// ---- The state, for all to see ----------------------------------------------------------------------------

export function showState(state, text) {
  document.body.dataset.state = state;
  $('status-text').textContent = text;
  const running = state !== 'idle' && state !== 'failed';
  $('start').hidden = running;
  $('stop').hidden = !running;
  $('start').textContent = state === 'failed' ? 'Try again' : 'Connect';
  $('source').disabled = running;
  $('role').disabled = running;
}

export function showFailure(failure) {
  $('failure').hidden = !failure;
  $('failure-title').textContent = failure?.title ?? '';
  $('failure-text').textContent = failure?.message ?? '';
  $('failure-hint').textContent = failure?.hint ?? '';
  $('failure-hint').hidden = !failure?.hint;
}

export function showNotice(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

export function showPeer(id) {
  $('peer-id').hidden = !id;
  $('peer-id').textContent = id ? `peer ${id.slice(0, 8)}` : '';
  $('peer-id').title = id ?? '';
}

export function showChannel(state) {
  $('channel-state').textContent = state;
  $('channel-state').classList.toggle('open', state === 'open');
  for (const id of ['line', 'send', 'blob']) $(id).disabled = state !== 'open';
}

export function showSound(on) {
  $('echoed').muted = !on;
  $('listen').setAttribute('aria-pressed', String(on));
  $('listen').textContent = on ? 'Mute the sound' : 'Play the sound';
}

// ---- The steps of the connection --------------------------------------------------------------------------

export class Steps {
  constructor(list) {
    this.list = list;
    this.reset();
  }

  reset() {
    this.started = performance.now();
    this.states = new Map();
    this.items = new Map();
    for (const [id, name, meaning] of STEPS) {
      const item = element('li', 'step');
      item.id = `step-${id}`;
      item.append(element('b', '', name), element('span', '', meaning), element('small', '', '\u00a0'));
      this.items.set(id, item);
    }
    this.list.replaceChildren(...this.items.values());
  }

  now(id) { this.#mark(id, 'now', 'under way'); }

  // Done once: the time since the start stays.
  done(...ids) {
    for (const id of ids) this.#mark(id, 'done', `${Math.round(performance.now() - this.started)} ms`);
  }

  // The first step that is under way is the one that failed.
  failed() {
    const found = STEPS.find(([id]) => this.states.get(id) === 'now');
    if (found) this.#mark(found[0], 'bad', 'failed');
  }

  // Those that are done.
  reached() {
    return new Set([...this.states].filter(([, state]) => state === 'done').map(([id]) => id));
  }

  #mark(id, state, text) {
    if (this.states.get(id) === 'done' || this.states.get(id) === state) return;
    this.states.set(id, state);
    const item = this.items.get(id);
    item.className = `step ${state}`;
    item.lastChild.textContent = text;
  }
}

// ---- The events, the latest first -------------------------------------------------------------------------

export class Log {
  constructor(list) {
    this.list = list;
    this.entries = [];
    this.started = performance.now();
  }

  reset() {
    this.started = performance.now();
    this.entries.length = 0;
    this.list.replaceChildren();
  }

  add(text, bad = false) {
    const at = performance.now() - this.started;
    this.entries.push({ at, text, bad });
    if (this.entries.length > MAX_LOG) this.entries.shift();
    const item = element('li');
    item.append(element('time', '', `${(at / 1000).toFixed(3)} s`), element('span', bad ? 'bad' : '', text));
    this.list.prepend(item);
    while (this.list.children.length > MAX_LOG) this.list.lastChild.remove();
  }
}

// ---- The table of both sides ------------------------------------------------------------------------------

// Rows as `facts` of report.js gives them. Cells that did not change are left alone, so that text in them can
// be selected.
export function showFacts(rows) {
  const body = $('facts');
  rows.forEach(([name, browser, server, browserClass = '', serverClass = ''], index) => {
    const [head, left, right] = (body.rows[index] ?? newRow(body)).children;
    set(head, name, '');
    set(left, browser, browserClass);
    set(right, server, serverClass);
  });
}

function newRow(body) {
  const row = body.insertRow();
  const head = element('th');
  head.scope = 'row';
  row.append(head, element('td'), element('td'));
  return row;
}

function set(cell, text, className) {
  if (cell.textContent !== text) cell.textContent = text;
  if (cell.className !== className) cell.className = className;
}
