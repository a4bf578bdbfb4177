// Checks the format of native/*.{cc,h} with clang-format; --write mends it.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * @param {string} command
 * @param {readonly string[]} options
 */
function run(command, options) {
  const { status, signal, error } = spawnSync(command, options, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (signal) throw new Error(`${command} was ended by ${signal}`);
  return status ?? 1;
}

function isInstalled() {
  return spawnSync('clang-format', ['--version'], { stdio: 'ignore' }).status === 0;
}

function install() {
  const commands = ['apt-get update', 'apt-get install --yes --no-install-recommends clang-format'];
  const byHand = `clang-format is missing; install it: ${commands.join(' && ')}`;
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status !== 0)
    throw new Error(byHand);
  for (const command of commands) {
    console.log(`lint-native: ${command}`);
    const [program, ...options] = command.split(' ');
    if (run(program, options) !== 0) throw new Error(byHand);
  }
}

try {
  if (!isInstalled()) install();
  const files = readdirSync(join(root, 'native'))
    .filter((name) => /\.(cc|h)$/.test(name))
    .sort()
    .map((name) => join('native', name));
  const options = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '-Werror'];
  process.exitCode = run('clang-format', [...options, ...files]);
} catch (error) {
  console.error(`lint-native: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
