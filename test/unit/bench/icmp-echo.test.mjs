import assert from 'node:assert/strict';
import { checksum, echoRequest } from '../../../scripts/bench/icmp-echo.mjs';

describe('bench: the echo request', () => {
  it('has checksums that add up, and its addresses in place', () => {
    const frame = Buffer.from(echoRequest('02:00:00:00:00:01', '10.99.0.1', '10.99.0.2'), 'hex');
    assert.equal(frame.length, 60);
    assert.deepEqual(checksum([...frame.subarray(14, 34)]), [0, 0]);
    assert.deepEqual(checksum([...frame.subarray(34)]), [0, 0]);
    assert.equal(frame.subarray(0, 6).toString('hex'), '020000000001');
    assert.equal(frame.readUInt32BE(26), 0x0a630002);
    assert.equal(frame.readUInt32BE(30), 0x0a630001);
  });
});
