/** The middle of some values. @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * Ours by theirs, round by round.
 *
 * @param {number[]} ours
 * @param {number[]} theirs
 */
export function ratios(ours, theirs) {
  if (ours.length === 0 || ours.length !== theirs.length)
    throw new RangeError(`rounds must pair; there are ${ours.length} and ${theirs.length}`);
  const all = ours.map((value, i) => value / (theirs[i] ?? Number.NaN));
  return { min: Math.min(...all), median: median(all), max: Math.max(...all) };
}
