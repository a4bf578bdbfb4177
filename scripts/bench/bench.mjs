// Measures this package beside its peers, on one device and in one boot: npm run bench.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, constants, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  DEVICE_HELP,
  DEVICE_OPTIONS,
  deviceOptions,
  parseScriptOptions,
  UsageError,
} from '../device-options.mjs';
import { ROOT, SetupError, setUp } from '../setup.mjs';
import { codeOf, VmError } from '../vm/errors.mjs';
import { needPrograms } from '../vm/packages.mjs';
import { runWithDevice } from '../vm/run.mjs';
import { charts } from './chart.mjs';
import { isWanted } from './compare.mjs';
import { table } from './table.mjs';
import { chosen, UnknownWords, works } from './works.mjs';

const HELP = `Usage: npm run bench [-- OPTION…]

Lets this package and its peers drive the same device in turn, and prints how they compare. Writes bench.json and a chart
for each work. Ends with status 1 where a peer did not run, 3 where a goal was missed.

  --work WORD      only works whose names contain it; repeatable
  --peer WORD      only peers whose names contain it; repeatable
  --pairs N        turns of each, after one to warm up (default 5)
  --seconds N      of a turn (default 2)
  --out FOLDER     for bench.json and the charts (default: bench)
  --json           bench.json on the standard output too, instead of the table
${DEVICE_HELP}  --help
`;

/** A long run of many works; each part of it has its own, shorter, limits. */
const TIMEOUT = 4 * 3600;
/** Of the virtual machine: one for the kernel's worker, one for the program. */
const CPUS = 2;

/** @param {string[]} argv @returns {Promise<number>} the exit status */
async function main(argv) {
  const options = /** @type {const} */ ({
    ...DEVICE_OPTIONS,
    work: { type: 'string', multiple: true },
    peer: { type: 'string', multiple: true },
    pairs: { type: 'string' },
    seconds: { type: 'string' },
    out: { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  });
  const {
    help,
    json,
    work: named = [],
    peer: peers = [],
    pairs,
    seconds,
    out = 'bench',
    ...rest
  } = parseScriptOptions(argv, options, 'npm run bench');
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const device = deviceOptions(rest);
  const turns = { pairs: count('--pairs', pairs ?? '5'), seconds: count('--seconds', seconds ?? '2') };
  const wanted = chosen(works(''), { works: named, peers }).flatMap((work) => [
    work.name,
    ...work.peers.filter((name) => isWanted(name, peers)),
  ]);
  const interruption = new AbortController();
  for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
    process.on(name, () => interruption.abort(name));
  const say = (/** @type {string} */ message) => {
    if (message) process.stderr.write(`bench: ${message}\n`);
  };
  await setUp(say);
  // A large package, which other peers do without.
  const testpmd = wanted.some((name) => name.startsWith('testpmd')) ? ['dpdk-testpmd'] : [];
  await needPrograms(['cc', ...testpmd], say);
  const folder = await mkdtemp(join(tmpdir(), 'vhost-net-bench-'));
  try {
    const limit = join(folder, 'limit');
    await promisify(execFile)('cc', ['-O2', '-o', limit, join(ROOT, 'scripts/bench/limit.c')]);
    let output = '';
    const { status, timedOut, where, kernel, accel } = await runWithDevice({
      cpus: CPUS,
      timeout: TIMEOUT,
      ...device,
      // What is compared spins on several CPUs at once.
      parallel: true,
      command: process.execPath,
      args: ['scripts/bench/inside.mjs', JSON.stringify({ works: named, peers, ...turns, limit })],
      cwd: ROOT,
      needs: [...testpmd, 'iperf3', 'ip', 'insmod', 'ping', 'stdbuf'],
      signal: interruption.signal,
      onProgress: say,
      onStdout: (chunk) => {
        output += chunk;
      },
    });
    if (interruption.signal.aborted)
      return 128 + constants.signals[/** @type {NodeJS.Signals} */ (interruption.signal.reason)];
    if (timedOut) say('ended after its time limit');
    const [head, ...rows] = output
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
    const inVm = where === 'vm';
    const processors = inVm ? (device.cpus ?? CPUS) : availableParallelism();
    const machine = `${cpus()[0]?.model.trim()}, ${processors} processors${inVm ? `, in a VM (${accel})` : ''}`;
    const versions = {
      ...head?.versions,
      cc: await versionOf('cc'),
      ...(inVm && { qemu: await versionOf('qemu-system-x86_64') }),
    };
    const bench = { machine, kernel: kernel ?? head?.kernel ?? '?', versions, rows };
    if (status !== 0) {
      if (rows.length > 0) process.stderr.write(table(bench));
      say('not every work was done; this is no table, and nothing is written');
      return 1;
    }
    await mkdir(out, { recursive: true });
    await writeFile(join(out, 'bench.json'), `${JSON.stringify(bench, null, 2)}\n`);
    for (const [name, svg] of charts(bench)) await writeFile(join(out, name), svg);
    process.stdout.write(json ? `${JSON.stringify(bench)}\n` : table(bench));
    return rows.some(({ reached }) => reached === false) ? 3 : 0;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @param {string} option @param {string} text */
function count(option, text) {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 1 && number <= 1000) return number;
  throw new UsageError(`${option} is a whole number from 1 to 1000, not ${text}`);
}

/** What a program calls its version. @param {string} program */
async function versionOf(program) {
  const { stdout } = await promisify(execFile)(program, ['--version']);
  return /\d+\.\d+(\.\d+)?/.exec(stdout.split('\n')[0] ?? '')?.[0] ?? 'unknown';
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const misused = error instanceof UsageError || error instanceof UnknownWords;
  if (!(misused || error instanceof SetupError || error instanceof VmError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = misused || codeOf(error) === 'ERR_VM_USAGE' ? 2 : 1;
}
