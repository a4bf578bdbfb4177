import assert from 'node:assert/strict';
import fc from 'fast-check';
import { flowHash } from '../../../lib/net/flow.js';

const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const ethernet = (type: number): number[] => [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, type >> 8, type & 0xff];
const vlan = [0x81, 0, 0, 7];

/** What decides an IP flow. */
interface Flow {
  readonly version: 4 | 6;
  readonly protocol: number;
  readonly addresses: Uint8Array;
  readonly ports: Uint8Array;
}
const flows: fc.Arbitrary<Flow> = fc
  .record({ version: fc.constantFrom(4 as const, 6 as const), protocol: fc.constantFrom(6, 17) })
  .chain(({ version, protocol }) =>
    fc.record({
      version: fc.constant(version),
      protocol: fc.constant(protocol),
      addresses: bytes(version === 4 ? 8 : 32),
      ports: bytes(4),
    }),
  );

/** A frame of a flow; all that does not decide it is arbitrary. */
function frameOf(
  { version, protocol, addresses, ports }: Flow,
  rest: Uint8Array,
  tagged: boolean,
): Uint8Array {
  const header =
    version === 4
      ? [
          0x45,
          rest[0]!,
          rest[1]!,
          rest[2]!,
          rest[3]!,
          rest[4]!,
          0x40,
          0,
          rest[5]!,
          protocol,
          rest[6]!,
          rest[7]!,
        ]
      : [0x60, rest[0]!, rest[1]!, rest[2]!, rest[3]!, rest[4]!, protocol, rest[5]!];
  const type = ethernet(version === 4 ? 0x0800 : 0x86dd);
  const link = tagged ? [...type.slice(0, 12), ...vlan, ...type.slice(12)] : type;
  return Uint8Array.of(...link, ...header, ...addresses, ...ports, ...rest);
}

describe('flowHash', () => {
  it('is the same for all frames of a TCP or UDP flow', () => {
    fc.assert(
      fc.property(flows, bytes(20), bytes(20), fc.boolean(), (flow, a, b, tagged) => {
        assert.equal(flowHash(frameOf(flow, a, tagged)), flowHash(frameOf(flow, b, tagged)));
        assert.equal(flowHash(frameOf(flow, a, tagged)), flowHash(frameOf(flow, a, !tagged)));
      }),
      { seed: 1 },
    );
  });

  it('spreads flows that differ in one port over four queues about evenly', () => {
    for (const version of [4, 6] as const) {
      const counts = [0, 0, 0, 0];
      const addresses = new Uint8Array(version === 4 ? 8 : 32).fill(9);
      for (let port = 0; port < 4096; port++) {
        const ports = Uint8Array.of(port >> 8, port & 0xff, 0, 80);
        counts[
          flowHash(frameOf({ version, protocol: 6, addresses, ports }, new Uint8Array(20), false)) % 4
        ]!++;
      }
      for (const count of counts) assert.ok(count > 800 && count < 1250, `${counts}`);
    }
  });

  it('takes fragments of one packet for one flow, though only the first has ports', () => {
    const fragment = (offset: number, payload: number): Uint8Array => {
      const flow: Flow = {
        version: 4,
        protocol: 17,
        addresses: Uint8Array.of(10, 0, 0, 1, 10, 0, 0, 2),
        ports: new Uint8Array(4).fill(payload),
      };
      const frame = frameOf(flow, new Uint8Array(20), false);
      frame[20] = (offset === 0 ? 0x20 : 0) | (offset >> 8);
      frame[21] = offset & 0xff;
      return frame;
    };
    assert.equal(flowHash(fragment(0, 1)), flowHash(fragment(185, 2)));
  });

  it('tells other frames apart by their Ethernet header, and takes any bytes', () => {
    const other = (last: number): Uint8Array => Uint8Array.of(...ethernet(0x88b5), last);
    assert.equal(flowHash(other(1)), flowHash(other(2)));
    const elsewhere = other(1);
    elsewhere[5] = 77;
    assert.notEqual(flowHash(elsewhere), flowHash(other(1)));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (frame) => {
        const hash = flowHash(frame);
        assert.ok(Number.isInteger(hash) && hash >= 0 && hash < 2 ** 32);
      }),
      { seed: 1 },
    );
    // Every way to be cut off.
    for (const type of [0x0800, 0x86dd, 0x8100])
      for (let length = 0; length < 60; length++)
        assert.ok(
          flowHash(Uint8Array.of(...ethernet(type), ...new Uint8Array(60).fill(6)).subarray(0, length)) >= 0,
        );
  });
});
