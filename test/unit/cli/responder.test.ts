import assert from 'node:assert/strict';
import { respond } from '../../../lib/cli/demo/responder.js';
import { arpRequest, echoRequest, hex } from './frames.js';

const station = { mac: hex('020000000002'), ip: hex('c0000202') };

/** A frame with some bytes changed. */
function changed(frame: Uint8Array, at: number, bytes: string): Uint8Array {
  frame.set(hex(bytes), at);
  return frame;
}

describe('the station behind the tap', () => {
  it('answers an ARP request for its address', () => {
    const frame = arpRequest();
    assert.equal(respond(frame, station), true);
    assert.deepEqual(
      frame,
      hex(`020000000001 020000000002 0806
           0001 0800 06 04 0002
           020000000002 c0000202
           020000000001 c0000201`),
    );
  });

  it('answers an echo request with its own payload and right checksums', () => {
    const frame = echoRequest();
    assert.equal(respond(frame, station), true);
    assert.deepEqual(
      frame,
      hex(`020000000001 020000000002 0800
           45 00 001f 1c46 4000 40 01 9a94 c0000202 c0000201
           00 00 2968 1234 0001 616263`),
    );
  });

  it('leaves out of account how a short frame is padded', () => {
    const frame = new Uint8Array(60).fill(0xff);
    frame.set(echoRequest());
    assert.equal(respond(frame, station), true);
    assert.deepEqual(frame.subarray(34, 45), hex('00 00 2968 1234 0001 616263'));
  });

  const silent: Record<string, () => Uint8Array> = {
    'a frame without a header': () => hex('020000000002 020000000001'),
    'an unknown type': () => changed(echoRequest(), 12, '86dd'),
    "another station's frame": () => changed(echoRequest(), 0, '020000000003'),
    'ARP for another address': () => changed(arpRequest(), 38, 'c0000203'),
    'an ARP reply': () => changed(arpRequest(), 20, '0002'),
    'ARP of another medium': () => changed(arpRequest(), 14, '0006'),
    'ARP for another protocol': () => changed(arpRequest(), 16, '0801'),
    'ARP with other address lengths': () => changed(arpRequest(), 18, '0806'),
    'ARP that is cut short': () => arpRequest().subarray(0, 41),
    'an echo request for another address': () => changed(echoRequest(), 24, '9a93c0000201c0000203'),
    'an IPv4 header that is cut short': () => echoRequest().subarray(0, 33),
    'another version of IP': () => changed(echoRequest(), 14, '65'),
    'a header shorter than its least': () => changed(echoRequest(), 14, '44'),
    'a packet longer than its frame': () => changed(echoRequest(), 16, '0020'),
    'a packet shorter than its header': () => changed(echoRequest(), 16, '0013'),
    'a wrong header checksum': () => changed(echoRequest(), 24, '9a95'),
    'a first fragment': () => changed(echoRequest(), 20, '2000'),
    'a later fragment': () => changed(echoRequest(), 20, '0001'),
    UDP: () => changed(changed(echoRequest(), 23, '11'), 24, '9a84'),
    'a wrong ICMP checksum': () => changed(echoRequest(), 36, '2169'),
    'another ICMP message': () => changed(echoRequest(), 34, '0d00 1c68'),
    'an echo request with a code': () => changed(echoRequest(), 34, '0801 2167'),
  };
  for (const [what, make] of Object.entries(silent))
    it(`says nothing to ${what}, and leaves it as it is`, () => {
      const frame = make();
      const before = frame.slice();
      assert.equal(respond(frame, station), false);
      assert.deepEqual(frame, before);
    });
});
