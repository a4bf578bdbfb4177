import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { hostKernel } from '../../../lib/kernel/host.js';
import { openDescriptors } from './process-state.js';
import { resultOf } from './program.js';
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

  it('counts more signals than the kernel keeps requests for', () => {
    for (let i = 0; i < 10_000; i++) eventfd.signal(fd);
    assert.equal(eventfd.take(fd), 10_000);
  });

  it('leaves a counter full that is, and neither waits nor fails, whatever those do who share it', async () => {
    assert.deepEqual(await resultOf('eventfd-shared'), {
      empty: 0,
      full: [2 ** 64, 0],
      watched: [[2 ** 64], [1]],
      takenFirst: [1],
    });
  });

  it('refuses a descriptor that is closed, or no eventfd', () => {
    throwsRefusal(() => eventfd.signal(CLOSED), { code: 'EBADF', syscall: 'io_submit' });
    throwsRefusal(() => eventfd.signal(0), { code: 'EINVAL', syscall: 'io_submit' });
    throwsRefusal(() => eventfd.take(CLOSED), { code: 'EBADF', syscall: 'preadv2' });
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
