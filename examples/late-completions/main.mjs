// When is a frame done? Sends the same eight frames through the kernel's vhost-net with zero-copy on and off, prints
// when each was completed and draws it:  node examples/late-completions/main.mjs [FILE.svg]
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setUp } from '../../scripts/setup.mjs';
import { runWithDevice } from '../../scripts/vm/run.mjs';
import { plot } from './plot.mjs';

const file = process.argv[2] ?? 'late-completions.svg';

/**
 * @param {boolean} zerocopy
 * @returns {Promise<import('./plot.mjs').Measurement>}
 */
async function measure(zerocopy) {
  let output = '';
  const { status } = await runWithDevice({
    command: process.execPath,
    args: [fileURLToPath(new URL('measure.mjs', import.meta.url))],
    zerocopy,
    needs: ['ip', 'tc'],
    onProgress: (message) => void process.stderr.write(message && `${message}\n`),
    onStdout: (chunk) => {
      output += chunk;
    },
  });
  if (status !== 0) throw new Error(`the measurement ended with status ${status}`);
  return JSON.parse(output);
}

await setUp();
const measurements = [await measure(true), await measure(false)];
for (const { linkState, outOfOrder, frames } of measurements) {
  console.log(`\nlink state ${linkState}: ${outOfOrder} of ${frames.length} out of order`);
  console.table(
    frames.map(({ bytes, completed }) => ({ bytes, 'completed after ms': Math.round(completed) })),
  );
}
writeFileSync(file, plot(measurements));
console.log(`drawn in ${file}`);
