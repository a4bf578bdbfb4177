import assert from 'node:assert/strict';
import type { Nic, Submission } from '../../../lib/index.js';
import { Cable } from '../../support/device-cable.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { turn, until, within } from '../../support/until.js';

const CLOSED = { code: 'ERR_VHOST_CLOSED', message: 'the Nic on tap-a is closed' };

describe('close() amid traffic', function () {
  this.timeout(300_000);
  let cable: Cable;
  const frames = new NumberedFrames(60, 'a', 'b');
  const batch = Array.from({ length: 64 }, (_, i) => frames.frame(i));

  beforeEach(async () => {
    cable = await Cable.lay({ queueSize: 64 });
  });
  afterEach(() => cable.remove());

  it('settles every submission and accounts for every frame', async () => {
    const { a, b } = cable;
    const submissions: Submission[] = [];
    let refused = 0;
    const sending = (async () => {
      try {
        for (;;) {
          const submission = a.submit(batch);
          submissions.push(submission);
          await submission.accepted;
        }
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, 'ERR_VHOST_CLOSED');
        refused++;
      }
    })();
    const receiving = count(b);
    await until('frames flow', () => b.rx.frameCount > 1000);
    // Waits for room in a full ring, so that the close meets frames in flight and frames not yet posted.
    await until('frames wait for room', async () => {
      await turn();
      const last = submissions.at(-1)!;
      return last.posted < last.size;
    });
    await within('the Nic is closed', a.close());
    await within('the sender is told', sending);
    assert.equal(refused, 1);
    let settled = 0;
    for (const submission of submissions) {
      const { completed, abandoned, withdrawn } = await within('a submission ends', submission.completed);
      assert.equal(completed + abandoned + withdrawn, submission.size);
      settled += completed + abandoned;
    }
    const { ledger } = a.tx;
    assert.equal(ledger.submitted, settled);
    assert.equal(ledger.completed + ledger.abandoned, ledger.submitted);
    assert.equal(ledger.inFlight, 0);
    assert.equal(ledger.bytesInFlight, 0);
    assert.equal(a.rx.ledger.inFlight, 0);
    assert.ok(submissions.at(-1)!.result.withdrawn > 0);
    await b.close();
    await within('the other end stops receiving', receiving);
  });

  it('ends an iteration that waits for frames', async () => {
    const { a } = cable;
    const receiving = count(a);
    await turn();
    await a.close();
    assert.equal(await within('the iteration ends', receiving), 0);
  });

  it('ends an iteration amid frames; those it was given stay valid until it is done with them', async () => {
    const { a, b } = cable;
    let received = 0;
    const receiving = (async () => {
      for await (const each of b.receive()) {
        received += each.length;
        if (received > 500 && !b.closed) void b.close();
        for (const frame of each) assert.equal(frame.length, 60);
      }
    })();
    const sending = send(a, batch);
    await within('the iteration ends', receiving);
    await within('the Nic is closed', b.close());
    await a.close();
    await within('the sender ends', sending);
  });

  it('ends a drain, and a wait of the ring tier, with an error', async () => {
    const { a, b } = cable;
    await b.close();
    const waits = [a.rx.ready(), a.drain().then(() => a.tx.ready())];
    const ended = Promise.allSettled(waits);
    await turn();
    await a.close();
    const [receive, transmit] = await within('the waits end', ended);
    assert.equal(transmit!.status, 'rejected');
    assert.equal((transmit as PromiseRejectedResult).reason.code, 'ERR_VHOST_CLOSED');
    assert.ok(receive);
  });

  it('leaves nothing usable behind, and says so', async () => {
    const { a } = cable;
    await a.close();
    await assert.rejects(a.send(batch[0]!), CLOSED);
    assert.throws(() => a.trySend(batch[0]!), CLOSED);
    assert.throws(() => a.submit(batch), CLOSED);
    await assert.rejects(a.receive().next(), CLOSED);
    await assert.rejects(a.drain(), CLOSED);
    assert.equal(a.stats().transmit.inFlight, 0);
  });
});

/** Receives until the `Nic` closes; how many frames came. */
async function count(nic: Nic): Promise<number> {
  let frames = 0;
  for await (const batch of nic.receive()) frames += batch.length;
  return frames;
}

/** Sends until the `Nic` closes. */
async function send(nic: Nic, batch: readonly Uint8Array[]): Promise<void> {
  try {
    for (;;) await nic.submit(batch).accepted;
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ERR_VHOST_CLOSED');
  }
}
