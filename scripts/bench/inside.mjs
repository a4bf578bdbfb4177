// Runs where the device is: does the works that it is asked for and prints one row a line.
import { release } from 'node:os';
import { BenchError } from './contender.mjs';
import { run } from './programs.mjs';
import { chosen, works } from './works.mjs';

/** @type {{works: string[], peers: string[], pairs: number, seconds: number, limit: string}} */
const request = JSON.parse(process.argv[2] ?? '{}');
// Every step is told before it is taken, and none is any more once the run was interrupted: what was made is taken down.
const interruption = new AbortController();
for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']))
  process.on(name, () => interruption.abort(new BenchError(`ended by ${name}`)));
const context = {
  ...request,
  say: (/** @type {string} */ message) => {
    interruption.signal.throwIfAborted();
    process.stderr.write(`bench: ${message}\n`);
  },
};

try {
  const dpdk = await dpdkVersion();
  const versions = { node: process.versions.node, ...(dpdk && { dpdk }), iperf3: await iperfVersion() };
  process.stdout.write(`${JSON.stringify({ kernel: release(), versions })}\n`);
  for (const work of chosen(works(request.limit), request)) {
    const began = Date.now();
    for (const row of await work.run(context)) process.stdout.write(`${JSON.stringify(row)}\n`);
    context.say(`${work.name}: done in ${Math.round((Date.now() - began) / 1000)} s`);
  }
} catch (error) {
  if (!(error instanceof BenchError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
}

/** Where only other peers run, it may not be installed; its package has another name with each release. */
async function dpdkVersion() {
  const [owner = ''] = (await run('dpkg', '-S', '/usr/bin/dpdk-testpmd').catch(() => '')).split(':');
  return owner && /^Version: (\S+)/m.exec(await run('dpkg', '-s', owner))?.[1];
}

async function iperfVersion() {
  return /iperf (\S+)/.exec(await run('iperf3', '--version'))?.[1] ?? 'unknown';
}
