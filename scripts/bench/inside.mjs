// Runs where the device is: does the works that it is asked for and prints one row a line.
import { BenchError } from './contender.mjs';
import { works } from './works.mjs';

/** @type {{works: string[], peers: string[], pairs: number, seconds: number, limit: string}} */
const request = JSON.parse(process.argv[2] ?? '{}');
const context = {
  ...request,
  say: (/** @type {string} */ message) => process.stderr.write(`bench: ${message}\n`),
};

try {
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
