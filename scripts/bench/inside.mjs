// Runs where the device is: does the works that it is asked for and prints one row a line.
import { release } from 'node:os';
import { BenchError } from './contender.mjs';
import { run } from './programs.mjs';
import { works } from './works.mjs';

/** @type {{works: string[], peers: string[], pairs: number, seconds: number, limit: string}} */
const request = JSON.parse(process.argv[2] ?? '{}');
const context = {
  ...request,
  say: (/** @type {string} */ message) => process.stderr.write(`bench: ${message}\n`),
};

try {
  const versions = { node: process.versions.node, dpdk: await dpdkVersion(), iperf3: await iperfVersion() };
  process.stdout.write(`${JSON.stringify({ kernel: release(), versions })}\n`);
  for (const work of works(context)) {
    const began = Date.now();
    for (const row of await work.run(context)) process.stdout.write(`${JSON.stringify(row)}\n`);
    context.say(`${work.name}: done in ${Math.round((Date.now() - began) / 1000)} s`);
  }
} catch (error) {
  if (!(error instanceof BenchError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
}

/** Where only other peers run, it may not be installed. */
async function dpdkVersion() {
  return /^Version: (\S+)/m.exec(await run('dpkg', '-s', 'dpdk').catch(() => ''))?.[1] ?? 'not installed';
}

async function iperfVersion() {
  return /iperf (\S+)/.exec(await run('iperf3', '--version'))?.[1] ?? 'unknown';
}
