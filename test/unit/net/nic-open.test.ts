import assert from 'node:assert/strict';
import { openTap } from '../../../lib/backend/tap.js';
import { FramePool } from '../../../lib/memory/frame-pool.js';
import { GuestMemory } from '../../../lib/memory/guest-memory.js';
import { Nic } from '../../../lib/net/nic.js';
import { KernelVhost } from '../../../lib/vhost/kernel-vhost.js';
import { FakeKernel } from '../../support/fake-kernel.js';
import { ModelWorkers } from '../../support/model-workers.js';
import { openNic } from '../../support/open-nic.js';

describe('Nic.open', () => {
  it('asks for everything in the order of the contract', async () => {
    const { nic, kernel } = await openNic();
    const order = kernel.callNames.filter((name) => name.startsWith('vhost.'));
    const first = (name: string): number => order.indexOf(`vhost.${name}`);
    const last = (name: string): number => order.lastIndexOf(`vhost.${name}`);
    assert.equal(first('open'), 0);
    assert.equal(first('setOwner'), 1);
    for (const [before, after] of [
      ['setFeatures', 'setMemTable'],
      ['setMemTable', 'setVringNum'],
      ['setVringNum', 'setVringAddr'],
      ['setVringKick', 'netSetBackend'],
      ['setVringCall', 'netSetBackend'],
      ['setVringErr', 'netSetBackend'],
      ['setVringBase', 'netSetBackend'],
    ] as const)
      assert.ok(first(before) !== -1 && first(before) < first(after), `${before} comes before ${after}`);
    assert.ok(last('setVringAddr') < first('netSetBackend'));
    await nic.close();
    const closing = kernel.callNames;
    const at = (name: string): number => closing.lastIndexOf(name);
    const before = closing.slice(0, closing.indexOf('vhost.netDetachBackend'));
    assert.equal(
      before.filter((name) => name === 'poller.close').length,
      4,
      'no queue tells of anything any more',
    );
    assert.equal(closing.filter((name) => name === 'vhost.netDetachBackend').length, 2);
    assert.equal(at('memory.unmap'), closing.length - 1, 'memory outlives everything');
    assert.deepEqual(kernel.notes, [], 'every queue was detached before the device was closed');
    kernel.assertNothingLeft();
  });

  it('refuses a receive ring that could never hold a frame of its backend, and leaves nothing open', async () => {
    const kernel = new FakeKernel();
    for (const tap of [{ offloads: true }, { mtu: 20_000 }])
      await assert.rejects(Nic.open({ tap, queueSize: 8, kernel }), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: /^queueSize must be so large that the receive buffers hold the longest frame/,
      });
    kernel.assertNothingLeft();
  });

  it('fills the receive ring before the queue starts', async () => {
    const { nic, worker } = await openNic();
    assert.equal(worker.model(0).available(), 8);
    await nic.close();
  });

  it('refuses options that break a rule, before it asks the kernel for anything', async () => {
    const strange = new GuestMemory(new FakeKernel());
    const elsewhere = new GuestMemory(new FakeKernel());
    elsewhere.addRegion({ size: 4096 });
    const pool = new FramePool(elsewhere, 64, 4);
    const wrong: [object, RegExp][] = [
      [
        {},
        /^options must be such that exactly one of tap, macvtap, packet, fd, backend is named; received \[\]$/,
      ],
      [{ tap: 'a', packet: 'b' }, /exactly one of .* is named; received \[ 'tap', 'packet' \]$/],
      [{ tap: 'a', backend: {} }, /exactly one of .* is named; received \[ 'tap', 'backend' \]$/],
      [{ backend: 7 }, /^backend must be a backend that is open; received 7$/],
      [{ backend: { tap: 'a' } }, /^backend must be a backend that is open/],
      [{ tap: 'x'.repeat(16) }, /^tap\.name must be an interface name of 1 to 15 bytes \(this one has 16\)/],
      [{ tap: 'a', queueSize: 100 }, /^queueSize must be a power of two/],
      [{ tap: 'a', queueSize: { receive: 0 } }, /^queueSize\.receive must be a whole number/],
      [{ tap: 'a', queueSize: { transmit: 65_536 } }, /^queueSize\.transmit must be/],
      [{ tap: 'a', queueSize: { send: 8 } }, /^queueSize must be made of the options receive, transmit/],
      [{ tap: 'a', bufferSize: 100 }, /^bufferSize must be a whole number from 128/],
      [{ tap: 'a', buffers: 1 }, /^buffers must be a whole number from 2/],
      [{ tap: 'a', maxInFlight: { frames: 0 } }, /^maxInFlight\.frames must be/],
      [{ tap: 'a', maxInFlight: { bytes: 0 } }, /^maxInFlight\.bytes must be/],
      [{ tap: 'a', budget: { frames: 0 } }, /^budget\.frames must be/],
      [{ tap: 'a', budget: { bytes: 0 } }, /^budget\.bytes must be/],
      [{ tap: 'a', maxInFlight: 10 }, /^maxInFlight must be an object of options; received 10$/],
      [{ tap: 'a', maxInFlight: { frame: 10 } }, /^maxInFlight must be .* \(did you mean "frames"\?\)/],
      [{ tap: 'a', budget: 10 }, /^budget must be an object of options/],
      [{ tap: 'a', budget: { byte: 10 } }, /^budget must be .* \(did you mean "bytes"\?\)/],
      [{ tap: 'a', shared: {} }, /^shared\.memory must be a GuestMemory; received undefined$/],
      [{ tap: 'a', shared: { memory: strange } }, /^shared\.pool must be a FramePool; received undefined$/],
      [
        { tap: 'a', shared: { memory: strange, pool } },
        /^shared\.pool must be in a region of shared\.memory/,
      ],
      [{ tap: 'a', shared: { memories: [] } }, /^shared\.memory must be a GuestMemory; received undefined$/],
      [
        { tap: 'a', shared: null },
        /^shared must be a Nic, or an object with a memory and a pool; received null$/,
      ],
      [{ tap: 'a', resumable: 'yes' }, /^resumable must be true or false; received 'yes'$/],
      [{ tap: 'a', inOrder: 1 }, /^inOrder must be true or false; received 1$/],
      [{ tap: { multiQueue: 1 } }, /^tap\.multiQueue must be true or false; received 1$/],
      [{ tap: { persist: 'no' } }, /^tap\.persist must be true or false/],
      [{ tap: { up: 'no' } }, /^up must be true or false; received 'no'$/],
      [{ tap: { netns: 7 } }, /^netns must be a name or a path; received 7$/],
      [{ packet: { name: 'a', promiscuous: 0 } }, /^packet\.promiscuous must be true or false/],
      [{ tap: 'a', busyPoll: -1 }, /^busyPoll must be/],
      [{ tap: 'a', busyPoll: { driver: -1 } }, /^busyPoll.driver must be/],
      [{ tap: 'a', busyPoll: { device: 0.5 } }, /^busyPoll.device must be/],
      [{ tap: 'a', vhost: 7 }, /^vhost must be a path, 'worker', a Vhost or an array/],
      [{ tap: 'a', queuePairs: 0 }, /^queuePairs must be a whole number from 1 to 256/],
      [{ tap: 'a', queuePairs: 257 }, /^queuePairs must be/],
      [
        { tap: 'a', queuePairs: 252, resumable: true },
        /^queuePairs must be at most 251 with resumable, .*; received 252$/,
      ],
      [{ tap: 'a', worker: 'kthread' }, /^worker must be 'task' or 'kernel thread'; received 'kthread'$/],
      [{ tap: { queues: 257 } }, /^tap\.queues must be a whole number from 1 to 256/],
      [{ macvtap: { name: 'a', queues: 0 } }, /^macvtap\.queues must be/],
      [{ tap: 'a', queuePairs: 2, vhost: [{}] }, /^vhost must be a device for each of the 2 queue pairs/],
      [{ tap: 'a', queuesize: 8 }, /did you mean "queueSize"\?/],
      [{ tap: 'a', hugePageSize: -1 }, /^hugePageSize must be/],
    ];
    for (const [options, message] of wrong) {
      const kernel = new FakeKernel();
      await assert.rejects(Nic.open({ ...options, kernel } as never), (error: Error & { code: string }) => {
        assert.match(error.code, /^ERR_VHOST_(OUT_OF_RANGE|INVALID_ARGUMENT)$/);
        assert.match(error.message, message);
        return true;
      });
      kernel.assertNothingLeft();
    }
  });

  it('refuses a second Nic on the same tap, and leaves the first alone', async () => {
    const { nic, kernel } = await openNic();
    const open = kernel.openDescriptors().length;
    await assert.rejects(Nic.open({ tap: 'tap0', kernel }), {
      code: 'EBUSY',
      request: 'TUNSETIFF',
      hint: /open already/,
    });
    assert.equal(kernel.openDescriptors().length, open);
    await nic.send(new Uint8Array(60));
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('opens the device that it is told to, by path or ready', async () => {
    const kernel = new FakeKernel();
    await assert.rejects(openNic({ vhost: '/dev/null' }, kernel), { code: 'ENOENT', path: '/dev/null' });
    const vhost = KernelVhost.open({ kernel });
    const { nic } = await openNic({ vhost }, kernel);
    await nic.close();
    assert.throws(() => vhost.fd, { code: 'ERR_VHOST_CLOSED' }, "it became the Nic's to close");
    kernel.assertNothingLeft();
  });

  it('is served by this program where the machine has no device, and says so', async () => {
    const kernel = new FakeKernel();
    const { nic: served } = await openNic({}, kernel);
    assert.equal(served.device, 'kernel');
    await served.close();
    kernel.failOn('vhost.open', 'ENOENT', { remaining: 2 });
    const { nic } = await openNic({ tap: { name: 'tap0', queues: 2 }, queuePairs: 2 }, kernel);
    assert.equal(nic.device, 'worker');
    await nic.send(new Uint8Array(60).fill(7));
    await nic.drain();
    const tap = nic.backend.queues.flatMap((fd) => kernel.written(fd));
    assert.deepEqual(
      tap.map((frame) => [...frame.subarray(12)]),
      [Array(60).fill(7)],
    );
    await nic.close();
    kernel.assertNothingLeft();
  });

  for (const code of ['EACCES', 'ENODEV', 'EMFILE', 'ENXIO'])
    it(`is served by nothing where the device is there and answers ${code}`, async () => {
      const kernel = new FakeKernel();
      kernel.failOn('vhost.open', code);
      await assert.rejects(openNic({}, kernel), { code, path: '/dev/vhost-net' });
      kernel.assertNothingLeft();
    });

  it('closes a device that it was given, wherever it fails', async () => {
    for (const name of ['memory.create', 'tun.setIff', 'eventfd.create', 'vhost.setOwner']) {
      const kernel = new FakeKernel();
      const vhost = KernelVhost.open({ kernel });
      kernel.failOn(name, 'ENOMEM');
      await assert.rejects(openNic({ vhost }, kernel), { code: 'ENOMEM' });
      kernel.assertNothingLeft();
    }
  });

  it('chooses what the worker of each device is, before the device has an owner', async () => {
    for (const [kind, other] of [
      ['task', false],
      ['kernel thread', true],
    ] as const) {
      const kernel = new FakeKernel({ forkControl: true, taskWorkers: other });
      kernel.attachDevice(new ModelWorkers());
      const nic = await Nic.open({ tap: 'tap0', worker: kind, queuePairs: 2, queueSize: 8, kernel });
      for (const pair of nic.pairs) assert.equal((await pair.worker())!.kind, kind);
      await nic.close();
      kernel.assertNothingLeft();
    }
  });

  it('refuses to choose where the kernel leaves no choice, or the device has no worker of the kernel', async () => {
    const refused = { code: 'ERR_VHOST_UNSUPPORTED', request: 'VHOST_SET_FORK_FROM_OWNER' };
    const kernel = new FakeKernel();
    await assert.rejects(openNic({ worker: 'task' }, kernel), {
      ...refused,
      message: /Linux 6\.17 and later/,
    });
    await assert.rejects(openNic({ worker: 'task', vhost: 'worker' }, kernel), {
      ...refused,
      message: "the device has no worker of the kernel's that could be a task",
    });
    kernel.assertNothingLeft();
  });

  it('leaves a backend that it was given to the caller', async () => {
    const kernel = new FakeKernel();
    const backend = openTap({ name: 'tap3' }, kernel);
    const { nic } = await openNic({ tap: undefined, backend } as never, kernel);
    assert.equal(nic.backend, backend);
    assert.equal(nic.name, 'tap3');
    await nic.close();
    assert.equal(backend.alive(), true);
    backend.close();
    kernel.assertNothingLeft();
  });

  it('shares memory and buffers with another Nic', async () => {
    const kernel = new FakeKernel();
    const memory = new GuestMemory(kernel);
    memory.addRegion({ size: 1 << 20 });
    const pool = new FramePool(memory, 2048, 64);
    const shared = { memory, pool };
    const first = await openNic({ tap: 'tap0', shared }, kernel);
    const { worker } = first;
    await first.nic.send(new Uint8Array(60).fill(1));
    await first.nic.drain();
    assert.equal(worker.sent.length, 1);
    const second = await openNic({ tap: 'tap1', shared }, kernel);
    assert.equal(second.nic.pool, first.nic.pool);
    await second.nic.send(new Uint8Array(60).fill(2));
    await second.nic.drain();
    assert.equal(second.worker.sent[0]!.frame[0], 2);
    // Each has its rings in a region of its own, which stays while it runs and goes with it.
    assert.equal(memory.regions.length, 3);
    const [, rings] = memory.regions;
    await assert.rejects(memory.hotRemove(rings!), {
      code: 'ERR_VHOST_IN_USE',
      message: /in use by the ring of queue 0 and by 1 other\(s\)$/,
    });
    await first.nic.close();
    assert.equal(memory.regions.length, 2);
    assert.throws(() => memory.close(), { code: 'ERR_VHOST_IN_USE' });
    await second.nic.close();
    assert.equal(memory.regions.length, 1);
    assert.equal(pool.free, pool.count);
    memory.close();
    kernel.assertNothingLeft();
  });

  it('leaves no region behind where a shared one is not opened', async () => {
    const kernel = new FakeKernel();
    const memory = new GuestMemory(kernel);
    memory.addRegion({ size: 1 << 20 });
    const shared = { memory, pool: new FramePool(memory, 2048, 64) };
    kernel.failOn('vhost.netSetBackend', 'EFAULT');
    await assert.rejects(openNic({ shared }, kernel), { code: 'EFAULT' });
    assert.equal(memory.regions.length, 1);
    memory.close();
    kernel.assertNothingLeft();
  });

  it('has no region added under a dirty log', async () => {
    const { nic, kernel } = await openNic();
    await nic.startDirtyLog();
    await assert.rejects(nic.memory.hotAdd({ size: 4096 }), { code: 'ERR_VHOST_IN_USE' });
    await nic.stopDirtyLog();
    await nic.memory.hotAdd({ size: 4096 });
    await nic.startDirtyLog();
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('tells vhost to supply the header where the backend carries none', async () => {
    const kernel = new FakeKernel();
    kernel.interfaces.add('ether', 'eth7');
    const { nic } = await openNic({ tap: undefined, packet: 'eth7' } as never, kernel);
    assert.equal((nic.features >> 27n) & 1n, 1n, 'VHOST_NET_F_VIRTIO_NET_HDR');
    await nic.close();
    kernel.assertNothingLeft();
  });
});
