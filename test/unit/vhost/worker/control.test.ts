import assert from 'node:assert/strict';
import { openCable } from '../../../../lib/backend/cable.js';
import { settled } from '../../../support/open-nic.js';
import { INDIRECT, NEXT, WRITE } from '../../../support/ring-in-memory.js';
import { Keeper, VERSION_1, WorkerOnFake } from '../../../support/worker-on-fake.js';

const RX = 0;
const TX = 1;

describe('WorkerVhost: one request after another', () => {
  let on: WorkerOnFake;
  let keeper: Keeper;

  beforeEach(() => {
    on = new WorkerOnFake();
    keeper = new Keeper();
  });

  it('is as new once the owner is reset', async () => {
    const { fd } = on.program(keeper);
    for (const queue of [RX, TX]) await on.vhost.setBackend(queue, fd);
    on.offer(64);
    await on.idle();
    await on.vhost.resetOwner();
    on.vhost.setOwner();
    on.vhost.setFeatures(VERSION_1);
    on.vhost.setMemTable(on.memory);
    for (const queue of [RX, TX]) {
      assert.equal(on.vhost.getVringBase(queue), 0);
      // Where the ring was is another's memory by now.
      assert.throws(() => on.vhost.setBackend(queue, fd), { code: 'EFAULT', queue });
      on.vhost.setVringAddr(queue, { ...on.rings[queue]!.addresses, flags: 0 });
      await on.vhost.setBackend(queue, fd);
      await on.vhost.detachBackend(queue);
    }
    // A ring of one descriptor: there was no VHOST_SET_VRING_NUM.
    on.rings[TX]!.publish();
    await on.close();
  });

  it('takes nothing from an owner that is being reset', async () => {
    const { fd } = on.program(keeper);
    await on.vhost.setBackend(TX, fd);
    on.send(0);
    await on.idle();
    const reset = on.vhost.resetOwner();
    assert.throws(() => on.vhost.setBackend(RX, fd), { code: 'EPERM' });
    await assert.rejects(on.vhost.resetOwner(), { code: 'EPERM' });
    assert.equal(await settled(reset), false);
    keeper.held[0]!.finish();
    await reset;
    assert.deepEqual(on.reap(TX), [0]);
    await on.close();
  });

  it('stops a queue once, however many ask for it at the same time', async () => {
    const [a, b] = openCable({}, on.kernel);
    for (const queue of [RX, TX]) await on.vhost.setBackend(queue, a.fd);
    await Promise.all([TX, RX, TX, RX].map((queue) => on.vhost.detachBackend(queue)));
    for (const queue of [RX, TX]) await on.vhost.setBackend(queue, a.fd);
    const detached = [RX, TX].map((queue) => on.vhost.detachBackend(queue));
    await Promise.all([...detached, on.vhost.close()]);
    for (const end of [a, b]) end.close();
    await on.close();
  });

  it('stops a queue once that waits for its frames, and closes then', async () => {
    await on.vhost.setBackend(TX, on.program(keeper).fd);
    on.send(0);
    await on.idle();
    const all = Promise.all([on.vhost.detachBackend(TX), on.vhost.detachBackend(TX), on.vhost.close()]);
    assert.equal(await settled(all), false);
    keeper.held[0]!.finish();
    await all;
    assert.deepEqual(on.reap(TX), [0]);
    await on.close();
  });

  it('does the last that it was asked for, last', async () => {
    const [a, b] = openCable({}, on.kernel);
    const next = new Keeper();
    await on.vhost.setBackend(TX, on.program(keeper).fd);
    on.send(0);
    await on.idle();
    const changes = [
      on.vhost.setBackend(TX, a.fd),
      on.vhost.detachBackend(TX),
      on.vhost.setBackend(TX, a.fd),
      on.vhost.setBackend(TX, on.program(next).fd),
    ];
    keeper.held[0]!.finish();
    await Promise.all(changes);
    assert.equal(on.vhost.linkState(TX), 'async');
    on.send(1);
    await on.idle();
    assert.equal(next.held.length, 1);
    next.held[0]!.finish();
    const ended = on.vhost.setBackend(TX, a.fd);
    await Promise.all([ended, on.vhost.detachBackend(TX)]);
    assert.equal(on.vhost.linkState(TX), 'sync');
    on.vhost.setVringNum(TX, 8);
    for (const end of [a, b]) end.close();
    await on.close();
  });

  it('refuses a backend that waited for frames when the device was closed meanwhile', async () => {
    const [a, b] = openCable({}, on.kernel);
    await on.vhost.setBackend(TX, on.program(keeper).fd);
    on.send(0);
    await on.idle();
    const change = assert.rejects(async () => on.vhost.setBackend(TX, a.fd), { code: 'ERR_VHOST_CLOSED' });
    const closed = on.vhost.close();
    keeper.held[0]!.finish();
    await Promise.all([change, closed]);
    for (const end of [a, b]) end.close();
    await on.close();
  });

  describe('tells why a queue stands still:', () => {
    afterEach(() => on.close());

    /** Writes a descriptor of the ring, or of a table at an offset of the region. */
    function describe(queue: number, id: number, descriptor: Descriptor, table?: number): void {
      const view = new DataView(on.region.buffer);
      const at = (table ?? on.rings[queue]!.offset) + 16 * id;
      const { address = on.region.guestPhysicalAddress + on.at(queue, 0), length = 64 } = descriptor;
      view.setBigUint64(at, BigInt(address), true);
      view.setUint32(at + 8, length, true);
      view.setUint16(at + 12, descriptor.flags ?? 0, true);
      view.setUint16(at + 14, descriptor.next ?? 0, true);
    }

    /** Makes a head available, and moves the index by so many. */
    async function offer(queue: number, head = 0, by = 1): Promise<void> {
      const view = new DataView(on.region.buffer, on.rings[queue]!.offset + 16 * on.size);
      view.setUint16(4, head, true);
      view.setUint16(2, by, true);
      on.kernel.eventfd.signal(on.kicks[queue]!);
      await on.idle();
    }

    interface Descriptor {
      readonly address?: number;
      readonly length?: number;
      readonly flags?: number;
      readonly next?: number;
    }

    /** Where a test puts its table. */
    const table = (): number => on.at(TX, 1);
    const toTable = (length: number): Descriptor => ({
      address: on.region.guestPhysicalAddress + table(),
      length,
      flags: INDIRECT,
    });

    const CHAINS: Record<string, readonly [reason: string, queue: number, () => Promise<void>]> = {
      'an index too far ahead': ['index', TX, () => offer(TX, 0, 9)],
      'no such head': ['head', TX, () => offer(TX, 8)],
      'no such descriptor': [
        'next',
        TX,
        () => {
          describe(TX, 0, { flags: NEXT, next: 8 });
          return offer(TX);
        },
      ],
      'a chain that comes back': [
        'loop',
        TX,
        () => {
          describe(TX, 0, { flags: NEXT, next: 0 });
          return offer(TX);
        },
      ],
      'a table in a table': [
        'nested-table',
        TX,
        () => {
          describe(TX, 0, toTable(16));
          describe(TX, 0, toTable(16), table());
          return offer(TX);
        },
      ],
      'a table of part of a descriptor': [
        'table-length',
        TX,
        () => {
          describe(TX, 0, toTable(17));
          return offer(TX);
        },
      ],
      'what is to be read after what is to be written': [
        'order',
        TX,
        () => {
          describe(TX, 0, { flags: NEXT | WRITE, next: 1 });
          describe(TX, 1, {});
          return offer(TX);
        },
      ],
      'an address in no memory': [
        'address',
        TX,
        () => {
          describe(TX, 0, { address: 2 ** 46 });
          return offer(TX);
        },
      ],
      'more pieces than the kernel takes': [
        'segments',
        TX,
        () => {
          describe(TX, 0, toTable(16 * 1089));
          for (let i = 0; i < 1089; i++)
            describe(TX, i, { length: 1, flags: i < 1088 ? NEXT : 0, next: i + 1 }, table());
          return offer(TX);
        },
      ],
      'a frame to be written': [
        'direction',
        TX,
        () => {
          describe(TX, 0, { flags: WRITE });
          return offer(TX);
        },
      ],
      'a buffer to be read': [
        'direction',
        RX,
        () => {
          describe(RX, 0, {});
          return offer(RX);
        },
      ],
      'a frame that ends within its header': [
        'header',
        TX,
        () => {
          describe(TX, 0, { length: 12 });
          return offer(TX);
        },
      ],
      'a frame of no bytes': [
        'empty',
        TX,
        () => {
          describe(TX, 0, { length: 0 });
          return offer(TX);
        },
      ],
      'a buffer of no bytes': [
        'empty',
        RX,
        () => {
          describe(RX, 0, { length: 0, flags: WRITE });
          return offer(RX);
        },
      ],
    };

    for (const [title, [reason, queue, chain]] of Object.entries(CHAINS))
      it(title, async () => {
        const program = on.program(keeper);
        await on.vhost.setBackend(queue, program.fd);
        const errors = on.kernel.eventfd.create();
        on.vhost.setVringErr(queue, errors);
        program.deliver(Uint8Array.of(1));
        await on.idle();
        await chain();
        assert.deepEqual(on.faults, [`${queue} ${reason}`]);
        assert.equal(on.kernel.eventfd.take(errors), 1);
        assert.deepEqual([on.vhost.getVringBase(queue), keeper.held], [0, []]);
        on.kernel.descriptor.close(errors);
      });
  });
});
