// Asks the worker again and again: often while somebody looks, rarely when the tab is hidden or nobody answers.

const USUAL = 2_000;
const HIDDEN = 30_000;
const LONGEST = 30_000;
/** An answer that takes longer is none. */
const TIME_OUT = 10_000;
/** A worker with thousands of shards is not asked more often than in so many times what its answer takes. */
const SHARE = 10;

/** Calls `heard` with each answer, and `lost` with what is wrong and when it is tried again. */
export function poll(heard, lost) {
  let failures = 0;
  let timer = null;
  let asking = false;

  async function ask() {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    const began = performance.now();
    try {
      const answer = await fetch('api/status', { signal: AbortSignal.timeout(TIME_OUT), cache: 'no-store' });
      const status = await answer.json();
      if (!answer.ok) throw new Error(status.state === 'starting' ? 'it is starting' : `it answers ${answer.status}`);
      failures = 0;
      const pause = Math.max(USUAL, SHARE * (performance.now() - began));
      again(document.hidden ? HIDDEN : pause);
      heard(status, pause);
    } catch (error) {
      failures += 1;
      const pause = Math.min(LONGEST, USUAL * 2 ** (failures - 1));
      again(document.hidden ? HIDDEN : pause);
      lost(words(error), pause);
    } finally {
      asking = false;
    }
  }

  function again(pause) {
    timer = setTimeout(ask, pause);
  }

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) ask();
  });
  ask();
}

function words(error) {
  if (error.name === 'TimeoutError') return `no answer within ${TIME_OUT / 1000} s`;
  if (error instanceof SyntaxError) return 'its answer cannot be read';
  return error instanceof TypeError ? 'it cannot be reached' : error.message;
}
