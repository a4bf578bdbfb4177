import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  decodeAcknowledgement,
  decodeReply,
  decodeRequest,
  encodeAcknowledgement,
  encodeReply,
  encodeRequest,
  hasAnswer,
  type RequestName,
  type RequestPayload,
  requestId,
  requestNames,
} from '../../../lib/vhost/user/protocol.js';
import { long, runs, seed } from '../../support/random.js';
import { anyReply, anyRequest, hostileBytes } from './arbitrary-messages.js';

const RUNS = runs(long ? 1_000_000 : 2_000);
const HOSTILE = runs(long ? 10_000_000 : 2_000);

describe('vhost-user protocol', function () {
  if (long) this.timeout(3_600_000);

  it('reads every request as it was written', () => {
    fc.assert(
      fc.property(anyRequest, fc.boolean(), ({ name, payload }, needReply) => {
        const bytes = encodeRequest(name, payload as RequestPayload<RequestName>, needReply);
        assert.deepEqual(decodeRequest(bytes, 0), { name, payload, needReply });
      }),
      { numRuns: RUNS, seed },
    );
  });

  it('reads every answer as it was written', () => {
    fc.assert(
      fc.property(anyReply, ({ name, payload }) => {
        assert.deepEqual(decodeReply(name, encodeReply(name, payload as never)), payload);
      }),
      { numRuns: RUNS, seed },
    );
    for (const name of requestNames)
      for (const done of [true, false])
        assert.equal(decodeAcknowledgement(name, encodeAcknowledgement(requestId(name), done)), done);
  });

  it('reads or refuses whatever else comes, and nothing else', () => {
    let read = 0;
    fc.assert(
      fc.property(hostileBytes, fc.nat(9), (bytes, fds) => {
        try {
          decodeRequest(bytes, fds);
          read++;
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'ERR_VHOST_PROTOCOL', String(error));
        }
        for (const name of ['GET_VRING_BASE', 'GET_FEATURES', 'GET_INFLIGHT_FD'] as const)
          assert.throws(() => decodeReply(name, bytes.subarray(0, 11)), { code: 'ERR_VHOST_PROTOCOL' });
      }),
      { numRuns: HOSTILE, seed },
    );
    assert.ok(read > 0);
  });

  it('is the protocol of the other programs: some messages, byte by byte', () => {
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    assert.equal(hex(encodeRequest('GET_FEATURES', undefined)), '010000000100000000000000');
    assert.equal(
      hex(encodeRequest('SET_VRING_NUM', { index: 1, num: 256 }, true)),
      '0800000009000000080000000100000000010000',
    );
    assert.equal(
      hex(encodeRequest('SET_VRING_KICK', { index: 3, hasFd: false })),
      '0c00000001000000080000000301000000000000',
    );
    assert.equal(hex(encodeReply('GET_QUEUE_NUM', 1n)), '1100000005000000080000000100000000000000');
    const region = { guestPhysicalAddress: 1n, size: 2n, userAddress: 3n, offset: 4n };
    const words = ['01', '02', '03', '04'].map((byte) => `${byte}00000000000000`).join('');
    assert.equal(
      hex(encodeRequest('SET_MEM_TABLE', [region])),
      `0500000001000000280000000100000000000000${words}`,
    );
    assert.equal(
      hex(encodeRequest('ADD_MEM_REG', region)),
      `2500000001000000280000000000000000000000${words}`,
    );
    assert.equal(
      hex(
        encodeRequest('SET_VRING_ADDR', {
          index: 1,
          flags: 1,
          descriptorTable: 2n,
          usedRing: 3n,
          availableRing: 4n,
          log: 5n,
        }),
      ),
      `0900000001000000280000000100000001000000${['02', '03', '04', '05'].map((byte) => `${byte}00000000000000`).join('')}`,
    );
  });

  it('tells which requests are answered', () => {
    assert.deepEqual(requestNames.filter(hasAnswer), [
      'GET_FEATURES',
      'SET_LOG_BASE',
      'GET_VRING_BASE',
      'GET_PROTOCOL_FEATURES',
      'GET_QUEUE_NUM',
      'GET_INFLIGHT_FD',
      'GET_MAX_MEM_SLOTS',
      'GET_STATUS',
    ]);
  });

  it('refuses what is no request, saying why', () => {
    const good = encodeRequest('SET_VRING_NUM', { index: 0, num: 8 });
    const changed = (at: number, value: number): Uint8Array => {
      const bytes = good.slice();
      bytes[at] = value;
      return bytes;
    };
    const cases: [Uint8Array, number, RegExp][] = [
      [good.subarray(0, 11), 0, /a message of 11 bytes/],
      [good.subarray(0, 15), 0, /15 bytes that says it has 8 of payload/],
      [changed(4, 2), 0, /version 2/],
      [changed(4, 5), 0, /bears the flag of a reply/],
      [good, 1, /SET_VRING_NUM with 1 descriptors; it takes 0/],
      [
        encodeRequest(
          'SET_MEM_TABLE',
          Array(9).fill({ guestPhysicalAddress: 0n, size: 0n, userAddress: 0n, offset: 0n }),
        ),
        0,
        /9 regions/,
      ],
    ];
    for (const [bytes, fds, message] of cases)
      assert.throws(() => decodeRequest(bytes, fds), { code: 'ERR_VHOST_PROTOCOL', message });
    assert.deepEqual(decodeRequest(changed(0, 99), 0), { name: undefined, id: 99, needReply: false });
  });
});
