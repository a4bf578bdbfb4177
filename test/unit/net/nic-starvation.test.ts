import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mock } from 'node:test';
import type { Starvation } from '../../../lib/net/starvation.js';
import { type NicOnFake, openNic } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';
import { turn, until } from '../../support/until.js';

const SIZE = 64;
/** Of 60,000 bytes and a header, in buffers of 2,048. */
const NEEDED = 30;

describe('a device that waits for more receive buffers than it has', () => {
  let on: NicOnFake;
  let told: Starvation[];

  beforeEach(async () => {
    mock.timers.enable({ apis: ['setInterval'] });
    on = await openNic({ tap: { name: 'tap0', offloads: true }, queueSize: SIZE, buffers: 2 * SIZE });
    told = [];
    on.nic.on('starved', (starvation) => told.push(starvation));
  });
  afterEach(async () => {
    const { nic, kernel, errors } = on;
    await nic.close();
    mock.timers.reset();
    assert.deepEqual(errors, []);
    kernel.assertNothingLeft();
  });

  /** Has the Nic look so often. */
  function look(times = 3): void {
    for (let i = 0; i < times; i++) mock.timers.tick(500);
  }

  /** Leaves the device fewer buffers than a long frame needs, and has one come. */
  function starve(left: number): void {
    const { worker } = on;
    worker.receive(...Array.from({ length: SIZE - left }, (_, i) => numberedFrame(i, 60)));
    worker.receive(numberedFrame(SIZE, 60_000));
    assert.equal(worker.backlog, 1);
  }

  /** Takes what came and posts the buffers again. */
  function take(): number {
    const { rx, pool } = on.nic;
    const count = rx.reap();
    for (const first of rx.frames.subarray(0, count)) pool.releaseFrame(first);
    rx.refill();
    return count;
  }

  it('is told of once, and again the next time', async () => {
    const { nic, worker } = on;
    const published: unknown[] = [];
    const note = (message: unknown): void => void published.push(message);
    subscribe('vhost-net:queue:starved', note);
    for (const left of [NEEDED - 1, 1]) {
      starve(left);
      look(1);
      assert.deepEqual(told, [], 'not for so short a time');
      look(1);
      assert.equal(told.length, 1);
      look();
      assert.deepEqual(told.splice(0), [{ pair: 0, buffers: left }]);
      assert.deepEqual(published.splice(0), [{ nic, pair: 0, buffers: left }]);
      assert.equal(take(), SIZE - left);
      await until('the frame has come', () => worker.backlog === 0);
      assert.equal(take(), 1);
    }
    unsubscribe('vhost-net:queue:starved', note);
  });

  it('is not told of where it has none at all, waits for frames, or waits just for a moment', async () => {
    const { worker } = on;
    worker.receive(...Array.from({ length: SIZE }, (_, i) => numberedFrame(i, 60)));
    look();
    take();
    worker.receive(...Array.from({ length: SIZE - 1 }, (_, i) => numberedFrame(i, 60)));
    look();
    take();
    starve(1);
    take();
    await until('the frame has come', () => worker.backlog === 0);
    look();
    assert.deepEqual(told, []);
  });

  it('wakes nobody while it has enough, and is found where nobody receives', async () => {
    // The intervals that were set and not cleared; the mocked clock goes on with one that is cleared in its own callback.
    const intervals = new Set<unknown>();
    const set = globalThis.setInterval;
    const clear = globalThis.clearInterval;
    mock.method(globalThis, 'setInterval', (look: () => void, after: number) => {
      const timer = set(look, after);
      intervals.add(timer);
      return timer;
    });
    mock.method(globalThis, 'clearInterval', (timer: NodeJS.Timeout) => {
      intervals.delete(timer);
      clear(timer);
    });
    await on.nic.attach();
    assert.equal(intervals.size, 1);
    look(1);
    assert.equal(intervals.size, 0, 'an idle Nic sleeps');
    on.worker.receive(numberedFrame(0, 60));
    await turn();
    await turn();
    assert.equal(intervals.size, 1);
    look(1);
    assert.equal(intervals.size, 0);
    starve(NEEDED);
    await turn();
    await turn();
    assert.equal(intervals.size, 1, 'the device called when it came to have few');
    look(2);
    assert.deepEqual(told, [{ pair: 0, buffers: NEEDED - 1 }]);
    mock.restoreAll();
    take();
    take();
  });

  it('is not told of while it is detached, nor by what it wanted before', async () => {
    const { nic, worker } = on;
    starve(1);
    await nic.detach();
    look();
    await nic.attach({ tap: { name: 'tap1', offloads: true } });
    assert.equal(nic.rx.ring.wantsMore, true, 'the model keeps its frame for the next backend');
    take();
    await until('the frame has come', () => worker.backlog === 0);
    take();
    worker.receive(...Array.from({ length: SIZE - 1 }, (_, i) => numberedFrame(i, 60)));
    await nic.detach();
    await nic.attach();
    assert.equal(nic.rx.ring.wantsMore, false);
    assert.deepEqual(told, []);
  });

  it('is looked for only where a frame may take several buffers', async () => {
    const { nic } = on;
    await nic.setOffloads(false);
    starve(1);
    look();
    assert.deepEqual(told, []);
    await nic.setOffloads(['csum', 'tso4']);
    look();
    assert.equal(told.length, 1);
    take();
    take();
  });
});
