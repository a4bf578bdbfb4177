import assert from 'node:assert/strict';
import {
  decodeIotlbMiss,
  encodeIotlbRequest,
  type IotlbAccess,
  type IotlbRequest,
} from '../../../lib/vhost/iotlb-message.js';
import { property, runs } from '../../support/random.js';

/** A message byte by byte, after struct vhost_msg_v2 of <linux/vhost_types.h>. */
function message(
  layout: number,
  type: number,
  iova: bigint,
  size = 0n,
  user = 0n,
  permission = 0,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(72));
  view.setUint32(0, layout, true);
  view.setBigUint64(8, iova, true);
  view.setBigUint64(16, size, true);
  view.setBigUint64(24, user, true);
  view.setUint8(32, permission);
  view.setUint8(33, type);
  return new Uint8Array(view.buffer);
}

describe('IOTLB messages', () => {
  it('have the places of struct vhost_msg and struct vhost_msg_v2', () => {
    for (const v2 of [false, true]) {
      const layout = v2 ? 2 : 1;
      for (const [permission, access] of ['', 'ro', 'wo', 'rw'].entries()) {
        if (access === '') continue;
        const update = { iova: 0x1234_5678_9abc_def0n, size: 0x2000n, userAddress: 0x7fff_0000_1000n };
        assert.deepEqual(
          encodeIotlbRequest({ type: 'update', ...update, access: access as IotlbAccess }, v2),
          message(layout, 2, update.iova, update.size, update.userAddress, permission),
        );
        assert.deepEqual(decodeIotlbMiss(message(layout, 1, update.iova, 0n, 0n, permission)), {
          type: 'miss',
          iova: update.iova,
          access,
        });
      }
      const invalidate = { type: 'invalidate', iova: 0n, size: 0xffff_ffff_ffff_ffffn } as const;
      assert.deepEqual(encodeIotlbRequest(invalidate, v2), message(layout, 3, 0n, invalidate.size));
      assert.deepEqual(encodeIotlbRequest({ type: 'batch-begin' }, v2), message(layout, 5, 0n));
      assert.deepEqual(encodeIotlbRequest({ type: 'batch-end' }, v2), message(layout, 6, 0n));
    }
    assert.equal(decodeIotlbMiss(message(2, 4, 0n, 0n, 0n, 2)).type, 'access-fail');
  });

  property('of any bytes from a device are a miss or refused by name', (random) => {
    for (let i = 0; i < runs(2000); i++) {
      const bytes = Uint8Array.from({ length: random.pick([0, 1, 40, 71, 72, 72, 72, 73]) }, () =>
        random.below(8),
      );
      if (bytes.length === 72 && random.oneIn(2)) bytes.set([1 + random.below(2), 0, 0, 0]);
      try {
        const { type, access } = decodeIotlbMiss(bytes);
        assert.ok(bytes.length === 72 && ['miss', 'access-fail'].includes(type) && access.length === 2);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ERR_VHOST_BAD_MESSAGE', String(error));
      }
    }
  });

  it('that make no sense are refused with the name of the argument', () => {
    const update = { type: 'update', iova: 0n, size: 1n, userAddress: 0n, access: 'rw' } as const;
    const wrong: [unknown, RegExp][] = [
      [undefined, /^message must be an object/],
      [{ type: 'miss' }, /^message\.type must be one of update, invalidate/],
      [{ ...update, iova: 1 }, /^message\.iova must be a bigint/],
      [{ ...update, size: 0n }, /^message\.size must be at least 1/],
      [{ ...update, iova: 2n ** 64n - 1n, size: 2n }, /^message\.size must be .* below 2\^64/],
      [{ ...update, userAddress: -1n }, /^message\.userAddress must be a bigint from 0/],
      [{ ...update, access: 'w' }, /^message\.access must be one of ro, wo, rw/],
    ];
    for (const [request, rule] of wrong)
      assert.throws(() => encodeIotlbRequest(request as IotlbRequest, true), { message: rule });
  });
});
