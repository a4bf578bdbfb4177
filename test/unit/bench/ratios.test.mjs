import assert from 'node:assert/strict';
import { median, ratios } from '../../../scripts/bench/ratios.mjs';

describe('bench: ratios', () => {
  it('takes the middle, and of an even number the mean of the two', () => {
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.ok(Number.isNaN(median([])));
  });

  it('compares each turn with the one beside it, not the medians', () => {
    assert.deepEqual(ratios([1, 4, 9], [2, 2, 3]), { min: 0.5, median: 2, max: 3 });
  });

  it('refuses turns that do not pair: no turn is left out in silence', () => {
    assert.throws(() => ratios([1, 2], [1]), RangeError);
    assert.throws(() => ratios([], []), RangeError);
  });
});
