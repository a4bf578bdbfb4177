import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { hostKernel } from '../../../lib/kernel/host.js';
import { openDescriptors } from './process-state.js';
import { throwsRefusal, throwsWrongType, throwsWrongValue } from './refusal.js';

const CLOSED = 1_000_000;

describe('native eventfd', () => {
  const { eventfd, descriptor } = hostKernel();
  let fd: number;
  beforeEach(() => {
    fd = eventfd.create();
  });
  afterEach(() => descriptor.close(fd));

  it('counts signals until they are taken', () => {
    assert.equal(eventfd.take(fd), 0);
    for (let i = 0; i < 5; i++) eventfd.signal(fd);
    assert.equal(eventfd.take(fd), 5);
    assert.equal(eventfd.take(fd), 0);
  });

  it('is an eventfd that neither blocks nor survives exec', () => {
    assert.match(openDescriptors().get(fd) ?? '', /eventfd/);
    const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
    assert.equal(Number.parseInt(flags ?? '', 8), 0o2004002, 'O_CLOEXEC | O_NONBLOCK | O_RDWR');
  });

  it('refuses a counter that is full', () => {
    descriptor.write(fd, new Uint8Array([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
    throwsRefusal(() => eventfd.signal(fd), { code: 'EAGAIN', syscall: 'write' });
    assert.equal(eventfd.take(fd), 2 ** 64);
  });

  it('refuses a descriptor that is closed', () => {
    throwsRefusal(() => eventfd.signal(CLOSED), { code: 'EBADF', syscall: 'write' });
    throwsRefusal(() => eventfd.take(CLOSED), { code: 'EBADF', syscall: 'read' });
  });

  it('never takes something else for a descriptor', () => {
    for (const value of [undefined, null, '3', {}, [], 3n, true, Symbol('fd')]) {
      throwsWrongType(() => eventfd.signal(value as never), 'eventfd.signal', 'fd');
      throwsWrongType(() => eventfd.take(value as never), 'eventfd.take', 'fd');
    }
    for (const value of [-1, -0.5, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 53]) {
      throwsWrongValue(() => eventfd.signal(value), 'eventfd.signal', 'fd');
      throwsWrongValue(() => eventfd.take(value), 'eventfd.take', 'fd');
    }
  });
});
