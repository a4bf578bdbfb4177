import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hostKernel } from '../../../lib/kernel/host.js';
import type { Poller } from '../../../lib/kernel/kernel.js';
import { openFifo } from './fifo.js';
import { openDescriptors } from './process-state.js';
import { resultOf, runProgram } from './program.js';
import { throwsRefusal, throwsWrongType } from './refusal.js';

describe('native poller', () => {
  const { poller, eventfd, descriptor } = hostKernel();
  let fd: number;
  let watch: Poller | undefined;
  let before: number;

  beforeEach(() => {
    before = openDescriptors().size;
    fd = eventfd.create();
  });
  afterEach(async () => {
    watch?.close();
    watch = undefined;
    descriptor.close(fd);
    await nextTurn();
    assert.equal(openDescriptors().size, before, 'nothing stays open');
  });

  /** The counts of the next `calls` callbacks. */
  function counts(calls: number): Promise<number[]> {
    return new Promise((resolve) => {
      const taken: number[] = [];
      watch = poller.watchEventfd(fd, (count) => {
        taken.push(count);
        if (taken.length === calls) resolve(taken);
      });
    });
  }

  it('calls back with the count it took', async () => {
    const called = counts(1);
    for (let i = 0; i < 3; i++) eventfd.signal(fd);
    assert.deepEqual(await called, [3]);
    assert.equal(eventfd.take(fd), 0);
  });

  it('calls back once each time it was signalled', async () => {
    const taken: number[] = [];
    await new Promise<void>((resolve) => {
      watch = poller.watchEventfd(fd, (count) => {
        taken.push(count);
        if (taken.length === 100) resolve();
        else eventfd.signal(fd);
      });
      eventfd.signal(fd);
    });
    assert.deepEqual(taken, Array(100).fill(1));
    await nextTurn();
    await nextTurn();
    assert.equal(taken.length, 100);
  });

  it('runs microtasks and ticks after each callback', async () => {
    const order: string[] = [];
    const other = eventfd.create();
    await new Promise<void>((resolve) => {
      const step = (name: string) => () => {
        order.push(name);
        process.nextTick(() => order.push(`${name} tick`));
        queueMicrotask(() => {
          order.push(`${name} microtask`);
          if (order.length === 6) resolve();
        });
      };
      watch = poller.watchEventfd(fd, step('callback'));
      const second = poller.watchEventfd(other, (count) => {
        step('callback')();
        second.close();
        assert.equal(count, 1);
      });
      eventfd.signal(fd);
      eventfd.signal(other);
    });
    descriptor.close(other);
    const once = ['callback', 'callback tick', 'callback microtask'];
    assert.deepEqual(order, [...once, ...once]);
  });

  it('may be closed inside its callback, and twice', async () => {
    let calls = 0;
    const own = poller.watchEventfd(fd, () => {
      calls++;
      own.close();
      own.close();
      eventfd.signal(fd);
    });
    eventfd.signal(fd);
    while (calls === 0) await nextTurn();
    for (let i = 0; i < 5; i++) await nextTurn();
    assert.equal(calls, 1);
    own.close();
    own.ref();
    own.unref();
    assert.equal(eventfd.take(fd), 1);
  });

  it('calls no callback after close, though events are pending on both', async () => {
    const other = eventfd.create();
    const calls: string[] = [];
    const first = poller.watchEventfd(fd, () => {
      calls.push('first');
      second.close();
    });
    const second = poller.watchEventfd(other, () => {
      calls.push('second');
      first.close();
    });
    eventfd.signal(fd);
    eventfd.signal(other);
    while (calls.length === 0) await nextTurn();
    for (let i = 0; i < 5; i++) await nextTurn();
    assert.equal(calls.length, 1);
    first.close();
    second.close();
    descriptor.close(other);
  });

  it('lets its descriptor be closed at once, before, after and under it', async () => {
    for (let i = 0; i < 20; i++) {
      const doomed = eventfd.create();
      const own = poller.watchEventfd(doomed, () => assert.fail('was not signalled'));
      if (i % 2 === 0) own.close();
      descriptor.close(doomed);
      if (i % 4 === 1) await nextTurn();
      own.close();
    }
    await nextTurn();
  });

  it('watches one descriptor several times', async () => {
    let called = 0;
    const watches = [0, 1].map(() => poller.watchReadable(fd, () => called++));
    eventfd.signal(fd);
    while (called < 2) await nextTurn();
    for (const own of watches) own.close();
  });

  it('calls back as long as a descriptor is readable', async () => {
    const errors: boolean[] = [];
    watch = poller.watchReadable(fd, (error) => {
      errors.push(error);
      if (errors.length === 3) eventfd.take(fd);
    });
    eventfd.signal(fd);
    while (errors.length < 3) await nextTurn();
    for (let i = 0; i < 3; i++) await nextTurn();
    assert.deepEqual(errors, [false, false, false]);
  });

  it('reports an error of the descriptor once, then watches no longer', async () => {
    const { reader, writer } = openFifo();
    closeSync(reader);
    const errors: boolean[] = [];
    watch = poller.watchReadable(writer, (error) => errors.push(error));
    while (errors.length === 0) await nextTurn();
    for (let i = 0; i < 5; i++) await nextTurn();
    assert.deepEqual(errors, [true]);
    closeSync(writer);
  });

  it('mends a counter that is full', async () => {
    descriptor.write(fd, new Uint8Array([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
    assert.deepEqual(await counts(1), [2 ** 64]);
    const again = new Promise((resolve) => {
      watch?.close();
      watch = poller.watchEventfd(fd, resolve);
    });
    eventfd.signal(fd);
    assert.equal(await again, 1);
  });

  it('refuses what cannot be watched, and leaves nothing open', () => {
    const file = openSync('/proc/self/exe', 'r');
    throwsRefusal(() => poller.watchReadable(file, () => {}), { code: 'EPERM', syscall: 'epoll_ctl' });
    closeSync(file);
    throwsRefusal(() => poller.watchEventfd(1_000_000, () => {}), { code: 'EBADF', syscall: 'fcntl' });
    throwsWrongType(() => poller.watchEventfd(fd, 'x' as never), 'poller.watchEventfd', 'callback');
    throwsWrongType(() => poller.watchReadable('x' as never, () => {}), 'poller.watchReadable', 'fd');
  });

  it('refuses methods that were taken off it', () => {
    watch = poller.watchEventfd(fd, () => {});
    const { close, ref, unref } = watch;
    for (const method of [close, ref, unref])
      for (const self of [undefined, {}, 5, Object.create(watch), process.stdout])
        assert.throws(() => method.call(self as never), { code: 'ERR_VHOST_INVALID_ARGUMENT' });
  });

  it('goes on though its object was collected', async () => {
    assert.deepEqual(await resultOf('poller-collected', { node: ['--expose-gc'] }), {
      collected: true,
      counts: [1, 1, 1],
    });
  });

  it('keeps the process alive while it is open, unless unref was called', async () => {
    assert.deepEqual(await resultOf('poller-liveness'), { called: 'before the end', unreferenced: true });
  });

  it('turns what a callback throws into an uncaughtException and goes on', async () => {
    assert.deepEqual(await resultOf('poller-throws', { arguments: ['caught'] }), {
      uncaught: ['thrown 1', 'thrown 2', 'undefined', 'thrown 4'],
      calls: 4,
    });
    const ended = await runProgram('poller-throws', { arguments: ['uncaught'] });
    assert.equal(ended.status, 1);
    assert.match(ended.stderr, /Error: thrown 1/);
  });

  it('turns a watch of no eventfd into an uncaughtException and is silent then', async () => {
    assert.deepEqual(await resultOf('poller-no-eventfd'), {
      uncaught: [{ code: 'EOPNOTSUPP', syscall: 'preadv2' }],
      calls: 0,
    });
  });
});
