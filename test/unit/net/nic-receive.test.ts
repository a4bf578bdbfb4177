import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import type { Nic } from '../../../lib/net/nic.js';
import type { ReceiveBatch } from '../../../lib/net/receive-batch.js';
import type { FakeKernel } from '../../support/fake-kernel.js';
import type { ModelWorker } from '../../support/model-worker.js';
import { openNic, settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

function frames(count: number, length = 60): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => numberedFrame(i, length));
}

function serial(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(0);
}

describe('Nic.receive', () => {
  let nic: Nic;
  let kernel: FakeKernel;
  let worker: ModelWorker;

  async function open(options: Parameters<typeof openNic>[0] = {}): Promise<void> {
    ({ nic, kernel, worker } = await openNic(options));
  }
  afterEach(async () => {
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('gives what came in batches, and each frame once', async () => {
    await open();
    worker.receive(...frames(20));
    const got: number[] = [];
    for await (const batch of nic.receive()) {
      assert.ok(batch.length <= 8);
      for (const frame of batch) {
        assert.deepEqual(frame, numberedFrame(got.length, 60));
        got.push(serial(frame));
      }
      if (got.length === 20) break;
    }
    assert.equal(nic.stats().receive.frames, 20);
    assert.equal(nic.stats().receive.bytes, 20 * 72);
    assert.equal(worker.backlog, 0);
  });

  it('waits for frames that come later', async () => {
    await open();
    const got: number[] = [];
    const receiving = (async () => {
      for await (const batch of nic.receive()) {
        for (const frame of batch) got.push(serial(frame));
        if (got.length >= 3) break;
      }
    })();
    for (const frame of frames(3)) {
      await turn();
      worker.receive(frame);
    }
    await receiving;
    assert.deepEqual(got, [0, 1, 2]);
    assert.equal(nic.stats().receive.wakeups > 0, true);
  });

  it('lets frames wait for more, but for the one that ends a silence', async () => {
    await open();
    const batches: number[] = [];
    const receiving = (async () => {
      for await (const batch of nic.receive({ within: 2 ** 30 })) batches.push(batch.length);
    })();
    await turn();
    for (const frame of frames(3)) {
      worker.receive(frame);
      await turn();
      await turn();
      assert.deepEqual(batches, [1]);
    }
    assert.equal(nic.stats().receive.calls, 1);
    await nic.close();
    await receiving;
  });

  it('gives frames of several buffers whole, with their header', async () => {
    await open({ bufferSize: 128, queueSize: 16 });
    worker.receive(numberedFrame(1, 500), numberedFrame(2, 60));
    for await (const batch of nic.receive()) {
      assert.deepEqual(batch.frame(0), Buffer.from(numberedFrame(1, 500)));
      assert.deepEqual(batch.frame(1), numberedFrame(2, 60));
      assert.equal(batch.header(0).needsChecksum, false);
      break;
    }
    assert.equal(nic.pool.free, nic.pool.count - 16, 'all of its buffers were posted again');
  });

  it('takes no more buffers than the limit into one batch', async () => {
    await open();
    worker.receive(...frames(8));
    const sizes: number[] = [];
    for await (const batch of nic.receive({ limit: 3 })) {
      sizes.push(batch.length);
      if (sizes.reduce((sum, size) => sum + size) === 8) break;
    }
    assert.deepEqual(sizes, [3, 3, 2]);
  });

  it('releases a batch at the next step of the iteration, and keeps one that is kept', async () => {
    await open();
    worker.receive(...frames(3));
    const batches: ReceiveBatch[] = [];
    for await (const batch of nic.receive({ limit: 1 })) {
      batches.push(batch);
      if (batches.length === 2) assert.equal(batch.keep(), batch);
      if (batches.length === 3) break;
    }
    assert.deepEqual(
      batches.map(({ released }) => released),
      [true, false, true],
    );
    assert.equal(batches[1]!.kept, true);
    assert.throws(() => batches[0]!.frame(0), {
      code: 'ERR_VHOST_NOT_LEASED',
      message: /the batch was released; keep\(\) it/,
    });
    assert.throws(() => batches[0]!.header(0), { message: /the batch was released/ });
    assert.deepEqual(batches[1]!.frame(0), numberedFrame(1, 60), 'its bytes are untouched');
    assert.throws(() => batches[1]!.frame(1), { message: /index must be below the 1 frames/ });
    assert.throws(() => batches[1]!.frame(-1), { message: /index must be below/ });
    const free = nic.pool.free + nic.rx.ring.inFlight;
    batches[1]!.release();
    batches[1]!.release();
    assert.equal(nic.pool.free + nic.rx.ring.inFlight, free + 1, 'given back once');
  });

  it('releases with `using`, and where the body throws', async () => {
    await open();
    worker.receive(...frames(2));
    let seen: ReceiveBatch | undefined;
    await assert.rejects(
      async () => {
        for await (const batch of nic.receive({ limit: 1 })) {
          seen = batch;
          throw new Error('in the middle');
        }
      },
      { message: 'in the middle' },
    );
    assert.equal(seen!.released, true);
    for await (const batch of nic.receive()) {
      batch.keep();
      batch[Symbol.dispose]();
      assert.equal(batch.released, true);
      break;
    }
  });

  it('goes on when buffers run out and come back', async () => {
    await open({ queueSize: 4, buffers: 12 });
    const kept: ReceiveBatch[] = [];
    worker.receive(...frames(20));
    const got: number[] = [];
    for await (const batch of nic.receive()) {
      got.push(...[...batch].map(serial));
      if (got.length === 20) break;
      if (got.length < 5) kept.push(batch.keep());
      else for (const each of kept.splice(0)) each.release();
    }
    assert.deepEqual(
      got,
      Array.from({ length: 20 }, (_, i) => i),
    );
  });

  it('runs once at a time', async () => {
    await open();
    const first = nic.receive();
    const step = first.next();
    await assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_IN_USE', queue: 0 });
    worker.receive(numberedFrame(1, 60));
    assert.equal((await step).value!.length, 1);
    await first.return();
    const second = nic.receive();
    worker.receive(numberedFrame(2, 60));
    assert.equal((await second.next()).value!.length, 1);
    await second.return();
  });

  it('ends when its signal aborts, with the reason', async () => {
    await open();
    const controller = new AbortController();
    const step = nic.receive({ signal: controller.signal }).next();
    assert.equal(await settled(step), false);
    controller.abort(new Error('enough'));
    await assert.rejects(step, { message: 'enough' });
    assert.equal(getEventListeners(controller.signal, 'abort').length, 0);
    await assert.rejects(nic.receive({ signal: controller.signal }).next(), { message: 'enough' });
    worker.receive(numberedFrame(1, 60));
    assert.equal((await nic.receive().next()).value!.length, 1, 'and another may begin');
  });

  it('ends at an abort also while frames keep coming', async () => {
    await open();
    const controller = new AbortController();
    worker.receive(...frames(8));
    let batches = 0;
    await assert.rejects(
      async () => {
        for await (const _ of nic.receive({ limit: 1, signal: controller.signal }))
          if (++batches === 2) controller.abort(new Error('enough'));
      },
      { message: 'enough' },
    );
    assert.equal(batches, 2);
  });

  it('ends when the Nic closes', async () => {
    await open();
    let batches = 0;
    const receiving = (async () => {
      for await (const _ of nic.receive()) batches++;
    })();
    await turn();
    await nic.close();
    await receiving;
    assert.equal(batches, 0);
    await assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_CLOSED' });
  });

  it('may close from within', async () => {
    await open();
    worker.receive(...frames(2));
    let batches = 0;
    for await (const batch of nic.receive({ limit: 1 })) {
      batches++;
      batch.keep();
      await nic.close();
      batch.release();
    }
    assert.equal(batches, 1);
    assert.equal(nic.pool.free, nic.pool.count);
  });

  it('refuses options that are none', async () => {
    await open();
    await assert.rejects(nic.receive({ max: 7 } as never).next(), {
      code: 'ERR_VHOST_INVALID_ARGUMENT',
      message: /^options must be made of the options limit, within, signal; received/,
    });
    await assert.rejects(nic.receive({ signal: 7 as never }).next(), {
      message: /^signal must be an AbortSignal/,
    });
  });

  it('checks its limit', async () => {
    await open();
    for (const limit of [0, -1, 1.5, 65_537])
      await assert.rejects(nic.receive({ limit }).next(), { message: /^limit must be a whole number/ });
  });
});
