// One stream drawn as its hash range: a rectangle for each shard, as wide as what it covers. With many shards the range is broken into
// rows like a text. Shapes are made once and changed where something changed.

import { LAG_WORDS, generations, hue, lagClass, letters } from './model.js';
import {
  chart, count, element, perSecond, plural, say, set, shape, shardNumber, shortSpan, span, trace,
} from './words.js';

/** The least width of a shard on average, before the range is broken into more rows: as many as a screen or two can hold. */
const LEAST_WIDTH = 9;
const LEAST_WIDTH_OF_MANY = 5;
const MANY = 1_500;
/** Below the rectangle of a shard that is read, as high as its owner's colour needs. */
const OWNER_HEIGHT = 7;
/** A generation of shards that have ended, and one in which some are still read. */
const ENDED_HEIGHT = 8;
const ANCESTOR_HEIGHT = 34;
const MOST_ENDED_LANES = 3;
const ROW_GAP = 10;
const AXIS_HEIGHT = 14;
/** From how wide on a rectangle has its number, its lag, its line over time. */
const NUMBER_WIDTH = 30;
const LAG_WIDTH = 44;
const LINE_WIDTH = 60;
const LINE_HEIGHT = 30;

export const STATES = {
  held: 'held here',
  owned: 'held elsewhere',
  unowned: 'nobody holds it',
  waiting: 'waits for its parents',
  ended: 'ended',
  waiting_for_sink: 'waits for the sink',
  replaying: 'carries out an intent',
  running: 'reads and delivers',
  failed: 'failed, starts again',
  halted: 'halted',
  draining: 'drains',
  handing_over: 'is handed over',
};

/** The drawing of one stream. `choose` is called with the key of a lease. */
export class StreamDrawing {
  #name;
  #choose;
  #nodes = new Map();
  #shape = '';
  #order = [];
  #chosen = null;

  constructor(name, choose) {
    this.#name = name;
    this.#choose = choose;
    this.title = element('h2', {}, name);
    this.summary = element('p', { class: 'quiet' });
    this.problem = element('p', { class: 'trouble', hidden: true });
    this.line = chart('of-stream', 160, 36);
    this.drawing = shape('svg', { class: 'range', role: 'listbox', 'aria-label': `Shards of ${name} by hash range` });
    this.drawing.addEventListener('keydown', (event) => this.#onKey(event));
    this.frame = element('div', { class: 'frame' }, this.drawing);
    this.detail = element('div', { class: 'detail', role: 'region', 'aria-label': `One shard of ${name}`, hidden: true });
    const head = element('div', { class: 'bar' }, element('div', {}, this.title, this.summary), this.line);
    this.card = element('section', { class: 'card stream', 'aria-label': `Stream ${name}` });
    this.card.append(head, this.problem, this.frame, legend(), this.detail);
  }

  /** Shows the stream as it is. */
  show(stream) {
    say(this.summary, summary(stream));
    this.problem.hidden = stream.problem === null;
    say(this.problem, stream.problem ?? '');
    trace(this.line.children, stream.line.values, 160, 36);
    const placed = stream.leases.filter((lease) => lease.range);
    const width = Math.floor(this.frame.clientWidth);
    if (width === 0 || placed.length === 0) return;
    const outline = `${width} ${placed.map((lease) => `${lease.key} ${lease.whose === 'ended'} ${lease.row.children}`).join()}`;
    if (outline !== this.#shape) this.#lay(placed, width);
    this.#shape = outline;
    for (const lease of placed) this.#dress(lease);
  }

  /** Marks a shard as the one that is looked at, or none. */
  mark(key) {
    for (const at of [this.#chosen, key]) {
      const node = this.#nodes.get(at);
      if (node) {
        set(node.group, 'aria-selected', at === key);
        node.group.classList.toggle('chosen', at === key);
        // Over its neighbours, whose edges lie on its own.
        if (at === key && node.group !== this.drawing.lastChild && node.group !== document.activeElement) this.drawing.append(node.group);
      }
    }
    this.#chosen = key;
  }

  // === Geometry ===

  #lay(leases, width) {
    const plan = layOut(leases, width);
    const focused = this.drawing.contains(document.activeElement) ? document.activeElement.dataset.lease : null;
    this.#nodes.clear();
    this.drawing.replaceChildren(...plan.axis.map(axisMark));
    set(this.drawing, 'viewBox', `0 0 ${width} ${plan.height}`);
    set(this.drawing, 'width', width);
    set(this.drawing, 'height', plan.height);
    set(this.drawing, 'data-rows', plan.rows);
    this.#order = [];
    for (const place of plan.places) {
      const node = shard(place, (key) => this.#choose(key));
      this.#nodes.set(place.lease.key, node);
      this.#order.push(place.lease.key);
      this.drawing.append(node.group);
    }
    const stop = this.#nodes.has(focused) ? focused : this.#nodes.has(this.#chosen) ? this.#chosen : this.#order[0];
    this.#nodes.get(stop)?.group.setAttribute('tabindex', '0');
    if (focused !== null) this.#nodes.get(stop)?.group.focus();
    this.mark(this.#chosen);
  }

  // === What changes ===

  #dress(lease) {
    const node = this.#nodes.get(lease.key);
    if (!node) return;
    const { group, place, name, lag, owner, line, title } = node;
    set(group, 'class', classes(lease, lease.key === this.#chosen));
    const words = description(lease);
    set(group, 'aria-label', words);
    say(title, words);
    if (name) say(name, shardNumber(lease.shard));
    if (lag) say(lag, lagLabel(lease));
    if (owner) say(owner, ownerLabel(lease, place.widest.width));
    if (line) trace(line.children, lease.whose === 'ended' ? [] : lease.history, place.widest.width, LINE_HEIGHT);
  }

  // === Keyboard: one stop for the whole drawing, arrows within it ===

  #onKey(event) {
    const key = event.target.dataset?.lease;
    const at = this.#order.indexOf(key);
    if (at < 0) return;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 25, PageUp: -25 };
    if (event.key === 'Enter' || event.key === ' ') {
      this.#choose(key);
    } else if (event.key in steps || event.key === 'Home' || event.key === 'End') {
      const last = this.#order.length - 1;
      const to = event.key === 'Home' ? 0 : event.key === 'End' ? last : Math.min(last, Math.max(0, at + steps[event.key]));
      const [from, target] = [this.#nodes.get(key).group, this.#nodes.get(this.#order[to]).group];
      from.setAttribute('tabindex', '-1');
      target.setAttribute('tabindex', '0');
      target.focus();
    } else {
      return;
    }
    event.preventDefault();
  }
}

/** Where everything lies, in pixels. Every rectangle begins and ends where its range does. */
export function layOut(leases, width) {
  const depths = generations(leases);
  const youngest = leases.filter((lease) => depths.get(lease.shard) === 0).length;
  const least = youngest > MANY ? LEAST_WIDTH_OF_MANY : LEAST_WIDTH;
  const rows = Math.max(1, Math.ceil((youngest * least) / width));
  const lanes = laneHeights(leases, depths, rows);
  const top = [];
  let rowHeight = 0;
  for (let depth = lanes.length - 1; depth >= 0; depth -= 1) {
    top[depth] = rowHeight;
    rowHeight += lanes[depth];
  }
  const withAxis = rows <= 8;
  const gap = withAxis ? ROW_GAP : ROW_GAP / 2;
  const rowStep = rowHeight + (withAxis ? AXIS_HEIGHT : 0) + gap;
  const places = [];
  for (const lease of [...leases].sort((one, other) => one.range[0] - other.range[0] || one.range[1] - other.range[1])) {
    const depth = depths.get(lease.shard);
    if (depth >= lanes.length) continue;
    const parts = partsOf(lease.range, rows, width).map(({ row, x, width: wide }) => (
      { x, width: wide, y: row * rowStep + top[depth], height: lanes[depth] }
    ));
    const widest = parts.reduce((best, part) => (part.width > best.width ? part : best));
    places.push({ lease, depth, parts, widest });
  }
  const axis = !withAxis ? [] : Array.from({ length: rows }, (_, row) => (
    { y: row * rowStep + rowHeight + AXIS_HEIGHT - 3, width, from: row / rows, to: (row + 1) / rows }
  ));
  return { rows, height: rows * rowStep - gap + 2, places, axis };
}

function partsOf([from, to], rows, width) {
  const parts = [];
  const last = Math.min(rows - 1, Math.ceil(to * rows) - 1);
  for (let row = Math.floor(from * rows); row <= last; row += 1) {
    const [start, end] = [Math.max(0, from * rows - row), Math.min(1, to * rows - row)];
    if (end > start) parts.push({ row, x: start * width, width: (end - start) * width });
  }
  // What rounding leaves at the end of a row is no part.
  const seen = parts.filter((part) => part.width > 0.05);
  return seen.length > 0 ? seen : parts.slice(0, 1);
}

/** The youngest are high; those that they came from are as high as what is still to be said of them. */
function laneHeights(leases, depths, rows) {
  const youngest = rows === 1 ? 96 : rows <= 3 ? 64 : rows <= 8 ? 44 : rows <= 16 ? 26 : 18;
  const lanes = [youngest];
  let ended = 0;
  for (let depth = 1; leases.some((lease) => depths.get(lease.shard) === depth); depth += 1) {
    const isRead = leases.some((lease) => depths.get(lease.shard) === depth && lease.whose !== 'ended');
    ended += isRead ? 0 : 1;
    if (!isRead && ended > MOST_ENDED_LANES) break;
    lanes.push(isRead ? Math.min(youngest, ANCESTOR_HEIGHT) : ENDED_HEIGHT);
  }
  return lanes;
}

// === Shapes ===

function shard(place, choose) {
  const { lease, parts, widest } = place;
  const title = shape('title');
  const group = shape('g', {
    role: 'option',
    tabindex: -1,
    'aria-selected': false,
    'data-lease': lease.key,
    'data-shard': lease.shard,
    onclick: () => choose(lease.key),
  });
  group.append(title);
  for (const { x, y, width, height } of parts) {
    const strip = Math.min(OWNER_HEIGHT, height / 3);
    group.append(
      shape('rect', { class: 'body', x, y, width, height }),
      shape('rect', { class: 'owner', x, y: y + height - strip, width, height: strip }),
      shape('rect', { class: 'edge', x, y, width, height }),
    );
  }
  const text = (kind, y) => shape('text', { class: kind, x: widest.x + 6, y });
  const { y, width, height } = widest;
  const roomy = height >= 60;
  const name = width >= NUMBER_WIDTH && height >= 18 ? text('number', y + Math.min(17, height / 2 + 3)) : null;
  const lag = width >= LAG_WIDTH && height >= 40 ? text('lag', y + 32) : null;
  const owner = width >= LAG_WIDTH && roomy ? text('by', y + 47) : null;
  const line = width >= LINE_WIDTH && height >= 90 ? shape('g', { class: 'line' }) : null;
  if (line) {
    line.setAttribute('transform', `translate(${widest.x} ${y + height - OWNER_HEIGHT - LINE_HEIGHT})`);
    line.append(shape('path', { class: 'area' }), shape('path', { class: 'stroke' }));
    // Over the colour of the lag, under the edge and the words.
    group.insertBefore(line, group.querySelector('.edge'));
  }
  group.append(...[name, lag, owner].filter((part) => part !== null));
  return { group, place, name, lag, owner, line, title };
}

function classes(lease, chosen) {
  const lag = lagClass(lease.lag);
  const worker = lease.letter === null || lease.whose === 'ended' ? '' : ` hue-${hue(lease.letter)}`;
  const marks = [
    chosen ? ' chosen' : '',
    lease.problem ? ' in-trouble' : '',
    lease.row.intent_open ? ' intent' : '',
    lease.row.wanted_by ? ' wanted' : '',
    lease.row.state === 'waiting' ? ' waiting' : '',
  ];
  return `shard ${lease.whose} ${lag === null ? 'lag-none' : `lag-${lag}`}${worker}${marks.join('')}`;
}

function lagLabel(lease) {
  if (lease.whose === 'ended') return 'ended';
  if (lease.row.state === 'waiting') return 'waits';
  return lease.whose === 'nobody' ? 'unread' : shortSpan(lease.lag);
}

function ownerLabel(lease, width) {
  if (lease.whose === 'ended') return '';
  if (lease.owner === null) return width > 60 ? 'nobody' : '–';
  const letter = letters(lease.letter);
  return lease.whose === 'own' && width > 60 ? `${letter} (here)` : letter;
}

function description(lease) {
  const owner = lease.owner === null ? 'nobody' : `worker ${letters(lease.letter)}${lease.whose === 'own' ? ', this one' : ''}`;
  const parts = [`shard ${shardNumber(lease.shard)}`];
  if (lease.whose === 'ended') parts.push('ended');
  else parts.push(owner, STATES[lease.state] ?? lease.state, `lag ${lease.lag === null ? 'unknown' : span(lease.lag)}`);
  if (lease.rate !== null && lease.whose !== 'ended') parts.push(perSecond(lease.rate));
  if (lease.row.waits_for_ledger) parts.push('waits for the gap ledger');
  if (lease.row.intent_open) parts.push('an intent is open');
  if (lease.row.wanted_by) parts.push(`asked for by ${lease.row.wanted_by}`);
  if (lease.problem) parts.push(lease.problem);
  return parts.join(', ');
}

function summary({ leases, lag, line }) {
  const open = leases.filter((lease) => lease.whose !== 'ended');
  const of = (whose) => open.filter((lease) => lease.whose === whose).length;
  const parts = [`${plural(open.length, 'shard')} to read`, `${count(of('own'))} here`, `${count(of('other'))} elsewhere`];
  if (of('nobody') > 0) parts.push(`${count(of('nobody'))} of nobody`);
  const ended = leases.length - open.length;
  if (ended > 0) parts.push(`${count(ended)} ended`);
  parts.push(`lag ${span(lag)}`, perSecond(line.now));
  return parts.join(' · ');
}

function axisMark({ y, width, from, to }) {
  const label = (fraction) => `${fraction === 1 ? 'ffff' : Math.floor(fraction * 65536).toString(16).padStart(4, '0')}…`;
  const group = shape('g', { class: 'axis', 'aria-hidden': true });
  group.append(
    shape('text', { x: 0, y }, label(from)),
    shape('text', { x: width, y, 'text-anchor': 'end' }, label(to)),
  );
  return group;
}

function legend() {
  const key = (kind, words) => element('li', {}, element('span', { class: `key ${kind}` }), words);
  return element('ul', { class: 'legend', 'aria-label': 'Colours' },
    element('li', { class: 'quiet' }, 'Lag:'),
    ...LAG_WORDS.map((words, at) => key(`lag-${at}`, words)),
    key('lag-none', 'not known'),
    key('nobody', 'nobody reads it'),
    element('li', {}, 'The strip below a shard has the colour of its worker.'),
  );
}
