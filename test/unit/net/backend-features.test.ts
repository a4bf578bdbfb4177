import assert from 'node:assert/strict';
import { featureNames } from '../../../lib/abi/feature-names.js';
import { agreedOffloads, headerSizeFor, offloadFeatures } from '../../../lib/net/backend-features.js';

describe('features that stand for offloads', () => {
  it('are those of both directions', () => {
    assert.equal(offloadFeatures([]), 0n);
    assert.equal(offloadFeatures(['csum']), 0b11n);
    assert.equal(offloadFeatures(['csum', 'tso4']), (1n << 11n) | (1n << 7n) | 0b11n);
    assert.equal(offloadFeatures(['uso4', 'uso6']), (1n << 54n) | (1n << 55n) | (1n << 56n));
  });

  it('ask of a tap only what the driver takes', () => {
    assert.deepEqual(agreedOffloads(1n | (1n << 11n)), []);
    assert.deepEqual(agreedOffloads(0b10n | (1n << 8n) | (1n << 10n)), ['csum', 'tso6', 'ufo']);
    assert.ok(featureNames(offloadFeatures(['ecn'])).length > 0);
  });

  it('make the header twelve bytes long, or ten', () => {
    assert.equal(headerSizeFor(0b11n), 10);
    assert.equal(headerSizeFor(1n << 15n), 12);
    assert.equal(headerSizeFor(1n << 32n), 12);
  });
});
