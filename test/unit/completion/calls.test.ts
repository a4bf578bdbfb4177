import assert from 'node:assert/strict';
import { BusyPoll } from '../../../lib/completion/busy-poll.js';
import { Calls } from '../../../lib/completion/calls.js';
import type { DriverRing } from '../../../lib/vring/driver-ring.js';
import type { ModelDevice } from '../../support/model-device.js';
import { attachModel, makeRing } from '../../support/ring-and-model.js';
import { turn } from '../../support/until.js';

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

  it('lets the loop turn however often looking is enough', async () => {
    const calls = new Calls(ring, new BusyPoll(1000));
    use();
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    let rounds = 0;
    for (; !turned && rounds < 1000; rounds++) await calls.ready();
    assert.ok(turned, 'the loop had its turn');
  });

  it('and however often the ring had something when it asked', async () => {
    const calls = new Calls(ring);
    use();
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    let rounds = 0;
    for (; !turned && rounds < 1000; rounds++) await calls.ready();
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

  it('looks and asks for nothing where the signal has aborted', async () => {
    const calls = new Calls(ring, new BusyPoll(1000));
    use();
    await assert.rejects(calls.ready({ signal: AbortSignal.abort(new Error('enough')) }), /enough/);
  });
});
