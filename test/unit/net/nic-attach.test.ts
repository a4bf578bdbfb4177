import assert from 'node:assert/strict';
import { openTap } from '../../../lib/backend/tap.js';
import type { Nic } from '../../../lib/net/nic.js';
import type { FakeKernel } from '../../support/fake-kernel.js';
import type { ModelWorker } from '../../support/model-worker.js';
import { openNic, settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

function frames(count: number, from = 0): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => numberedFrame(from + i, 60));
}

/** The next frame that is received. */
async function next(nic: Nic): Promise<Uint8Array> {
  for await (const batch of nic.receive({ limit: 1 })) return batch.frame(0).slice();
  throw new Error('nothing was received');
}

function serials(worker: ModelWorker): number[] {
  return worker.sent.map(({ frame }) => new DataView(frame.buffer, frame.byteOffset).getUint32(0));
}

describe('Nic: backends that come and go', () => {
  let nic: Nic;
  let kernel: FakeKernel;
  let worker: ModelWorker;

  beforeEach(async () => {
    ({ nic, kernel, worker } = await openNic({ bufferSize: 16_384 }));
  });
  afterEach(async () => {
    await nic.close();
    assert.equal(nic.pool.free, nic.pool.count);
    kernel.assertNothingLeft();
  });

  it('swaps while traffic runs, and closes the old backend', async () => {
    worker.completion = 'held';
    const before = nic.submit(frames(3));
    await turn();
    await nic.swapBackend({ tap: 'tap1' });
    assert.equal(nic.name, 'tap1');
    assert.equal(kernel.interfaces.get('tap0'), undefined);
    // What was outstanding came back before the old one was gone.
    assert.deepEqual(await before.completed, { completed: 3, abandoned: 0, withdrawn: 0 });
    worker.completion = 'copied';
    const after = nic.submit(frames(3, 3));
    await after.completed;
    assert.deepEqual(serials(worker), [0, 1, 2, 3, 4, 5]);
    worker.receive(numberedFrame(9, 60));
    assert.deepEqual(await next(nic), numberedFrame(9, 60));
  });

  it('resets the device that is to send in another link state, and it alone', async () => {
    const resets = (): number => kernel.calls.filter(({ name }) => name === 'vhost.resetOwner').length;
    await nic.submit(frames(3)).completed;
    await nic.swapBackend({ tap: 'tap1' });
    assert.equal(resets(), 0);
    await nic.startDirtyLog();
    kernel.files.set('/sys/module/vhost_net/parameters/experimental_zcopytx', '1\n');
    await nic.swapBackend({ tap: 'tap2' });
    assert.equal(nic.stats().transmit.linkState, 'async');
    assert.equal(resets(), 1);
    const since = kernel.calls.slice(kernel.calls.findLastIndex(({ name }) => name === 'vhost.resetOwner'));
    for (const name of [
      'setOwner',
      'setFeatures',
      'setMemTable',
      'setLogBase',
      'setVringAddr',
      'setVringBase',
    ])
      assert.ok(
        since.some((call) => call.name === `vhost.${name}`),
        name,
      );
    await nic.submit(frames(3, 3)).completed;
    assert.deepEqual(serials(worker), [0, 1, 2, 3, 4, 5]);
    worker.receive(numberedFrame(9, 60));
    assert.deepEqual(await next(nic), numberedFrame(9, 60));
    kernel.interfaces.add('ether', 'wire');
    await nic.swapBackend({ packet: 'wire' });
    assert.equal(resets(), 2);
    await nic.submit(frames(3, 6)).completed;
  });

  it('resets a device again whose reset was cut short', async () => {
    kernel.files.set('/sys/module/vhost_net/parameters/experimental_zcopytx', '1\n');
    kernel.failOn('vhost.setMemTable', 'ENOMEM', { remaining: 1 });
    await assert.rejects(nic.swapBackend({ tap: 'tap1' }), { code: 'ENOMEM' });
    assert.equal(nic.name, 'tap0');
    await nic.submit(frames(3)).completed;
    assert.deepEqual(serials(worker), [0, 1, 2]);
  });

  it('loses no frame that the old backend had not taken', async () => {
    worker.completion = 'asleep';
    const submission = nic.submit(frames(12));
    await turn();
    assert.equal(worker.sent.length, 0);
    await nic.detach();
    assert.equal(submission.pending, 12);
    assert.equal(await settled(submission.completed), false);
    worker.completion = 'copied';
    await nic.attach({ tap: 'tap1' });
    assert.deepEqual(await submission.completed, { completed: 12, abandoned: 0, withdrawn: 0 });
    assert.deepEqual(
      serials(worker),
      Array.from({ length: 12 }, (_, i) => i),
    );
  });

  it('moves to no backend that would drop what the old one had not taken', async () => {
    worker.completion = 'asleep';
    kernel.interfaces.add('ether', 'wire');
    const long = numberedFrame(0, 9000);
    await nic.swapBackend({ tap: { name: 'tap1', mtu: 9000 } });
    const submission = nic.submit([long]);
    await turn();
    await assert.rejects(nic.swapBackend({ tap: { name: 'tap2', mtu: 1500 } }), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: /at most the MTU 1500 \+ 18 bytes; this has 9000/,
    });
    assert.equal(nic.name, 'tap1');
    worker.completion = 'copied';
    worker.work();
    await submission.completed;

    worker.completion = 'asleep';
    const segment = nic.submit([numberedFrame(1, 4000)], {
      header: { gsoType: 'tcpv4', gsoSize: 1000, needsChecksum: true, csumStart: 34, csumOffset: 16 },
    });
    await turn();
    await assert.rejects(nic.swapBackend({ packet: 'wire' }), { code: 'ERR_VHOST_UNSUPPORTED', queue: 1 });
    assert.equal(nic.name, 'tap1');
    // Unless they are given up.
    await nic.detach();
    assert.equal((await nic.reclaim({ deadline: 0, untaken: 'abandon' })).abandoned, 1);
    assert.equal((await segment.completed).abandoned, 1);
    await nic.attach({ packet: 'wire' });
    worker.completion = 'copied';
    await nic.send(numberedFrame(2, 60));
    await nic.drain();
    assert.deepEqual(serials(worker), [0, 2]);
  });

  it('takes no header for a backend that carries none', async () => {
    kernel.interfaces.add('ether', 'wire');
    await nic.swapBackend({ packet: 'wire' });
    const header = { needsChecksum: true, csumStart: 34, csumOffset: 16 };
    assert.throws(() => nic.trySend(numberedFrame(1, 60), header), {
      name: 'VhostError [ERR_VHOST_UNSUPPORTED]',
      message: /^this backend carries no headers/,
    });
    assert.equal(nic.trySend(numberedFrame(1, 60), { headerLength: 20 }), true);
    await nic.swapBackend({ tap: 'tap1' });
    assert.equal(nic.trySend(numberedFrame(1, 60), header), true);
    await nic.drain();
  });

  it('abandons only what a backend took and never returned', async () => {
    worker.completion = 'held';
    worker.returns = false;
    const first = nic.submit(frames(2));
    await turn();
    worker.completion = 'asleep';
    const second = nic.submit(frames(3, 2));
    await turn();
    worker.complete(worker.held[0]!);
    await nic.detach();
    assert.deepEqual(await first.completed, { completed: 1, abandoned: 1, withdrawn: 0 });
    assert.equal(second.pending, 3);
    worker.completion = 'copied';
    await nic.attach();
    assert.deepEqual(await second.completed, { completed: 3, abandoned: 0, withdrawn: 0 });
    assert.deepEqual(serials(worker), [0, 1, 2, 3, 4]);
  });

  it('receives on into the buffers that were posted before', async () => {
    const posted = nic.rx.ledger.submitted;
    for (let i = 0; i < 5; i++) {
      await nic.swapBackend({ tap: `tap${i + 1}` });
      worker.receive(numberedFrame(i, 60));
      assert.deepEqual(await next(nic), numberedFrame(i, 60));
    }
    assert.equal(nic.rx.ledger.submitted, posted + 5);
    assert.equal(nic.rx.ledger.abandoned, 0);
  });

  it('goes on with the old backend where the new one is refused, at whatever step', async () => {
    const good = await openNic();
    const before = good.kernel.refusable;
    await good.nic.swapBackend({ tap: 'tap1' });
    const count = good.kernel.refusable - before;
    await good.nic.close();
    const names = good.kernel.calls.filter(({ number }) => number > before).map(({ name }) => name);

    for (let n = 1; n <= count; n++) {
      const each = await openNic();
      each.kernel.failAt(before + n, 'EPERM');
      const swapped = await each.nic.swapBackend({ tap: 'tap1' }).then(
        () => true,
        (error: { code?: string }) => {
          assert.equal(error.code, 'EPERM', `call ${n}, ${names[n - 1]}`);
          return false;
        },
      );
      // A close(2) that reports an error comes last: the new backend is in by then.
      const name = swapped || names[n - 1] === 'descriptor.close' ? 'tap1' : 'tap0';
      assert.equal(each.nic.name, name, `call ${n}, ${names[n - 1]}`);
      await each.nic.send(numberedFrame(1, 60));
      await each.nic.drain();
      assert.equal(each.worker.sent.length, 1, `call ${n}, ${names[n - 1]}`);
      each.worker.receive(numberedFrame(2, 60));
      assert.deepEqual(await next(each.nic), numberedFrame(2, 60), `call ${n}, ${names[n - 1]}`);
      await each.nic.close();
      each.kernel.assertNothingLeft();
    }
  });

  it('takes a backend that is open, and leaves it to the caller', async () => {
    const backend = openTap({ name: 'tap7' }, kernel);
    await nic.swapBackend(backend);
    assert.equal(nic.backend, backend);
    await nic.send(numberedFrame(1, 60));
    await nic.swapBackend({ tap: 'tap8' });
    assert.equal(backend.alive(), true);
    backend.close();
  });

  it('agrees anew on who supplies the header', async () => {
    kernel.interfaces.add('ether', 'eth7');
    const supplied = (): bigint => (nic.features >> 27n) & 1n;
    assert.equal(supplied(), 0n);
    await nic.swapBackend({ packet: 'eth7' });
    assert.equal(supplied(), 1n);
    await nic.swapBackend({ packet: { name: 'eth7', offloads: true } });
    assert.equal(supplied(), 0n);
  });

  it('takes the MTU of the new backend', async () => {
    await assert.rejects(nic.send(new Uint8Array(2000)), { code: 'ERR_VHOST_OUT_OF_RANGE' });
    await nic.swapBackend({ tap: { name: 'tap1', mtu: 9000 } });
    await nic.send(new Uint8Array(2000));
    await nic.drain();
  });

  it('one after the other, however many are asked for at once', async () => {
    const swaps = ['tap1', 'tap2', 'tap3'].map((tap) => nic.swapBackend({ tap }));
    await Promise.all(swaps);
    assert.equal(nic.name, 'tap3');
    assert.deepEqual(
      kernel.interfaces.list().map(({ name }) => name),
      ['tap3'],
    );
  });
});

describe('Nic: the dirty log', () => {
  it('is handed to the device, read page by page, and taken back', async () => {
    const { nic, kernel } = await openNic();
    const log = await nic.startDirtyLog();
    await assert.rejects(nic.startDirtyLog(), { code: 'ERR_VHOST_IN_USE' });
    const base = kernel.calls.findLast(({ name }) => name === 'vhost.setLogBase')!;
    assert.equal(base.args[1], log.address);
    const features = kernel.calls.findLast(({ name }) => name === 'vhost.setFeatures')!;
    assert.equal(((features.args[1] as bigint) >> 26n) & 1n, 1n, 'VHOST_F_LOG_ALL');
    const mapping = kernel.openMappings().find(({ address }) => address === log.address)!;
    assert.ok(mapping.size * 8 * 4096 >= nic.memory.end, 'a bit for each page');

    assert.deepEqual(log.take(), []);
    const place = kernel.memory.find(log.address, mapping.size)!;
    const bits = new Uint8Array(place.buffer, place.offset);
    const page = nic.memory.regions[0]!.guestPhysicalAddress / 4096;
    for (const each of [0, page, page + 1, page + 7, page + 8, page + 31])
      bits[each >> 3]! |= 1 << (each & 7);
    assert.deepEqual(log.take(), [
      { guestPhysicalAddress: 0, size: 4096 },
      { guestPhysicalAddress: page * 4096, size: 2 * 4096 },
      { guestPhysicalAddress: (page + 7) * 4096, size: 2 * 4096 },
      { guestPhysicalAddress: (page + 31) * 4096, size: 4096 },
    ]);
    assert.deepEqual(log.take(), [], 'reading clears');

    await nic.stopDirtyLog();
    await nic.stopDirtyLog();
    assert.equal(kernel.openMappings().length, 1);
    await nic.startDirtyLog();
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('leaks nothing wherever the kernel refuses it', async () => {
    const good = await openNic();
    const before = good.kernel.refusable;
    await good.nic.startDirtyLog();
    const count = good.kernel.refusable - before;
    await good.nic.close();
    for (let n = 1; n <= count; n++) {
      const { nic, kernel } = await openNic();
      kernel.failAt(before + n, 'EFAULT');
      await assert.rejects(nic.startDirtyLog(), { code: 'EFAULT' });
      // It can be tried again, and what goes out meanwhile goes on.
      await nic.startDirtyLog();
      await nic.send(numberedFrame(1, 60));
      await nic.drain();
      await nic.close();
      kernel.assertNothingLeft();
    }
  });
});
