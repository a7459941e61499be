// Everything beside the drawing: tiles, banners, workers, the list of shards, errors, gaps, and what is known of one shard.

import { hue, lagClass, letters } from './model.js';
import { STATES } from './shards.js';
import {
  bytes, chart, clock, count, element, perSecond, plural, say, set, shape, shardNumber, span, trace,
} from './words.js';

/** Rows of the list at first, and how many more at a time. */
const ROWS = 12;
const MORE = 100;

const byId = (id) => document.getElementById(id);

function line(values, width = 110, height = 24) {
  const drawing = chart('', width, height);
  trace(drawing.children, values, width, height);
  return drawing;
}

function badge(letter, words) {
  return element('span', { class: `badge hue-${hue(letter)}`, title: words }, letters(letter));
}

function lagChip(lag) {
  const kind = lagClass(lag);
  return element('span', { class: `chip ${kind === null ? 'lag-none' : `lag-${kind}`}` }, span(lag));
}

// === Head ===

export function showHead({ status }) {
  document.title = `${status.application} · penstock`;
  say(byId('application'), status.application);
  say(byId('worker'), `${status.worker} · up ${span(status.uptime_milliseconds)}`);
  say(byId('version'), `penstock ${status.version}, started ${clock(status.started_at_milliseconds)}`);
  const [kind, words] = state(status);
  const pill = byId('pill');
  set(pill, 'class', `pill ${kind}`);
  say(pill, words);
}

function state(status) {
  if (status.draining) return ['busy', 'draining'];
  if (status.obstacles.length > 0) return ['down', 'not ready'];
  return ['ready', 'ready'];
}

export function showBanners({ status }) {
  const lines = [...status.obstacles];
  if (status.problems.gap_ledger !== null) lines.push(`gap ledger: ${status.problems.gap_ledger}`);
  say(byId('banners'), '');
  if (lines.length === 0) return;
  const list = element('ul', {}, ...lines.slice(0, 8).map((text) => element('li', {}, text)));
  if (lines.length > 8) list.append(element('li', { class: 'quiet' }, `and ${lines.length - 8} more`));
  byId('banners').append(element('div', { class: 'banner' }, element('strong', {}, 'What keeps this worker from being ready'), list));
}

// === Tiles ===

export function showTiles({ status, leases, delivered, workers }) {
  const held = leases.filter((lease) => lease.row.held).length;
  const open = leases.filter((lease) => lease.whose !== 'ended').length;
  const { memory, sink, records, gaps } = status;
  const setAside = Object.values(records.set_aside).reduce((sum, value) => sum + value, 0);
  const full = memory.used_bytes / memory.budget_bytes;
  const lag = lagClass(status.lag_milliseconds);
  byId('tiles').replaceChildren(
    tile('Lag', span(status.lag_milliseconds), `the most of ${plural(held, 'shard')} held here`, `lag-edge-${lag}`),
    tile('Delivered', delivered.now === null ? '–' : `${rate(delivered.now)} /s`,
      `${plural(records.delivered, 'record')} since the start`, '', line(delivered.values)),
    tile('In flight', count(records.in_flight),
      setAside > 0 ? `${plural(setAside, 'record')} set aside` : 'records read and not settled', setAside > 0 ? 'warn' : ''),
    tile('Memory', full > 0 && full < 0.01 ? '< 1 %' : `${Math.round(full * 100)} %`, `${bytes(memory.used_bytes)} of ${bytes(memory.budget_bytes)}`,
      full > 0.9 ? 'warn' : '', meter(full)),
    tile('Sink', sink.state === 'ready' ? 'ready' : sink.state === 'down' ? 'down' : 'not asked yet',
      `${sink.destination}, since ${clock(sink.since_milliseconds)}`, sink.state === 'down' ? 'bad' : ''),
    tile('Leases', `${count(held)} of ${count(open)}`,
      status.leases_unowned > 0 ? `${count(status.leases_unowned)} without a live owner` : `among ${plural(workers.length, 'worker')}`,
      status.leases_unowned > 0 ? 'warn' : ''),
    tile('Open gaps', count(gaps.open), gaps.open > 0 ? 'records may be missing' : 'nothing is known to be missing',
      gaps.open > 0 ? 'bad' : ''),
  );
}

function tile(title, value, note, kind, picture) {
  return element('div', { class: `tile ${kind}` },
    element('h3', {}, title), element('p', { class: 'value' }, value), element('p', { class: 'quiet small' }, note), picture);
}

function meter(share) {
  const drawing = shape('svg', { class: 'meter', viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': true });
  const part = Math.min(100, Math.max(0, share * 100));
  drawing.append(shape('rect', { class: 'ground', width: 100, height: 6 }), shape('rect', { class: 'part', width: part, height: 6 }));
  return drawing;
}

function rate(perSecondNow) {
  return perSecondNow < 10 ? perSecondNow.toFixed(1) : count(Math.round(perSecondNow));
}

// === Workers ===

export function showWorkers({ workers, status }) {
  byId('fleet').hidden = false;
  const open = workers.reduce((sum, worker) => sum + worker.leases, 0);
  byId('workers').classList.toggle('many', workers.length > 6);
  byId('workers').replaceChildren(...workers.map((worker) => element('div', { class: 'worker' },
    badge(worker.letter, worker.name),
    element('span', { class: 'name' }, worker.name, worker.own ? element('em', {}, ' this one') : null),
    element('span', { class: 'number' }, `${plural(worker.leases, 'lease')}`),
    element('span', { class: 'number' }, lagChip(worker.lag)),
    element('span', { class: 'number wide' }, perSecond(worker.rate)),
    shares(worker, open),
  )));
  const age = status.scan_age_milliseconds;
  byId('workers').append(element('p', { class: 'quiet small' },
    age === null ? 'The lease table was not scanned yet.' : `By the lease table of ${span(age)} ago.`));
}

function shares(worker, open) {
  const drawing = meter(open === 0 ? 0 : worker.leases / open);
  drawing.classList.add(`hue-${hue(worker.letter)}`);
  return drawing;
}

// === The list ===

export class ShardList {
  #rows = ROWS;
  #shown = null;
  #choose;

  constructor(choose) {
    this.#choose = choose;
    const again = (rows) => () => {
      this.#rows = rows();
      if (this.#shown) this.show(this.#shown);
    };
    byId('filter').addEventListener('change', again(() => ROWS));
    byId('more').addEventListener('click', again(() => this.#rows + MORE));
  }

  show(view) {
    this.#shown = view;
    byId('list').hidden = false;
    const wanted = view.leases.filter(filters[byId('filter').value]).sort(byTrouble);
    const rows = wanted.slice(0, this.#rows).map((lease) => this.#row(lease, view.streams.length > 1));
    if (rows.length === 0) rows.push(element('tr', {}, element('td', { colspan: 7, class: 'quiet' }, 'none')));
    const focused = document.activeElement?.dataset?.row;
    byId('rows').replaceChildren(...rows);
    if (focused) [...byId('rows').querySelectorAll('[data-row]')].find((row) => row.dataset.row === focused)?.focus();
    const more = byId('more');
    more.hidden = wanted.length <= this.#rows;
    say(more, `Show more of ${count(wanted.length)}`);
  }

  #row(lease, withStream) {
    const name = element('button', { type: 'button', class: 'link', 'data-row': lease.key, onclick: () => this.#choose(lease.key) },
      withStream ? `${lease.stream} ${shardNumber(lease.shard)}` : shardNumber(lease.shard));
    const owner = lease.owner === null || lease.whose === 'ended'
      ? element('span', { class: 'quiet' }, lease.whose === 'ended' ? '–' : 'nobody')
      : element('span', { class: 'owner' }, badge(lease.letter, lease.owner), lease.whose === 'own' ? ' here' : null);
    return element('tr', { class: lease.problem ? 'in-trouble' : '' },
      element('th', { scope: 'row' }, name),
      element('td', {}, owner),
      element('td', {}, STATES[lease.state] ?? lease.state),
      element('td', { class: 'number' }, lagChip(lease.lag)),
      element('td', { class: 'number wide' }, lease.whose === 'ended' ? '–' : perSecond(lease.rate)),
      element('td', { class: 'wide' }, line(lease.history)),
      element('td', { class: 'wide notes' }, notes(lease)),
    );
  }
}

const filters = {
  open: (lease) => lease.whose !== 'ended',
  own: (lease) => lease.whose === 'own',
  other: (lease) => lease.whose === 'other',
  nobody: (lease) => lease.whose === 'nobody',
  trouble: (lease) => lease.problem !== null,
  ended: (lease) => lease.whose === 'ended',
};

function byTrouble(one, other) {
  const weight = (lease) => [lease.problem ? 1 : 0, lease.whose === 'nobody' ? 1 : 0, behind(lease)];
  const [first, second] = [weight(one), weight(other)];
  const at = first.findIndex((value, index) => value !== second[index]);
  return at < 0 ? one.key.localeCompare(other.key, 'en', { numeric: true }) : second[at] - first[at];
}

/** What is caught up stays in its order: below the first bound there is nothing to look for. */
function behind({ lag }) {
  return lagClass(lag) > 0 ? lag : 0;
}

function notes(lease) {
  const notes = [];
  if (lease.problem) notes.push(lease.problem);
  if (lease.row.waits_for_ledger) notes.push('waits for the gap ledger');
  if (lease.row.intent_open) notes.push('an intent is open');
  if (lease.row.wanted_by) notes.push(`asked for by ${lease.row.wanted_by}`);
  return notes.join('; ');
}

// === Errors and gaps ===

export function showErrors({ status }) {
  if (status.errors.length === 0) return;
  byId('errors').replaceChildren(...status.errors.slice(0, 8).map((error) => element('article', { class: 'entry' },
    element('h3', {}, error.operation, ' ', element('span', { class: 'chip plain' }, error.class),
      element('span', { class: 'times' }, `${count(error.count)}×`)),
    element('p', { class: 'message' }, error.message),
    element('p', { class: 'quiet small' }, `last ${clock(error.last_milliseconds)}, first ${clock(error.first_milliseconds)}`,
      error.lease === null ? null : `, last of ${error.lease}`),
  )));
}

export function showGaps({ status: { gaps } }) {
  if (gaps.open === 0) return byId('gaps').replaceChildren(element('p', { class: 'quiet' }, 'None: no records are known to be missing.'));
  const shown = gaps.entries.slice(0, 8);
  byId('gaps').replaceChildren(...shown.map((gap) => element('article', { class: 'entry' },
    element('h3', {}, `${gap.stream} ${shardNumber(gap.lease)}`, ' ', element('span', { class: 'chip plain' }, gap.reason)),
    element('p', { class: 'message' }, gap.range),
    element('p', { class: 'quiet small' }, `noticed ${clock(gap.noticed_milliseconds)} by ${gap.noticed_by}`),
  )));
  if (gaps.open > shown.length) byId('gaps').append(element('p', { class: 'quiet' }, `and ${count(gaps.open - shown.length)} more`));
  byId('gaps').append(element('p', { class: 'quiet small' }, 'Acknowledged with penstock leases acknowledge-gap.'));
}

// === One shard ===

/** Fills the detail of a stream's drawing; `choose` jumps to another shard. */
export function showDetail(place, lease, view, choose) {
  place.hidden = !lease;
  if (!lease) return place.replaceChildren();
  const { row, detail } = lease;
  const relatives = (shards) => shards.map((shard) => {
    const known = view.leases.find((other) => other.stream === lease.stream && other.shard === shard);
    return known ? element('button', { type: 'button', class: 'link', onclick: () => choose(known.key) }, shardNumber(shard))
      : element('span', { class: 'quiet' }, `${shardNumber(shard)} (no lease)`);
  }).flatMap((part) => [part, ' ']);
  const facts = [
    ['Owner', lease.owner ?? 'nobody'],
    ['State', STATES[lease.state] ?? lease.state],
    ['Lag', span(lease.lag)],
    ['Throughput', lease.whose === 'ended' ? '–' : perSecond(lease.rate)],
    ['Checkpoint', row.checkpoint],
    ['Position', detail?.position ?? null],
    ['Hash range', row.hash_range ? row.hash_range.join(' to ') : null],
    ['Share of the keys', lease.range ? `${((lease.range[1] - lease.range[0]) * 100).toPrecision(3)} %` : null],
    ['Intent', row.intent_open ? 'open' : 'none'],
    ['Asked for by', row.wanted_by],
    ['Arrival at the checkpoint', row.arrival_milliseconds === null ? null : clock(row.arrival_milliseconds)],
    ['Held for', detail ? span(detail.held_milliseconds) : null],
    ['Open batch', detail ? `${plural(detail.open_batch.records, 'record')}, ${bytes(detail.open_batch.bytes)}` : null],
    ['In flight', detail ? plural(detail.records_in_flight, 'record') : null],
    ['Oldest unsettled', detail ? span(detail.oldest_unsettled_milliseconds) : null],
    ['Restarts', detail && detail.restarts > 0 ? count(detail.restarts) : null],
    ['Parents', row.parents.length > 0 ? relatives(row.parents) : 'none'],
    ['Children', row.children.length > 0 ? relatives(row.children) : 'none'],
  ].filter(([, value]) => value !== null && value !== undefined);
  const focused = place.contains(document.activeElement) ? document.activeElement.textContent : null;
  place.replaceChildren(
    element('div', { class: 'bar' },
      element('h3', {}, `Shard ${shardNumber(lease.shard)}`, ' ', element('span', { class: 'quiet' }, lease.shard)),
      element('button', { type: 'button', 'aria-label': 'Close the details', onclick: () => choose(null) }, 'Close')),
    lease.problem ? element('p', { class: 'trouble' }, lease.problem) : '',
    element('dl', {}, ...facts.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, ...[value].flat())))),
  );
  if (focused !== null) [...place.querySelectorAll('button')].find((button) => button.textContent === focused)?.focus();
}
