import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { Waiters } from '../../../lib/completion/waiters.js';

describe('Waiters', () => {
  it('wakes all who wait, once', async () => {
    const waiters = new Waiters();
    const waits = [waiters.wait(), waiters.wait(), waiters.wait({ signal: undefined })];
    assert.equal(waiters.size, 3);
    waiters.wake();
    await Promise.all(waits);
    assert.equal(waiters.size, 0);
    waiters.wake();
  });

  it('fails all who wait', async () => {
    const waiters = new Waiters();
    const waits = [waiters.wait(), waiters.wait()];
    const reason = new Error('gone');
    waiters.fail(reason);
    for (const wait of waits) await assert.rejects(wait, reason);
    assert.equal(waiters.size, 0);
  });

  it('ends one wait when its signal aborts, with the reason, and not the others', async () => {
    const waiters = new Waiters();
    const controller = new AbortController();
    const aborted = waiters.wait({ signal: controller.signal });
    const other = waiters.wait({ signal: new AbortController().signal });
    controller.abort(new Error('enough'));
    await assert.rejects(aborted, { message: 'enough' });
    assert.equal(waiters.size, 1);
    waiters.wake();
    await other;
  });

  it('does not begin a wait whose signal was aborted before', async () => {
    const waiters = new Waiters();
    await assert.rejects(waiters.wait({ signal: AbortSignal.abort() }), { name: 'AbortError' });
    assert.equal(waiters.size, 0);
  });

  it('leaves no listener on the signal, however the wait ends', async () => {
    const waiters = new Waiters();
    const controller = new AbortController();
    const { signal } = controller;
    // More than the eleven at which Node warns of a leak.
    for (let i = 0; i < 20; i++) {
      const wait = waiters.wait({ signal });
      assert.equal(getEventListeners(signal, 'abort').length, 1);
      if (i % 2 === 0) waiters.wake();
      else waiters.fail(new Error('gone'));
      await wait.catch(() => {});
      assert.equal(getEventListeners(signal, 'abort').length, 0);
    }
    const wait = waiters.wait({ signal });
    controller.abort();
    await assert.rejects(wait);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });

  it('lets whoever wakes wait again', async () => {
    const waiters = new Waiters();
    let rounds = 0;
    const loop = async (): Promise<void> => {
      for (; rounds < 3; rounds++) await waiters.wait();
    };
    const done = loop();
    for (let i = 0; i < 3; i++) {
      waiters.wake();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await done;
    assert.equal(rounds, 3);
  });
});
