// The main job with one command: sets this checkout up, finds or boots a device and runs `vhost-net demo` there.
import { constants } from 'node:os';
import {
  DEVICE_HELP,
  DEVICE_OPTIONS,
  deviceOptions,
  parseScriptOptions,
  UsageError,
} from './device-options.mjs';
import { ROOT, SetupError, setUp } from './setup.mjs';
import { codeOf, VmError } from './vm/errors.mjs';
import { programsFor, runWithDevice } from './vm/run.mjs';
import { showProgress } from './vm/show-progress.mjs';

const HELP = `Usage: npm run demo [-- OPTION…]

Installs, builds, finds or boots a /dev/vhost-net, and lets ping talk through it to a station that a Node program plays:
20 pings, then a flood of 2,000. Ends with status 0 if every ping was answered and every frame is accounted for.

  --worker                 without /dev/vhost-net: the device is the one in this package, and a tap is all that is needed
  --json                   one object on the standard output (npm run --silent demo -- --json)
${DEVICE_HELP}  --help
`;

/**
 * @param {string[]} argv
 * @returns {Promise<number>} the exit status
 */
async function main(argv) {
  const options = /** @type {const} */ ({
    ...DEVICE_OPTIONS,
    worker: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h' },
  });
  const { worker, json, help, ...rest } = parseScriptOptions(argv, options, 'npm run demo');
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const device = deviceOptions(rest);
  const interruption = new AbortController();
  for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(name, () => interruption.abort(name));
  }
  const place = { ...device, tapsOnly: worker, needs: ['ping', 'ip', 'unshare', 'nsenter'] };
  await setUp(undefined, await programsFor(place));
  if (interruption.signal.aborted)
    return 128 + constants.signals[/** @type {NodeJS.Signals} */ (interruption.signal.reason)];
  const say = showProgress(process.stderr);
  try {
    const { status, timedOut } = await runWithDevice({
      ...place,
      command: process.execPath,
      args: ['dist/lib/cli/main.js', 'demo', ...(worker ? ['--worker'] : []), ...(json ? ['--json'] : [])],
      cwd: ROOT,
      signal: interruption.signal,
      onProgress: say,
    });
    say('');
    if (timedOut) process.stderr.write('demo: ended after its time limit\n');
    return status;
  } finally {
    say('');
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError || error instanceof SetupError || error instanceof VmError)) throw error;
  process.stderr.write(`demo: ${error.message}\n`);
  process.exitCode = error instanceof UsageError || codeOf(error) === 'ERR_VM_USAGE' ? 2 : 1;
}
