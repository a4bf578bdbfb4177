import assert from 'node:assert/strict';
import { IFF_NO_PI, IFF_TAP, IFF_VNET_HDR } from '../../../lib/abi/if-tun.js';
import { FakeKernel, type FakeQueue } from '../../support/fake-kernel.js';
import { ModelDevice } from '../../support/model-device.js';

describe('fake kernel: eventfds and watches', () => {
  let kernel: FakeKernel;
  let fd: number;
  beforeEach(() => {
    kernel = new FakeKernel();
    fd = kernel.eventfd.create();
  });

  it('an eventfd counts, and taking starts over', () => {
    assert.equal(kernel.eventfd.take(fd), 0);
    kernel.eventfd.signal(fd);
    kernel.eventfd.signal(fd);
    assert.equal(kernel.eventfd.take(fd), 2);
    assert.equal(kernel.eventfd.take(fd), 0);
  });

  it('a watch calls back later, once for what came together', async () => {
    const counts: number[] = [];
    kernel.poller.watchEventfd(fd, (count) => counts.push(count));
    kernel.eventfd.signal(fd);
    kernel.eventfd.signal(fd);
    assert.deepEqual(counts, []);
    await kernel.idle();
    kernel.eventfd.signal(fd);
    await kernel.idle();
    assert.deepEqual(counts, [2, 1]);
    assert.equal(kernel.eventfd.take(fd), 0);
  });

  it('a watch sees what was signalled before it', async () => {
    const counts: number[] = [];
    kernel.eventfd.signal(fd);
    kernel.poller.watchEventfd(fd, (count) => counts.push(count));
    await kernel.idle();
    assert.deepEqual(counts, [1]);
  });

  it('a closed watch does not call back, though it was due', async () => {
    const poller = kernel.poller.watchEventfd(fd, () => assert.fail('called back'));
    kernel.eventfd.signal(fd);
    poller.close();
    await kernel.idle();
    assert.equal(kernel.eventfd.take(fd), 1);
  });

  it('a watch for reading goes on while there is something to read', async () => {
    const tap = kernel.callersDescriptor('tap');
    const read: number[] = [];
    const buffer = new Uint8Array(64);
    kernel.poller.watchReadable(tap, (error) => {
      assert.equal(error, false);
      read.push(kernel.descriptor.read(tap, buffer));
    });
    kernel.arrive(tap, new Uint8Array(10));
    kernel.arrive(tap, new Uint8Array(20));
    await kernel.idle();
    assert.deepEqual(read, [10, 20]);
  });

  it('EINVAL for a watch of the wrong kind', () => {
    assert.throws(() => kernel.poller.watchEventfd(kernel.callersDescriptor('tap'), () => {}), {
      code: 'EINVAL',
    });
  });
});

/** A driver in four lines: a ring of 8 at the start of its memory, one queue of a device in use. */
function startQueue(kernel: FakeKernel, index = 1) {
  const memory = kernel.memory.create('region', 1 << 16, 0);
  const fd = kernel.vhost.open('/dev/vhost-net');
  const tap = kernel.tun.open('/dev/net/tun');
  const [kick, call, error] = [0, 1, 2].map(() => kernel.eventfd.create()) as [number, number, number];
  const { address, buffer } = memory;
  kernel.tun.setIff(tap, 'tap%d', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  kernel.vhost.setOwner(fd);
  kernel.vhost.setFeatures(fd, 1n << 32n);
  kernel.vhost.setMemTable(fd, [{ guestPhysicalAddress: 0x10_0000n, size: 1n << 16n, userAddress: address }]);
  kernel.vhost.setVringNum(fd, index, 8);
  kernel.vhost.setVringAddr(fd, index, {
    flags: 0,
    descriptorTable: address,
    availableRing: address + 0x80n,
    usedRing: address + 0xc0n,
    log: 0n,
  });
  kernel.vhost.setVringKick(fd, index, kick);
  kernel.vhost.setVringCall(fd, index, call);
  kernel.vhost.setVringErr(fd, index, error);
  const view = new DataView(buffer);
  let available = 0;
  const offer = (head: number, guestAddress: bigint, length: number): void => {
    view.setBigUint64(16 * head, guestAddress, true);
    view.setUint32(16 * head + 8, length, true);
    view.setUint16(0x84 + 2 * (available % 8), head, true);
    view.setUint16(0x82, ++available, true);
    kernel.eventfd.signal(kick);
  };
  return { memory, fd, tap, kick, call, error, view, offer };
}

describe('fake kernel: a device on its rings', () => {
  let kernel: FakeKernel;
  beforeEach(() => {
    kernel = new FakeKernel();
  });

  it('runs the device when it is kicked, once for kicks that came together', async () => {
    const { fd, tap, call, view, offer } = startQueue(kernel);
    const models = new Map<FakeQueue, ModelDevice>();
    const turns: number[] = [];
    kernel.attachDevice({
      attached: (queue) => models.set(queue, new ModelDevice(queue.layout())),
      kicked: (queue) => {
        const model = models.get(queue)!;
        const chains = model.takeAll();
        turns.push(chains.length);
        for (const { head, segments } of chains) {
          const { buffer, offset } = queue.guest(segments[0]!.gpa, segments[0]!.length)!;
          assert.equal(new DataView(buffer).getUint8(offset), 0x11 * head);
          model.complete(head, 0);
        }
        model.publish();
        queue.base = model.availableIndex;
        if (model.shouldCall()) queue.call();
      },
    });
    kernel.vhost.netSetBackend(fd, 1, tap);
    await kernel.idle();
    assert.deepEqual(turns, [0], 'a queue that may write gets a turn without a kick');
    for (const head of [3, 5]) {
      view.setUint8(0x1000 + head, 0x11 * head);
      offer(head, BigInt(0x10_1000 + head), 1);
    }
    await kernel.idle();
    assert.deepEqual(turns, [0, 2]);
    assert.equal(view.getUint16(0xc2, true), 2);
    assert.equal(kernel.eventfd.take(call), 1);
    assert.equal(kernel.vhost.getVringBase(fd, 1), 2);
  });

  it('does not run a queue without a backend; a kick from before counts afterwards', async () => {
    const { fd, tap, offer } = startQueue(kernel, 0);
    let turns = 0;
    kernel.attachDevice(() => turns++);
    offer(0, 0x10_1000n, 64);
    await kernel.idle();
    assert.equal(turns, 0);
    kernel.vhost.netSetBackend(fd, 0, tap);
    offer(1, 0x10_1000n, 64);
    await kernel.idle();
    assert.equal(turns, 1);
  });

  it('an eventfd that was signalled before it became the kick counts', async () => {
    const { fd, tap } = startQueue(kernel, 0);
    let turns = 0;
    kernel.attachDevice(() => turns++);
    kernel.vhost.netSetBackend(fd, 0, tap);
    const kick = kernel.eventfd.create();
    kernel.eventfd.signal(kick);
    kernel.vhost.setVringKick(fd, 0, kick);
    await kernel.idle();
    assert.equal(turns, 1);
  });

  it('holds its eventfds and its backend itself: their descriptors may be closed', async () => {
    const { fd, tap, call, error } = startQueue(kernel);
    kernel.vhost.netSetBackend(fd, 1, tap);
    for (const descriptor of [tap, call, error]) kernel.descriptor.close(descriptor);
    const queue = kernel.queue(fd, 1);
    assert.equal(queue.call(), true);
    assert.equal(queue.error(), true);
    assert.ok(kernel.interfaces.get('tap0'), 'the backend keeps the interface');
    await kernel.vhost.netDetachBackend(fd, 1);
    assert.equal(kernel.interfaces.get('tap0'), undefined);
    assert.deepEqual(kernel.violations, []);
  });

  it('reads the used index from the ring when a backend is set', () => {
    const { fd, tap, view } = startQueue(kernel);
    view.setUint16(0xc2, 77, true);
    kernel.vhost.netSetBackend(fd, 1, tap);
    assert.equal(kernel.queue(fd, 1).usedIndex, 77);
  });

  it('waits in a detach for what the device has outstanding', async () => {
    const { fd, tap } = startQueue(kernel);
    const order: string[] = [];
    kernel.attachDevice({
      detached: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        order.push('drained');
      },
    });
    kernel.vhost.netSetBackend(fd, 1, tap);
    const detached = kernel.vhost.netDetachBackend(fd, 1).then(() => order.push('detached'));
    order.push('asked');
    await detached;
    assert.deepEqual(order, ['asked', 'drained', 'detached']);
  });

  it('drains on close(2) and on a reset too', () => {
    const { fd, tap } = startQueue(kernel);
    const drained: number[] = [];
    kernel.attachDevice({ detached: (queue) => void drained.push(queue.index) });
    kernel.vhost.netSetBackend(fd, 1, tap);
    kernel.descriptor.close(fd);
    const second = startQueue(kernel);
    kernel.vhost.netSetBackend(second.fd, 1, second.tap);
    kernel.vhost.resetOwner(second.fd);
    assert.deepEqual(drained, [1, 1]);
  });

  it('does not let a device be closed while a backend is being detached', async () => {
    const { fd, tap } = startQueue(kernel);
    kernel.vhost.netSetBackend(fd, 1, tap);
    const detached = kernel.vhost.netDetachBackend(fd, 1);
    assert.throws(() => kernel.descriptor.close(fd), { code: 'EBUSY', syscall: 'close' });
    await detached;
    kernel.descriptor.close(fd);
    assert.equal(kernel.violations.length, 1);
    assert.match(kernel.violations[0]!, /closed while a backend is being detached/);
  });

  it('notes a blocking detach that would hold the loop', () => {
    const { fd, tap } = startQueue(kernel);
    kernel.attachDevice({ detached: async () => {} });
    kernel.vhost.netSetBackend(fd, 1, tap);
    kernel.vhost.netSetBackend(fd, 1, -1);
    assert.match(kernel.notes[0]!, /would block the loop/);
  });

  it('finds memory by user address and by guest physical address, within bounds only', () => {
    const { fd, memory } = startQueue(kernel);
    const queue = kernel.queue(fd, 1);
    assert.deepEqual(queue.memory(memory.address + 5n, 8), { buffer: memory.buffer, offset: 5 });
    assert.equal(queue.memory(memory.address - 1n, 1), undefined);
    assert.deepEqual(queue.guest(0x10_0010n, 16), { buffer: memory.buffer, offset: 16 });
    assert.equal(queue.guest(0x10_fff0n, 17), undefined);
    assert.equal(queue.guest(0xf_ffffn, 1), undefined);
    const { translate, size, eventIdx, descriptorTable, availableRing, usedRing } = queue.layout();
    assert.deepEqual(
      [size, eventIdx, descriptorTable, availableRing, usedRing, translate(0x10_0020n)],
      [8, false, 0, 0x80, 0xc0, 32],
    );
    assert.throws(() => translate(0n), /not in the ring's region/);
  });
});
