/** @typedef {{machine: string, kernel: string, versions: Record<string, string>, rows: import('./compare.mjs').Row[]}} Bench */

const HEADS = ['work', 'tier', 'against', 'ours', 'theirs', 'unit', 'ratio (min–max)', 'goal', ''];

/** The rows for a person to read. @param {Bench} bench */
export function table({ machine, kernel, versions, rows }) {
  const lines = [
    HEADS,
    ...rows.map(({ work, tier, peer, ours, theirs, unit, ratio, goal, less, reached }) => [
      work,
      tier,
      peer,
      number(ours),
      theirs === null ? '–' : number(theirs),
      unit,
      ratio === null ? '–' : `${number(ratio.median)} (${number(ratio.min)}–${number(ratio.max)})`,
      goal === null ? '' : `${less ? '≤' : '≥'} ${goal}`,
      reached === null ? '' : reached ? 'reached' : 'MISSED',
    ]),
  ];
  const widths = HEADS.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  const text = lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const about = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${text.join('\n')}\n\n${machine}; Linux ${kernel}; ${about.join(', ')}\n`;
}

/** Three digits that count. @param {number} value */
export function number(value) {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
