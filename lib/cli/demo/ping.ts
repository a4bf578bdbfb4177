/** What a run of ping(8) saw; times in milliseconds, by ping's own clock. */
export interface PingResult {
  readonly sent: number;
  readonly answered: number;
  readonly roundTrips: readonly number[];
}

/** Reads what ping of iputils prints in the locale C. */
export function parsePing(output: string): PingResult {
  const summary = /^(\d+) packets transmitted, (\d+) received/m.exec(output);
  if (summary === null)
    throw new Error(`ping ended without its summary; it said: ${output.trim() || 'nothing'}`);
  const roundTrips = Array.from(output.matchAll(/^\d+ bytes from .*\btime[=<]([\d.]+) ms$/gm), (line) =>
    Number(line[1]),
  );
  return { sent: Number(summary[1]), answered: Number(summary[2]), roundTrips };
}

/** The least of `values` that at least `percent` of them do not exceed; `undefined` where there is none. */
export function percentile(values: readonly number[], percent: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}
