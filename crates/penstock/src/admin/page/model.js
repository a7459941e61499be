// What /api/status says, as the page shows it: leases with their places in the hash range, workers, and rates over time.

/** Polls that are remembered for lines over time. */
export const HISTORY = 60;

/** From how many milliseconds on a lag is of each class, the last the worst. */
export const LAG_CLASSES = [0, 2_000, 10_000, 60_000, 600_000];
export const LAG_WORDS = ['below 2 s', '2 s and more', '10 s and more', '1 min and more', '10 min and more'];

const HASH_KEYS = 2 ** 128;

export function lagClass(lag) {
  return lag == null ? null : LAG_CLASSES.findLastIndex((from) => lag >= from);
}

/** Numbers at the times of polls; the oldest go. */
class Line {
  #values = [];

  push(value) {
    this.#values.push(value);
    if (this.#values.length > HISTORY) this.#values.shift();
  }

  get values() {
    return this.#values;
  }

  /** The mean of the last three: what is read comes in chunks. */
  get now() {
    const last = this.#values.slice(-3).filter((value) => value != null);
    return last.length === 0 ? null : last.reduce((sum, value) => sum + value, 0) / last.length;
  }
}

/** How fast a number grows that is only ever seen as a whole. */
class Growth {
  line = new Line();
  #last = null;

  see(total, at) {
    const last = this.#last;
    this.#last = { total, at };
    // A smaller one belongs to another tenure or another process.
    if (last === null || at <= last.at || total < last.total) return this.line.push(null);
    this.line.push(((total - last.total) * 1000) / (at - last.at));
  }
}

/** Keeps what a single answer does not have: the lines over time, and the letters of workers. */
export class Model {
  #delivered = new Growth();
  #read = new Map();
  #streams = new Map();
  #letters = new Map();
  #worker = null;

  /** Takes an answer and gives what there is to show. */
  take(status) {
    if (this.#worker !== status.worker) this.#begin(status.worker);
    const at = status.now_milliseconds;
    this.#delivered.see(status.records.delivered, at);
    const details = new Map(status.shards.map((shard) => [shard.lease, shard]));
    const leases = status.leases.map((lease) => this.#lease(lease, details.get(lease.lease), status));
    this.#forget(new Set(leases.map((lease) => lease.key)));
    for (const lease of leases) lease.letter = lease.owner === null ? null : this.#letter(lease.owner);
    return {
      status,
      leases,
      byKey: new Map(leases.map((lease) => [lease.key, lease])),
      streams: status.streams.map((stream) => this.#stream(stream, leases)),
      workers: this.#workers(leases, status),
      delivered: this.#delivered.line,
    };
  }

  #begin(worker) {
    this.#worker = worker;
    this.#delivered = new Growth();
    this.#read.clear();
    this.#letters = new Map([[worker, 0]]);
  }

  #lease(lease, detail, status) {
    const history = this.#history(lease.lease);
    if (detail) history.see(detail.read_bytes, status.now_milliseconds);
    else history.line.push(lease.state === 'owned' ? scaled(lease.throughput_kib_per_second) : null);
    const ended = lease.state === 'ended';
    return {
      key: lease.lease,
      stream: lease.stream ?? '?',
      shard: lease.shard,
      owner: lease.owner,
      whose: ended ? 'ended' : lease.owner === null ? 'nobody' : lease.owner === status.worker ? 'own' : 'other',
      state: detail?.phase ?? lease.state,
      lag: detail?.lag_milliseconds ?? (lease.state === 'owned' ? lease.lag_milliseconds : null),
      rate: history.line.now,
      history: history.line.values,
      range: lease.hash_range && [Number(lease.hash_range[0]) / HASH_KEYS, (Number(lease.hash_range[1]) + 1) / HASH_KEYS],
      problem: detail?.problem ?? lease.problem,
      row: lease,
      detail,
    };
  }

  #history(key) {
    const known = this.#read.get(key);
    if (known) return known;
    const fresh = new Growth();
    this.#read.set(key, fresh);
    return fresh;
  }

  #forget(present) {
    for (const key of this.#read.keys()) if (!present.has(key)) this.#read.delete(key);
  }

  #letter(owner) {
    if (!this.#letters.has(owner)) this.#letters.set(owner, this.#letters.size);
    return this.#letters.get(owner);
  }

  #stream({ stream, problem }, all) {
    const leases = all.filter((lease) => lease.stream === stream);
    const line = this.#streams.get(stream) ?? new Line();
    this.#streams.set(stream, line);
    const rates = leases.map((lease) => lease.rate).filter((rate) => rate !== null);
    line.push(rates.length === 0 ? null : rates.reduce((sum, rate) => sum + rate, 0));
    return { name: stream, problem, leases, line, lag: worst(leases) };
  }

  #workers(leases, status) {
    const workers = new Map([[status.worker, []]]);
    for (const lease of leases) {
      if (lease.owner === null || lease.whose === 'ended') continue;
      if (!workers.has(lease.owner)) workers.set(lease.owner, []);
      workers.get(lease.owner).push(lease);
    }
    return [...workers].map(([name, theirs]) => ({
      name,
      own: name === status.worker,
      letter: this.#letter(name),
      leases: theirs.length,
      lag: worst(theirs),
      rate: theirs.reduce((sum, lease) => sum + (lease.rate ?? 0), 0),
    })).sort((one, other) => one.letter - other.letter);
  }
}

function worst(leases) {
  return leases.reduce((lag, lease) => (lease.lag === null ? lag : Math.max(lag ?? 0, lease.lag)), null);
}

function scaled(kibPerSecond) {
  return kibPerSecond == null ? null : kibPerSecond * 1024;
}

/** A, B, … Z, AA: what stands for a worker beside its colour. */
export function letters(number) {
  const last = String.fromCharCode(65 + (number % 26));
  return number < 26 ? last : letters(Math.floor(number / 26) - 1) + last;
}

/** Colours of workers; beyond them they come again, and the letter tells. */
export function hue(number) {
  return number === 0 ? 0 : 1 + ((number - 1) % 7);
}

// === Where a shard lies ===

/**
 * How many generations of its own descendants lie below each shard. What has no children lies at the bottom: those tile the whole
 * hash range, and those that they came from lie above them.
 */
export function generations(leases) {
  const byShard = new Map(leases.map((lease) => [lease.shard, lease]));
  const depths = new Map();
  const depthOf = (lease, path) => {
    const known = depths.get(lease.shard);
    if (known !== undefined) return known;
    // A circle of shards is nonsense, and must not hang the page.
    if (path.has(lease.shard)) return 0;
    path.add(lease.shard);
    const below = lease.row.children.map((child) => byShard.get(child)).filter((child) => child);
    const depth = below.reduce((deepest, child) => Math.max(deepest, 1 + depthOf(child, path)), 0);
    path.delete(lease.shard);
    depths.set(lease.shard, depth);
    return depth;
  };
  for (const lease of leases) depthOf(lease, new Set());
  return depths;
}
