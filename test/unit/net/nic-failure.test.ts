import assert from 'node:assert/strict';
import type { Nic } from '../../../lib/net/nic.js';
import type { FakeKernel } from '../../support/fake-kernel.js';
import type { ModelWorker } from '../../support/model-worker.js';
import { openNic, settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

const frame = (): Uint8Array => numberedFrame(1, 60);

describe('Nic: a queue that fails', () => {
  let nic: Nic;
  let kernel: FakeKernel;
  let worker: ModelWorker;
  let errors: Error[];

  beforeEach(async () => {
    ({ nic, kernel, worker, errors } = await openNic());
  });
  afterEach(async () => {
    await nic.close();
    assert.equal(nic.pool.free, nic.pool.count);
    kernel.assertNothingLeft();
  });

  async function sends(): Promise<void> {
    const before = worker.sent.length;
    await nic.send(frame());
    await nic.drain();
    assert.equal(worker.sent.length, before + 1);
  }

  async function receives(): Promise<void> {
    worker.receive(frame());
    for await (const batch of nic.receive()) {
      assert.equal(batch.length, 1);
      break;
    }
  }

  it('transmission stops on an error of the device; reception goes on', async () => {
    worker.completion = 'held';
    worker.returns = false;
    const submission = nic.submit(Array.from({ length: 10 }, frame));
    const refused = assert.rejects(submission.accepted, { code: 'ERR_VHOST_QUEUE_ERROR' });
    const drained = assert.rejects(nic.drain(), { code: 'ERR_VHOST_QUEUE_ERROR' });
    await turn();
    worker.queue(1).error();
    await refused;
    await drained;
    assert.deepEqual(await submission.completed, { completed: 0, abandoned: 8, withdrawn: 2 });
    for (let i = 0; i < 6; i++) await turn();
    const [error] = errors as (Error & { code: string; queue: number })[];
    assert.equal(errors.length, 1);
    assert.equal(error!.code, 'ERR_VHOST_QUEUE_ERROR');
    assert.equal(error!.queue, 1);
    await assert.rejects(nic.send(frame()), error);
    assert.throws(() => nic.trySend(frame()), error);
    assert.deepEqual(nic.stats().transmit.errors, { ERR_VHOST_QUEUE_ERROR: 1 });
    assert.deepEqual(nic.stats().receive.errors, {});
    await receives();
  });

  it('reception stops on an error of the device; transmission goes on', async () => {
    const step = assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_QUEUE_ERROR', queue: 0 });
    await turn();
    worker.queue(0).error();
    await step;
    await assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_QUEUE_ERROR' });
    await sends();
    assert.equal(errors.length, 1);
    assert.equal(nic.rx.ledger.inFlight, 0, 'its buffers are back');
  });

  it('both stop where the interface is gone', async () => {
    const step = assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_BACKEND_GONE' });
    await turn();
    kernel.interfaces.remove('tap0');
    worker.queue(1).error();
    await step;
    await assert.rejects(nic.send(frame()), {
      code: 'ERR_VHOST_BACKEND_GONE',
      message: 'the interface tap0 is gone',
    });
    for (let i = 0; i < 6; i++) await turn();
    assert.equal(errors.length, 1, 'it is told once');
  });

  it('both stop where the interface goes while nothing is sent, and not where another one does', async () => {
    kernel.interfaces.add('ether', 'other');
    kernel.interfaces.remove('other');
    await turn();
    await sends();
    const step = assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_BACKEND_GONE' });
    await turn();
    kernel.interfaces.remove('tap0');
    await step;
    for (let i = 0; i < 6; i++) await turn();
    assert.equal(errors.length, 1);
  });

  it('transmission stops at a lie in its ring; reception goes on', async () => {
    worker.completion = 'held';
    const submission = nic.submit([frame(), frame()]);
    await turn();
    worker.model(1).lieTwice(worker.held[0]!);
    worker.call(1);
    // Whoever drains finds it, before the call comes.
    await assert.rejects(nic.drain(), { code: 'ERR_VHOST_RING_CORRUPT', queue: 1 });
    const { completed, abandoned } = await submission.completed;
    assert.equal(completed + abandoned, 2);
    assert.ok(completed >= 1);
    await receives();
    for (let i = 0; i < 6; i++) await turn();
    assert.equal(errors.length, 1);
  });

  it('a lie that comes without a call is found by the next who sends', async () => {
    worker.completion = 'held';
    nic.submit(Array.from({ length: 8 }, frame));
    await turn();
    worker.model(1).lieIndexJump(1000);
    const waiting = nic.send(frame());
    await assert.rejects(waiting, { code: 'ERR_VHOST_RING_CORRUPT' });
    await receives();

    await nic.attach();
    await turn();
    for (let i = 0; i < 8; i++) assert.equal(nic.trySend(frame()), true);
    await turn();
    worker.model(1).lieIndexJump(1000);
    assert.equal(nic.trySend(frame()), false);
    assert.throws(() => nic.trySend(frame()), { code: 'ERR_VHOST_RING_CORRUPT' });
  });

  it('a lie that the ring tier finds is told as any other', async () => {
    worker.completion = 'held';
    nic.submit(Array.from({ length: 8 }, frame));
    await turn();
    worker.model(1).lieIndexJump(1000);
    assert.equal(nic.tx.reap(), 0);
    worker.model(0).lieOutOfRange();
    assert.equal(nic.rx.reap(), 0);
    for (const queue of [nic.tx, nic.rx])
      await assert.rejects(queue.ready(), { code: 'ERR_VHOST_RING_CORRUPT' });
    for (let i = 0; i < 6; i++) await turn();
    assert.deepEqual(
      errors.map((error) => (error as { queue?: number }).queue),
      [1, 0],
    );
    assert.deepEqual(nic.stats().transmit.errors, { ERR_VHOST_RING_CORRUPT: 1 });
    assert.deepEqual(nic.stats().receive.errors, { ERR_VHOST_RING_CORRUPT: 1 });
    // The queues are stopped and sound; that nothing is to be waited for holds until they run again.
    for (const queue of [nic.tx, nic.rx])
      await assert.rejects(queue.ready(), { code: 'ERR_VHOST_RING_CORRUPT' });
    await assert.rejects(nic.send(frame()), { code: 'ERR_VHOST_RING_CORRUPT' });

    await nic.attach();
    worker.completion = 'copied';
    await sends();
    await receives();
  });

  it('reception stops at a lie in its ring, and gives out what came before it', async () => {
    worker.receive(frame());
    worker.model(0).lieOutOfRange();
    worker.queue(0).call();
    const iteration = nic.receive();
    assert.equal((await iteration.next()).value!.length, 1);
    await assert.rejects(iteration.next(), { code: 'ERR_VHOST_RING_CORRUPT', queue: 0 });
    await sends();
    for (let i = 0; i < 6; i++) await turn();
    assert.equal(errors.length, 1);
  });

  it('reception stops at a frame that cannot be', async () => {
    const { model, queue } = { model: worker.model(0), queue: worker.queue(0) };
    const step = assert.rejects(nic.receive().next(), {
      code: 'ERR_VHOST_RING_CORRUPT',
      message: /^the device gave a frame of 5 bytes/,
    });
    await turn();
    model.use(model.take()!.head, 5);
    queue.call();
    await step;
    await sends();
  });

  it('starts again with attach', async () => {
    worker.queue(0).error();
    worker.queue(1).error();
    for (let i = 0; i < 6; i++) await turn();
    await assert.rejects(nic.send(frame()), { code: 'ERR_VHOST_QUEUE_ERROR' });
    await nic.attach();
    await sends();
    await receives();
    assert.equal(errors.length, 2);
  });

  it('tells of it where nobody listens: as an error that nobody caught', async () => {
    nic.removeAllListeners('error');
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    try {
      const uncaught = new Promise<unknown>((resolve) => process.once('uncaughtException', resolve));
      worker.queue(1).error();
      assert.equal(((await uncaught) as { code?: string }).code, 'ERR_VHOST_QUEUE_ERROR');
    } finally {
      for (const listener of listeners) process.on('uncaughtException', listener);
    }
  });

  it('goes on even where the kernel refuses to stop it', async () => {
    kernel.failOn('vhost.netDetachBackend', 'EIO');
    worker.queue(1).error();
    for (let i = 0; i < 6; i++) await turn();
    assert.deepEqual(
      errors.map((error) => (error as { code?: string }).code).sort(),
      ['EIO', 'ERR_VHOST_QUEUE_ERROR'],
      'both are told',
    );
    await receives();
    await nic.close();
  });

  it('swallows nothing that waits elsewhere', async () => {
    const controller = new AbortController();
    const waiting = nic.receive({ signal: controller.signal }).next();
    worker.queue(1).error();
    assert.equal(await settled(waiting), false);
    controller.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
  });
});
