import assert from 'node:assert/strict';
import {
  VhostError,
  type VhostErrorCode,
  VhostRangeError,
  VhostTypeError,
} from '../../../lib/errors/errors.js';

describe('errors of this package', () => {
  it('VhostError carries its code where everybody looks for it', () => {
    const cause = new Error('first');
    const error = new VhostError('ERR_VHOST_IN_USE', 'somebody has it', { queue: 1, cause });
    assert.ok(error instanceof Error);
    assert.equal(error.name, 'VhostError [ERR_VHOST_IN_USE]');
    assert.equal(error.code, 'ERR_VHOST_IN_USE');
    assert.equal(error.queue, 1);
    assert.equal(error.cause, cause);
    assert.equal(`${error}`, 'VhostError [ERR_VHOST_IN_USE]: somebody has it');
    assert.match(error.stack!, /errors\.test/);
  });

  it('says nothing of a queue or a cause that it does not know', () => {
    const error = new VhostError('ERR_VHOST_CLOSED', 'closed');
    assert.equal('queue' in error, false);
    assert.equal('cause' in error, false);
    assert.deepEqual(Object.keys(error), ['code']);
  });

  it('misuse extends the standard class', () => {
    const type = new VhostTypeError('x must be a number');
    assert.ok(type instanceof TypeError);
    assert.equal(type.name, 'TypeError [ERR_VHOST_INVALID_ARGUMENT]');
    assert.equal(type.code, 'ERR_VHOST_INVALID_ARGUMENT');
    const range = new VhostRangeError('x must be small');
    assert.ok(range instanceof RangeError);
    assert.equal(range.name, 'RangeError [ERR_VHOST_OUT_OF_RANGE]');
    const header = new VhostRangeError('no such header', 'ERR_VHOST_BAD_HEADER');
    assert.equal(header.code, 'ERR_VHOST_BAD_HEADER');
  });

  it('keeps every code that is documented', () => {
    // The compiler refuses a name that is gone, and one that is new and not here.
    const codes: Record<VhostErrorCode, true> = {
      ERR_VHOST_INVALID_ARGUMENT: true,
      ERR_VHOST_OUT_OF_RANGE: true,
      ERR_VHOST_CLOSED: true,
      ERR_VHOST_QUEUE_FULL: true,
      ERR_VHOST_BAD_HEADER: true,
      ERR_VHOST_RING_CORRUPT: true,
      ERR_VHOST_QUEUE_ERROR: true,
      ERR_VHOST_IOTLB_FAULT: true,
      ERR_VHOST_BAD_MESSAGE: true,
      ERR_VHOST_BACKEND_GONE: true,
      ERR_VHOST_UNSUPPORTED: true,
      ERR_VHOST_NOT_LEASED: true,
      ERR_VHOST_IN_USE: true,
      ERR_VHOST_PROTOCOL: true,
      ERR_VHOST_DISABLED: true,
      ERR_VHOST_ADDON: true,
    };
    for (const code of Object.keys(codes) as VhostErrorCode[])
      assert.equal(new VhostError(code, '').name, `VhostError [${code}]`);
  });
});
