import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  checkHeader,
  clearHeader,
  type GsoType,
  HEADER_SIZE,
  isSegmented,
  type NetHeader,
  readHeader,
  readNumBuffers,
  writeHeader,
} from '../../../lib/net/header.js';
import { seed } from '../../support/random.js';

const u16 = fc.nat(0xffff);
const gsoTypes: readonly GsoType[] = ['none', 'tcpv4', 'tcpv6', 'udp', 'udp-l4'];

const anyHeader: fc.Arbitrary<Required<NetHeader>> = fc.record(
  {
    needsChecksum: fc.boolean(),
    csumStart: u16,
    csumOffset: u16,
    gsoType: fc.constantFrom(...gsoTypes),
    ecn: fc.boolean(),
    gsoSize: u16,
    headerLength: u16,
  },
  { noNullPrototype: true },
);

/** Twelve bytes, each of the fields small or large, so that what is right and what is wrong both come often. */
const anyBytes = fc
  .tuple(
    fc.constantFrom(0, 1, 2, 3, 8, 255),
    fc.constantFrom(0, 1, 3, 4, 5, 2, 0x80, 0x81, 0x84, 0x21, 255),
    ...[0, 1, 2, 3, 4].map(() => fc.oneof(fc.nat(120), u16)),
  )
  .map((fields) => {
    const bytes = new Uint8Array(HEADER_SIZE);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, fields[0]!);
    view.setUint8(1, fields[1]!);
    for (let i = 2; i < 7; i++) view.setUint16(2 * i - 2, fields[i]!, true);
    return bytes;
  });

function accepts(bytes: Uint8Array, length: number): boolean {
  try {
    checkHeader(bytes, 0, length);
    return true;
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'ERR_VHOST_BAD_HEADER');
    return false;
  }
}

function header(fields: NetHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE);
  writeHeader(bytes, 0, fields);
  return bytes;
}

describe('virtio-net header', () => {
  it('lies in memory as struct virtio_net_hdr_v1 does', () => {
    assert.equal(HEADER_SIZE, 12);
    const bytes = new Uint8Array(16).fill(0xee);
    writeHeader(bytes, 2, {
      needsChecksum: true,
      csumStart: 0x0102,
      csumOffset: 0x0304,
      gsoType: 'tcpv6',
      ecn: true,
      gsoSize: 0x0506,
      headerLength: 0x0708,
    });
    assert.equal(Buffer.from(bytes).toString('hex'), 'eeee018408070605020104030000eeee');
  });

  it('comes back as it was written, and touches nothing beside it', () => {
    fc.assert(
      fc.property(anyHeader, fc.nat(20), (fields, offset) => {
        const bytes = new Uint8Array(40).fill(0x55);
        writeHeader(bytes, offset, fields);
        assert.deepEqual(readHeader(bytes, offset), fields);
        assert.equal(readNumBuffers(bytes, offset), 0, 'the device fills that in');
        assert.equal(isSegmented(bytes, offset), fields.gsoType !== 'none' || fields.ecn);
        assert.ok(bytes.subarray(0, offset).every((byte) => byte === 0x55));
        assert.ok(bytes.subarray(offset + HEADER_SIZE).every((byte) => byte === 0x55));
        clearHeader(bytes, offset);
        assert.ok(bytes.subarray(offset, offset + HEADER_SIZE).every((byte) => byte === 0));
        assert.ok(bytes.subarray(offset + HEADER_SIZE).every((byte) => byte === 0x55));
      }),
      { seed, numRuns: 2000 },
    );
  });

  it('leaves out what is left out', () => {
    assert.deepEqual(readHeader(header({}), 0), {
      needsChecksum: false,
      csumStart: 0,
      csumOffset: 0,
      gsoType: 'none',
      ecn: false,
      gsoSize: 0,
      headerLength: 0,
    });
  });

  it('refuses fields that do not fit, are misspelt or unknown', () => {
    assert.throws(() => header({ csumStart: 65_536 }), {
      name: 'RangeError [ERR_VHOST_OUT_OF_RANGE]',
      message: 'header.csumStart must be a whole number from 0 to 65535; received 65536',
    });
    assert.throws(() => header({ gsoSize: -1 }), { message: /^header\.gsoSize must be/ });
    assert.throws(() => header({ csumOffset: 1.5 }), { message: /^header\.csumOffset must be/ });
    assert.throws(() => header({ headerLength: '1' as never }), { code: 'ERR_VHOST_INVALID_ARGUMENT' });
    assert.throws(() => header({ gsoType: 'tcp' as never }), {
      message: "header.gsoType must be one of none, tcpv4, tcpv6, udp, udp-l4; received 'tcp'",
    });
    assert.throws(() => header({ gsoType: 'toString' as never }), {
      message: /^header\.gsoType must be one of/,
    });
    assert.throws(() => header({ csumstart: 1 } as never), { message: /did you mean "csumStart"\?/ });
  });

  it('reads a type that it does not know as none', () => {
    assert.equal(readHeader(Uint8Array.of(0, 0x7f, ...new Array(10).fill(0)), 0).gsoType, 'none');
  });

  it('reads how many buffers a frame takes', () => {
    assert.equal(readNumBuffers(Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12), 1), 0x1234);
  });
});

describe('checkHeader', () => {
  it('accepts an ordinary frame, the shortest too', () => {
    checkHeader(header({}), 0, HEADER_SIZE + 14);
    checkHeader(header({}), 0, HEADER_SIZE + 65_550);
  });

  it('refuses what is shorter than an Ethernet header, however it is marked', () => {
    for (const length of [0, 8, HEADER_SIZE, HEADER_SIZE + 13])
      assert.throws(() => checkHeader(header({}), 0, length), {
        name: 'RangeError [ERR_VHOST_BAD_HEADER]',
        message: `a frame has at least 14 bytes after its 12 bytes of header; this has ${length - 12}`,
      });
  });

  it('refuses a checksum outside the frame, to the byte', () => {
    const at = (csumStart: number, csumOffset: number): void =>
      checkHeader(header({ needsChecksum: true, csumStart, csumOffset }), 0, HEADER_SIZE + 60);
    at(34, 16);
    at(42, 16);
    assert.throws(() => at(43, 16), {
      message:
        "header.csumStart + header.csumOffset + 2 must lie in the frame's 60 bytes; they are 43 + 16 + 2",
    });
    assert.throws(() => at(1000, 0), { code: 'ERR_VHOST_BAD_HEADER' });
    assert.throws(() => at(0, 0xffff), { code: 'ERR_VHOST_BAD_HEADER' });
    assert.throws(() => at(0xffff, 0xffff), { code: 'ERR_VHOST_BAD_HEADER' });
  });

  it('looks at the checksum only where one is asked for', () => {
    checkHeader(header({ csumStart: 1000 }), 0, HEADER_SIZE + 60);
    checkHeader(header({ gsoType: 'tcpv4', gsoSize: 1, csumStart: 1000 }), 0, HEADER_SIZE + 60);
  });

  it('refuses segment offload of unknown type or without a size', () => {
    const tcp: NetHeader = { gsoType: 'tcpv4', gsoSize: 1448, headerLength: 54 };
    checkHeader(header(tcp), 0, HEADER_SIZE + 9000);
    checkHeader(header({ ...tcp, ecn: true }), 0, HEADER_SIZE + 9000);
    assert.throws(() => checkHeader(header({ ...tcp, gsoSize: 0 }), 0, HEADER_SIZE + 9000), {
      message: /^header\.gsoSize must be at least 1/,
    });
    assert.throws(() => checkHeader(header({ ...tcp, headerLength: 9001 }), 0, HEADER_SIZE + 9000), {
      message: "header.headerLength must be at most the frame's 9000 bytes; it is 9001",
    });
    const unknown = header(tcp);
    unknown[1] = 2;
    assert.throws(() => checkHeader(unknown, 0, HEADER_SIZE + 9000), { message: '0x2 is no gso_type' });
  });

  it('lets nothing through at which the worker of the kernel would spin (vhost_net_build_xdp())', () => {
    let accepted = 0;
    fc.assert(
      fc.property(anyBytes, fc.nat(200), (bytes, length) => {
        if (!accepts(bytes, length)) return;
        accepted++;
        const view = new DataView(bytes.buffer);
        const frame = length - 12;
        // Longer than its header.
        assert.ok(frame >= 14);
        // The checksum lies in it.
        if (view.getUint8(0) & 1) assert.ok(view.getUint16(6, true) + view.getUint16(8, true) + 2 <= frame);
        const gso = view.getUint8(1);
        if ((view.getUint8(0) | gso) === 0) return;
        assert.ok(view.getUint16(2, true) <= frame);
        if (gso === 0) return;
        assert.ok([0, 1, 3, 4, 5].includes(gso & 0x7f));
        assert.ok(view.getUint16(4, true) > 0);
      }),
      { seed, numRuns: 20_000 },
    );
    assert.ok(accepted > 1000, `${accepted} headers were accepted`);
  });

  it('accepts every header that fits its frame', () => {
    fc.assert(
      fc.property(anyHeader, (fields) => {
        const fitting = { ...fields, gsoSize: fields.gsoSize || 1 };
        const least = Math.max(14, fields.csumStart + fields.csumOffset + 2, fields.headerLength);
        checkHeader(header(fitting), 0, HEADER_SIZE + least);
      }),
      { seed, numRuns: 2000 },
    );
  });

  it('looks where it is told to', () => {
    const bytes = new Uint8Array(64).fill(0xff);
    clearHeader(bytes, 20);
    checkHeader(bytes, 20, HEADER_SIZE + 14);
    assert.throws(() => checkHeader(bytes, 18, HEADER_SIZE + 14), { code: 'ERR_VHOST_BAD_HEADER' });
  });
});
