import assert from 'node:assert/strict';
import { BusyPoll } from '../../../lib/completion/busy-poll.js';
import { Calls } from '../../../lib/completion/calls.js';
import type { DriverRing } from '../../../lib/vring/driver-ring.js';
import type { ModelDevice } from '../../support/model-device.js';
import { attachModel, makeRing } from '../../support/ring-and-model.js';
import { turn, until, within } from '../../support/until.js';

describe('Calls', () => {
  let ring: DriverRing;
  let device: ModelDevice;
  beforeEach(() => {
    ({ ring } = makeRing({ size: 8 }));
    device = attachModel(ring, false);
    ring.disableCalls();
    ring.post(0, ring.region.guestPhysicalAddress, 64, false);
    ring.publish();
  });

  /** The device is done with the chain; whether it calls. */
  function use(): boolean {
    device.use(device.take()!.head, 0);
    return device.shouldCall();
  }

  it('asks for a call and sleeps until it comes', async () => {
    const calls = new Calls(ring);
    const ready = calls.ready();
    assert.equal(calls.size, 1);
    assert.equal(use(), true, 'the device calls');
    calls.wake();
    await ready;
    assert.equal(calls.size, 0);
  });

  it('sleeps on where a call brought nothing', async () => {
    const calls = new Calls(ring);
    const ready = calls.ready();
    calls.wake();
    await turn();
    assert.equal(calls.size, 1);
    use();
    calls.wake();
    await ready;
  });

  it('does not ask where looking is enough', async () => {
    const calls = new Calls(ring, new BusyPoll(1000));
    assert.equal(use(), false);
    await calls.ready();
    ring.reap();
    ring.post(0, ring.region.guestPhysicalAddress, 64, false);
    ring.publish();
    assert.equal(use(), false, 'the device is still not asked to call');
  });

  it('lets the loop turn where nobody had to sleep for ten milliseconds, and not before', async () => {
    let now = 0;
    const calls = new Calls(ring, new BusyPoll(1000), () => now);
    use();
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    for (let round = 0; round < 1000; round++) await calls.ready();
    assert.ok(!turned, 'no time has passed');
    now += 10;
    await calls.ready();
    assert.ok(turned, 'the loop had its turn');
  });

  it('rejects where the ring stands', async () => {
    device.lieIndexJump(100);
    ring.reap();
    for (const calls of [new Calls(ring), new Calls(ring, new BusyPoll(1000))])
      await assert.rejects(calls.ready(), { code: 'ERR_VHOST_RING_CORRUPT' });
  });

  it('rejects from stop to resume', async () => {
    const calls = new Calls(ring);
    const waiting = assert.rejects(calls.ready(), /^Error: over$/);
    calls.stop(new Error('over'));
    await waiting;
    await assert.rejects(calls.ready(), /^Error: over$/);
    calls.resume();
    use();
    await calls.ready();
  });

  describe('within a time', () => {
    let calls: Calls;
    let asked: number;

    beforeEach(async () => {
      asked = 0;
      calls = new Calls({
        get reapable() {
          return ring.reapable;
        },
        corruption: undefined,
        enableCalls() {
          asked++;
          return ring.enableCalls();
        },
        disableCalls: () => ring.disableCalls(),
      });
      const first = calls.ready({ within: 1 });
      assert.equal(use(), true, 'what ends a silence is told at once');
      calls.wake();
      await first;
      ring.reap();
      ring.post(0, ring.region.guestPhysicalAddress, 64, false);
      ring.publish();
    });

    it('asks for no call while what comes may wait for more', async () => {
      asked = 0;
      const second = calls.ready({ within: 1 });
      assert.equal(use(), false);
      await within('the time is over', second);
      assert.equal(asked, 0);
    });

    it('sleeps until the call once nothing came', async () => {
      asked = 0;
      const second = calls.ready({ within: 1 });
      await until('it asks for a call', () => asked > 0);
      assert.equal(use(), true);
      calls.wake();
      await second;
    });

    it('ends where the queue stops, and at an abort', async () => {
      const stopped = calls.ready({ within: 2 ** 30 });
      calls.fail(new Error('stopped'));
      await assert.rejects(stopped, /stopped/);
      const controller = new AbortController();
      const aborted = calls.ready({ within: 2 ** 30, signal: controller.signal });
      controller.abort(new Error('enough'));
      await assert.rejects(aborted, /enough/);
      assert.equal(calls.size, 0);
    });
  });

  it('looks and asks for nothing where the signal has aborted', async () => {
    const calls = new Calls(ring, new BusyPoll(1000));
    use();
    await assert.rejects(calls.ready({ signal: AbortSignal.abort(new Error('enough')) }), /enough/);
  });
});
