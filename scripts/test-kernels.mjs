// The device tests, with zero-copy as well, on every kernel that the package is tested with, one after the other; options
// as those of npm test.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { ROOT } from './setup.mjs';

const KERNELS = ['6.12', '6.1'];

/** @type {[string, number][]} */
const results = [];
for (const kernel of KERNELS) {
  process.stdout.write(`\nLinux ${kernel}\n`);
  const parts = ['nic', 'device', 'zerocopy'].flatMap((name) => ['--only', name]);
  const options = [...parts, '--kernel', kernel, ...process.argv.slice(2)];
  const run = spawn(process.execPath, [join(ROOT, 'scripts/test.mjs'), ...options], { stdio: 'inherit' });
  const [status, signal] = await once(run, 'exit');
  // Interrupted, it is not to begin anew on the next kernel.
  if (signal !== null || status > 128) process.exit(status ?? 1);
  results.push([kernel, status]);
}
process.stdout.write('\n');
for (const [kernel, status] of results)
  process.stdout.write(`Linux ${kernel}: ${status === 0 ? 'passed' : 'failed'}\n`);
process.exitCode = results.some(([, status]) => status !== 0) ? 1 : 0;
