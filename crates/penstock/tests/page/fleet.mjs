// A large fleet made of a real answer: every lease and every shard of it has the fields of one that a real worker told.

const KEYS = 2n ** 128n;
const LAGS = [40, 180, 900, 1_500, 4_200, 8_000, 25_000, 48_000, 190_000, 4_000_000];

/** The same answer with `shards` open shards over `workers` workers, some without an owner, some in trouble, one in sixteen split. */
export function fleet(real, shards, workers, round) {
  const status = structuredClone(real);
  const [lease, shard] = [real.leases[0], real.shards[0]];
  const names = Array.from({ length: workers }, (_, at) => (at === 0 ? real.worker : `ip-10-0-${at}-${17 * at}-5eed000${at % 10}`));
  status.leases = [];
  status.shards = [];
  const add = (number, from, to, changes) => {
    const name = `shardId-${String(number).padStart(12, '0')}`;
    status.leases.push({
      ...lease, lease: name, shard: name, parents: [], children: [], wanted_by: null, intent_open: false, problem: null,
      hash_range: [String(from), String(to - 1n)], ...changes,
    });
    return name;
  };
  for (let at = 0; at < shards; at += 1) {
    const [from, to] = [(KEYS * BigInt(at)) / BigInt(shards), (KEYS * BigInt(at + 1)) / BigInt(shards)];
    const owner = at % 50 === 7 ? null : names[(at * 7) % workers];
    const lag = LAGS[(at * at + (at >> 3)) % 97 % LAGS.length >> ((at * 31) % 5 === 0 ? 0 : 1)];
    const name = add(at, from, to, {
      owner,
      held: owner === real.worker,
      state: owner === null ? 'unowned' : owner === real.worker ? 'held' : 'owned',
      lag_milliseconds: owner === null ? null : lag,
      throughput_kib_per_second: 20 + ((at * 13 + round * 7) % 40),
      intent_open: at % 23 === 0,
      wanted_by: at % 101 === 5 ? names[workers - 1] : null,
    });
    if (owner === real.worker) {
      status.shards.push({
        ...shard, lease: name, shard: name, lag_milliseconds: lag, iterator_age_milliseconds: lag,
        read_bytes: (round + 1) * 2048 * (20 + ((at * 13 + round * 7) % 40)),
        phase: at % 61 === 0 ? 'failed' : 'running', restarts: at % 61 === 0 ? 3 : 0,
        problem: at % 61 === 0 ? 'PutObject on s3://lake/clicks failed: 503 SlowDown: <b>Please reduce your request rate.</b>' : null,
      });
    }
    if (at % 16 === 3) {
      // What it and its neighbour came from.
      const parent = add(shards + at, from - (to - from), to, {
        owner: null, held: false, state: 'ended', checkpoint: 'SHARD_END', lag_milliseconds: null, children: [name, status.leases.at(-2).lease],
      });
      status.leases.at(-2).parents = [parent];
      status.leases.at(-3).parents = [parent];
    }
  }
  status.workers = workers;
  status.leases_unowned = status.leases.filter((one) => one.state === 'unowned').length;
  status.lag_milliseconds = Math.max(...status.shards.map((one) => one.lag_milliseconds));
  status.now_milliseconds = real.now_milliseconds + round * 2_000;
  status.records.delivered += round * 25_000;
  status.memory.used_bytes = Math.round(status.memory.budget_bytes * 0.62);
  status.errors = [
    { operation: 'PutObject', class: 'throttled', count: 1204, first_milliseconds: real.now_milliseconds - 400_000,
      last_milliseconds: real.now_milliseconds, message: 'PutObject on s3://lake failed: SlowDown', lease: 'shardId-000000000061' },
    { operation: 'GetRecords', class: 'transient', count: 3, first_milliseconds: real.now_milliseconds - 90_000,
      last_milliseconds: real.now_milliseconds - 60_000, message: 'GetRecords on clicks failed: connection reset', lease: null },
  ];
  status.gaps.open = 1;
  status.gaps.entries = [{
    id: '0', lease: 'shardId-000000000012', stream: 'clicks', reason: 'trimmed', after: '495', range: 'after 495 up to 4967',
    noticed_milliseconds: real.now_milliseconds - 3_600_000, noticed_by: real.worker, acknowledged_milliseconds: null, open: true,
  }];
  return status;
}
