import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import type { Nic, Submission } from '../../../lib/index.js';
import { Cable } from '../../support/device-cable.js';
import { Flow, run } from '../../support/device-flow.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { until, within } from '../../support/until.js';

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

  it('while frames are only received: an error event, and the iteration throws', async () => {
    const { a, b } = cable;
    const errored = once(a, 'error');
    let received = 0;
    const receiving = (async () => {
      for await (const each of a.receive()) received += each.length;
    })();
    const refused = assert.rejects(receiving, GONE);
    const answers = new NumberedFrames(60, 'b', 'a');
    await b.submit(Array.from({ length: 200 }, (_, i) => answers.frame(i))).completed;
    await until('frames flow', () => received === 200);
    await deleteTap();
    const [error] = await within('the error is told', errored);
    assert.equal(error.code, GONE.code);
    await within('the receiver is told', refused);
    await stopped(a);
    await works(b);
  });

  it('while nothing happens: an error event all the same', async () => {
    const { a } = cable;
    const errored = once(a, 'error');
    await deleteTap();
    const [error] = await within('the error is told', errored);
    assert.equal(error.code, GONE.code);
    await stopped(a);
  });

  it('is the end of this Nic alone: another takes its name', async () => {
    const { a, namespace } = cable;
    const errored = once(a, 'error');
    await deleteTap();
    await within('the error is told', errored);
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
