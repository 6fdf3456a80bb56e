// A small plot of the last minute: a curve, the area under it, the largest value.

const SVG = 'http://www.w3.org/2000/svg';
const POINTS = 60;
const WIDTH = 120;
const HEIGHT = 44;

export class Plot {
  // `format` turns a number into [number as text, unit].
  constructor(parent, title, format, second = false) {
    this.title = title;
    this.format = format;
    this.values = [];
    this.root = element('div', second ? 'plot second' : 'plot');
    const heading = element('h2');
    heading.textContent = title;
    this.value = element('p', 'value');
    this.svg = document.createElementNS(SVG, 'svg');
    this.svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('role', 'img');
    this.base = path(this.svg, 'base');
    this.base.setAttribute('d', `M0 ${HEIGHT}H${WIDTH}`);
    this.area = path(this.svg, 'area');
    this.curve = path(this.svg, 'curve');
    const scale = element('p', 'scale');
    this.span = element('span');
    this.most = element('span');
    scale.append(this.span, this.most);
    this.root.append(heading, this.value, this.svg, scale);
    parent.append(this.root);
    this.clear();
  }

  clear() {
    this.values = [];
    this.draw();
  }

  // Adds a value; null leaves a hole.
  push(value) {
    this.values.push(Number.isFinite(value) ? value : null);
    if (this.values.length > POINTS) this.values.shift();
    this.draw();
  }

  draw() {
    const known = this.values.filter((value) => value !== null);
    const last = this.values.at(-1) ?? null;
    const [number, unit] = last === null ? ['–', ''] : this.format(last);
    const small = element('small');
    small.textContent = unit ? ` ${unit}` : '';
    this.value.replaceChildren(number, small);
    const most = known.length ? Math.max(...known) : 0;
    this.span.textContent = this.values.length > 1 ? `${this.values.length} s` : '';
    this.most.textContent = known.length > 1 ? `max ${this.format(most).filter(Boolean).join(' ')}` : '';
    this.svg.setAttribute('aria-label', last === null
      ? `${this.title}: nothing measured yet`
      : `${this.title}: now ${number} ${unit}, at most ${this.format(most).join(' ')} in ${this.values.length} s`);
    const { curve, area } = this.shape(most);
    this.curve.setAttribute('d', curve);
    this.area.setAttribute('d', area);
  }

  shape(most) {
    const top = most > 0 ? most * 1.08 : 1;
    const x = (index) => (WIDTH - ((this.values.length - 1 - index) * WIDTH) / (POINTS - 1)).toFixed(2);
    const y = (value) => (HEIGHT - (value / top) * (HEIGHT - 2)).toFixed(2);
    let curve = '';
    let area = '';
    let run = [];
    const finish = () => {
      if (run.length > 1) {
        const points = run.map(([index, value]) => `${x(index)} ${y(value)}`).join('L');
        curve += `M${points}`;
        area += `M${x(run[0][0])} ${HEIGHT}L${points}L${x(run.at(-1)[0])} ${HEIGHT}Z`;
      }
      run = [];
    };
    this.values.forEach((value, index) => (value === null ? finish() : run.push([index, value])));
    finish();
    return { curve, area };
  }
}

function element(name, className = '') {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
}

function path(svg, className) {
  const made = document.createElementNS(SVG, 'path');
  made.setAttribute('class', className);
  svg.append(made);
  return made;
}

export function bits(perSecond) {
  if (perSecond >= 1e6) return [(perSecond / 1e6).toFixed(2), 'Mbit/s'];
  return [(perSecond / 1e3).toFixed(perSecond < 1e4 ? 1 : 0), 'kbit/s'];
}

// Browsers measure in whole milliseconds.
export function milliseconds(value) {
  if (value < 1) return ['< 1', 'ms'];
  return [value.toFixed(value < 10 ? 1 : 0), 'ms'];
}

export function count(unit) {
  return (value) => [value.toFixed(0), unit];
}
