import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import type { Nic, Submission } from '../../lib/index.js';
import { Cable } from '../support/device-cable.js';
import { Flow, run } from '../support/device-flow.js';
import { NumberedFrames } from '../support/numbered-frames.js';
import { until, within } from '../support/until.js';

const GONE = { code: 'ERR_VHOST_BACKEND_GONE', message: 'the interface tap-a is gone' };
const execute = promisify(execFile);

describe('a tap that is deleted from outside', function () {
  this.timeout(300_000);
  let cable: Cable;
  const frames = new NumberedFrames(60, 'a', 'b');
  const batch = Array.from({ length: 64 }, (_, i) => frames.frame(i));

  beforeEach(async () => {
    cable = await Cable.lay({ queueSize: 64 });
  });
  afterEach(() => cable.remove());

  /** As somebody else would, while this program goes on. */
  const deleteTap = () => execute('ip', ['-n', cable.namespace.name, 'link', 'del', 'tap-a']);

  it('while frames are sent: an error event, and every frame accounted for', async () => {
    const { a, b } = cable;
    const errored = once(a, 'error');
    const submissions: Submission[] = [];
    const sending = (async () => {
      for (;;) {
        const submission = a.submit(batch);
        submissions.push(submission);
        await submission.accepted;
      }
    })();
    const refused = assert.rejects(sending, GONE);
    await until('frames flow', () => a.tx.ledger.completed > 1000);
    await deleteTap();
    const [error] = await within('the error is told', errored);
    assert.equal(error.code, GONE.code);
    assert.equal(error.message, GONE.message);
    await within('the sender is told', refused);
    for (const submission of submissions) await within('a submission ends', submission.completed);
    const { ledger } = a.tx;
    assert.equal(ledger.inFlight, 0);
    assert.equal(ledger.completed + ledger.abandoned, ledger.submitted);
    assert.deepEqual(a.stats().transmit.errors, { ERR_VHOST_BACKEND_GONE: 1 });
    await stopped(a);
    await works(b);
  });

  it('before a frame is sent: the frame is not lost in silence', async () => {
    const { a } = cable;
    const errored = once(a, 'error');
    await deleteTap();
    const submission = a.submit(batch);
    await within('the error is told', errored);
    const { completed, abandoned } = await within('the submission ends', submission.completed);
    assert.deepEqual([completed, abandoned], [0, batch.length]);
  });

  it('is the end of this Nic alone: another takes its name', async () => {
    const { a, namespace } = cable;
    const errored = once(a, 'error');
    await deleteTap();
    const submission = a.submit(batch);
    await within('the error is told', errored);
    await submission.completed;
    await a.close();
    const next = await namespace.nic('tap-a');
    namespace.ip('link', 'set', 'tap-a', 'master', 'cable');
    await run(new Flow(next, cable.b, frames, 500));
  });
});

async function stopped(nic: Nic): Promise<void> {
  const frame = new Uint8Array(60);
  await assert.rejects(nic.send(frame), GONE);
  assert.throws(() => nic.trySend(frame), GONE);
  await assert.rejects(nic.drain(), GONE);
  await assert.rejects(nic.receive().next(), GONE);
}

/** Frames still leave an end whose other end is gone. */
async function works(nic: Nic): Promise<void> {
  await nic.send(new Uint8Array(60));
  await nic.drain();
}
