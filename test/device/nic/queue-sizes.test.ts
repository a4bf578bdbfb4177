import assert from 'node:assert/strict';
import { KernelVhost } from '../../../lib/index.js';
import { Cable } from '../../support/device-cable.js';
import { Flow, run } from '../../support/device-flow.js';
import { Namespace } from '../../support/device-namespace.js';
import { NumberedFrames } from '../../support/numbered-frames.js';
import { onKernel } from '../../support/test-device.js';

type Sizes = number | { receive: number; transmit: number };

describe('queue sizes', function () {
  this.timeout(300_000);

  for (const queueSize of [8, 16, 32, 64, 128, 256, 512, 1024, 32768] as const)
    it(`${queueSize} descriptors carry frames both ways`, () => carry(queueSize));

  for (const queueSize of [
    { receive: 1024, transmit: 8 },
    { receive: 8, transmit: 1024 },
    { receive: 64, transmit: 256 },
  ])
    it(`${queueSize.receive} to receive and ${queueSize.transmit} to transmit carry frames both ways`, () =>
      carry(queueSize));

  for (const [size, rule] of [
    [0, 'a whole number from 1 to 32768'],
    [3, 'a power of two'],
    [100, 'a power of two'],
    [65536, 'a whole number from 1 to 32768'],
    [7.5, 'a whole number from 1 to 32768'],
    [-8, 'a whole number from 1 to 32768'],
  ] as const)
    describe(`${size}`, () => {
      let namespace: Namespace;
      before(() => {
        namespace = Namespace.add();
      });
      after(() => namespace.remove());

      it('is refused before anything is opened, with its rule', async () => {
        await assert.rejects(namespace.nic('tap-x', { queueSize: size }), {
          name: 'RangeError [ERR_VHOST_OUT_OF_RANGE]',
          message: `queueSize must be ${rule}; received ${size}`,
        });
        await assert.rejects(namespace.nic('tap-x', { queueSize: { transmit: size } }), {
          code: 'ERR_VHOST_OUT_OF_RANGE',
          message: `queueSize.transmit must be ${rule}; received ${size}`,
        });
        assert.doesNotMatch(namespace.ip('link'), /tap-x/);
      });
    });

  onKernel(() => {
    it('that are no power of two up to 32,768 are refused by the kernel too, where the raw tier asks for them', () => {
      const vhost = KernelVhost.open();
      try {
        vhost.setOwner();
        for (const size of [0, 3, 100, 65536])
          assert.throws(() => vhost.setVringNum(1, size), {
            code: 'EINVAL',
            syscall: 'ioctl',
            request: 'VHOST_SET_VRING_NUM',
            queue: 1,
          });
        for (const size of [1, 8, 32768]) vhost.setVringNum(1, size);
      } finally {
        vhost.close();
      }
    });
  });
});

async function carry(queueSize: Sizes): Promise<void> {
  const cable = await Cable.lay({ queueSize });
  try {
    const { a, b } = cable;
    const sizes = typeof queueSize === 'number' ? { receive: queueSize, transmit: queueSize } : queueSize;
    assert.equal(a.stats().receive.size, sizes.receive);
    assert.equal(a.stats().transmit.size, sizes.transmit);
    // Every slot of a ring is passed more than once.
    const frames = Math.min(Math.max(300, 3 * sizes.transmit), 5000);
    await run(
      new Flow(a, b, new NumberedFrames(200, 'a', 'b'), frames),
      new Flow(b, a, new NumberedFrames(200, 'b', 'a'), frames),
    );
    for (const nic of [a, b]) {
      const { transmit } = nic.stats();
      assert.deepEqual([transmit.submitted, transmit.completed, transmit.inFlight], [frames, frames, 0]);
      assert.ok(transmit.maxInFlight <= sizes.transmit);
    }
  } finally {
    await cable.remove();
  }
}
