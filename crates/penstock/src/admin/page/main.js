// The page: takes what the worker says, shows it, and says so when the worker says nothing.

import { Model } from './model.js';
import { ShardList, showBanners, showDetail, showErrors, showGaps, showHead, showTiles, showWorkers } from './panels.js';
import { poll } from './poll.js';
import { StreamDrawing } from './shards.js';
import { clock, element, say, set, span } from './words.js';

const byId = (id) => document.getElementById(id);
const model = new Model();
const list = new ShardList(choose);
const drawings = new Map();
let view = null;
let chosen = null;
/** When the worker was heard last, and what is to be said until it is heard again. */
let heardAt = null;
let pause = 0;
let silence = null;

poll(
  (status, next) => {
    [heardAt, pause, silence] = [Date.now(), next, null];
    document.body.classList.remove('stale');
    view = model.take(status);
    show();
    tick();
  },
  (why, next) => {
    silence = { why, until: Date.now() + next };
    document.body.classList.add('stale');
    set(byId('pill'), 'class', 'pill down');
    say(byId('pill'), why === 'it is starting' ? 'starting' : 'not answering');
    const since = heardAt === null ? 'It has not answered yet.' : `What is shown is of ${clock(heardAt)}.`;
    byId('banners').replaceChildren(element('div', { class: 'banner' },
      element('strong', {}, why === 'it is starting' ? 'The worker is starting' : `The worker does not answer: ${why}`),
      element('p', {}, since)));
    tick();
  },
);

function show() {
  showHead(view);
  showBanners(view);
  showTiles(view);
  showStreams();
  showWorkers(view);
  list.show(view);
  showErrors(view);
  showGaps(view);
}

function showStreams() {
  for (const stream of view.streams) {
    if (!drawings.has(stream.name)) {
      const drawing = new StreamDrawing(stream.name, choose);
      drawings.set(stream.name, drawing);
      byId('streams').append(drawing.card);
      resized.observe(drawing.frame);
    }
  }
  for (const [name, drawing] of drawings) {
    const stream = view.streams.find((one) => one.name === name);
    drawing.card.hidden = !stream;
    if (stream) drawing.show(stream);
  }
  showChosen();
}

const resized = new ResizeObserver(() => {
  if (view) for (const stream of view.streams) drawings.get(stream.name)?.show(stream);
});

/** Looks at a shard more closely, or at none; the same once more closes it. */
function choose(key) {
  chosen = key === chosen ? null : key;
  showChosen();
  if (chosen !== null) drawings.get(view.byKey.get(chosen)?.stream)?.detail.scrollIntoView({ block: 'nearest' });
}

function showChosen() {
  const lease = view.byKey.get(chosen);
  for (const [name, drawing] of drawings) {
    const here = lease?.stream === name ? lease : null;
    drawing.mark(here?.key ?? null);
    showDetail(drawing.detail, here, view, choose);
  }
}

/** What changes by itself, once a second. */
function tick() {
  const now = Date.now();
  if (silence !== null) {
    say(byId('freshness'), `asked again in ${span(Math.max(0, Math.round((silence.until - now) / 1000) * 1000))}`);
  } else if (heardAt !== null) {
    say(byId('freshness'), `as of ${clock(heardAt)}, every ${span(pause)}`);
  }
}

setInterval(() => {
  if (!document.hidden) tick();
}, 1000);
