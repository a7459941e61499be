// Drives Chromium for page.rs: reads commands as JSON lines, answers each with one. Ends, and the browser with it, when the commands end.

import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { contrast, facts } from './facts.mjs';
import { fleet } from './fleet.mjs';

const [library, program] = process.argv.slice(2);
const { chromium } = createRequire(library)('playwright-core');
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
];
const WAIT = 30_000;

const profile = await mkdtemp(join(tmpdir(), 'penstock-page-'));
let context = null;
let page = null;
let complaints = [];
let asked = new Set();

const commands = {
  /** A fresh browser at a page, of a size and a colour scheme; `fleet` puts a large one in the place of what the worker says. */
  async open({ url, width, height, scheme, fleet: made }) {
    await close();
    context = await chromium.launchPersistentContext(await mkdtemp(join(profile, 'p-')), {
      executablePath: program, headless: true, args: FLAGS, viewport: { width, height }, colorScheme: scheme, reducedMotion: 'reduce',
    });
    [complaints, asked] = [[], new Set()];
    page = context.pages()[0] ?? await context.newPage();
    page.setDefaultTimeout(WAIT);
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => asked.add(request.url()));
    if (made) {
      const real = await (await fetch(new URL('api/status', url))).json();
      let round = 0;
      await page.route('**/api/status', (route) => route.fulfill({ json: fleet(real, made.shards, made.workers, round++) }));
    }
    await page.goto(url);
    return {};
  },
  async wait({ for: expression }) {
    // Asked from outside: the page's own policy forbids to evaluate texts within it.
    const until = Date.now() + WAIT;
    while (!await page.evaluate(expression)) {
      if (Date.now() > until) throw new Error(`${expression}: not within ${WAIT} ms`);
      await new Promise((done) => setTimeout(done, 50));
    }
    return {};
  },
  async press({ keys }) {
    for (const key of keys) await page.keyboard.press(key);
    return {};
  },
  async focus({ selector }) {
    await page.locator(selector).first().focus();
    return {};
  },
  async shot({ file }) {
    await page.screenshot({ path: file, fullPage: true });
    return {};
  },
  /** The longest time for which the page did nothing else, in milliseconds; 50 and less counts as none. */
  async busiest() {
    return page.evaluate(() => new Promise((done) => {
      const seen = new PerformanceObserver((list) => done(Math.max(...list.getEntries().map((entry) => entry.duration))));
      seen.observe({ type: 'longtask', buffered: true });
      setTimeout(() => done(0), 500);
    }));
  },
  async facts() {
    const own = new URL(page.url()).origin;
    const elsewhere = [...asked].filter((url) => new URL(url).origin !== own && !url.startsWith('data:'));
    return { ...await page.evaluate(facts), contrast: await page.evaluate(contrast), complaints, elsewhere };
  },
};

async function close() {
  await context?.close();
  context = null;
}

async function end() {
  await close();
  await rm(profile, { recursive: true, force: true });
  process.exit(0);
}

const lines = createInterface({ input: process.stdin });
for await (const line of lines) {
  const { do: name, ...given } = JSON.parse(line);
  try {
    process.stdout.write(`${JSON.stringify({ ok: await commands[name](given) })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: `${name}: ${error.stack}` })}\n`);
  }
}
await end();
