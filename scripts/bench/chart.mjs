import { number } from './table.mjs';

const WIDTH = 720;
const LABELS = 180;
const BAR = 22;
const GAP = 8;
const TOP = 44;

/**
 * A bar chart for each work: every contender once, ours first.
 *
 * @param {import('./table.mjs').Bench} bench
 * @returns {[string, string][]} file names and contents
 */
export function charts({ rows }) {
  return [...new Set(rows.map(({ work }) => work))].map((work) => {
    /** @type {Map<string, {value: number, own: boolean}>} */
    const bars = new Map();
    const own = rows.filter((row) => row.work === work);
    for (const { tier, ours } of own) bars.set(`vhost-net, ${tier}`, { value: ours, own: true });
    for (const { peer, theirs } of own) if (theirs !== null) bars.set(peer, { value: theirs, own: false });
    return [`bench-${slug(work)}.svg`, chart(`${work}, ${own[0]?.unit ?? ''}`, own[0]?.less ?? false, bars)];
  });
}

/**
 * @param {string} title
 * @param {boolean} less
 * @param {Map<string, {value: number, own: boolean}>} bars
 */
function chart(title, less, bars) {
  const height = TOP + bars.size * (BAR + GAP) + GAP;
  const most = Math.max(...[...bars.values()].map(({ value }) => value), Number.MIN_VALUE);
  const scale = (WIDTH - LABELS - 100) / most;
  const drawn = [...bars].map(([name, { value, own }], i) => {
    const y = TOP + i * (BAR + GAP);
    const width = Math.max(1, value * scale).toFixed(1);
    const middle = y + BAR / 2 + 4;
    return (
      `  <text x="${LABELS - 8}" y="${middle}" text-anchor="end">${quoted(name)}</text>\n` +
      `  <rect x="${LABELS}" y="${y}" width="${width}" height="${BAR}" fill="${own ? '#2f6f4f' : '#9aa5b1'}"/>\n` +
      `  <text x="${(LABELS + Number(width) + 6).toFixed(1)}" y="${middle}">${number(value)}</text>\n`
    );
  });
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" ` +
    'font-family="sans-serif" font-size="13">\n' +
    `  <rect width="${WIDTH}" height="${height}" fill="#fff"/>\n` +
    `  <text x="12" y="26" font-size="15">${quoted(title)} (${less ? 'less' : 'more'} is better)</text>\n` +
    `${drawn.join('')}</svg>\n`
  );
}

/** @param {string} work */
function slug(work) {
  return work
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

/** @param {string} text */
function quoted(text) {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
