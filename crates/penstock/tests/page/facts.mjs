// What a page shows, told by the browser itself. Both functions run inside it.

/** Shards with their rectangles and words, and the words of everything else. */
export function facts() {
  const text = (selector) => document.querySelector(selector)?.textContent.trim() ?? null;
  const number = (node, name) => Number(node.getAttribute(name));
  const shards = [...document.querySelectorAll('svg.range .shard')].map((group) => ({
    key: group.dataset.lease,
    kinds: [...group.classList],
    label: group.getAttribute('aria-label'),
    words: [...group.querySelectorAll('text')].map((node) => node.textContent),
    parts: [...group.querySelectorAll('.body')].map((rect) => ({
      x: number(rect, 'x'), y: number(rect, 'y'), width: number(rect, 'width'), height: number(rect, 'height'),
    })),
    // As the browser lays it out, whatever the attributes say.
    seen: group.querySelector('.body').getBoundingClientRect().width,
    owner: getComputedStyle(group.querySelector('.owner')).fill,
    colour: getComputedStyle(group.querySelector('.body')).fill,
  }));
  const range = document.querySelector('svg.range');
  const buttons = [...document.querySelectorAll('button, select, a, [role=option]')];
  return {
    shards,
    range: range && { width: number(range, 'width'), height: number(range, 'height'), rows: number(range, 'data-rows') },
    title: document.title,
    pill: text('#pill'),
    freshness: text('#freshness'),
    banners: text('#banners'),
    summary: text('.stream p'),
    detail: text('.detail:not([hidden])'),
    errors: text('#errors'),
    gaps: text('#gaps'),
    workers: [...document.querySelectorAll('.worker .name')].map((node) => node.textContent),
    rows: [...document.querySelectorAll('#rows tr')].map((row) => [...row.children].map((cell) => cell.textContent)),
    tiles: Object.fromEntries([...document.querySelectorAll('.tile')].map((tile) => (
      [tile.querySelector('h3').textContent, tile.querySelector('.value').textContent]
    ))),
    nameless: buttons.filter((node) => !(node.getAttribute('aria-label') ?? node.textContent).trim()).length,
    stops: document.querySelectorAll('svg.range [tabindex="0"]').length,
    focused: document.activeElement?.dataset?.shard ?? null,
    stale: document.body.classList.contains('stale'),
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    marked: document.querySelectorAll('b').length,
  };
}

/** The least contrast of any words with what is behind them (WCAG 2), and which words those are. */
export function contrast() {
  const parse = (colour) => {
    const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number);
    return { red, green, blue, alpha };
  };
  const luminance = ({ red, green, blue }) => {
    const [r, g, b] = [red, green, blue].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.alpha === 1) return colour;
    }
    return { red: 255, green: 255, blue: 255 };
  };
  const behind = (node) => {
    const shard = node.closest('.shard');
    const fill = shard && getComputedStyle(shard.querySelector('.body')).fill;
    return fill && fill.startsWith('rgb') ? parse(fill) : ground(node);
  };
  let worst = { ratio: 21, words: null };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const words = walker.currentNode.textContent.trim();
    if (words === '' || node.closest('.unseen, .skip, noscript, title, option') || node.getClientRects().length === 0) continue;
    const style = getComputedStyle(node);
    const ink = parse(node instanceof SVGElement ? style.fill : style.color);
    const [light, dark] = [luminance(ink), luminance(behind(node))].sort((one, other) => other - one);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < worst.ratio) worst = { ratio, words: `${words} in ${node.className.baseVal ?? node.className}` };
  }
  return worst;
}
