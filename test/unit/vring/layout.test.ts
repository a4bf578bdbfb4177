import assert from 'node:assert/strict';
import { checkRingSize, splitRingLayout } from '../../../lib/vring/layout.js';

describe('splitRingLayout', () => {
  it('lays out a ring of 256 as the spec draws it', () => {
    assert.deepEqual(splitRingLayout(256), {
      size: 256,
      descriptorTable: 0,
      availableRing: 4096,
      // 4096 + 6 + 2 * 256, rounded up to 4.
      usedRing: 4616,
      // 4616 + 6 + 8 * 256, rounded up to 16.
      bytes: 6672,
    });
  });

  it('keeps the parts aligned and apart, at every size', () => {
    for (let size = 1; size <= 32_768; size *= 2) {
      const { descriptorTable, availableRing, usedRing, bytes } = splitRingLayout(size);
      // VIRTIO 1.3 §2.7 Split Virtqueues: alignment 16, 2, 4; size 16, 6 + 2, 6 + 8 bytes an entry.
      assert.equal(descriptorTable, 0);
      assert.equal(availableRing % 2, 0);
      assert.equal(usedRing % 4, 0);
      assert.ok(availableRing >= 16 * size);
      assert.ok(usedRing >= availableRing + 6 + 2 * size);
      assert.ok(bytes >= usedRing + 6 + 8 * size);
      assert.equal(bytes % 16, 0, 'another ring may follow');
    }
  });

  it('takes powers of two up to 32,768 and says so', () => {
    for (const size of [0, -1, 65_536, 1.5, Number.NaN])
      assert.throws(() => checkRingSize('queueSize', size), {
        name: 'RangeError [ERR_VHOST_OUT_OF_RANGE]',
        message: new RegExp(`^queueSize must be a whole number from 1 to 32768; received ${size}`),
      });
    for (const size of [3, 6, 255, 32_767])
      assert.throws(() => splitRingLayout(size), {
        message: `size must be a power of two; received ${size}`,
      });
    assert.throws(() => checkRingSize('queueSize', '256'), {
      name: 'TypeError [ERR_VHOST_INVALID_ARGUMENT]',
      message: "queueSize must be a number; received '256'",
    });
  });
});
