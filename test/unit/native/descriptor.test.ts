import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { hostKernel } from '../../../lib/kernel/host.js';
import { openDescriptors } from './process-state.js';
import { throwsRefusal } from './refusal.js';

const S_IFMT = { regular: 0o100000, character: 0o020000, fifo: 0o010000, socket: 0o140000 };

describe('native descriptor', () => {
  const { descriptor, eventfd, memory, netdev } = hostKernel();

  it('closes what this environment owns, once', () => {
    const fd = eventfd.create();
    descriptor.close(fd);
    assert.equal(openDescriptors().has(fd), false);
    throwsRefusal(() => descriptor.close(fd), { code: 'EBADF', syscall: 'close' });
  });

  it('refuses to close what it does not own', () => {
    const fd = openSync('/dev/null', 'r');
    try {
      throwsRefusal(() => descriptor.close(fd), { code: 'EBADF', syscall: 'close' });
      for (const standard of [0, 1, 2])
        throwsRefusal(() => descriptor.close(standard), { code: 'EBADF', syscall: 'close' });
      assert.ok(openDescriptors().has(fd));
    } finally {
      closeSync(fd);
    }
  });

  it('owns a copy that it made, above the standard streams', () => {
    const fd = eventfd.create();
    const copy = descriptor.duplicate(fd);
    assert.ok(copy > 2);
    descriptor.close(fd);
    eventfd.signal(copy);
    assert.equal(eventfd.take(copy), 1);
    descriptor.close(copy);
    throwsRefusal(() => descriptor.duplicate(copy), { code: 'EBADF', syscall: 'fcntl' });
  });

  it('says what a descriptor is', () => {
    const socket = netdev.open();
    const device = openSync('/dev/net/tun', 'r');
    const mapping = memory.create('stat', memory.pageSize(), 0);
    try {
      assert.deepEqual(descriptor.stat(socket), { type: S_IFMT.socket, major: 0, minor: 0 });
      assert.deepEqual(descriptor.stat(device), { type: S_IFMT.character, major: 10, minor: 200 });
      assert.deepEqual(descriptor.stat(mapping.fd), { type: S_IFMT.regular, major: 0, minor: 0 });
    } finally {
      descriptor.close(socket);
      closeSync(device);
      memory.unmap(mapping);
    }
    throwsRefusal(() => descriptor.stat(socket), { code: 'EBADF', syscall: 'fstat' });
  });

  it('reads and writes views at their place, shared memory too', () => {
    const fd = eventfd.create();
    const whole = new Uint8Array(new SharedArrayBuffer(32));
    whole[8] = 7;
    assert.equal(descriptor.write(fd, whole.subarray(8, 16)), 8);
    assert.equal(descriptor.read(fd, whole.subarray(17, 25)), 8);
    assert.deepEqual([...whole.subarray(16, 19)], [0, 7, 0]);
    throwsRefusal(() => descriptor.read(fd, new Uint8Array(8)), { code: 'EAGAIN', syscall: 'read' });
    throwsRefusal(() => descriptor.write(fd, new Uint8Array(4)), { code: 'EINVAL', syscall: 'write' });
    assert.equal(descriptor.write(fd, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0])), 8);
    descriptor.close(fd);
  });

  it('takes a view of memory that went away for an empty one', () => {
    const fd = openSync('/dev/zero', 'r+');
    const mapping = memory.create('gone', memory.pageSize(), 0);
    const view = new Uint8Array(mapping.buffer);
    assert.equal(descriptor.read(fd, view), memory.pageSize());
    memory.unmap(mapping);
    assert.equal(descriptor.read(fd, view), 0);
    assert.equal(descriptor.write(fd, view), 0);
    closeSync(fd);
  });
});
