import assert from 'node:assert/strict';
import { Nic } from '../../../lib/net/nic.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { ModelWorker } from '../../support/model-worker.js';
import { openNic, settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

function frames(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => numberedFrame(i, 60));
}

describe('Nic.close in the middle of traffic', () => {
  it('completes what the device returns, withdraws what was not posted, and ends every wait', async () => {
    const { nic, kernel, worker, errors } = await openNic();
    worker.completion = 'held';
    const submission = nic.submit(frames(10));
    await turn();
    const accepted = assert.rejects(submission.accepted, { code: 'ERR_VHOST_CLOSED' });
    const drained = assert.rejects(nic.drain(), { code: 'ERR_VHOST_CLOSED' });
    const step = nic.receive().next();
    let closes = 0;
    nic.on('close', () => closes++);
    const closing = nic.close();
    assert.equal(nic.close(), closing, 'idempotent');
    await closing;
    await Promise.all([accepted, drained]);
    assert.deepEqual(await step, { done: true, value: undefined });
    // vhost-net returns every head that is outstanding before the backend is gone.
    assert.deepEqual(await submission.completed, { completed: 8, abandoned: 0, withdrawn: 2 });
    assert.equal(closes, 1);
    assert.deepEqual(errors, []);
    assert.equal(nic.pool.free, nic.pool.count);
    kernel.assertNothingLeft();
  });

  it('stays closed where a device that answers late was just being started', async () => {
    for (const request of ['getFeatures', 'setVringBase', 'setBackend']) {
      const kernel = new FakeKernel();
      const worker = new ModelWorker();
      kernel.attachDevice(worker);
      const device = KernelVhost.open({ kernel });
      let answer = (): void => {};
      let late: Promise<void> | undefined;
      let asked = false;
      const vhost = new Proxy(device, {
        get: (_, name) => {
          const value: unknown = Reflect.get(device, name, device);
          if (typeof value !== 'function') return value;
          return async (...parameters: unknown[]) => {
            asked ||= name === request;
            if (name === request) await late;
            return value.apply(device, parameters);
          };
        },
      });
      const nic = await Nic.open({ tap: 'tap0', queueSize: 8, vhost, kernel });
      late = new Promise((resolve) => {
        answer = resolve;
      });
      asked = false;
      const swapped = nic.swapBackend({ tap: 'tap1' });
      while (!asked) await turn();
      const closing = nic.close();
      answer();
      while (!(await settled(closing)))
        assert.throws(() => nic.trySend(frames(1)[0]!), { code: 'ERR_VHOST_CLOSED' });
      await closing;
      await swapped;
      assert.throws(() => nic.trySend(frames(1)[0]!), { code: 'ERR_VHOST_CLOSED' }, request);
      await assert.rejects(nic.tx.ready(), { code: 'ERR_VHOST_CLOSED' });
      assert.equal(nic.pool.free, nic.pool.count);
      kernel.assertNothingLeft();
    }
  });

  it('is what it takes to unmap memory that the device reaches', async () => {
    const { nic, kernel, worker } = await openNic();
    worker.completion = 'held';
    const submission = nic.submit(frames(2));
    await turn();
    const [region] = nic.memory.regions;
    assert.throws(() => region!.unmap(), { code: 'ERR_VHOST_IN_USE' });
    assert.throws(() => nic.memory.removeRegion(region!), { code: 'ERR_VHOST_IN_USE' });
    assert.throws(() => nic.memory.close(), { code: 'ERR_VHOST_IN_USE' });
    assert.throws(() => nic.pool.close(), { code: 'ERR_VHOST_IN_USE' });
    await assert.rejects(nic.memory.hotRemove(region!), { code: 'ERR_VHOST_IN_USE' });
    worker.complete(...worker.held);
    assert.equal((await submission.completed).completed, 2);
    await nic.close();
    assert.equal(region!.bytes.length, 0);
    kernel.assertNothingLeft();
  });

  it('abandons what a device does not return', async () => {
    const { nic, kernel, worker } = await openNic();
    worker.completion = 'held';
    worker.returns = false;
    const submission = nic.submit(frames(3));
    await turn();
    worker.complete(worker.held[1]!);
    await nic.close();
    assert.deepEqual(await submission.completed, { completed: 1, abandoned: 2, withdrawn: 0 });
    assert.deepEqual([...submission.status], [3, 2, 3]);
    assert.equal(nic.pool.free, nic.pool.count);
    kernel.assertNothingLeft();
  });

  it('waits for the device before it lets go of any memory', async () => {
    const { nic, kernel, worker } = await openNic();
    worker.completion = 'held';
    const submission = nic.submit(frames(2));
    await turn();
    let release!: () => void;
    worker.detaching = new Promise((resolve) => {
      release = resolve;
    });
    const closing = nic.close();
    assert.equal(await settled(closing), false);
    assert.equal(kernel.openMappings().length, 1);
    assert.equal(submission.pending, 2, 'nobody says yet how they ended');
    release();
    await closing;
    assert.equal(submission.pending, 0);
    kernel.assertNothingLeft();
  });

  it('waits for the detach of a queue that has failed', async () => {
    const { nic, kernel, worker } = await openNic();
    let release!: () => void;
    worker.detaching = new Promise((resolve) => {
      release = resolve;
    });
    worker.queue(1).error();
    await turn();
    await turn();
    const closing = nic.close();
    assert.equal(await settled(closing), false);
    release();
    await closing;
    kernel.assertNothingLeft();
  });

  it('refuses everything afterwards', async () => {
    const { nic, kernel } = await openNic();
    await nic.close();
    assert.equal(nic.closed, true);
    const closed = { code: 'ERR_VHOST_CLOSED', message: 'the Nic on tap0 is closed' };
    await assert.rejects(nic.send(new Uint8Array(60)), closed);
    assert.throws(() => nic.trySend(new Uint8Array(60)), closed);
    assert.throws(() => nic.submit([new Uint8Array(60)]), closed);
    await assert.rejects(nic.receive().next(), closed);
    await assert.rejects(nic.drain(), closed);
    await assert.rejects(nic.attach(), closed);
    await assert.rejects(nic.detach(), closed);
    await assert.rejects(nic.startDirtyLog(), closed);
    nic.ref().unref();
    assert.equal(nic.stats().transmit.inFlight, 0);
    assert.equal(nic.pool.bytes.length, 0, 'its memory is detached, not dangling');
    kernel.assertNothingLeft();
  });

  it('refuses everything afterwards at the ring tier too', async () => {
    const { nic, kernel } = await openNic();
    const { tx, rx, pool } = nic;
    const [unposted, posted] = [pool.lease(), pool.lease()];
    for (const buffer of [unposted, posted]) {
      pool.bytes.fill(0, pool.offset(buffer), pool.offset(buffer) + 72);
      pool.length[buffer] = 72;
    }
    tx.post(posted);
    await nic.close();
    const uses: readonly (() => unknown)[] = [
      () => pool.lease(),
      () => tx.post(unposted),
      () => tx.flush(),
      () => tx.reap(),
      () => rx.refill(),
      () => rx.reap(),
      () => tx.ring.reapable,
      () => tx.ring.enableCalls(),
      () => tx.ring.disableCalls(),
      () => rx.ring.wantsMore,
    ];
    for (const use of uses) assert.throws(use, { code: 'ERR_VHOST_CLOSED' }, String(use));
    for (const queue of [tx, rx]) await assert.rejects(queue.ready(), { code: 'ERR_VHOST_CLOSED' });
    pool.release(unposted);
    assert.equal(pool.free, pool.count);
    kernel.assertNothingLeft();
  });

  it('refuses to post where only the rings are gone, and the buffers are shared', async () => {
    const { nic: owner, kernel } = await openNic();
    const { nic } = await openNic({ tap: 'tap1', shared: owner }, kernel);
    const { pool } = owner;
    const buffer = pool.lease();
    pool.bytes.fill(0, pool.offset(buffer), pool.offset(buffer) + 72);
    pool.length[buffer] = 72;
    await nic.close();
    assert.throws(() => nic.tx.post(buffer), { code: 'ERR_VHOST_CLOSED' });
    pool.release(buffer);
    await owner.close();
    kernel.assertNothingLeft();
  });

  it('stays closed where it was being attached', async () => {
    const { nic, kernel } = await openNic();
    const attaching = nic.attach().catch(() => {});
    const closing = nic.close();
    await attaching;
    assert.throws(() => nic.trySend(new Uint8Array(60)), { code: 'ERR_VHOST_CLOSED' });
    await closing;
    assert.throws(() => nic.trySend(new Uint8Array(60)), { code: 'ERR_VHOST_CLOSED' });
    await assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_CLOSED' });
    kernel.assertNothingLeft();
  });

  it('closes with `await using`, and holds the loop only while it is asked to', async () => {
    const { nic, kernel } = await openNic();
    // Calls and errors of two queues; the watch on the interface holds no loop.
    assert.equal(kernel.openPollers().filter(({ referenced }) => referenced).length, 4);
    nic.unref();
    assert.ok(kernel.openPollers().every(({ referenced }) => !referenced));
    nic.ref();
    assert.equal(kernel.openPollers().filter(({ referenced }) => referenced).length, 4);
    await nic[Symbol.asyncDispose]();
    kernel.assertNothingLeft();
  });

  it('leaves batches that are kept to be released, without their bytes', async () => {
    const { nic, kernel, worker } = await openNic();
    worker.receive(numberedFrame(1, 60));
    const { value: batch } = await nic.receive().next();
    batch!.keep();
    await nic.close();
    assert.equal(nic.pool.free, nic.pool.count - 1);
    assert.throws(() => batch!.frame(0), { code: 'ERR_VHOST_CLOSED' });
    assert.throws(() => batch!.header(0), { code: 'ERR_VHOST_CLOSED' });
    batch!.release();
    assert.equal(nic.pool.free, nic.pool.count);
    kernel.assertNothingLeft();
  });
});
