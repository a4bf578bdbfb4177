import assert from 'node:assert/strict';
import type { ProgramBackend } from '../../../../lib/backend/program.js';
import { settled, turn } from '../../../support/open-nic.js';
import {
  HEADER,
  Keeper,
  LOG_ALL,
  MRG_RXBUF,
  VERSION_1,
  WorkerOnFake,
} from '../../../support/worker-on-fake.js';

const RX = 0;
const TX = 1;

/** Each of these was a fault of the patch that this package's mechanism goes back to. */
describe('WorkerVhost: frames that complete late', () => {
  let on: WorkerOnFake;
  let keeper: Keeper;
  let program: ProgramBackend;

  async function start(features = VERSION_1, size = 8): Promise<void> {
    on = new WorkerOnFake(features, size);
    keeper = new Keeper();
    program = on.program(keeper);
    await on.vhost.setBackend(TX, program.fd);
    await on.vhost.setBackend(RX, program.fd);
  }

  /** Has every frame that the program holds or gets finished, while something is waited for. */
  async function finishing<T>(work: Promise<T>): Promise<T> {
    const timer = setInterval(() => {
      for (const { finish } of keeper.held) finish();
    });
    try {
      return await work;
    } finally {
      clearInterval(timer);
    }
  }

  afterEach(() => finishing(on.close()));

  it('are used once each, in the order in which they are finished', async () => {
    await start();
    on.send(0, 1, 2, 3);
    await on.idle();
    assert.deepEqual(
      keeper.held.map(({ frame }) => [...frame]),
      [[0], [1], [2], [3]],
    );
    assert.equal(on.rings[TX]!.inFlight, 4);
    for (const n of [2, 0]) keeper.held[n]!.finish();
    await on.idle();
    assert.deepEqual(on.reap(TX), [2, 0]);
    for (const n of [3, 1]) keeper.held[n]!.fail(new Error('no'));
    await on.idle();
    assert.deepEqual(on.reap(TX), [3, 1]);
    assert.equal(keeper.failures.length, 2);
  });

  it('are used once though what a program returned settles again and again, even when its record is another frame’s', async () => {
    on = new WorkerOnFake();
    keeper = new Keeper();
    const settle: (() => void)[] = [];
    const twice = on.program({
      transmit: () =>
        ({
          // biome-ignore lint/suspicious/noThenProperty: a program may return any thenable
          then: (done: () => void, failed: () => void) => {
            settle.push(() => {
              done();
              failed();
              done();
            });
          },
        }) as unknown as PromiseLike<void>,
      failed: (error) => keeper.failures.push(error),
    });
    await on.vhost.setBackend(TX, twice.fd);
    on.send(0);
    await on.idle();
    settle[0]!();
    await on.idle();
    assert.deepEqual(on.reap(TX), [0]);
    on.send(1);
    await on.idle();
    settle[0]!();
    await on.idle();
    assert.deepEqual(on.reap(TX), []);
    settle[1]!();
    await on.idle();
    assert.deepEqual(on.reap(TX).length, 1);
    assert.deepEqual(keeper.failures, []);
  });

  it('keep no record of a chain that was not sent, however often it is kicked', async () => {
    await start();
    const at = on.region.guestPhysicalAddress + on.at(TX, 0);
    const head = on.rings[TX]!.post(0, at, HEADER, false);
    for (let i = 0; i < 3 * on.size; i++) {
      on.kick(TX);
      await on.idle();
    }
    assert.equal(on.faults.length, 3 * on.size);
    assert.deepEqual(new Set(on.faults), new Set(['1 header']));
    assert.deepEqual([keeper.held.length, on.vhost.getVringBase(TX)], [0, 0]);
    // Mended, it and as many others as there are heads can be on their way at once.
    new DataView(on.region.buffer).setUint32(16 * head + 8 + on.rings[TX]!.offset, HEADER + 1, true);
    on.send(1, 2, 3, 4, 5, 6, 7);
    await on.idle();
    assert.equal(keeper.held.length, on.size);
  });

  it('leave a chain in the ring for which there is no record, and take it when there is one', async () => {
    await start();
    on.send(0, 1, 2, 3, 4, 5, 6, 7);
    await on.idle();
    // A driver that offers a head which it has not got back.
    const available = new DataView(on.region.buffer, on.rings[TX]!.offset + 16 * on.size);
    available.setUint16(4 + 2 * (8 % on.size), 5, true);
    available.setUint16(2, 9, true);
    on.kernel.eventfd.signal(on.kicks[TX]!);
    await on.idle();
    assert.deepEqual([keeper.held.length, on.vhost.getVringBase(TX)], [8, 8]);
    keeper.held[3]!.finish();
    await on.idle();
    assert.deepEqual([keeper.held.length, on.vhost.getVringBase(TX)], [9, 9]);
    assert.deepEqual([...keeper.held[8]!.frame], [5]);
  });

  it('are all used once a queue is stopped, finished before that or not', async () => {
    await start();
    on.send(0, 1, 2, 3);
    await on.idle();
    keeper.held[1]!.finish();
    const stopped = on.vhost.detachBackend(TX);
    assert.equal(await settled(stopped), false);
    assert.equal(keeper.signal!.aborted, true);
    for (const n of [3, 0, 2]) keeper.held[n]!.finish();
    await stopped;
    assert.deepEqual(on.reap(TX), [1, 3, 0, 2]);
    assert.equal(on.vhost.getVringBase(TX), 4);
  });

  it('are all used when the owner is reset, of both queues, and the memory is held until then', async () => {
    await start();
    on.send(0, 1);
    on.offer(64, 64);
    await on.idle();
    program.deliver(Uint8Array.of(7));
    const reset = on.vhost.resetOwner();
    assert.equal(program.deliver(Uint8Array.of(8)), false);
    keeper.held[1]!.finish();
    assert.equal(await settled(reset), false);
    assert.throws(() => on.memory.close(), { code: 'ERR_VHOST_IN_USE' });
    // Memory that changes meanwhile is no harm.
    await on.memory.hotRemove(await on.memory.hotAdd({ size: 4096 }));
    keeper.held[0]!.finish();
    await reset;
    // What came before the reset was taken in no turn any more, and the buffers stay the driver's.
    assert.deepEqual([on.reap(TX), on.reap(RX)], [[1, 0], []]);
    on.memory.close();
    assert.throws(() => on.vhost.getVringBase(TX), { code: 'EPERM' });
  });

  it('are lost by no backend that comes after, nor taken by it', async () => {
    await start();
    on.send(0, 1);
    await on.idle();
    const next = new Keeper();
    const swapped = on.vhost.setBackend(TX, on.program(next).fd) as Promise<void>;
    on.send(2);
    assert.equal(await settled(swapped), false);
    keeper.held[1]!.finish();
    keeper.held[0]!.finish();
    await swapped;
    await on.idle();
    assert.deepEqual(on.reap(TX), [1, 0]);
    assert.deepEqual([keeper.held.length, next.held.length], [2, 1]);
    next.held[0]!.finish();
    await on.idle();
    assert.equal(on.reap(TX).length, 1);
  });

  it('go on where another backend is refused, and the queue stays what it is', async () => {
    await start();
    on.send(0);
    await on.idle();
    const wrong = on.kernel.eventfd.create();
    await assert.rejects(async () => on.vhost.setBackend(TX, wrong), { code: 'ENOTSOCK', queue: TX });
    on.kernel.descriptor.close(wrong);
    assert.equal(on.vhost.linkState(TX), 'async');
    on.send(1);
    await on.idle();
    for (const { finish } of keeper.held) finish();
    await on.idle();
    assert.deepEqual(on.reap(TX), [0, 1]);
  });

  it('are taken a round at a time, and the loop goes round between', async () => {
    await start(VERSION_1, 1024);
    on.send(...Array.from({ length: 700 }, (_, i) => i % 256));
    const seen: number[] = [];
    while (keeper.held.length < 700) {
      await turn();
      if (keeper.held.length !== seen.at(-1)) seen.push(keeper.held.length);
    }
    assert.deepEqual(
      seen.filter((count) => count > 0),
      [256, 512, 700],
    );
  });

  describe('into a driver’s memory', () => {
    /** Starts a log, in a memfd of its own; the pages that it has marked. */
    function startLog(): () => number[] {
      const bytes = 4096;
      const log = on.kernel.memory.create('log', bytes, 0);
      on.vhost.setLogBase(log.address, { fd: log.fd, size: bytes });
      on.vhost.setFeatures(VERSION_1 | LOG_ALL);
      const words = new Uint8Array(log.buffer);
      close = () => on.kernel.memory.unmap(log);
      return () => {
        const pages: number[] = [];
        for (let page = 0; page < 8 * words.length; page++)
          if (((words[page >> 3]! >> (page & 7)) & 1) === 1) pages.push(page);
        return pages;
      };
    }
    let close = (): void => {};
    const pageOf = (n: number): number => (on.region.guestPhysicalAddress + on.at(RX, n)) / 4096;

    it('are logged, of every buffer the pages that were written, before the driver is told', async () => {
      on = new WorkerOnFake();
      keeper = new Keeper();
      const program = on.program(keeper);
      await on.vhost.setBackend(RX, program.fd);
      on.offer(64, 64, 64);
      await on.idle();
      const marked = startLog();
      const told = on.kernel.eventfd.create();
      on.vhost.setLogFd(told);
      const usedAtSignal: number[] = [];
      // Without a call, what is signalled is the log's alone.
      on.vhost.setVringCall(RX, -1);
      const signal = on.kernel.eventfd.signal.bind(on.kernel.eventfd);
      on.kernel.eventfd.signal = (fd) => {
        usedAtSignal.push(on.rings[RX]!.reapable);
        signal(fd);
      };
      // The buffers were there before there was a log.
      for (const byte of [1, 2]) program.deliver(Uint8Array.of(byte));
      await on.idle();
      assert.deepEqual(marked(), [pageOf(0), pageOf(1)]);
      assert.deepEqual(usedAtSignal, [0, 0]);
      assert.deepEqual(on.reap(RX).length, 2);
      on.vhost.setLogFd(-1);
      on.kernel.descriptor.close(told);
      close();
    });

    it('are logged though they waited since before there was a log', async () => {
      on = new WorkerOnFake(VERSION_1 | MRG_RXBUF);
      keeper = new Keeper();
      const program = on.program(keeper);
      await on.vhost.setBackend(RX, program.fd);
      program.deliver(new Uint8Array(100).fill(7));
      await on.idle();
      const marked = startLog();
      on.vhost.setFeatures(VERSION_1 | MRG_RXBUF | LOG_ALL);
      on.offer(64, 64);
      await on.idle();
      assert.deepEqual(marked(), [pageOf(0), pageOf(1)]);
      assert.deepEqual(on.reap(RX).length, 2);
      close();
    });
  });

  it('of two devices know nothing of one another', async () => {
    await start();
    const other = new WorkerOnFake();
    const keeping = new Keeper();
    await other.vhost.setBackend(TX, other.program(keeping).fd);
    on.send(0);
    other.send(1);
    await on.idle();
    await other.idle();
    keeping.held[0]!.finish();
    await other.idle();
    assert.deepEqual([other.reap(TX).length, on.reap(TX).length], [1, 0]);
    await other.close();
  });
});
