import assert from 'node:assert/strict';
import type { Nic } from '../../../lib/index.js';
import { Cable } from '../../support/device-cable.js';
import { Flow, run } from '../../support/device-flow.js';
import { NumberedFrames } from '../../support/numbered-frames.js';

const FRAMES = 1_000_000;

describe('a million frames each way', function () {
  this.timeout(600_000);
  let cable: Cable;

  beforeEach(async () => {
    cable = await Cable.lay();
  });
  afterEach(() => cable.remove());

  it('arrive whole, in order, once, and every one of them is accounted for', async () => {
    const { a, b, namespace } = cable;
    await run(
      new Flow(a, b, new NumberedFrames(60, 'a', 'b'), FRAMES),
      new Flow(b, a, new NumberedFrames(60, 'b', 'a'), FRAMES),
    );
    for (const nic of [a, b]) {
      assertTransmitted(nic);
      assertReceived(nic);
    }
    assert.equal(namespace.dropped('tap-a') + namespace.dropped('tap-b'), 0);
  });
});

function assertTransmitted(nic: Nic): void {
  const { submitted, completed, abandoned, inFlight, bytesCompleted, bytesInFlight, outOfOrder, errors } =
    nic.stats().transmit;
  assert.deepEqual(
    { submitted, completed, abandoned, inFlight, bytesCompleted, bytesInFlight, outOfOrder, errors },
    {
      submitted: FRAMES,
      completed: FRAMES,
      abandoned: 0,
      inFlight: 0,
      bytesCompleted: FRAMES * (12 + 60),
      bytesInFlight: 0,
      outOfOrder: 0,
      errors: {},
    },
  );
}

function assertReceived(nic: Nic): void {
  const { size, submitted, completed, abandoned, inFlight, frames, bytes, errors } = nic.stats().receive;
  assert.deepEqual(
    { submitted, completed, abandoned, inFlight, frames, bytes, errors },
    {
      // Beyond those that were used, a whole ring of buffers waits for frames.
      submitted: FRAMES + size,
      completed: FRAMES,
      abandoned: 0,
      inFlight: size,
      frames: FRAMES,
      bytes: FRAMES * (12 + 60),
      errors: {},
    },
  );
}
