import assert from 'node:assert/strict';
import { openCable } from '../../../../lib/backend/cable.js';
import { SocketFile } from '../../../support/fake-packet.js';
import { HEADER, Keeper, MRG_RXBUF, VERSION_1, WorkerOnFake } from '../../../support/worker-on-fake.js';

const RX = 0;
/** What waits for buffers at most. */
const FRAMES = 256;
const BYTES = 0x8_0000;

describe('WorkerVhost: what is received', () => {
  let on: WorkerOnFake;

  afterEach(() => on.close());

  /** So many bytes of the buffer of the n-th post. */
  const buffer = (n: number, bytes: number): number[] => [
    ...on.region.bytes.subarray(on.at(RX, n), on.at(RX, n) + bytes),
  ];

  describe('from a socket', () => {
    let fd: number;
    let file: SocketFile;

    async function start(features = VERSION_1): Promise<void> {
      on = new WorkerOnFake(features);
      on.region.bytes.fill(0xff, on.at(RX, 0));
      fd = on.kernel.callersDescriptor('packet socket');
      file = on.kernel.descriptor.peek(fd) as SocketFile;
      assert.ok(file instanceof SocketFile);
      await on.vhost.setBackend(RX, fd);
    }

    function arrive(...bytes: number[]): void {
      for (const byte of bytes) on.kernel.arrive(fd, new Uint8Array(HEADER + 20).fill(byte, HEADER));
    }

    it('has its header in as many buffers as that takes', async () => {
      await start(VERSION_1 | MRG_RXBUF);
      on.offer(5, 6, 64);
      await on.idle();
      arrive(7);
      await on.idle();
      assert.deepEqual(on.reap(RX).length, 3);
      assert.deepEqual([...buffer(0, 5), ...buffer(1, 6)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
      assert.deepEqual(buffer(2, 22), [0, ...Array(20).fill(7), 0xff]);
    });

    it('comes again after the link went down', async () => {
      await start();
      on.offer(64, 64);
      arrive(1);
      await on.idle();
      file.pending = 'ENETDOWN';
      file.wake();
      await on.idle();
      assert.deepEqual(on.faults, []);
      arrive(2);
      await on.idle();
      assert.deepEqual(on.reap(RX).length, 2);
      assert.deepEqual([buffer(0, 13)[12], buffer(1, 13)[12]], [1, 2]);
    });

    it('comes again though the link went down while there was no buffer', async () => {
      await start();
      file.pending = 'ENETDOWN';
      file.wake();
      await on.idle();
      arrive(1);
      on.offer(64);
      await on.idle();
      assert.deepEqual([on.reap(RX).length, on.faults], [1, []]);
    });

    it('is gone where the watch tells of an error that no read shows', async () => {
      await start();
      on.offer(64);
      await on.idle();
      Object.defineProperty(file, 'broken', { value: true });
      file.wake();
      await on.idle();
      assert.deepEqual(on.faults, ['0 gone']);
      assert.equal(on.kernel.openPollers().length, 2, 'the kicks alone are watched');
    });

    it('is lost where the driver’s memory does not take it, and what comes then is not', async () => {
      await start();
      arrive(1);
      on.kernel.failOn('frames.read', 'EFAULT');
      on.offer(64);
      await on.idle();
      assert.deepEqual([on.reap(RX).length, on.faults], [1, []]);
      assert.deepEqual(on.vhost.stats(RX), { refused: 0, dropped: 1 });
    });

    it('waits where there is no memory for it now', async () => {
      await start();
      arrive(1);
      on.kernel.failOn('frames.read', 'ENOMEM');
      on.offer(64);
      await on.idle();
      assert.deepEqual([on.reap(RX).length, on.faults, on.vhost.stats(RX).dropped], [1, [], 0]);
    });

    it('stays where the buffer is of more pieces than a read takes, until the driver kicks again', async () => {
      await start();
      arrive(1);
      on.kernel.failOn('frames.read', 'EMSGSIZE');
      on.offer(64);
      await on.idle();
      assert.deepEqual([on.reap(RX).length, on.faults], [0, ['0 segments']]);
      on.kick(RX);
      await on.idle();
      assert.deepEqual([on.reap(RX).length, on.faults.length, on.vhost.stats(RX).dropped], [1, 1, 0]);
    });

    it('is gone with the tap, told again at each kick', async () => {
      await start();
      on.kernel.failOn('frames.read', 'EBADFD', { remaining: 2 });
      on.offer(64);
      await on.idle();
      assert.deepEqual(on.faults, ['0 gone']);
      on.kick(RX);
      await on.idle();
      assert.deepEqual(on.faults, ['0 gone', '0 gone']);
    });

    it('stands where there is no descriptor to wait with, and goes on at the next kick', async () => {
      await start();
      on.kernel.failOn('poller.watchReadable', 'EMFILE');
      on.offer(64);
      await on.idle();
      assert.deepEqual(on.faults, ['0 failed EMFILE']);
      arrive(1);
      on.kick(RX);
      await on.idle();
      assert.equal(on.reap(RX).length, 1);
    });

    it('is dropped and counted where no buffer may be merged and the one that is there is too short', async () => {
      await start();
      on.offer(HEADER + 19);
      arrive(1);
      await on.idle();
      assert.deepEqual([on.reap(RX).length, on.vhost.getVringBase(RX)], [0, 0]);
      assert.deepEqual([on.vhost.stats(RX).dropped, on.faults], [1, []]);
    });
  });

  it('is gone when the other end of a cable is closed', async () => {
    on = new WorkerOnFake();
    const [a, b] = openCable({}, on.kernel);
    await on.vhost.setBackend(RX, a.fd);
    on.offer(64);
    await on.idle();
    b.close();
    await on.idle();
    assert.deepEqual(on.faults, ['0 gone']);
    a.close();
  });

  describe('from a program', () => {
    let keeper: Keeper;
    let deliver: (frame: Uint8Array) => boolean;

    async function start(features = VERSION_1, size = 8): Promise<void> {
      on = new WorkerOnFake(features, size);
      on.region.bytes.fill(0xff, on.at(RX, 0));
      keeper = new Keeper();
      const program = on.program(keeper);
      deliver = (frame) => program.deliver(frame);
      assert.equal(deliver(new Uint8Array(1)), false, 'nothing is attached');
      await on.vhost.setBackend(RX, program.fd);
    }

    it('has its header in as many buffers as that takes', async () => {
      await start(VERSION_1 | MRG_RXBUF);
      on.offer(5, 6, 64);
      deliver(new Uint8Array(20).fill(7));
      await on.idle();
      assert.deepEqual(on.reap(RX).length, 3);
      assert.deepEqual([...buffer(0, 5), ...buffer(1, 6)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
      assert.deepEqual(buffer(2, 22), [0, ...Array(20).fill(7), 0xff]);
    });

    it('waits, 256 frames at most, and the program is told when they have gone', async () => {
      await start(VERSION_1, 512);
      for (let i = 0; i < FRAMES; i++) assert.equal(deliver(Uint8Array.of(i)), true);
      assert.equal(deliver(Uint8Array.of(0)), false);
      await on.idle();
      assert.equal(keeper.writables, 0);
      on.offer(...Array(FRAMES - 1).fill(64));
      await on.idle();
      assert.deepEqual([on.reap(RX).length, keeper.writables], [FRAMES - 1, 0]);
      assert.equal(deliver(Uint8Array.of(99)), true, 'there is room for one more');
      on.offer(64, 64);
      await on.idle();
      assert.equal(on.reap(RX).length, 2);
      const marks = (n: number): number => buffer(n, HEADER + 1)[HEADER]!;
      assert.deepEqual([marks(0), marks(1), marks(FRAMES - 2)], [FRAMES - 1, 99, FRAMES - 2]);
    });

    it('waits, 512 KiB at most', async () => {
      await start();
      const long = new Uint8Array(BYTES / 8 - HEADER);
      for (let i = 0; i < 8; i++) assert.equal(deliver(long), true);
      assert.equal(deliver(Uint8Array.of(1)), false);
    });

    it('is told of when everything that waited has gone, after a frame was refused', async () => {
      await start(VERSION_1, 512);
      while (deliver(Uint8Array.of(1)));
      on.offer(...Array(FRAMES).fill(64));
      await on.idle();
      assert.deepEqual([on.reap(RX).length, keeper.writables], [FRAMES, 1]);
    });

    it('keeps the order in which it was delivered, whatever the lengths', async () => {
      await start(VERSION_1 | MRG_RXBUF, 64);
      const lengths = [1, 3000, 2000, 1, 2048, 2049, 60];
      for (const [i, length] of lengths.entries()) deliver(new Uint8Array(length).fill(i));
      await on.idle();
      on.offer(...lengths.map(() => 4000));
      await on.idle();
      assert.equal(on.reap(RX).length, lengths.length);
      for (const [i, length] of lengths.entries()) {
        assert.deepEqual(buffer(i, HEADER + length).slice(HEADER), Array(length).fill(i));
      }
    });

    it('is dropped and counted where no buffer may be merged and the one that is there is too short', async () => {
      await start();
      on.offer(HEADER + 19);
      deliver(new Uint8Array(20));
      deliver(new Uint8Array(19).fill(5));
      await on.idle();
      assert.deepEqual(on.reap(RX).length, 1);
      assert.deepEqual([on.vhost.stats(RX).dropped, buffer(0, HEADER + 1)[HEADER]], [1, 5]);
    });
  });
});
