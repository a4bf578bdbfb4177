import assert from 'node:assert/strict';
import { checksum } from '../../../scripts/bench/icmp-echo.mjs';
import { udpFrame } from '../../../scripts/bench/udp-frame.mjs';

describe('bench: the UDP frame', () => {
  it('has its lengths and a checksum that adds up, whatever its size', () => {
    for (const size of [60, 1514, 64_810]) {
      const frame = udpFrame(size);
      assert.equal(frame.length, size);
      assert.equal(frame.readUInt16BE(16), size - 14);
      assert.equal(frame.readUInt16BE(38), size - 34);
      assert.deepEqual(checksum([...frame.subarray(14, 34)]), [0, 0]);
    }
  });
});
