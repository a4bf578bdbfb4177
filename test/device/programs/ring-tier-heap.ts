/**
 * Transmits frames through the ring tier and prints by how many bytes the heap grew. It runs with a young generation
 * so large that nothing is collected meanwhile, so that growth is all that was allocated.
 */
import { getHeapStatistics } from 'node:v8';
import { HEADER_SIZE, Nic } from '../../../lib/index.js';
import { NumberedFrames } from '../../support/numbered-frames.js';

const [namespace, frames] = [process.argv[2]!, Number(process.argv[3])];
const BATCH = 64;
/** Until the compiler has settled on what it knows of the code. */
const WARM_UP = 300_000;

const nic = await Nic.open({ tap: { name: 'tap-a', netns: namespace } });
const { tx, pool } = nic;
const numbered = new NumberedFrames(60, 'a', 'b');

function transmit(total: number): void {
  let posted = 0;
  let done = 0;
  while (done < total) {
    let count = 0;
    while (count < BATCH && posted < total) {
      const buffer = pool.lease();
      if (buffer === -1) break;
      const start = pool.offset(buffer);
      pool.bytes.fill(0, start, start + HEADER_SIZE);
      numbered.write(posted, pool.bytes, start + HEADER_SIZE);
      pool.length[buffer] = HEADER_SIZE + numbered.length;
      if (tx.post(buffer) === -1) {
        pool.release(buffer);
        break;
      }
      posted++;
      count++;
    }
    if (count > 0) tx.flush();
    done += tx.reap();
  }
}

const used = (): number => getHeapStatistics().used_heap_size;
transmit(WARM_UP);
used();
const before = used();
transmit(frames);
const growth = used() - before;
const { completed, inFlight, batchSizes } = nic.stats().transmit;
const reaps = batchSizes.reduce((all, count) => all + count, 0);
await nic.close();
console.log(JSON.stringify({ growth, completed: completed - WARM_UP, inFlight, reaps }));
