import assert from 'node:assert/strict';
import type { Nic } from '../../../lib/net/nic.js';
import { DriverRing } from '../../../lib/vring/driver-ring.js';
import { openNic, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

/** Turns of the loop, counted while `work` goes on. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let done = false;
  work.then(
    () => {
      done = true;
    },
    () => {
      done = true;
    },
  );
  let turns = 0;
  while (!done) {
    await turn();
    turns++;
  }
  return turns;
}

describe('Nic: the budget of a round', () => {
  it('a flood of received frames leaves the loop to others every so many frames', async () => {
    const { nic, kernel, worker } = await openNic({ queueSize: 256, budget: { frames: 16 } });
    const flood = 4096;
    // The device is always ahead: whenever buffers come back it fills them.
    worker.receive(...Array.from({ length: flood }, (_, i) => numberedFrame(i, 60)));
    let got = 0;
    let most = 0;
    let sinceTurn = 0;
    const receiving = (async () => {
      for await (const batch of nic.receive()) {
        got += batch.length;
        sinceTurn += batch.length;
        most = Math.max(most, sinceTurn);
        if (got === flood) return;
      }
    })();
    let over = false;
    receiving.finally(() => {
      over = true;
    });
    let turns = 0;
    while (!over) {
      await turn();
      turns++;
      sinceTurn = 0;
    }
    await receiving;
    assert.ok(most <= 32, `${most} frames between two turns of the loop`);
    assert.ok(turns >= flood / 32, `${turns} turns`);
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('and every so many bytes', async () => {
    const { nic, kernel, worker } = await openNic({ queueSize: 256, budget: { bytes: 10_000 } });
    worker.receive(...Array.from({ length: 200 }, (_, i) => numberedFrame(i, 1500)));
    let got = 0;
    const turns = await turnsDuring(
      (async () => {
        for await (const batch of nic.receive({ limit: 1 })) {
          got += batch.length;
          if (got === 200) return;
        }
      })(),
    );
    assert.ok(turns >= (200 * 1500) / 10_000 / 2, `${turns} turns`);
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('a flood of completions too, and the rest needs no other call', async () => {
    const { nic, kernel, worker } = await openNic({ queueSize: 256, budget: { frames: 8 } });
    worker.completion = 'held';
    const submission = nic.submit(Array.from({ length: 256 }, (_, i) => numberedFrame(i, 60)));
    await turn();
    const calls = worker.calls[1];
    worker.complete(...worker.held);
    assert.equal(worker.calls[1], calls + 1);
    const before: number[] = [];
    const turns = await turnsDuring(submission.completed.then(() => before.push(nic.tx.ledger.inFlight)));
    assert.ok(turns >= 256 / 8, `${turns} turns`);
    assert.equal(worker.calls[1], calls + 1, 'one call was enough');
    await nic.close();
    kernel.assertNothingLeft();
  });

  /** Frames completed in each turn of the loop, until all are. */
  async function completionsByTurn(nic: Nic, total: number): Promise<number[]> {
    const { ledger } = nic.tx;
    const byTurn: number[] = [];
    while (ledger.completed < total) {
      const before = ledger.completed;
      await turn();
      byTurn.push(ledger.completed - before);
    }
    return byTurn;
  }

  it('a flood of long completions every so many bytes, unless told otherwise as many as the kernel', async () => {
    const { nic, kernel, worker } = await openNic({
      tap: { name: 'tap0', mtu: 65_000 },
      bufferSize: 2 ** 16,
      queueSize: 64,
    });
    worker.completion = 'held';
    nic.submit(Array.from({ length: 64 }, (_, i) => numberedFrame(i, 65_000)));
    await turn();
    worker.complete(...worker.held);
    const most = Math.max(nic.tx.ledger.completed, ...(await completionsByTurn(nic, 64)));
    assert.equal(most, Math.ceil(0x8_0000 / 65_012));
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('completions that make room for frames which wait', async () => {
    const { nic, kernel, worker } = await openNic({ queueSize: 256, budget: { frames: 8 } });
    worker.completion = 'held';
    nic.submit(Array.from({ length: 256 }, (_, i) => numberedFrame(i, 60)));
    await turn();
    const waiting = nic.submit(Array.from({ length: 256 }, (_, i) => numberedFrame(i, 60)));
    worker.completion = 'asleep';
    worker.complete(...worker.held);
    const most = Math.max(nic.tx.ledger.completed, ...(await completionsByTurn(nic, 256)));
    assert.equal(most, 8);
    await waiting.accepted;
    worker.completion = 'copied';
    worker.work();
    await nic.drain();
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('a flood sent by one who waits for room alone', async () => {
    const { nic, kernel } = await openNic({ queueSize: 8, budget: { frames: 8 } });
    let sent = 0;
    let over = false;
    (async () => {
      for (; !over && sent < 10_000; sent++) await nic.send(numberedFrame(sent, 60));
    })();
    await turn();
    assert.ok(sent < 100, `${sent} frames in a turn`);
    over = true;
    await nic.drain();
    await nic.close();
    kernel.assertNothingLeft();
  });

  /** Receives from a device that always has one frame more, when asked or looked for; the most frames in a turn. */
  async function mostInATurn(
    busyPoll: number,
    oneMore: (ring: DriverRing, receive: () => void) => void,
  ): Promise<number> {
    const { nic, kernel, worker } = await openNic({ budget: { frames: 16 }, busyPoll: { driver: busyPoll } });
    const total = 1000;
    let given = 0;
    oneMore(nic.rx.ring, () => {
      if (given - got < 4 && given < total) worker.receive(numberedFrame(given++, 60));
    });
    let got = 0;
    let most = 0;
    let sinceTurn = 0;
    const receiving = (async () => {
      for await (const batch of nic.receive()) {
        got += batch.length;
        sinceTurn += batch.length;
        most = Math.max(most, sinceTurn);
        if (got === total) return;
      }
    })();
    while (got < total) {
      await turn();
      sinceTurn = 0;
    }
    await receiving;
    await nic.close();
    kernel.assertNothingLeft();
    return most;
  }

  it('frames that come just as a call is asked for', async () => {
    const most = await mostInATurn(0, (ring, receive) => {
      const enableCalls = ring.enableCalls.bind(ring);
      ring.enableCalls = (after) => {
        receive();
        return enableCalls(after);
      };
    });
    assert.equal(most, 16);
  });

  it('frames that looking finds', async () => {
    const most = await mostInATurn(1000, (ring, receive) => {
      const reapable = Object.getOwnPropertyDescriptor(DriverRing.prototype, 'reapable')!.get!;
      Object.defineProperty(ring, 'reapable', {
        get: () => {
          receive();
          return reapable.call(ring);
        },
      });
    });
    assert.equal(most, 16);
  });

  it('an iteration that is begun anew for every frame', async () => {
    const { nic, kernel, worker } = await openNic({ queueSize: 64, budget: { frames: 8 } });
    worker.receive(...Array.from({ length: 1000 }, (_, i) => numberedFrame(i, 60)));
    let got = 0;
    (async () => {
      while (got < 1000)
        for await (const batch of nic.receive({ limit: 1 })) {
          got += batch.length;
          break;
        }
    })();
    await turn();
    assert.ok(got <= 16, `${got} frames in a turn`);
    while (got < 1000) await turn();
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('a Nic under flood does not hold up another', async () => {
    const flooded = await openNic({ queueSize: 256, budget: { frames: 16 } });
    const other = await openNic();
    const { worker } = flooded;
    worker.receive(...Array.from({ length: 2048 }, (_, i) => numberedFrame(i, 60)));
    let got = 0;
    let sentDuring = 0;
    const receiving = (async () => {
      for await (const batch of flooded.nic.receive()) {
        got += batch.length;
        if (got === 2048) return;
      }
    })();
    while (got < 2048) {
      await other.nic.send(numberedFrame(1, 60));
      await other.nic.drain();
      sentDuring++;
      await turn();
    }
    await receiving;
    assert.ok(sentDuring > 10, `${sentDuring} frames went out meanwhile`);
    await flooded.nic.close();
    await other.nic.close();
    flooded.kernel.assertNothingLeft();
    other.kernel.assertNothingLeft();
  });
});
