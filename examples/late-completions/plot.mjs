/**
 * @typedef {object} Measurement
 * @property {'sync' | 'async'} linkState
 * @property {number} outOfOrder
 * @property {{ bytes: number, completed: number }[]} frames `completed` in milliseconds after the submission
 */

const WIDTH = 640;
const LEFT = 150;
const ROW = 26;
const TITLE = 44;

/**
 * Draws when each frame of each measurement was done: a row a frame, a dot at its time.
 *
 * @param {Measurement[]} measurements
 * @returns {string} an SVG image
 */
export function plot(measurements) {
  const latest = Math.max(...measurements.flatMap(({ frames }) => frames.map(({ completed }) => completed)));
  const step = 50;
  const end = Math.ceil(latest / step) * step;
  const x = (/** @type {number} */ time) => LEFT + (time / end) * (WIDTH - LEFT - 30);
  let y = 0;
  const parts = measurements.map(({ linkState, outOfOrder, frames }) => {
    const top = y + TITLE;
    const bottom = top + frames.length * ROW;
    y = bottom + ROW;
    const ticks = Array.from({ length: end / step + 1 }, (_, i) => i * step);
    return [
      text(12, top - 18, `link state ${linkState}: ${outOfOrder} of ${frames.length} out of order`, 'bold'),
      ...ticks.map((time) => line(x(time), top - 8, x(time), bottom - 8, '#ddd')),
      ...ticks.map((time) => text(x(time) - 8, bottom + 8, `${time}`, 'normal', '#777')),
      ...frames.flatMap(({ bytes, completed }, i) => {
        const row = top + i * ROW + 4;
        const colour = bytes >= 256 ? '#c2410c' : '#1d4ed8';
        return [
          text(12, row + 4, `frame ${i}, ${bytes} bytes`),
          line(x(0), row, x(completed), row, colour),
          `<circle cx="${x(completed).toFixed(1)}" cy="${row}" r="5" fill="${colour}"/>`,
        ];
      }),
    ].join('\n');
  });
  const height = y + 10;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="13">
<title>Milliseconds from submission to completion, by frame</title>
<rect width="100%" height="100%" fill="#fff"/>
${parts.join('\n')}
${text(LEFT, y + 2, 'milliseconds from submission to completion', 'normal', '#777')}
</svg>
`;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} words
 * @param {string} [weight]
 * @param {string} [colour]
 */
function text(x, y, words, weight = 'normal', colour = '#111') {
  return `<text x="${x.toFixed(1)}" y="${y}" font-weight="${weight}" fill="${colour}">${words}</text>`;
}

/**
 * @param {number} x1
 * @param {number} y1
 * @param {number} x2
 * @param {number} y2
 * @param {string} colour
 */
function line(x1, y1, x2, y2, colour) {
  return `<line x1="${x1.toFixed(1)}" y1="${y1}" x2="${x2.toFixed(1)}" y2="${y2}" stroke="${colour}" stroke-width="2"/>`;
}
