// Runs the tests of native/ on an addon that was built with the address and undefined-behaviour sanitizers: what they find
// ends the program in which it happens, and with it the test. Arguments go to mocha (--grep WORDS).
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, setUp } from './setup.mjs';

const ADDON = join(ROOT, 'build-sanitize', 'Debug', 'vhost_net.node');
const MOCHA = join(ROOT, 'node_modules', 'mocha', 'bin', 'mocha.js');
/** Calls cost several times as much in this build. */
const TIMEOUT = '300000';

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 */
function run(command, args, env = process.env) {
  const { status, signal, error } = spawnSync(command, args, { cwd: ROOT, env, stdio: 'inherit' });
  if (error) throw error;
  if (signal !== null) process.stderr.write(`${command} was ended by ${signal}\n`);
  return status ?? 1;
}

await setUp(undefined, ['cmake', 'g++', 'make']);
const built = run('npm', ['run', '--silent', 'build:sanitize']);
process.exitCode =
  built ||
  run(process.execPath, [MOCHA, '--timeout', TIMEOUT, 'dist/test/unit/native', ...process.argv.slice(2)], {
    ...process.env,
    VHOST_NET_ADDON: ADDON,
    // Node has no sanitizer in it, so that the library must be there before it.
    LD_PRELOAD: execFileSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim(),
    // What Node keeps to its end is no leak of the addon's, and bus errors are the addon's to handle.
    ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:handle_sigbus=0',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  });
