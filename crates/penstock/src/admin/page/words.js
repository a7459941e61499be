// Numbers as people read them, and elements whose text is never anything but text.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes, and children that are elements or text. */
export function element(name, attributes = {}, ...children) {
  return furnish(document.createElement(name), attributes, children);
}

/** The same in a drawing. */
export function shape(name, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, name), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, String(value));
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Sets an attribute if it is another one: thousands of shapes stay as they are. */
export function set(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** Sets a text if it is another one. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function count(number) {
  return number.toLocaleString('en-US');
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** A time span in its two largest units at most. */
export function span(milliseconds) {
  if (milliseconds == null) return '–';
  const seconds = milliseconds / 1000;
  if (seconds < 1) return `${Math.round(milliseconds)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const whole = Math.floor(seconds);
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes < 10 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
}

/** The same in five letters at most, for what is narrow. */
export function shortSpan(milliseconds) {
  if (milliseconds == null) return '–';
  const seconds = milliseconds / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`;
  if (seconds < 99.5) return `${Math.round(seconds)}s`;
  if (seconds < 5970) return `${Math.round(seconds / 60)}min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)}h`;
  return `${Math.round(seconds / 86400)}d`;
}

export function bytes(number) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${number < 10 && unit > 0 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

export function perSecond(bytesPerSecond) {
  return bytesPerSecond == null ? '–' : `${bytes(bytesPerSecond)}/s`;
}

export function clock(unixMilliseconds) {
  const at = new Date(unixMilliseconds);
  const today = new Date().toDateString() === at.toDateString();
  const time = at.toLocaleTimeString('en-GB');
  return today ? time : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

function two(number) {
  return String(number).padStart(2, '0');
}

/** shardId-000000000012 is 12 to people. */
export function shardNumber(shard) {
  const number = /^shardId-0*(\d+)$/.exec(shard);
  return number ? number[1] : shard;
}

/** A line over time and the area below it, to be drawn on by [`trace`]. */
export function chart(kind, width, height) {
  const lines = [shape('path', { class: 'area' }), shape('path', { class: 'stroke' })];
  const drawing = shape('svg', {
    class: `line ${kind}`, viewBox: `0 0 ${width} ${height}`, width, height, preserveAspectRatio: 'none', 'aria-hidden': true,
  });
  drawing.append(...lines);
  return drawing;
}

/** Draws the values from 0 to their largest over the whole width; nothing if there are fewer than two. */
export function trace([area, stroke], values, width, height) {
  const from = values.findIndex((value) => value != null);
  const known = from < 0 ? [] : values.slice(from);
  const top = known.reduce((most, value) => Math.max(most, value ?? 0), 1);
  const step = width / (known.length - 1);
  const points = known.map((value, at) => (
    `${(at * step).toFixed(1)} ${(height - 1 - ((value ?? 0) / top) * (height - 3)).toFixed(1)}`
  ));
  const line = points.length < 2 ? '' : `M${points.join('L')}`;
  set(stroke, 'd', line);
  set(area, 'd', line === '' ? '' : `${line}L${width} ${height}L0 ${height}Z`);
}
