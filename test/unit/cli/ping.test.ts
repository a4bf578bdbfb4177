import assert from 'node:assert/strict';
import { parsePing, percentile } from '../../../lib/cli/demo/ping.js';

describe("ping's output", () => {
  it('tells every round trip, and how many were sent and answered', () => {
    const output = `PING 192.0.2.2 (192.0.2.2) 56(84) bytes of data.
64 bytes from 192.0.2.2: icmp_seq=1 ttl=64 time=1.92 ms
64 bytes from 192.0.2.2: icmp_seq=3 ttl=64 time<0.001 ms

--- 192.0.2.2 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 2004ms
rtt min/avg/max/mdev = 0.001/0.960/1.920/0.960 ms
`;
    assert.deepEqual(parsePing(output), { sent: 3, answered: 2, roundTrips: [1.92, 0.001] });
  });

  it('may be that nothing was answered', () => {
    const output = `PING 192.0.2.2 (192.0.2.2) 56(84) bytes of data.

--- 192.0.2.2 ping statistics ---
2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 1004ms
`;
    assert.deepEqual(parsePing(output), { sent: 2, answered: 0, roundTrips: [] });
  });

  it('is quoted where it has no summary', () => {
    assert.throws(
      () => parsePing('ping: connect: Network is unreachable\n'),
      /without its summary.*unreachable/,
    );
    assert.throws(() => parsePing(''), /it said: nothing/);
  });
});

describe('percentiles', () => {
  it('are values that were seen', () => {
    const values = Array.from({ length: 200 }, (_, i) => 200 - i);
    assert.equal(percentile(values, 50), 100);
    assert.equal(percentile(values, 99), 198);
    assert.equal(percentile([7], 50), 7);
    assert.equal(percentile([], 50), undefined);
  });
});
