/**
 * Shows what is under way: on a terminal one line that is painted again, elsewhere a short line each.
 *
 * @param {{isTTY?: boolean, columns?: number, write(text: string): unknown}} stream
 * @returns {import('./packages.mjs').Say} an empty message removes the line
 */
export function showProgress(stream) {
  const started = Date.now();
  if (!stream.isTTY) {
    return (message) => {
      if (message) stream.write(`vm: ${message}\n`);
    };
  }
  /** @type {NodeJS.Timeout | undefined} */
  let clock;
  return (message) => {
    clearInterval(clock);
    const paint = () => {
      const line = message && `vm: ${message} … ${Math.round((Date.now() - started) / 1000)} s`;
      stream.write(`\r\x1b[K${line.slice(0, (stream.columns ?? 80) - 1)}`);
    };
    paint();
    if (message) clock = setInterval(paint, 1000).unref();
  };
}
