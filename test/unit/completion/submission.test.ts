import assert from 'node:assert/strict';
import { FrameStatus, Submission } from '../../../lib/completion/submission.js';

/** Whether a promise is settled by the end of this turn, and how. */
async function stateOf(promise: Promise<unknown>): Promise<'pending' | 'fulfilled' | 'rejected'> {
  let state: 'pending' | 'fulfilled' | 'rejected' = 'pending';
  promise.then(
    () => {
      state = 'fulfilled';
    },
    () => {
      state = 'rejected';
    },
  );
  await new Promise((resolve) => setImmediate(resolve));
  return state;
}

describe('Submission', () => {
  it('is accepted when its last frame is posted and completed when the last fate is known', async () => {
    const submission = new Submission(3);
    const { accepted, completed } = submission;
    assert.deepEqual([submission.post(), submission.post()], [0, 1]);
    assert.equal(await stateOf(accepted), 'pending');
    assert.equal(submission.post(), 2);
    await accepted;
    assert.deepEqual([...submission.status], [1, 1, 1]);

    submission.settle(2, true, 0.5);
    submission.settle(0, true, 1.5);
    assert.equal(await stateOf(completed), 'pending');
    assert.equal(submission.pending, 1);
    submission.settle(1, false, 2);
    assert.deepEqual(await completed, { completed: 2, abandoned: 1, withdrawn: 0 });
    assert.deepEqual(
      [...submission.status],
      [FrameStatus.completed, FrameStatus.abandoned, FrameStatus.completed],
    );
    assert.deepEqual([...submission.latency], [1.5, Number.NaN, 0.5], 'an abandoned frame has no latency');
  });

  it('makes its promises when somebody asks, before or after', async () => {
    const submission = new Submission(1);
    submission.post();
    submission.settle(0, true, 1);
    assert.equal(await stateOf(submission.accepted), 'fulfilled');
    assert.equal(await stateOf(submission.completed), 'fulfilled');
    assert.equal(submission.accepted, submission.accepted, 'one promise, however often it is asked for');
    assert.equal(submission.completed, submission.completed);
  });

  it('withdraws what is not posted: accepted rejects with the reason, completed says how many', async () => {
    const submission = new Submission(4);
    const { accepted, completed } = submission;
    submission.post();
    const reason = new Error('the cable was pulled');
    submission.withdraw(reason);
    await assert.rejects(accepted, reason);
    assert.equal(submission.refused, true);
    assert.deepEqual([...submission.status], [1, 4, 4, 4]);
    assert.equal(await stateOf(completed), 'pending', 'the first frame is still in flight');
    submission.settle(0, true, 1);
    assert.deepEqual(await completed, { completed: 1, abandoned: 0, withdrawn: 3 });
  });

  it('withdraws nothing where every frame is posted', async () => {
    const submission = new Submission(1);
    submission.post();
    submission.withdraw(new Error('too late'));
    assert.equal(submission.refused, false);
    await submission.accepted;
    assert.equal(submission.pending, 1);
  });

  it('rejects nobody where nobody asked', async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    // Mocha listens too, and would fail another test.
    const listeners = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    process.on('unhandledRejection', note);
    try {
      const submission = new Submission(2);
      submission.withdraw(new Error('nobody cares'));
      assert.deepEqual(await submission.completed, { completed: 0, abandoned: 0, withdrawn: 2 });
      await new Promise((resolve) => setTimeout(resolve));
      assert.deepEqual(unhandled, []);
    } finally {
      process.removeListener('unhandledRejection', note);
      for (const listener of listeners) process.on('unhandledRejection', listener);
    }
  });

  it('of nothing is over at once', async () => {
    const submission = new Submission(0);
    await submission.accepted;
    assert.deepEqual(await submission.completed, { completed: 0, abandoned: 0, withdrawn: 0 });
  });
});
