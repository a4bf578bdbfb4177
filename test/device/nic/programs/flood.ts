/** A Nic in a Worker that sends as fast as its ring takes frames, until the Worker is terminated. */
import { parentPort, workerData } from 'node:worker_threads';
import { HEADER_SIZE, Nic } from '../../../../lib/index.js';
import { NumberedFrames } from '../../../support/numbered-frames.js';
import { testDevice } from '../../../support/test-device.js';

const { namespace, tap } = workerData as { namespace: string; tap: string };
const { tx, pool } = await Nic.open({ ...testDevice, tap: { name: tap, netns: namespace } });
const frames = new NumberedFrames(60, 'a', 'b');

function flood(): void {
  for (let buffer = pool.lease(); buffer !== -1; buffer = pool.lease()) {
    const start = pool.offset(buffer);
    pool.bytes.fill(0, start, start + HEADER_SIZE);
    frames.write(0, pool.bytes, start + HEADER_SIZE);
    pool.length[buffer] = HEADER_SIZE + frames.length;
    if (tx.post(buffer) !== -1) continue;
    pool.release(buffer);
    break;
  }
  tx.flush();
  tx.reap();
  setImmediate(flood);
}

parentPort!.once('message', flood);
parentPort!.postMessage('open');
