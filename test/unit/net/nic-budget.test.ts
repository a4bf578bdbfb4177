import assert from 'node:assert/strict';
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
