import assert from 'node:assert/strict';
import { FakeKernel } from '../../support/fake-kernel.js';
import { openNic, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

describe('Nic.stats', () => {
  it('is a plain snapshot of what went on', async () => {
    const { nic, kernel, worker } = await openNic();
    const fresh = nic.stats();
    assert.deepEqual(fresh.transmit.latency, { count: 0, min: 0, mean: 0, p50: 0, p99: 0, max: 0 });
    assert.equal(fresh.receive.submitted, 8);

    worker.completion = 'held';
    const submission = nic.submit([0, 1, 2].map((i) => numberedFrame(i, 60)));
    await turn();
    const { transmit } = nic.stats();
    assert.deepEqual(
      [transmit.size, transmit.linkState, transmit.submitted, transmit.inFlight, transmit.bytesInFlight],
      [8, 'sync', 3, 3, 216],
    );
    worker.complete(worker.held[2]!, worker.held[0]!, worker.held[1]!);
    await submission.completed;
    worker.receive(numberedFrame(1, 60), numberedFrame(2, 100));
    for await (const batch of nic.receive()) {
      assert.equal(batch.length, 2);
      break;
    }
    const after = nic.stats();
    assert.deepEqual(
      JSON.parse(JSON.stringify(after)),
      after,
      'nothing in it but numbers, strings and lists',
    );
    assert.deepEqual(
      [
        after.transmit.completed,
        after.transmit.inFlight,
        after.transmit.maxInFlight,
        after.transmit.outOfOrder,
      ],
      [3, 0, 3, 2],
    );
    assert.deepEqual(
      [after.transmit.bytesSubmitted, after.transmit.bytesCompleted, after.transmit.bytesInFlight],
      [216, 216, 0],
    );
    assert.equal(after.transmit.batchSizes[1], 1, 'one batch of two or three');
    assert.equal(after.transmit.calls, 1);
    assert.equal(after.transmit.wakeups, 1);
    assert.equal(after.transmit.latency.count, 1);
    assert.deepEqual([after.receive.frames, after.receive.bytes], [2, 72 + 112]);
    assert.equal(after.transmit.kicks + after.transmit.kicksSuppressed > 0, true);
    assert.equal(fresh.transmit.submitted, 0, 'and a snapshot stays as it was');
    await nic.close();
    kernel.assertNothingLeft();
  });

  it('says which link state the backend has', async () => {
    const zeroCopy = new FakeKernel();
    zeroCopy.files.set('/sys/module/vhost_net/parameters/experimental_zcopytx', '1\n');
    const { nic } = await openNic({}, zeroCopy);
    assert.equal(nic.stats().transmit.linkState, 'async');
    assert.equal(nic.stats().receive.linkState, 'sync', 'the kernel copies what it receives');
    await nic.close();
  });

  it('says of a worker that it copies, whatever the kernel would do with the same tap', async () => {
    const zeroCopy = new FakeKernel();
    zeroCopy.files.set('/sys/module/vhost_net/parameters/experimental_zcopytx', '1\n');
    const { nic } = await openNic({ vhost: 'worker' }, zeroCopy);
    assert.equal(nic.stats().transmit.linkState, 'sync');
    assert.equal(nic.pairs[0]!.stats().transmit.linkState, 'sync');
    await nic.close();
    assert.equal(nic.stats().transmit.linkState, 'sync');
  });
});
