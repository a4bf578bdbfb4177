import assert from 'node:assert/strict';
import { constants } from 'node:buffer';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { hostKernel } from '../../../lib/kernel/host.js';
import { memfdMappings, openDescriptors } from './process-state.js';
import { resultOf } from './program.js';
import { throwsRefusal, throwsWrongType, throwsWrongValue } from './refusal.js';

describe('native memory', () => {
  const { memory, descriptor } = hostKernel();
  const page = memory.pageSize();

  it('knows the page size', () => {
    assert.ok(page >= 4096 && Number.isInteger(Math.log2(page)));
  });

  it('makes zeroed memory at an address of whole pages', () => {
    const mapping = memory.create('zeroed', 4 * page, 0);
    assert.equal(mapping.buffer.byteLength, 4 * page);
    assert.ok(mapping.buffer instanceof ArrayBuffer);
    assert.equal(mapping.address % BigInt(page), 0n);
    assert.ok(new Uint8Array(mapping.buffer).every((byte) => byte === 0));
    assert.equal(openDescriptors().get(mapping.fd), '/memfd:zeroed (deleted)');
    assert.equal(memfdMappings('zeroed'), 1);
    memory.unmap(mapping);
    assert.equal(memfdMappings('zeroed'), 0);
    assert.equal(openDescriptors().has(mapping.fd), false);
  });

  it('maps a memfd a second time over the same bytes, from an offset', () => {
    const first = memory.create('twice', 2 * page, 0);
    const second = memory.map(first.fd, page, page);
    assert.equal(second.fd, -1);
    new Uint8Array(first.buffer)[page + 5] = 42;
    assert.equal(new Uint8Array(second.buffer)[5], 42);
    Atomics.store(new Int32Array(second.buffer), 2, -7);
    assert.equal(Atomics.load(new Int32Array(first.buffer, page), 2), -7);
    memory.unmap(first);
    assert.equal(new Uint8Array(second.buffer)[5], 42);
    memory.unmap(second);
    assert.equal(memfdMappings('twice'), 0);
  });

  it('cannot be shrunk or grown by whoever gets the memfd', () => {
    const mapping = memory.create('sealed', page, 0);
    for (const size of [0, 2 * page])
      assert.throws(() => ftruncateSync(mapping.fd, size), { code: 'EPERM', syscall: 'ftruncate' });
    memory.unmap(mapping);
  });

  it('maps from an offset that is no multiple of a page', () => {
    const first = memory.create('offset', 2 * page, 0);
    const second = memory.map(first.fd, page - 5, 10);
    assert.equal(second.buffer.byteLength, 10);
    new Uint8Array(first.buffer)[page] = 77;
    assert.equal(new Uint8Array(second.buffer)[5], 77);
    memory.unmap(second);
    throwsRefusal(() => memory.map(first.fd, 0, 0), { code: 'EINVAL', syscall: 'mmap' });
    memory.unmap(first);
  });

  it('leaves views of length 0 after unmap', () => {
    const mapping = memory.create('views', page, 0);
    const bytes = new Uint8Array(mapping.buffer);
    const words = new Uint16Array(mapping.buffer, 16, 4);
    memory.unmap(mapping);
    assert.deepEqual([bytes.length, words.length, words.byteOffset, mapping.buffer.byteLength], [0, 0, 0, 0]);
    assert.equal(bytes[0], undefined);
    assert.throws(() => new DataView(mapping.buffer), TypeError);
  });

  it('refuses a second unmap, though the address came back', () => {
    const gone = memory.create('second', page, 0);
    memory.unmap(gone);
    throwsRefusal(() => memory.unmap(gone), { code: 'EINVAL', syscall: 'munmap' });
    const again = Array.from({ length: 8 }, () => memory.create('second', page, 0));
    throwsRefusal(() => memory.unmap(gone), { code: 'EINVAL', syscall: 'munmap' });
    assert.equal(memfdMappings('second'), 8);
    for (const mapping of again) memory.unmap(mapping);
  });

  it('refuses what is no mapping of this environment', () => {
    const mapping = memory.create('foreign', page, 0);
    const { address, buffer } = mapping;
    const refused = [
      { fd: -1, address: 4096n, buffer: new ArrayBuffer(page) },
      { fd: -1, address, buffer: new ArrayBuffer(page) },
      { fd: -1, address: address + 1n, buffer },
      { fd: -1, address: 0n, buffer },
    ];
    for (const foreign of refused)
      throwsRefusal(() => memory.unmap(foreign), { code: 'EINVAL', syscall: 'munmap' });
    throwsWrongType(() => memory.unmap(7 as never), 'memory.unmap', 'mapping');
    throwsWrongType(() => memory.unmap({ buffer } as never), 'memory.unmap', 'mapping.address');
    throwsWrongType(
      () => memory.unmap({ address, buffer: new Uint8Array(buffer) } as never),
      'memory.unmap',
      'mapping.buffer',
    );
    memory.unmap(mapping);
  });

  it('keeps the memory where it is while a buffer is transferred or cloned', () => {
    const mapping = memory.create('moved', page, 0);
    new Uint8Array(mapping.buffer)[0] = 9;
    let copy: ArrayBuffer | undefined;
    try {
      copy = structuredClone(mapping.buffer, { transfer: [mapping.buffer] });
    } catch (error) {
      assert.equal((error as Error).name, 'DataCloneError');
    }
    assert.equal(mapping.buffer.byteLength, page);
    memory.unmap(mapping);
    if (copy !== undefined) assert.equal(new Uint8Array(copy)[0], 9);
  });

  it('does not close another file that got the number of a memfd closed before', () => {
    const mapping = memory.create('number', page, 0);
    descriptor.close(mapping.fd);
    const other = openSync('/dev/null', 'r');
    assert.equal(other, mapping.fd, 'the lowest free number');
    memory.unmap(mapping);
    assert.equal(openDescriptors().get(other), '/dev/null');
    closeSync(other);
  });

  it('refuses to map past the end of a file, which would end the process at the first touch', () => {
    const mapping = memory.create('end', 2 * page, 0);
    throwsWrongValue(() => memory.map(mapping.fd, 0, 3 * page), 'memory.map', 'size');
    throwsWrongValue(() => memory.map(mapping.fd, 2 * page, page), 'memory.map', 'size');
    throwsWrongValue(() => memory.map(mapping.fd, 2 * page - 1, 2), 'memory.map', 'size');
    throwsRefusal(() => memory.map(mapping.fd, 0, 0), { code: 'EINVAL', syscall: 'mmap' });
    memory.unmap(mapping);
    throwsRefusal(() => memory.map(1_000_000, 0, page), { code: 'EBADF', syscall: 'fstat' });
  });

  it('leaves nothing behind when it cannot be made', () => {
    const before = openDescriptors().size;
    throwsRefusal(() => memory.create('refused', 0, 0), { code: 'EINVAL', syscall: 'mmap' });
    throwsRefusal(() => memory.create('n'.repeat(250), page, 0), { code: 'EINVAL', syscall: 'memfd_create' });
    throwsRefusal(() => memory.create('refused', page, 2 ** 13), { code: 'ENODEV', syscall: 'memfd_create' });
    throwsWrongValue(() => memory.create('refused', page, 3), 'memory.create', 'hugePageSize');
    throwsRefusal(() => memory.create('refused', 2 ** 52, 0), { code: 'ENOMEM', syscall: 'mmap' });
    throwsWrongValue(() => memory.create('refused', constants.MAX_LENGTH + page, 0), 'memory.create', 'size');
    throwsWrongValue(() => memory.create('refused', -page, 0), 'memory.create', 'size');
    throwsWrongValue(() => memory.create('a\0b', page, 0), 'memory.create', 'name');
    assert.equal(openDescriptors().size, before);
    assert.equal(memfdMappings('refused'), 0);
  });

  it('asks for huge pages, and gets them or a refusal that says so', () => {
    const size = 2 ** 21;
    try {
      const mapping = memory.create('huge', size, size);
      assert.equal(mapping.address % BigInt(size), 0n);
      memory.unmap(mapping);
    } catch (error) {
      assert.equal((error as Error & { code: string }).code, 'ENOMEM', String(error));
    }
  });

  it('outlives its buffer: the collector unmaps nothing, and unmap still works', async () => {
    assert.deepEqual(await resultOf('memory-collected', { node: ['--expose-gc'] }), {
      buffersCollected: true,
      mappedAfterCollection: 4,
      bytesKept: true,
      mappedAfterUnmap: 3,
    });
  });
});
