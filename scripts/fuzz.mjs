// Feeds bytes of anything to what the native part parses, with libFuzzer and the sanitizers of clang.
// `npm run fuzz -- SECONDS`, 60 by default; it ends with status 0 where nothing was found.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TARGET = 'test/fuzz/control_message.cc';
/** Any of them will do. */
const COMPILERS = ['clang++', ...[19, 18, 17, 16, 15, 14].map((version) => `clang++-${version}`)];
const FLAGS = ['-std=c++17', '-g', '-O1', '-fsanitize=fuzzer,address,undefined', '-fno-sanitize-recover=all'];

const seconds = Number(process.argv[2] ?? 60);
if (!Number.isInteger(seconds) || seconds < 1)
  throw new RangeError(`SECONDS is a number; it is ${process.argv[2]}`);

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {'inherit' | 'ignore'} stdio
 */
function run(command, args, stdio = 'inherit') {
  return spawnSync(command, args, { cwd: ROOT, stdio }).status;
}

const compiler = COMPILERS.find((name) => run(name, ['--version'], 'ignore') === 0);
const folder = mkdtempSync(join(tmpdir(), 'vhost-net-fuzz-'));
try {
  const program = join(folder, 'fuzz');
  if (compiler === undefined || run(compiler, [...FLAGS, '-Inative', TARGET, '-o', program]) !== 0) {
    console.error(
      'fuzz: needs clang with libFuzzer: apt-get install clang libclang-rt-dev (on Debian 12: clang libclang-rt-14-dev)',
    );
    process.exitCode = 1;
  } else process.exitCode = run(program, [`-max_total_time=${seconds}`, '-max_len=4096', folder]) ?? 1;
} finally {
  rmSync(folder, { recursive: true });
}
