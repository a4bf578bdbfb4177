/**
 * @typedef {{event: 'begin', total: number} | {event: 'start' | 'pass' | 'skip', title: string} |
 *   {event: 'fail' | 'hook', title: string, why: string} | {event: 'end'}} Entry a line of a record
 */
/** @typedef {{title: string, why: string}} Failure */
/**
 * @typedef {object} Tally
 * @property {number} passed
 * @property {number} failed
 * @property {number} skipped
 * @property {Failure[]} failures what is known of those that failed
 */

/**
 * What came of a run of tests. A test that was to run and of which nothing is told counts as failed, whether a hook
 * or the end of the machine came before it.
 *
 * @param {string} record what the reporter wrote
 * @param {string} end why the run ended, '' where mocha came to its end with status 0
 * @returns {Tally}
 */
export function tally(record, end) {
  /** @type {Tally} */
  const result = { passed: 0, failed: 0, skipped: 0, failures: [] };
  let total = 0;
  let hooks = 0;
  let running = '';
  let ended = false;
  for (const entry of entries(record)) {
    switch (entry.event) {
      case 'begin':
        total = entry.total;
        break;
      case 'start':
        running = entry.title;
        break;
      case 'pass':
        result.passed++;
        break;
      case 'skip':
        result.skipped++;
        break;
      case 'fail':
        result.failed++;
        result.failures.push(entry);
        break;
      case 'hook':
        hooks++;
        result.failures.push(entry);
        break;
      case 'end':
        ended = true;
    }
  }
  const untold = total - result.passed - result.failed - result.skipped;
  result.failed += Math.max(hooks, untold);
  if (!ended) {
    result.failures.push({
      title: running ? `${running} (the last to start)` : 'nothing ran',
      why: end || 'mocha died',
    });
    result.failed = Math.max(result.failed, 1);
  } else if (end && result.failed === 0) {
    result.failures.push({ title: 'after the last test', why: end });
    result.failed = 1;
  }
  return result;
}

/**
 * @param {string} record
 * @returns {Entry[]} its lines, as far as they are whole
 */
export function entries(record) {
  return record.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line)];
    } catch {
      // Empty, or cut short when the machine that wrote it died.
      return [];
    }
  });
}
