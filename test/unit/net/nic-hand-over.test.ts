import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostKernel } from '../../../lib/kernel/host.js';
import { FramePool } from '../../../lib/memory/frame-pool.js';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { HandOver, type HandOverState } from '../../../lib/net/hand-over.js';
import { Nic, type ResumeOptions } from '../../../lib/net/nic.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import type { ModelWorker } from '../../support/model-worker.js';
import { ModelWorkers } from '../../support/model-workers.js';
import { openNic, settled, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

const resumable = { resumable: true, buffers: 40 } as const;

function frames(from: number, count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => numberedFrame(from + i, 60));
}

function serial(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(0);
}

function serials({ sent }: ModelWorker): number[] {
  return sent.map(({ frame }) => serial(frame));
}

async function next(nic: Nic, count: number): Promise<number[]> {
  const found: number[] = [];
  for await (const batch of nic.receive()) {
    for (const frame of batch) found.push(serial(frame));
    if (found.length >= count) break;
  }
  return found;
}

describe('Nic.handOver', () => {
  it('goes on with every frame, sent and received', async () => {
    const first = await openNic(resumable);
    const { kernel } = first;
    await first.nic.submit(frames(0, 3)).completed;
    first.worker.receive(...frames(100, 4));
    first.worker.completion = 'asleep';
    const submission = first.nic.submit(frames(3, 8));
    const waiting = first.nic.submit(frames(11, 0));
    await waiting.completed;
    await turn();

    const handOver = await first.nic.handOver();
    assert.equal(first.nic.closed, true);
    assert.deepEqual(await submission.completed, { completed: 0, abandoned: 8, withdrawn: 0 });
    assert.notEqual(kernel.interfaces.get('tap0'), undefined, 'the interface lives');
    assert.equal(handOver.unsettled, 8);
    assert.equal(kernel.openMappings().length, 0);
    assert.equal(kernel.openDescriptors().length, 3);

    const worker = new ModelWorkers();
    kernel.attachDevice(worker);
    const nic = await Nic.resume(handOver, { kernel });
    assert.equal(handOver.closed, true);
    assert.deepEqual(nic.resumed, { completed: 0, replayed: 8, reported: [], lostBuffers: 0 });
    assert.equal(nic.name, 'tap0');
    await nic.drain();
    assert.deepEqual(serials(worker.all[0]!), [3, 4, 5, 6, 7, 8, 9, 10]);
    assert.deepEqual(await next(nic, 4), [100, 101, 102, 103]);
    worker.all[0]!.receive(...frames(200, 2));
    assert.deepEqual(await next(nic, 2), [200, 201]);
    await nic.submit(frames(11, 2)).completed;
    assert.deepEqual(serials(worker.all[0]!).slice(-2), [11, 12]);
    const { submitted, completed, abandoned, inFlight } = nic.stats().transmit;
    assert.deepEqual([submitted, completed, abandoned, inFlight], [10, 10, 0, 0]);
    await nic.close();
    assert.equal(nic.pool.free, nic.pool.count);
    kernel.assertNothingLeft();
  });

  it('goes from one to the next again and again, each time with frames in flight', async () => {
    const kernel = new FakeKernel();
    let { nic, worker } = await openNic(resumable, kernel);
    const sent: number[] = [];
    for (let round = 0; round < 20; round++) {
      worker.completion = 'asleep';
      for (const each of frames(5 * round, 5)) assert.equal(nic.trySend(each), true);
      await turn();
      worker.completion = 'copied';
      const handOver = await nic.handOver();
      const workers = new ModelWorkers();
      kernel.attachDevice(workers);
      nic = await Nic.resume(handOver, { kernel });
      await nic.drain();
      worker = workers.all[0]!;
      sent.push(...serials(worker));
      worker.sent.length = 0;
    }
    assert.deepEqual(
      sent,
      Array.from({ length: 100 }, (_, i) => i),
    );
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('reports what was in flight instead, where it is told to', async () => {
    const { nic, kernel, worker } = await openNic({ ...resumable, bufferSize: 256 });
    worker.completion = 'asleep';
    const long = new Uint8Array(700).map((_, i) => i);
    nic.submit([frames(7, 1)[0]!, long], { header: { needsChecksum: true, csumStart: 14, csumOffset: 2 } });
    await turn();
    const handOver = await nic.handOver();
    const workers = new ModelWorkers();
    kernel.attachDevice(workers);
    const heir = await Nic.resume(handOver, { kernel, inFlight: 'report' });
    const { replayed, reported } = heir.resumed!;
    assert.equal(replayed, 0);
    assert.deepEqual(
      reported.map(({ frame, header }) => [Uint8Array.from(frame), header.csumStart]),
      [
        [frames(7, 1)[0]!, 14],
        [long, 14],
      ],
    );
    assert.equal(heir.stats().transmit.abandoned, 2);
    await heir.submit(frames(9, 1)).completed;
    assert.deepEqual(serials(workers.all[0]!), [9]);
    await heir.close();
    assert.equal(heir.pool.free, heir.pool.count);
    kernel.assertNothingLeft();
  });

  it('counts what was done and not reaped as done', async () => {
    const { nic, kernel } = await openNic(resumable);
    const { tx, pool } = nic;
    for (let i = 0; i < 3; i++) {
      const buffer = pool.lease();
      pool.bytes.fill(0, pool.offset(buffer), pool.offset(buffer) + 72);
      pool.length[buffer] = 72;
      tx.post(buffer);
    }
    tx.flush();
    await turn();
    await turn();
    const handOver = await nic.handOver();
    assert.equal(handOver.unsettled, 3, 'done, and nobody knows');
    const workers = new ModelWorkers();
    kernel.attachDevice(workers);
    const heir = await Nic.resume(handOver, { kernel });
    assert.deepEqual(heir.resumed, { completed: 3, replayed: 0, reported: [], lostBuffers: 0 });
    assert.equal(workers.all[0]!.sent.length, 0);
    await heir.close();
    kernel.assertNothingLeft();
  });

  it('does not take the rest of a frame for a frame, and says what is lost', async () => {
    const { nic, kernel, worker } = await openNic({ ...resumable, bufferSize: 256 });
    worker.receive(new Uint8Array(300).fill(9), ...frames(1, 1));
    await turn();
    // A frame of two buffers, cut after the first.
    assert.equal(nic.rx.reap(1), 0);
    const handOver = await nic.handOver();
    kernel.attachDevice(new ModelWorkers());
    const heir = await Nic.resume(handOver, { kernel });
    assert.equal(heir.resumed!.lostBuffers, 1);
    assert.deepEqual(await next(heir, 1), [1]);
    await heir.close();
    kernel.assertNothingLeft();
  });

  it('takes all pairs along, those too that are out', async () => {
    const kernel = new FakeKernel();
    const workers = new ModelWorkers();
    kernel.attachDevice(workers);
    const nic = await Nic.open({ tap: 'tap0', queueSize: 8, queuePairs: 3, kernel, ...resumable });
    await nic.pairs[1]!.disable();
    for (const pair of [0, 2]) workers.all[pair]!.completion = 'asleep';
    nic.pairs[0]!.trySend(numberedFrame(1, 60));
    nic.pairs[2]!.trySend(numberedFrame(2, 60));
    await turn();
    const handOver = await nic.handOver();
    const successors = new ModelWorkers();
    kernel.attachDevice(successors);
    const heir = await Nic.resume(handOver, { kernel });
    assert.equal(heir.pairs.length, 3);
    assert.equal(heir.resumed!.replayed, 2);
    await heir.pairs[0]!.drain();
    await heir.pairs[2]!.drain();
    assert.deepEqual(successors.all.map(serials), [[1], [], [2]]);
    assert.equal(kernel.tun.state('tap0')!.queues.size, 3);
    await heir.pairs[1]!.submit([numberedFrame(3, 60)]).completed;
    await heir.pairs[1]!.disable();
    await heir.close();
    kernel.assertNothingLeft();
  });

  it('keeps the backend as it was agreed on', async () => {
    const { nic, kernel } = await openNic({
      tap: { name: 'tap0', offloads: ['csum', 'tso4'] },
      bufferSize: 16_384,
      resumable: true,
    });
    const handOver = await nic.handOver();
    kernel.attachDevice(new ModelWorkers());
    const heir = await Nic.resume(handOver, { kernel });
    assert.deepEqual([heir.backend.kind, heir.backend.offloads], ['tap', ['csum', 'tso4']]);
    await heir.swapBackend({ tap: 'tap1' });
    const again = await heir.handOver();
    again.close();
    again.close();
    assert.throws(() => again.descriptors, { code: 'ERR_VHOST_CLOSED' });
    await assert.rejects(Nic.resume(again, { kernel }), { code: 'ERR_VHOST_CLOSED' });
    kernel.assertNothingLeft();
  });

  it('is refused where nothing was kept for it', async () => {
    const { nic, kernel } = await openNic();
    await assert.rejects(nic.handOver(), { code: 'ERR_VHOST_UNSUPPORTED', message: /resumable: true/ });
    assert.throws(() => nic.standby(), { code: 'ERR_VHOST_UNSUPPORTED' });
    await nic.submit(frames(0, 1)).completed;
    await nic.close();
    await assert.rejects(nic.handOver(), { code: 'ERR_VHOST_CLOSED' });
    const memory = new GuestMemory(kernel);
    memory.addRegion({ size: 1 << 20 });
    const shared = { memory, pool: new FramePool(memory, 2048, 32) };
    await assert.rejects(openNic({ shared, resumable: true }, kernel), {
      code: 'ERR_VHOST_OUT_OF_RANGE',
      message: /^resumable must be false where memory is shared/,
    });
    memory.close();
    kernel.assertNothingLeft();
  });

  it('starts no queue again behind the back of whoever goes on', async () => {
    const { nic, kernel } = await openNic(resumable);
    const handing = nic.handOver();
    const attaching = nic.attach();
    const handOver = await handing;
    await assert.rejects(attaching, { code: 'ERR_VHOST_CLOSED' });
    handOver.close();
    kernel.assertNothingLeft();
  });

  it('leaks nothing wherever the kernel refuses', async () => {
    const good = await openNic(resumable);
    const before = good.kernel.refusable;
    const given = await good.nic.handOver();
    const handing = good.kernel.refusable - before;
    good.kernel.attachDevice(new ModelWorkers());
    const heir = await Nic.resume(given, { kernel: good.kernel });
    const resuming = good.kernel.refusable - before - handing;
    await heir.close();
    for (let n = 1; n <= handing; n++) {
      const { nic, kernel, worker } = await openNic(resumable);
      worker.completion = 'asleep';
      kernel.failAt(before + n, 'EIO');
      await nic.handOver().then(
        (handOver) => handOver.close(),
        (error: { code?: string }) => assert.equal(error.code, 'EIO'),
      );
      await nic.close().catch(() => {});
      kernel.assertNothingLeft();
    }
    for (let n = 1; n <= resuming; n++) {
      const { nic, kernel, worker } = await openNic(resumable);
      worker.completion = 'asleep';
      nic.trySend(numberedFrame(1, 60));
      await turn();
      const handOver = await nic.handOver();
      const workers = new ModelWorkers();
      kernel.attachDevice(workers);
      kernel.failAt(before + handing + n, 'EPERM');
      const options: ResumeOptions = { kernel };
      // What was handed over is as it was, and the next attempt finds the frame.
      const resumed = await Nic.resume(handOver, options).catch((error: { message: string }) => {
        assert.match(error.message, /EPERM/);
        return Nic.resume(handOver, options);
      });
      await resumed.drain();
      // By the first attempt, where that failed after its queues had started, or by the second.
      assert.deepEqual(workers.all.flatMap(serials), [1], `call ${n}`);
      await resumed.close();
      kernel.assertNothingLeft();
    }
  });

  it('tells what was to be reported also where it fails then', async () => {
    const { nic, kernel, worker } = await openNic(resumable);
    worker.completion = 'asleep';
    nic.trySend(numberedFrame(1, 60));
    await turn();
    const handOver = await nic.handOver();
    kernel.attachDevice(new ModelWorkers());
    kernel.failOn('vhost.netSetBackend', 'ENOMEM', { skip: 1 });
    await assert.rejects(
      Nic.resume(handOver, { kernel, inFlight: 'report' }),
      (error: { code?: string; reported?: { frame: Uint8Array }[] }) => {
        assert.equal(error.code, 'ENOMEM');
        assert.deepEqual(
          error.reported!.map(({ frame }) => serial(frame)),
          [1],
        );
        return true;
      },
    );
    const heir = await Nic.resume(handOver, { kernel });
    await heir.submit(frames(2, 1)).completed;
    await heir.close();
    kernel.assertNothingLeft();
  });

  it('refuses what cannot be true', async () => {
    const corrupt = async (spoil: (memory: DataView, journal: DataView) => void): Promise<HandOver> => {
      const { nic, kernel, worker } = await openNic({ ...resumable, bufferSize: 256 });
      worker.completion = 'asleep';
      nic.submit(frames(0, 4));
      await turn();
      const handOver = await nic.handOver();
      const { size } = handOver.state;
      for (const [fd, bytes, which] of [
        [handOver.descriptors.memory, size, 0],
        [handOver.descriptors.journal, 4096, 1],
      ] as const) {
        const mapping = kernel.memory.map(fd, 0, bytes);
        const view = new DataView(mapping.buffer);
        if (which === 0) spoil(view, new DataView(new ArrayBuffer(4096)));
        else spoil(new DataView(new ArrayBuffer(size)), view);
        kernel.memory.unmap(mapping);
      }
      kernel.attachDevice(new ModelWorkers());
      await assert.rejects(Nic.resume(handOver, { kernel }), { code: 'ERR_VHOST_RING_CORRUPT' });
      assert.equal(handOver.closed, false);
      handOver.close();
      kernel.assertNothingLeft();
      return handOver;
    };
    // The journals: of the receive ring 2 words and 8 heads, then those of the transmit ring.
    const transmit = 2 * (2 + 8);
    await corrupt((_, journal) => journal.setUint16(transmit, 0x8000, true));
    await corrupt((_, journal) => journal.setUint16(transmit + 4, 9, true));
    // Buffers: whatever chain lies there now leads elsewhere.
    await corrupt((memory) => {
      for (let at = 40 * 256; at + 16 <= memory.byteLength; at += 16)
        if (memory.getUint32(at + 8, true) === 72) memory.setUint32(at, 0x4242, true);
    });
  });
});

describe('Nic.standby', () => {
  it('lets another go on that was never told of the end', async () => {
    const { nic, kernel, worker } = await openNic(resumable);
    const standby = nic.standby();
    worker.completion = 'held';
    nic.submit(frames(0, 3));
    await turn();
    worker.receive(...frames(50, 2));
    worker.complete(worker.held[1]!);
    // The process ends: its memory is let go as it is.
    const memory = nic.pool.bytes.slice();
    const journal = kernel.openMappings().find(({ name }) => name === 'vhost-net-journal')!;
    const place = kernel.memory.find(journal.address, journal.size)!;
    const notes = new Uint8Array(place.buffer, place.offset, journal.size).slice();
    await nic.close();
    const restore = (fd: number, bytes: Uint8Array): void => {
      const mapping = kernel.memory.map(fd, 0, bytes.length);
      new Uint8Array(mapping.buffer).set(bytes);
      kernel.memory.unmap(mapping);
    };
    restore(standby.descriptors.memory, memory);
    restore(standby.descriptors.journal, notes);

    const workers = new ModelWorkers();
    kernel.attachDevice(workers);
    const heir = await Nic.resume(standby, { kernel });
    assert.deepEqual(heir.resumed, { completed: 1, replayed: 2, reported: [], lostBuffers: 0 });
    await heir.drain();
    assert.deepEqual(serials(workers.all[0]!), [0, 2], 'what never came back is sent again');
    assert.deepEqual(await next(heir, 2), [50, 51]);
    await heir.close();
    assert.equal(heir.pool.free, heir.pool.count);
    kernel.assertNothingLeft();
  });

  it('keeps the interface when the Nic closes', async () => {
    const { nic, kernel } = await openNic(resumable);
    const standby = nic.standby();
    await nic.close();
    assert.notEqual(kernel.interfaces.get('tap0'), undefined);
    standby[Symbol.dispose]();
    assert.equal(kernel.interfaces.get('tap0'), undefined);
    kernel.assertNothingLeft();
  });
});

describe('HandOver between processes', () => {
  const kernel = hostKernel();
  const state: HandOverState = {
    queuePairs: 1,
    receiveSize: 8,
    transmitSize: 8,
    bufferSize: 2048,
    buffers: 24,
    features: '130000000',
    guestPhysicalAddress: 0x10_0000,
    size: 4096,
    kind: 'tap',
    offloads: ['csum'],
    netns: '',
  };
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hand-over-'));
    path = join(folder, 'socket');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const made = (count = 3, changed: object = {}): HandOver =>
    new HandOver(
      kernel,
      { ...state, ...changed },
      Array.from({ length: count }, () => kernel.eventfd.create()),
    );

  it('gives descriptors and state to who takes them', async () => {
    const taking = HandOver.take(path, { kernel });
    const given = made();
    const [fd] = [given.descriptors.memory];
    kernel.eventfd.signal(fd);
    await given.give(path);
    const taken = await taking;
    assert.equal(given.closed, true);
    assert.deepEqual(taken.state, state);
    assert.equal(taken.descriptors.queues.length, 1);
    assert.equal(kernel.eventfd.take(taken.descriptors.memory), 1, 'it is the same file');
    taken.close();
    const again = made();
    await assert.rejects(again.give(path), { code: 'ENOENT' }, 'nobody listens any more');
    assert.equal(again.closed, false);
    again.close();
  });

  it('keeps what was not taken, and takes nothing that is no Nic', async () => {
    for (const [count, changed, message] of [
      [2, {}, /descriptors must be 2 and one for each of 1 queues/],
      [3, { queuePairs: 2 }, /descriptors must be/],
      [3, { receiveSize: 7 }, /state\.receiveSize must be a power of two/],
      [3, { bufferSize: '8' }, /state\.bufferSize must be a number/],
      [3, { size: -1 }, /state\.size must be/],
      [3, { features: 'x' }, /state\.features must be a hexadecimal number/],
      [3, { netns: 7 }, /state\.netns must be a string/],
      [3, { offloads: 7 }, /state\.offloads must be an array/],
      [3, { extra: 1 }, /state must be made of/],
    ] as const) {
      const taking = assert.rejects(HandOver.take(path, { kernel }), {
        code: 'ERR_VHOST_PROTOCOL',
        message,
      });
      const given = made(count, changed);
      await assert.rejects(given.give(path), { code: 'ERR_VHOST_PROTOCOL' });
      assert.equal(given.closed, false);
      given.close();
      await taking;
    }
  });

  it('waits until somebody gives, or the wait is aborted', async () => {
    const controller = new AbortController();
    const taking = HandOver.take(path, { kernel, signal: controller.signal });
    assert.equal(await settled(taking), false);
    controller.abort();
    await assert.rejects(taking, { name: 'AbortError' });
    const given = made();
    const taken = HandOver.take(path, { kernel });
    await given.give(path);
    (await taken).close();
  });
});
