import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Loss } from '../../../lib/net/nic.js';
import { type NicOnFake, openNic, settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

/** Long enough that only a device that returns everything ends the wait. */
const LONG = 2 ** 31 - 1;

function frames(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => numberedFrame(i, 60));
}

describe('Nic.reclaim', () => {
  let on: NicOnFake;
  let losses: Loss[];

  beforeEach(async () => {
    on = await openNic();
    losses = [];
    on.nic.on('lost', (loss) => losses.push(loss));
  });
  afterEach(async () => {
    const { nic, kernel, errors } = on;
    await nic.close();
    assert.equal(nic.pool.free, nic.pool.count);
    assert.deepEqual(errors, []);
    kernel.assertNothingLeft();
  });

  it('resolves as soon as what was in flight is done, whatever was posted since', async () => {
    const { nic, worker } = on;
    worker.completion = 'held';
    nic.submit(frames(2));
    await turn();
    const reclaimed = nic.reclaim({ deadline: LONG });
    nic.submit(frames(2));
    await turn();
    const [first, second, third] = worker.held;
    worker.complete(second!, third!);
    assert.equal(await settled(reclaimed), false);
    worker.complete(first!);
    assert.deepEqual(await reclaimed, { lost: 0, abandoned: 0 });
    assert.equal(nic.stats().transmit.inFlight, 1);
    worker.complete(...worker.held);
  });

  it('takes back what the device never returns, tells of it, and leaves the rest posted', async () => {
    const { nic, worker } = on;
    const published: unknown[] = [];
    const note = (message: unknown): void => void published.push(message);
    subscribe('vhost-net:queue:lost', note);
    worker.completion = 'held';
    worker.returns = false;
    const taken = nic.submit(frames(3));
    await turn();
    worker.complete(worker.held[1]!);
    worker.completion = 'asleep';
    const waiting = nic.submit(frames(2));
    const reclaimed = nic.reclaim({ deadline: 5 });
    worker.detaching = turn().then(() => {
      worker.completion = 'copied';
    });
    assert.deepEqual(await reclaimed, { lost: 2, abandoned: 2 });
    unsubscribe('vhost-net:queue:lost', note);
    assert.deepEqual(await taken.completed, { completed: 1, abandoned: 2, withdrawn: 0 });
    assert.deepEqual(await waiting.completed, { completed: 2, abandoned: 0, withdrawn: 0 });
    assert.deepEqual(losses, [{ pair: 0, queue: 1, count: 2 }]);
    assert.deepEqual(published, [{ nic, pair: 0, queue: 1, count: 2 }]);
    const { submitted, completed, abandoned, lost } = nic.stats().transmit;
    assert.deepEqual([submitted, completed, abandoned, lost], [5, 3, 2, 2]);
  });

  it('gives up what the device does not even take, where it is told to', async () => {
    const { nic, worker } = on;
    worker.completion = 'asleep';
    const stuck = nic.submit(frames(4));
    assert.deepEqual(await nic.reclaim({ deadline: 5, untaken: 'keep' }), { lost: 0, abandoned: 0 });
    assert.equal(stuck.pending, 4);
    assert.deepEqual(await nic.reclaim({ deadline: 5, untaken: 'abandon' }), { lost: 0, abandoned: 4 });
    assert.equal(stuck.result.abandoned, 4);
    worker.completion = 'copied';
    await nic.submit(frames(2)).completed;
    assert.deepEqual(losses, []);
  });

  it('finds receive buffers as well, though nothing is sent', async () => {
    const { nic, worker } = on;
    worker.model(0).take();
    worker.queue(0).base = worker.model(0).availableIndex;
    assert.deepEqual(await nic.reclaim({ deadline: 5 }), { lost: 1, abandoned: 0 });
    await turn();
    assert.deepEqual(losses, [{ pair: 0, queue: 0, count: 1 }]);
    assert.equal(nic.stats().receive.lost, 1);
    assert.equal(nic.rx.ring.inFlight, 8, 'the ring is full again');
  });

  it('waits for receive buffers of a frame that is just coming', async () => {
    const { nic, worker } = on;
    const model = worker.model(0);
    const chain = model.take()!;
    worker.queue(0).base = model.availableIndex;
    const reclaimed = nic.reclaim({ deadline: LONG });
    assert.equal(await settled(reclaimed), false);
    model.complete(chain.head, 72);
    model.publish();
    assert.deepEqual(await reclaimed, { lost: 0, abandoned: 0 });
    assert.deepEqual(losses, []);
  });

  it('has nothing to wait for where no buffer is taken', async () => {
    const { nic, worker } = on;
    worker.receive(...frames(3));
    assert.deepEqual(await nic.reclaim({ deadline: LONG }), { lost: 0, abandoned: 0 });
    await nic.detach();
    assert.deepEqual(await nic.reclaim({ deadline: LONG }), { lost: 0, abandoned: 0 });
  });

  it('ends with the signal, with an error of the queue and with the Nic; a Nic that is detached stays so', async () => {
    const { nic, worker } = on;
    worker.completion = 'asleep';
    nic.submit(frames(1));
    const abort = new AbortController();
    const aborted = nic.reclaim({ deadline: LONG, signal: abort.signal });
    abort.abort(new Error('enough'));
    await assert.rejects(aborted, { message: 'enough' });
    await nic.detach();
    assert.deepEqual(await nic.reclaim({ deadline: 1 }), { lost: 0, abandoned: 0 });
    assert.throws(() => worker.model(1), /queue 1 runs/);
    const closed = nic.reclaim({ deadline: LONG });
    void nic.close();
    await assert.rejects(closed, { code: 'ERR_VHOST_CLOSED' });
  });

  it('refuses a deadline and a choice that are none', async () => {
    const { nic } = on;
    await assert.rejects(nic.reclaim({ deadline: -1 }), { message: /^deadline must be a whole number/ });
    await assert.rejects(nic.reclaim({} as never), { message: /^deadline must be a number/ });
    await assert.rejects(nic.reclaim({ deadline: 1, untaken: 'drop' as never }), {
      message: /^untaken must be 'keep' or 'abandon'/,
    });
    await assert.rejects(nic.reclaim({ deadlin: 1 } as never), { message: /did you mean "deadline"/ });
  });
});
