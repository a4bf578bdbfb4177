/**
 * A Nic in a Worker: it sends numbered frames to its peer and checks those that the peer sends, until it is told to
 * stop. How far it came stands in shared memory, where the parent reads it even when this thread is gone.
 */
import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';
import { HEADER_SIZE, Nic } from '../../../../lib/index.js';
import { type End, NumberedFrames } from '../../../support/numbered-frames.js';
import { testDevice } from '../../../support/test-device.js';

export interface WorkerNicData {
  readonly namespace: string;
  readonly tap: string;
  readonly self: End;
  readonly peer: End;
  /** Frames sent, frames received. */
  readonly progress: SharedArrayBuffer;
}

const { namespace, tap, self, peer, progress } = workerData as WorkerNicData;
const counts = new Int32Array(progress);
const nic = await Nic.open({ ...testDevice, tap: { name: tap, netns: namespace }, queueSize: 64 });
const out = new NumberedFrames(60, self, peer);
const incoming = new NumberedFrames(60, peer, self);
let stopping = false;
let last = -1;

async function send(): Promise<void> {
  for (let number = 0; !stopping; ) {
    const batch = Array.from({ length: 32 }, () => out.frame(number++));
    const { completed } = await nic.submit(batch).completed;
    Atomics.add(counts, 0, completed);
  }
}

/** The ring tier, at the pace of the loop: what comes too fast is lost in the tap's queue, but nothing is garbled. */
async function receive(): Promise<void> {
  const { rx, pool } = nic;
  while (!stopping) {
    const count = rx.reap();
    for (let i = 0; i < count; i++) {
      const first = rx.frames[i]!;
      const start = pool.offset(first) + HEADER_SIZE;
      const number = incoming.number(pool.bytes, start);
      incoming.check(number, pool.bytes, start, pool.length[first]! - HEADER_SIZE);
      assert.ok(number > last, `frame ${number} came after ${last}`);
      last = number;
      pool.releaseFrame(first);
    }
    rx.refill();
    Atomics.add(counts, 1, count);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

parentPort!.postMessage('open');
parentPort!.once('message', async () => {
  const moving = Promise.all([send(), receive()]);
  parentPort!.once('message', async () => {
    stopping = true;
    await moving;
    await nic.close();
    const { ledger } = nic.tx;
    parentPort!.postMessage({
      submitted: ledger.submitted,
      completed: ledger.completed,
      inFlight: ledger.inFlight,
    });
    parentPort!.close();
  });
});
