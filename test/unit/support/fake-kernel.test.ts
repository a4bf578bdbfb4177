import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { FakeKernel } from '../../support/fake-kernel.js';
import { requests } from '../../support/fake-requests.js';

describe('fake kernel: what it records and injects', () => {
  let kernel: FakeKernel;
  beforeEach(() => {
    kernel = new FakeKernel();
  });

  it('records each call with the arguments as they were then', () => {
    const fd = kernel.vhost.open('/dev/vhost-net');
    const addresses = { flags: 0, descriptorTable: 0n, availableRing: 0n, usedRing: 0n, log: 0n };
    kernel.vhost.setOwner(fd);
    kernel.vhost.setVringAddr(fd, 1, addresses);
    addresses.flags = 7;
    assert.deepEqual(kernel.calls, [
      { name: 'vhost.open', args: ['/dev/vhost-net'], number: 1 },
      { name: 'vhost.setOwner', args: [fd], number: 2 },
      { name: 'vhost.setVringAddr', args: [fd, 1, { ...addresses, flags: 0 }], number: 3 },
    ]);
  });

  it('knows every method of the kernel interface by the name it records', () => {
    const { vhost, tun, packet, netdev, eventfd, memory, poller, passing, descriptor, frames } = kernel;
    const surfaces = { vhost, tun, packet, netdev, eventfd, memory, poller, passing, descriptor, frames };
    for (const name of Object.keys(requests)) {
      const [surface, method] = name.split('.') as [keyof typeof surfaces, string];
      const methods = surfaces[surface] as unknown as Record<string, unknown>;
      assert.equal(typeof methods[method], 'function', name);
    }
  });

  it('failAt() refuses the n-th call that can be refused, whichever it is', () => {
    kernel.failAt(2, 'ENOMEM');
    kernel.memory.pageSize();
    kernel.files.read('/proc/version');
    kernel.eventfd.create();
    assert.throws(() => kernel.eventfd.create(), { code: 'ENOMEM', syscall: 'eventfd' });
    kernel.eventfd.create();
    assert.equal(kernel.openDescriptors().length, 2);
    assert.equal(kernel.refusable, 3);
    assert.deepEqual(
      kernel.calls.map(({ number }) => number),
      [0, 0, 1, 2, 3],
    );
  });

  it('failOn() refuses calls of one name, after some, as often as told', () => {
    kernel.failOn('eventfd.create', 'EMFILE', { skip: 1, remaining: 2 });
    const outcomes = Array.from({ length: 5 }, () => {
      try {
        kernel.eventfd.create();
        return 'made';
      } catch (error) {
        return (error as NodeJS.ErrnoException).code;
      }
    });
    assert.deepEqual(outcomes, ['made', 'EMFILE', 'EMFILE', 'made', 'made']);
  });

  it('does not take a name that no call has, nor an errno that does not exist', () => {
    assert.throws(() => kernel.failOn('vhost.setMemoryTable', 'EFAULT'), TypeError);
    kernel.failAt(1, 'EWHATEVER');
    assert.throws(() => kernel.eventfd.create(), /EWHATEVER is no errno/);
  });

  it('refuses in the shape of the native part', () => {
    const fd = kernel.vhost.open('/dev/vhost-net');
    kernel.vhost.setOwner(fd);
    kernel.failOn('vhost.setVringNum', 'EBUSY');
    assert.throws(
      () => kernel.vhost.setVringNum(fd, 1, 256),
      (error: Error) => {
        assert.deepEqual(
          { ...error },
          {
            errno: -constants.errno.EBUSY,
            code: 'EBUSY',
            syscall: 'ioctl',
            request: 'VHOST_SET_VRING_NUM',
            queue: 1,
          },
        );
        assert.match(error.message, /^EBUSY: .*, ioctl VHOST_SET_VRING_NUM$/);
        assert.equal(error, kernel.refusals.at(-1));
        return true;
      },
    );
    assert.throws(() => kernel.tun.open('/dev/tap9'), { code: 'ENOENT', syscall: 'open', path: '/dev/tap9' });
    assert.throws(() => kernel.tun.open('/dev/net/tun', '/run/netns/a'), {
      syscall: 'open',
      path: '/run/netns/a',
    });
  });

  it('does nothing of a call that it refuses, but for close(2) and munmap(2)', () => {
    const mapping = kernel.memory.create('ring', 4096, 0);
    const fd = kernel.eventfd.create();
    kernel.failOn('eventfd.signal', 'EIO');
    assert.throws(() => kernel.eventfd.signal(fd), { code: 'EIO' });
    assert.equal(kernel.eventfd.take(fd), 0);
    kernel.failOn('descriptor.close', 'EIO');
    kernel.failOn('memory.unmap', 'ENOMEM');
    assert.throws(() => kernel.descriptor.close(fd), { code: 'EIO', syscall: 'close' });
    assert.throws(() => kernel.memory.unmap(mapping), { code: 'ENOMEM', syscall: 'munmap' });
    kernel.assertNothingLeft();
  });

  it('refuses numbers that are no whole numbers before they become something else', () => {
    assert.throws(() => kernel.vhost.setVringNum(5, 0, Number.NaN), TypeError);
    assert.throws(() => kernel.vhost.setVringNum(5, 0, 1.5), TypeError);
    assert.throws(() => kernel.vhost.setOwner(-1), { code: 'ERR_VHOST_OUT_OF_RANGE' });
  });
});

describe('fake kernel: what nobody should do', () => {
  let kernel: FakeKernel;
  beforeEach(() => {
    kernel = new FakeKernel();
  });

  it('a descriptor closed twice, or never opened', () => {
    const fd = kernel.eventfd.create();
    kernel.descriptor.close(fd);
    assert.throws(() => kernel.descriptor.close(fd), { code: 'EBADF' });
    assert.throws(() => kernel.descriptor.close(7), { code: 'EBADF' });
    assert.deepEqual(kernel.violations, [
      `descriptor.close: descriptor ${fd} is closed already`,
      'descriptor.close: descriptor 7 was never opened',
    ]);
  });

  it('a request on a descriptor that is closed', () => {
    const fd = kernel.vhost.open('/dev/vhost-net');
    kernel.descriptor.close(fd);
    assert.throws(() => kernel.vhost.setOwner(fd), { code: 'EBADF', request: 'VHOST_SET_OWNER' });
    assert.deepEqual(kernel.violations, [`vhost.setOwner: descriptor ${fd} is closed already`]);
  });

  it("a caller's descriptor closed", () => {
    const fd = kernel.callersDescriptor('eventfd');
    assert.throws(() => kernel.descriptor.close(fd), { code: 'EBADF' });
    assert.deepEqual(kernel.violations, [`descriptor.close: descriptor ${fd} belongs to the caller`]);
    assert.deepEqual(kernel.openDescriptors(), []);
  });

  it('a descriptor closed under its watch', () => {
    const fd = kernel.eventfd.create();
    const poller = kernel.poller.watchEventfd(fd, () => {});
    kernel.descriptor.close(fd);
    poller.close();
    assert.deepEqual(kernel.violations, [`descriptor.close: descriptor ${fd} closed under its watch`]);
  });

  it('memory unmapped twice, or never mapped', () => {
    const mapping = kernel.memory.create('ring', 4096, 0);
    kernel.memory.unmap(mapping);
    assert.throws(() => kernel.memory.unmap(mapping), { code: 'EINVAL' });
    assert.throws(() => kernel.memory.unmap({ ...mapping, address: 0x1000n }), { code: 'EINVAL' });
    assert.equal(kernel.violations.length, 2);
    assert.match(kernel.violations[0]!, /unmapped already/);
    assert.match(kernel.violations[1]!, /never mapped/);
  });

  it('the memfd of a mapping closed apart from it', () => {
    const mapping = kernel.memory.create('ring', 4096, 0);
    kernel.descriptor.close(mapping.fd);
    kernel.memory.unmap(mapping);
    assert.deepEqual(kernel.violations, [
      `memory.unmap: descriptor ${mapping.fd} of the mapping is closed already`,
    ]);
  });

  it('memory unmapped before a vhost device that was told of it is closed', () => {
    const region = kernel.memory.create('region', 8192, 0);
    const ring = kernel.memory.create('ring', 4096, 0);
    const other = kernel.memory.create('other', 4096, 0);
    const fd = kernel.vhost.open('/dev/vhost-net');
    kernel.vhost.setOwner(fd);
    kernel.vhost.setMemTable(fd, [
      { guestPhysicalAddress: 0n, size: 4096n, userAddress: region.address + 4096n },
    ]);
    kernel.vhost.setVringAddr(fd, 0, {
      flags: 0,
      descriptorTable: region.address,
      availableRing: region.address,
      usedRing: ring.address,
      log: 0n,
    });
    kernel.memory.unmap(other);
    assert.deepEqual(kernel.violations, []);
    kernel.memory.unmap(ring);
    kernel.memory.unmap(region);
    assert.equal(kernel.violations.length, 2);
    assert.match(kernel.violations[0]!, /unmapped while an open vhost device .*: the ring of queue 0$/);
    assert.match(kernel.violations[1]!, /unmapped while an open vhost device .*: its memory table$/);
  });

  it('memory may go once the device forgot it: closed, reset, or told of another table', () => {
    const mapping = kernel.memory.create('region', 4096, 0);
    const table = [{ guestPhysicalAddress: 0n, size: 4096n, userAddress: mapping.address }];
    const fds = [0, 1, 2].map(() => kernel.vhost.open('/dev/vhost-net'));
    for (const fd of fds) {
      kernel.vhost.setOwner(fd);
      kernel.vhost.setMemTable(fd, table);
    }
    kernel.descriptor.close(fds[0]!);
    kernel.vhost.resetOwner(fds[1]!);
    kernel.vhost.setMemTable(fds[2]!, []);
    kernel.memory.unmap(mapping);
    assert.deepEqual(kernel.violations, []);
  });

  it('a copy of the device keeps it open', () => {
    const mapping = kernel.memory.create('region', 4096, 0);
    const fd = kernel.vhost.open('/dev/vhost-net');
    const copy = kernel.descriptor.duplicate(fd);
    kernel.vhost.setOwner(fd);
    kernel.vhost.setMemTable(copy, [{ guestPhysicalAddress: 0n, size: 4096n, userAddress: mapping.address }]);
    kernel.descriptor.close(fd);
    kernel.memory.unmap(mapping);
    assert.equal(kernel.violations.length, 1);
    kernel.descriptor.close(copy);
  });

  it('lists what is still open, and fails for it', () => {
    const fd = kernel.eventfd.create();
    const mapping = kernel.memory.create('ring', 4096, 0);
    const poller = kernel.poller.watchEventfd(fd, () => {});
    poller.unref();
    assert.deepEqual(kernel.openDescriptors(), [
      { fd, kind: 'eventfd' },
      { fd: mapping.fd, kind: 'memfd' },
    ]);
    assert.deepEqual(kernel.openMappings(), [{ name: 'ring', address: mapping.address, size: 4096 }]);
    assert.deepEqual(kernel.openPollers(), [{ fd, referenced: false }]);
    assert.throws(() => kernel.assertNothingLeft(), assert.AssertionError);
    poller.close();
    poller.close();
    kernel.memory.unmap(mapping);
    kernel.descriptor.close(fd);
    kernel.assertNothingLeft();
  });
});

describe('fake kernel: memory', () => {
  it('maps zeroed buffers at distinct page-aligned addresses that need more than 32 bits', () => {
    const kernel = new FakeKernel();
    const mappings = [4096, 3 * 4096, 4096].map((size) => kernel.memory.create('region', size, 0));
    for (const { address, buffer } of mappings) {
      assert.equal(address % 4096n, 0n);
      assert.ok(address > 0xffff_ffffn && address < 1n << 47n);
      assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
    }
    const [low, middle, high] = mappings.map(({ address }) => address);
    assert.ok(middle! > low! + 4096n && high! > middle! + 3n * 4096n, 'with a gap between them');
  });

  it('detaches the buffer on unmap: its views have length 0', () => {
    const kernel = new FakeKernel();
    const mapping = kernel.memory.create('region', 4096, 0);
    const view = new Uint8Array(mapping.buffer, 16, 32);
    kernel.memory.unmap(mapping);
    assert.equal(view.length, 0);
    assert.equal(mapping.buffer.byteLength, 0);
  });

  it('refuses sizes that are no pages, and huge pages, as a host without them', () => {
    const kernel = new FakeKernel();
    assert.throws(() => kernel.memory.create('region', 100, 0), { code: 'EINVAL' });
    assert.throws(() => kernel.memory.create('region', 1 << 21, 1 << 21), { code: 'ENOMEM' });
    kernel.assertNothingLeft();
  });

  it("maps a caller's file and leaves it to the caller", () => {
    const kernel = new FakeKernel();
    const fd = kernel.callersDescriptor('memory', 8192);
    assert.throws(() => kernel.memory.map(fd, 4096, 8192), { code: 'ERR_VHOST_OUT_OF_RANGE' });
    const mapping = kernel.memory.map(fd, 4096, 4096);
    assert.equal(mapping.fd, -1);
    assert.equal(mapping.buffer.byteLength, 4096);
    kernel.memory.unmap(mapping);
    kernel.assertNothingLeft();
    assert.throws(() => kernel.memory.map(kernel.callersDescriptor('eventfd'), 0, 4096), { code: 'ENODEV' });
  });
});
