// All tests with one command: sets this checkout up, runs each part where it belongs and closes with one line.
import { availableParallelism, constants } from 'node:os';
import {
  DEVICE_HELP,
  DEVICE_OPTIONS,
  deviceOptions,
  parseScriptOptions,
  UsageError,
} from './device-options.mjs';
import { SetupError, setUp } from './setup.mjs';
import { PARTS } from './test/parts.mjs';
import { programsOf, runPart, skipPart } from './test/run-part.mjs';
import { sideBySide } from './test/side-by-side.mjs';
import { codeOf, VmError } from './vm/errors.mjs';
import { showProgress } from './vm/show-progress.mjs';

const NAMES = PARTS.map(({ name }) => name);
const USUAL = PARTS.filter(({ asked }) => !asked).map(({ name }) => name);

/**
 * Parts that run side by side at most, for each may be a VM with memory of its own. One that is emulated has one
 * processor's work, whatever it shows inside: with more of them than processors all take longer together.
 */
const LANES = 4;

const HELP = `Usage: npm test [-- OPTION…]

Installs, builds and runs, as many parts at a time as there are processors, up to ${LANES}, in this order:
${PARTS.map(({ name, title, asked }) => `  ${name.padEnd(12)} ${title}${asked ? ' (only where --only names it)' : ''}`).join('\n')}

Device tests run on this machine if it has a /dev/vhost-net, and those of the worker where taps can be made, otherwise in a
virtual machine; one that could not run has failed. The last line sums up; the status is 0 if nothing failed and something
ran.

  --only ${NAMES.join('|')}   that part; repeatable
  --grep PATTERN           tests whose titles match
  --coverage               of the unit tests, also as pages in coverage/
${DEVICE_HELP}  --help

  VHOST_TEST=unit          counts what needs a virtual machine or a device as skipped
  VHOST_TEST_LONG=1        tests run for longer (npm run test:long)
`;

/** @typedef {{part: import('./test/parts.mjs').Part, tally: import('./test/record.mjs').Tally, seconds: number}} PartResult */

/**
 * @param {string[]} argv
 * @returns {Promise<number>} the exit status
 */
async function main(argv) {
  const options = /** @type {const} */ ({
    ...DEVICE_OPTIONS,
    only: { type: 'string', multiple: true },
    grep: { type: 'string' },
    coverage: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  });
  const {
    only = USUAL,
    grep,
    coverage = false,
    help,
    ...rest
  } = parseScriptOptions(argv, options, 'npm test');
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const unknown = only.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) throw new UsageError(`--only is one of ${NAMES.join(', ')}, not ${unknown}`);
  const device = deviceOptions(rest);
  const { VHOST_TEST, VHOST_TEST_LONG } = process.env;
  if (VHOST_TEST !== undefined && VHOST_TEST !== 'unit')
    throw new UsageError(`VHOST_TEST is unit or not set, not ${VHOST_TEST}`);

  const interruption = new AbortController();
  const { signal } = interruption;
  for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
    process.on(name, () => interruption.abort(name));
  const parts = PARTS.filter(({ name }) => only.includes(name));
  /** @param {import('./test/parts.mjs').Part} part */
  const skips = ({ name }) => VHOST_TEST === 'unit' && name !== 'unit';
  const programs = parts.map((part) => (skips(part) ? [] : programsOf(part, device)));
  await setUp(undefined, (await Promise.all(programs)).flat());
  /** @type {((out: import('./test/side-by-side.mjs').Out) => Promise<PartResult>)[]} */
  const jobs = parts.map((part) => async (out) => {
    out.stdout(`\n${part.title}${skips(part) ? ': not run' : ''}\n`);
    const started = Date.now();
    const say = showProgress({ isTTY: false, write: out.stderr });
    const settings = { grep, coverage, long: VHOST_TEST_LONG === '1', device, signal, out, say };
    const tally = await (skips(part) ? skipPart(part, settings) : runPart(part, settings));
    return { part, tally, seconds: (Date.now() - started) / 1000 };
  });
  const results = await sideBySide(jobs, Math.min(LANES, availableParallelism()), { signal });
  if (signal.aborted) return 128 + constants.signals[/** @type {NodeJS.Signals} */ (signal.reason)];
  return report(results);
}

/**
 * @param {PartResult[]} results
 * @returns {number} the exit status
 */
function report(results) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  const lines = ['part          passed  failed  skipped       time'];
  for (const { part, tally, seconds } of results) {
    for (const name of /** @type {const} */ (['passed', 'failed', 'skipped'])) sum[name] += tally[name];
    const cells = [tally.passed, tally.failed, tally.skipped].map((count) => String(count).padStart(6));
    lines.push(`${part.name.padEnd(14)}${cells.join('  ')}   ${seconds.toFixed(1).padStart(7)} s`);
  }
  const failures = results.flatMap(({ part, tally }) =>
    tally.failures.map((failure) => ({ part, ...failure })),
  );
  if (failures.length > 0) {
    process.stdout.write('\nFailed:\n');
    for (const { part, title, why } of failures)
      process.stdout.write(`  ${part.name}: ${title}\n    ${why.split('\n').slice(0, 8).join('\n    ')}\n`);
  }
  process.stdout.write(`\n${lines.join('\n')}\n\n`);
  const ran = sum.passed + sum.failed > 0;
  if (!ran) process.stdout.write('No test was run.\n');
  process.stdout.write(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped\n`);
  return ran && sum.failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError || error instanceof SetupError || error instanceof VmError)) throw error;
  const isUsage = error instanceof UsageError || codeOf(error) === 'ERR_VM_USAGE';
  process.stderr.write(`test: ${error.message}\n`);
  // Where nothing could run, that is a failure to be counted like any other.
  if (!isUsage) process.stdout.write('0 passed, 1 failed, 0 skipped\n');
  process.exitCode = isUsage ? 2 : 1;
}
