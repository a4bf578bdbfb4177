import assert from 'node:assert/strict';
import { openTap } from '../../../lib/backend/tap.js';
import { flowHash } from '../../../lib/net/flow.js';
import { Nic } from '../../../lib/net/nic.js';
import type { NicOptions } from '../../../lib/net/nic-open.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import type { ModelWorker } from '../../support/model-worker.js';
import { ModelWorkers } from '../../support/model-workers.js';
import { settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

/** A frame of some UDP flow. */
function flowFrame(flow: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set([0x08, 0x00, 0x45], 12);
  frame[23] = 17;
  frame.set([10, 0, 0, 1, 10, 0, 0, 2, flow >> 8, flow & 0xff, 0, 7], 26);
  return frame;
}

/** The first flow after `from` that belongs on a pair. */
function flowOn(pair: number, pairs: number, from = 0): number {
  for (let flow = from; ; flow++) if (flowHash(flowFrame(flow)) % pairs === pair) return flow;
}

describe('Nic with queue pairs', () => {
  let nic: Nic;
  let kernel: FakeKernel;
  let workers: ModelWorkers;
  let errors: (Error & { code?: string; pair?: number; queue?: number })[];

  async function open(options: Partial<NicOptions> = {}): Promise<void> {
    nic = await Nic.open({ tap: 'tap0', queueSize: 8, queuePairs: 3, ...options, kernel });
    nic.on('error', (error) => errors.push(error));
  }

  beforeEach(() => {
    kernel = new FakeKernel();
    workers = new ModelWorkers();
    kernel.attachDevice(workers);
    errors = [];
  });
  afterEach(async () => {
    await nic.close();
    for (const { tx, rx } of nic.pairs) assert.equal(tx.ledger.inFlight + rx.ledger.inFlight, 0);
    assert.equal(nic.pool.free, nic.pool.count);
    kernel.assertNothingLeft();
  });

  const worker = (pair: number): ModelWorker => workers.all[pair]!;
  const sent = (): number[] => workers.all.map((each) => each.sent.length);
  const tapQueues = (): number => kernel.tun.state('tap0')!.queues.size;

  it('opens a device and a queue of one tap for each', async () => {
    await open();
    assert.equal(nic.pairs.length, 3);
    assert.deepEqual(
      nic.pairs.map(({ index, enabled }) => [index, enabled]),
      [0, 1, 2].map((index) => [index, true]),
    );
    assert.equal(nic.pairs[0]!.tx, nic.tx);
    assert.equal(nic.pairs[0]!.rx, nic.rx);
    assert.equal(workers.all.length, 3);
    assert.equal(tapQueues(), 3);
    assert.equal(nic.backend.queues.length, 3);
    assert.equal(new Set(nic.backend.queues).size, 3);
    assert.equal(nic.backend.fd, nic.backend.queues[0]);
    const attached = kernel.calls
      .filter(({ name }) => name === 'vhost.netSetBackend')
      .map(({ args }) => args[2]);
    assert.deepEqual(
      attached,
      nic.backend.queues.flatMap((fd) => [fd, fd]),
    );
  });

  it('is one pair unless told, whose tap is not for several', async () => {
    await open({ queuePairs: 1 });
    assert.equal(nic.pairs.length, 1);
    const [, , flags] = kernel.calls.find(({ name }) => name === 'tun.setIff')!.args;
    assert.equal((flags as number) & 0x0100, 0, 'IFF_MULTI_QUEUE');
    await assert.rejects(nic.pairs[0]!.disable(), { code: 'ERR_VHOST_UNSUPPORTED', pair: 0 });
    await nic.send(flowFrame(1));
    await nic.drain();
    assert.deepEqual(sent(), [1], 'it goes on where it cannot be taken out');
  });

  it('keeps a flow to a pair and spreads many over all', async () => {
    await open();
    for (let round = 0; round < 3; round++)
      for (let flow = 0; flow < 64; flow++) {
        await nic.send(flowFrame(flow));
        await nic.drain();
      }
    assert.ok(
      sent().every((count) => count > 30),
      `${sent()}`,
    );
    for (const [pair, { sent: frames }] of workers.all.entries())
      for (const { frame } of frames) assert.equal(flowHash(frame) % 3, pair);
    const submission = nic.submit([flowFrame(flowOn(2, 3)), flowFrame(flowOn(0, 3))]);
    const before = sent();
    assert.deepEqual(await submission.completed, { completed: 2, abandoned: 0, withdrawn: 0 });
    assert.deepEqual(sent(), [before[0], before[1], before[2]! + 2], 'what is submitted together stays so');
    assert.equal(nic.trySend(flowFrame(flowOn(1, 3))), true);
    await nic.drain();
    assert.equal(sent()[1], before[1]! + 1);
  });

  it('sends on the pair that it is told to, in both tiers', async () => {
    await open();
    await nic.pairs[2]!.send(flowFrame(flowOn(0, 3)));
    assert.equal(nic.pairs[1]!.trySend(flowFrame(flowOn(0, 3))), true);
    await nic.pairs[1]!.submit([flowFrame(0), flowFrame(1)]).completed;
    await nic.pairs[2]!.drain();
    assert.deepEqual(sent(), [0, 3, 1]);
    const { tx } = nic.pairs[0]!;
    const buffer = nic.pool.lease();
    nic.pool.bytes.fill(0, nic.pool.offset(buffer), nic.pool.offset(buffer) + 72);
    nic.pool.length[buffer] = 72;
    assert.notEqual(tx.post(buffer), -1);
    tx.flush();
    await turn();
    await turn();
    assert.equal(tx.reap(), 1);
    assert.deepEqual(sent(), [1, 3, 1]);
  });

  it('is full on one pair while the others take frames', async () => {
    await open();
    worker(0).completion = 'held';
    const waiting = nic.pairs[0]!.submit(Array.from({ length: 9 }, () => flowFrame(flowOn(0, 3))));
    await assert.rejects(nic.send(flowFrame(flowOn(0, 3))), { code: 'ERR_VHOST_QUEUE_FULL' });
    await nic.send(flowFrame(flowOn(1, 3)));
    await turn();
    worker(0).complete(...worker(0).held);
    worker(0).completion = 'copied';
    await waiting.completed;
  });

  it('receives from all pairs in turn, and from one alone', async () => {
    await open();
    for (const [pair, each] of workers.all.entries())
      each.receive(...Array.from({ length: 5 }, (_, i) => numberedFrame(10 * pair + i, 60)));
    const found: number[] = [];
    for await (const batch of nic.receive({ limit: 2 })) {
      for (const frame of batch) found.push(new DataView(frame.buffer, frame.byteOffset).getUint32(0));
      if (found.length === 15) break;
    }
    assert.deepEqual(found.slice(0, 6), [0, 1, 10, 11, 20, 21], 'each has its turn');
    assert.equal(new Set(found).size, 15);

    const alone = nic.pairs[1]!.receive();
    const step = alone.next();
    await turn();
    await assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_IN_USE' });
    worker(0).receive(numberedFrame(1, 60));
    assert.equal(await settled(step), false);
    worker(1).receive(numberedFrame(2, 60));
    const { value } = await step;
    assert.deepEqual(value!.frame(0), numberedFrame(2, 60));
    await alone.return();
  });

  it('wakes an iteration over all whichever pair has a frame', async () => {
    await open();
    const iteration = nic.receive();
    for (const pair of [2, 0, 1, 1]) {
      const step = iteration.next();
      assert.equal(await settled(step), false);
      worker(pair).receive(numberedFrame(pair, 60));
      const { value } = await step;
      assert.deepEqual(value!.frame(0), numberedFrame(pair, 60));
    }
    const step = iteration.next();
    await turn();
    await nic.close();
    assert.deepEqual(await step, { done: true, value: undefined });
  });

  it('looks at the rings of all pairs before it sleeps, where it is told to', async () => {
    await open({ busyPoll: { driver: 1_000_000 } });
    const iteration = nic.receive();
    const step = iteration.next();
    // The device answers without a call, which nobody asked it for.
    worker(1).receive(numberedFrame(4, 60));
    assert.deepEqual((await step).value!.frame(0), numberedFrame(4, 60));
    await iteration.return();
  });

  it('ends a round over all pairs at one budget', async () => {
    await open({ budget: { frames: 4 } });
    for (const each of workers.all) each.receive(...Array.from({ length: 4 }, () => numberedFrame(1, 60)));
    let others = 0;
    const tick = (): void => {
      others++;
      if (!nic.closed) setImmediate(tick);
    };
    setImmediate(tick);
    let received = 0;
    for await (const batch of nic.receive()) {
      received += batch.length;
      if (received === 12) break;
    }
    assert.ok(others >= 2, 'the loop had its turn between');
  });

  it('counts each pair and sums them', async () => {
    await open();
    await nic.pairs[0]!.submit([flowFrame(1)]).completed;
    await nic.pairs[2]!.submit([flowFrame(1), flowFrame(2)]).completed;
    worker(1).receive(numberedFrame(1, 60));
    for await (const batch of nic.receive()) {
      assert.equal(batch.length, 1);
      break;
    }
    const stats = nic.stats();
    assert.deepEqual(
      stats.pairs.map(({ receive, transmit }) => [receive.frames, transmit.completed, transmit.size]),
      [
        [0, 1, 8],
        [1, 0, 8],
        [0, 2, 8],
      ],
    );
    assert.deepEqual([stats.receive.frames, stats.transmit.completed, stats.transmit.size], [1, 3, 24]);
    assert.deepEqual([stats.receive.submitted, stats.transmit.inFlight], [25, 0]);
    assert.equal(stats.transmit.latency.count, 2);
    assert.ok(stats.transmit.latency.p99 >= stats.transmit.latency.min);
    assert.equal(stats.transmit.batchSizes[0], 1);
    assert.equal(stats.transmit.batchSizes[1], 1);
    assert.deepEqual(nic.pairs[2]!.stats(), stats.pairs[2]);
    assert.deepEqual(JSON.parse(JSON.stringify(stats)), stats);
  });

  it('goes on with the other pairs where one fails, and says which', async () => {
    await open();
    const iteration = nic.receive();
    const step = iteration.next();
    await turn();
    worker(1).queue(0).error();
    worker(1).queue(1).error();
    for (let i = 0; i < 8; i++) await turn();
    assert.deepEqual(
      errors.map(({ code, pair, queue, message }) => [code, pair, queue, message]),
      [0, 1].map((queue) => [
        'ERR_VHOST_QUEUE_ERROR',
        1,
        queue,
        `the device stopped on an error in queue ${queue} of pair 1`,
      ]),
    );
    assert.equal(await settled(step), false, 'the iteration over all goes on');
    worker(2).receive(numberedFrame(2, 60));
    assert.deepEqual((await step).value!.frame(0), numberedFrame(2, 60));
    await iteration.return();
    await assert.rejects(nic.pairs[1]!.send(flowFrame(1)), { code: 'ERR_VHOST_QUEUE_ERROR', pair: 1 });
    await assert.rejects(nic.pairs[1]!.receive().next(), { code: 'ERR_VHOST_QUEUE_ERROR', pair: 1 });
    for (let flow = 0; flow < 16; flow++) {
      await nic.send(flowFrame(flow));
      await nic.pairs[0]!.drain();
      await nic.pairs[2]!.drain();
    }
    assert.equal(sent()[0]! + sent()[2]!, 16);
    assert.deepEqual(
      nic.stats().pairs.map(({ transmit }) => transmit.errors),
      [{}, { ERR_VHOST_QUEUE_ERROR: 1 }, {}],
    );
    assert.deepEqual(nic.stats().transmit.errors, { ERR_VHOST_QUEUE_ERROR: 1 });

    await nic.pairs[1]!.enable();
    await nic.pairs[1]!.submit([flowFrame(1)]).completed;
    worker(1).receive(numberedFrame(7, 60));
    for await (const batch of nic.receive()) {
      assert.deepEqual(batch.frame(0), numberedFrame(7, 60));
      break;
    }
  });

  it('throws from an iteration over all, and from send, where every pair failed', async () => {
    await open();
    const step = assert.rejects(nic.receive().next(), { code: 'ERR_VHOST_QUEUE_ERROR', queue: 0 });
    await turn();
    for (const each of workers.all) for (const queue of [0, 1]) each.queue(queue).error();
    await step;
    await turn();
    await assert.rejects(nic.send(flowFrame(1)), { code: 'ERR_VHOST_QUEUE_ERROR', queue: 1 });
  });

  it('stops all pairs where the interface is gone, and tells of it once', async () => {
    await open();
    kernel.interfaces.remove('tap0');
    for (let i = 0; i < 8; i++) await turn();
    assert.deepEqual(
      errors.map(({ code }) => code),
      ['ERR_VHOST_BACKEND_GONE'],
    );
    for (const pair of nic.pairs)
      await assert.rejects(pair.send(flowFrame(1)), { code: 'ERR_VHOST_BACKEND_GONE' });
  });

  it('takes a pair out once its frames are done, and in again', async () => {
    await open();
    worker(1).completion = 'held';
    const pair = nic.pairs[1]!;
    const submission = pair.submit(Array.from({ length: 12 }, (_, i) => flowFrame(i)));
    await turn();
    const disabling = pair.disable();
    assert.equal(await settled(disabling), false, 'twelve frames are not done');
    assert.equal(pair.enabled, false);
    await assert.rejects(pair.send(flowFrame(1)), { code: 'ERR_VHOST_DISABLED' });
    assert.throws(() => pair.trySend(flowFrame(1)), { code: 'ERR_VHOST_DISABLED' });
    await nic.send(flowFrame(flowOn(1, 3)));
    assert.equal(worker(1).sent.length, 8, 'its flows go by the others');
    worker(1).receive(numberedFrame(5, 60));
    worker(1).completion = 'copied';
    worker(1).complete(...worker(1).held);
    await disabling;
    assert.deepEqual(await submission.completed, { completed: 12, abandoned: 0, withdrawn: 0 });
    assert.equal(tapQueues(), 2);
    for await (const batch of nic.receive()) {
      assert.deepEqual(batch.frame(0), numberedFrame(5, 60), 'what was received stays');
      break;
    }
    await pair.disable();

    await pair.enable();
    await pair.enable();
    assert.equal(tapQueues(), 3);
    assert.equal(pair.enabled, true);
    await pair.submit([flowFrame(1)]).completed;
    worker(1).receive(numberedFrame(6, 60));
    for await (const batch of pair.receive()) {
      assert.deepEqual(batch.frame(0), numberedFrame(6, 60));
      break;
    }
    assert.equal(pair.rx.ledger.abandoned, 0);
  });

  it('leaves a pair in where the wait is aborted or the kernel refuses', async () => {
    await open();
    const pair = nic.pairs[1]!;
    worker(1).completion = 'held';
    pair.submit([flowFrame(1)]);
    const controller = new AbortController();
    const aborted = pair.disable({ signal: controller.signal });
    await turn();
    controller.abort();
    await assert.rejects(aborted, { name: 'AbortError' });
    assert.equal(pair.enabled, true);
    await turn();
    worker(1).complete(...worker(1).held);
    worker(1).completion = 'copied';

    kernel.failOn('tun.setQueue', 'EINVAL');
    await assert.rejects(pair.disable(), { code: 'EINVAL', request: 'TUNSETQUEUE', pair: 1 });
    await pair.submit([flowFrame(1)]).completed;
    await pair.disable();
    for (const name of ['tun.setQueue', 'vhost.setVringBase', 'vhost.netSetBackend']) {
      kernel.failOn(name, 'ENOMEM');
      await assert.rejects(pair.enable(), { code: 'ENOMEM', pair: 1 });
      assert.equal(pair.enabled, false);
      assert.equal(tapQueues(), 2);
    }
    await pair.enable();
    await pair.submit([flowFrame(1)]).completed;
  });

  it('refuses to send where every pair is out', async () => {
    await open();
    await Promise.all(nic.pairs.map((pair) => pair.disable()));
    assert.equal(tapQueues(), 0);
    await assert.rejects(nic.send(flowFrame(1)), { code: 'ERR_VHOST_DISABLED' });
    await nic.pairs[2]!.enable();
    await nic.send(flowFrame(1));
    await nic.drain();
    assert.deepEqual(sent(), [0, 0, 1]);
  });

  it('moves all pairs to another backend, and leaves out there what was out before', async () => {
    await open();
    await nic.pairs[0]!.disable();
    await nic.swapBackend({ tap: 'tap1' });
    assert.equal(kernel.interfaces.get('tap0'), undefined);
    assert.equal(kernel.tun.state('tap1')!.queues.size, 2);
    assert.equal(nic.backend.queues.length, 3);
    await nic.pairs[1]!.submit([flowFrame(1)]).completed;
    await nic.detach();
    await nic.pairs[0]!.enable();
    assert.equal(kernel.tun.state('tap1')!.queues.size, 3);
    const submission = nic.pairs[0]!.submit([flowFrame(1)]);
    assert.equal(await settled(submission.completed), false);
    await nic.attach();
    await submission.completed;
    await assert.rejects(nic.swapBackend({ tap: { name: 'tap2', queues: 2 } }), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: /^queuePairs must be the number of queues of its backend, 2; received 3/,
    });
    assert.equal(nic.name, 'tap1');
    await nic.pairs[0]!.submit([flowFrame(1)]).completed;
  });

  it('takes an open backend with as many queues, and devices that are open', async () => {
    const backend = openTap({ name: 'tap5', queues: 2 }, kernel);
    await assert.rejects(Nic.open({ backend, kernel }), {
      message: /^queuePairs must be the number of queues of its backend, 2; received 1/,
    });
    const vhost = [KernelVhost.open({ kernel }), KernelVhost.open({ kernel })];
    nic = await Nic.open({ backend, queuePairs: 2, queueSize: 8, vhost, kernel });
    await nic.pairs[1]!.submit([flowFrame(1)]).completed;
    await nic.close();
    for (const device of vhost) assert.throws(() => device.fd, { code: 'ERR_VHOST_CLOSED' });
    assert.equal(backend.alive(), true);
    backend.close();
    assert.equal(backend.alive(), false);
    assert.equal(backend.fd, -1);
  });

  it('refuses more than one for a backend that has just one queue', async () => {
    await open();
    kernel.interfaces.add('ether', 'eth7');
    const fd = kernel.callersDescriptor('tap');
    for (const options of [{ packet: 'eth7' }, { fd }])
      await assert.rejects(Nic.open({ ...options, queuePairs: 2, kernel }), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: /^queuePairs must be the number of queues of its backend, 1; received 2/,
      });
  });

  it('says in which pair a request was refused', async () => {
    kernel.failOn('vhost.setVringAddr', 'EFAULT', { skip: 3 });
    await assert.rejects(open(), { code: 'EFAULT', request: 'VHOST_SET_VRING_ADDR', queue: 1, pair: 1 });
    await open();
  });

  it('shares the receive buffers out where there are few', async () => {
    await open({ buffers: 12 });
    assert.deepEqual(
      nic.pairs.map(({ rx }) => rx.ledger.inFlight),
      [2, 2, 2],
    );
    await nic.pairs[2]!.submit(Array.from({ length: 8 }, (_, i) => flowFrame(i))).completed;
  });

  it('wakes a pair that waits for buffers when another has given some back', async () => {
    await open({ buffers: 12 });
    worker(0).completion = 'held';
    nic.pairs[0]!.submit(Array.from({ length: 6 }, (_, i) => flowFrame(i)));
    const waiting = nic.pairs[1]!.send(flowFrame(9));
    assert.equal(await settled(waiting), false);
    worker(0).complete(...worker(0).held);
    worker(0).completion = 'copied';
    await waiting;
    await nic.drain();
  });

  it('has one dirty log for all devices', async () => {
    await open();
    const log = await nic.startDirtyLog();
    const bases = kernel.calls.filter(({ name }) => name === 'vhost.setLogBase').map(({ args }) => args[1]);
    assert.deepEqual(bases, [log.address, log.address, log.address]);
    await nic.stopDirtyLog();
    kernel.failOn('vhost.setLogBase', 'EFAULT', { skip: 2 });
    await assert.rejects(nic.startDirtyLog(), { code: 'EFAULT' });
    await nic.startDirtyLog();
  });

  it('tells the worker of each device', async () => {
    await open();
    const found = await Promise.all(nic.pairs.map((pair) => pair.worker()));
    assert.equal(new Set(found.map((each) => each!.pid)).size, 3);
    for (const each of found) assert.match(each!.name, /^vhost-\d+$/);
  });

  it('lets the loop end, or not, with all watches of all pairs', async () => {
    await open();
    const held = (): boolean[] => kernel.openPollers().map(({ referenced }) => referenced);
    nic.unref();
    assert.ok(held().every((each) => !each));
    nic.ref();
    // Those of the queues; the watch on the interfaces holds no loop.
    assert.equal(held().filter((each) => each).length, 12);
  });
});
