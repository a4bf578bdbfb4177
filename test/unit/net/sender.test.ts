import assert from 'node:assert/strict';
import { Budget } from '../../../lib/completion/budget.js';
import { BusyPoll } from '../../../lib/completion/busy-poll.js';
import { Sender } from '../../../lib/net/sender.js';
import { numberedFrame, TransmitOnModel } from '../../support/queue-on-model.js';
import { turn } from '../../support/until.js';

const frames = Array.from({ length: 20 }, (_, i) => numberedFrame(i, 60));

describe('Sender, where looking pays', () => {
  let sent: Uint8Array[];
  let now: number;
  let transmit: TransmitOnModel;

  /** The device is done with what it has. */
  function finish(): void {
    for (let next = transmit.take(); next !== undefined; next = transmit.take()) {
      sent.push(next.frame);
      transmit.device.use(next.head, 0);
    }
  }

  /** A sender whose device works whenever somebody reads the clock, where it works at all. */
  function open(works: boolean, budget = new Budget()): Sender {
    sent = [];
    now = 0;
    const busyPoll = new BusyPoll(10, () => {
      now += 0.001;
      if (works) finish();
      return now;
    });
    transmit = new TransmitOnModel({ size: 8, eventIdx: true, busyPoll });
    return new Sender(transmit.queue, budget, 24, () => {});
  }

  it('finds room without a wait', async () => {
    const sender = open(true);
    const submission = sender.submit(frames);
    assert.equal(submission.posted, 20);
    assert.equal(sender.fullWaits, 0);
    finish();
    await sender.drain();
    assert.deepEqual(sent.map(Buffer.from), frames.map(Buffer.from));
    assert.deepEqual(submission.result, { completed: 20, abandoned: 0, withdrawn: 0 });
  });

  it('lets the loop have its turn where the budget ends', async () => {
    const sender = open(true, new Budget(8));
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    const submission = sender.submit(frames);
    assert.equal(submission.posted, 16);
    await submission.accepted;
    assert.ok(turned);
  });

  it('waits for a call where it looked in vain', async () => {
    const sender = open(false);
    const submission = sender.submit(frames);
    assert.deepEqual([submission.posted, sender.fullWaits], [8, 1]);
    finish();
    assert.ok(transmit.device.shouldCall());
    transmit.queue.calls.wake();
    sender.called();
    assert.equal(submission.posted, 16);
    await turn();
  });
});
