import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../setup.mjs';
import { runDirectly } from '../vm/direct.mjs';
import { VmError } from '../vm/errors.mjs';
import { capture } from '../vm/programs.mjs';
import { programsFor, runWithDevice } from '../vm/run.mjs';
import { prepareGuest } from './guest.mjs';
import { filesOf } from './parts.mjs';
import { entries, tally } from './record.mjs';

/**
 * @typedef {object} PartOptions
 * @property {string | undefined} grep
 * @property {boolean} coverage
 * @property {boolean} long takes hours rather than minutes
 * @property {import('../vm/options.mjs').CommandLine['run']} device
 * @property {AbortSignal} signal
 * @property {import('./side-by-side.mjs').Out} out
 * @property {import('../vm/packages.mjs').Say} say
 */

// A run that is asked for at length.
const LONG = 10;

const COVERAGE = [
  'node_modules/c8/bin/c8.js',
  '--reporter=text',
  '--reporter=html',
  '--all',
  '--src=dist/lib',
  '--include=lib',
  '--exclude-after-remap',
];

/**
 * Runs one part of the tests.
 *
 * @param {import('./parts.mjs').Part} part
 * @param {PartOptions} options
 * @returns {Promise<import('./record.mjs').Tally>}
 */
export async function runPart(part, options) {
  const scratch = await mkdtemp(join(tmpdir(), 'vhost-net-test-'));
  const record = join(scratch, 'record');
  try {
    const end = await run(part, options, scratch, record).catch((error) => {
      if (error instanceof VmError) return error.message;
      throw error;
    });
    const text = await readFile(record, 'utf8').catch(() => '');
    if (text !== '') return tally(text, end);
    // Where nothing began, the tests that did not run are still to be counted.
    const total = (await countTests(part, options, record)) ?? 0;
    return tally(`${JSON.stringify({ event: 'begin', total })}\n`, end);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * Counts the tests of a part that is not to run.
 *
 * @param {import('./parts.mjs').Part} part
 * @param {PartOptions} options
 * @returns {Promise<import('./record.mjs').Tally>}
 */
export async function skipPart(part, options) {
  const scratch = await mkdtemp(join(tmpdir(), 'vhost-net-test-'));
  try {
    const skipped = await countTests(part, options, join(scratch, 'record'));
    if (skipped === undefined) return tally('', 'the test files cannot be loaded');
    return { passed: 0, failed: 0, skipped, failures: [] };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * @param {import('./parts.mjs').Part} part
 * @param {PartOptions} options
 * @param {string} scratch
 * @param {string} record
 * @returns {Promise<string>} why it ended, '' where all is well or the record tells of it
 */
async function run(part, { coverage, device, long, signal, out, say, grep }, scratch, record) {
  const args = mochaArguments(part, record, grep);
  const limit = part.limit * (long ? LONG : 1);
  const env = {
    ...process.env,
    ...(part.guest ? await prepareGuest(say) : {}),
    VHOST_TEST_DEVICE: part.worker ? 'worker' : 'kernel',
    VHOST_TEST_ZEROCOPY: part.zerocopy ? '1' : '0',
  };
  const errand = {
    command: process.execPath,
    args: coverage ? [...COVERAGE, process.execPath, ...args] : args,
    cwd: ROOT,
    signal,
    timeout: limit,
  };
  if (part.where === 'host') {
    const streams = { onStdout: out.stdout, onStderr: out.stderr, stdin: undefined, terminal: undefined };
    return ending(await runDirectly({ ...errand, env, streams }), limit);
  }
  const outcome = await runWithDevice({
    ...placeOf(part, device),
    ...errand,
    // What stands here is this machine's own, so that the record outlives the VM.
    env: { ...env, VHOST_SCRATCH: scratch },
    onStdout: out.stdout,
    onStderr: out.stderr,
    onProgress: say,
  });
  return ending(outcome, limit);
}

/**
 * What has to be installed for a part.
 *
 * @param {import('./parts.mjs').Part} part
 * @param {PartOptions['device']} device
 * @returns {Promise<string[]>} programs
 */
export async function programsOf(part, device) {
  return part.where === 'host' ? [] : programsFor(placeOf(part, device));
}

/**
 * @param {import('./parts.mjs').Part} part
 * @param {PartOptions['device']} device
 */
function placeOf(part, device) {
  return {
    ...device,
    tapsOnly: part.where === 'tap',
    zerocopy: part.zerocopy ?? false,
    needs: ['ip', 'iperf3', 'ping', 'tc', ...(part.needs ?? [])],
  };
}

/**
 * @param {{status: number, timedOut: boolean}} outcome
 * @param {number} limit
 */
function ending({ status, timedOut }, limit) {
  if (timedOut) return `ended after its limit of ${limit} s`;
  return status === 0 ? '' : `mocha ended with status ${status}`;
}

/**
 * Has mocha plan a part's run without doing anything.
 *
 * @param {import('./parts.mjs').Part} part
 * @param {PartOptions} options
 * @param {string} record
 * @returns {Promise<number | undefined>} how many tests there are; `undefined` where the files cannot be loaded
 */
async function countTests(part, { grep }, record) {
  await capture(process.execPath, [...mochaArguments(part, record, grep), '--dry-run'], { cwd: ROOT });
  const text = await readFile(record, 'utf8').catch(() => '');
  return entries(text).find((entry) => entry.event === 'begin')?.total;
}

/**
 * @param {import('./parts.mjs').Part} part
 * @param {string} record
 * @param {string | undefined} grep
 */
function mochaArguments(part, record, grep) {
  return [
    'node_modules/mocha/bin/mocha.js',
    `--reporter=${join(ROOT, 'scripts/test/reporter.mjs')}`,
    `--reporter-option=record=${record}`,
    `--timeout=${part.timeout * 1000}`,
    ...(grep === undefined ? [] : [`--grep=${grep}`]),
    ...filesOf(part),
  ];
}
