import assert from 'node:assert/strict';
import { GuestMemory, hostKernel, KernelVhost, Nic, openTap } from '../../../lib/index.js';
import { Cable } from '../../support/device-cable.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { type Resources, resources } from '../../support/process-resources.js';
import { onKernel, testDevice } from '../../support/test-device.js';
import { until } from '../../support/until.js';

const TIMES = 200;

describe('opening and closing', function () {
  this.timeout(300_000);
  let namespace: Namespace;

  before(() => {
    namespace = Namespace.add();
  });
  after(() => namespace.remove());

  it(`a Nic ${TIMES} times leaves no descriptor, no mapping and no thread`, async () => {
    // The first one loads the addon and starts the pool of threads on which devices are detached.
    await openAndClose(namespace);
    const before = await settled();
    for (let i = 0; i < TIMES; i++) await openAndClose(namespace);
    await assertSame(before);
  });

  it('a Nic that carried frames leaves nothing either', async () => {
    const before = await settled();
    for (let i = 0; i < 5; i++) {
      const cable = await Cable.lay({ queueSize: 64 });
      try {
        await run(new Flow(cable.a, cable.b, new NumberedFrames(60, 'a', 'b'), 200));
      } finally {
        await cable.remove();
      }
    }
    await assertSame(before);
  });

  it('a Nic that is refused half-way leaves nothing', async () => {
    const before = await settled();
    for (let i = 0; i < 10; i++)
      await assert.rejects(namespace.nic('tap-x', { vhost: '/dev/null' }), { code: 'ENOTTY' });
    await assertSame(before);
  });

  onKernel(() => {
    it('a raw device with memory leaves nothing', async () => {
      const before = await settled();
      for (let i = 0; i < 50; i++) {
        const memory = new GuestMemory(hostKernel());
        const vhost = KernelVhost.open();
        try {
          memory.addRegion({ size: 2 ** 20 });
          vhost.setOwner();
          vhost.setMemTable(memory);
        } finally {
          vhost.close();
          memory.close();
        }
      }
      await assertSame(before);
    });
  });

  it('twice is closing once: the second waits for the first', async () => {
    const nic = await namespace.nic('tap-x');
    let closed = 0;
    nic.on('close', () => closed++);
    const first = nic.close();
    assert.equal(nic.close(), first);
    await first;
    await nic.close();
    assert.equal(closed, 1);
  });

  it('an asyncDispose closes at the end of its block', async () => {
    const nic = await namespace.nic('tap-x');
    await nic[Symbol.asyncDispose]();
    assert.equal(nic.closed, true);
    assert.throws(() => nic.trySend(new Uint8Array(60)), { code: 'ERR_VHOST_CLOSED' });
  });

  it('leaves a backend of the caller open', async () => {
    const tap = openTap({ name: 'tap-own', netns: namespace.name });
    try {
      for (let i = 0; i < 3; i++) {
        const nic = await Nic.open({ ...testDevice, backend: tap });
        await nic.close();
      }
      assert.equal(tap.alive(), true);
    } finally {
      tap.close();
    }
  });
});

async function openAndClose(namespace: Namespace): Promise<void> {
  const nic = await namespace.nic('tap-x', { queueSize: 64 });
  await nic.close();
}

/** The kernel ends a worker shortly after its device is closed. */
async function settled(): Promise<Resources> {
  await until('no worker is left', () => resources().workers === 0);
  return resources();
}

async function assertSame(before: Resources): Promise<void> {
  const after = await settled();
  assert.deepEqual(after.descriptors, before.descriptors);
  assert.equal(after.mappings, before.mappings);
  assert.equal(after.threads, before.threads);
}
