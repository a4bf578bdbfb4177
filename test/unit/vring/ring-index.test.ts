import assert from 'node:assert/strict';
import fc from 'fast-check';
import { advance, distance, passes } from '../../../lib/vring/ring-index.js';
import { seed } from '../../support/random.js';

const index = fc.nat(0xffff);

describe('ring indexes: 16 bits that run freely', () => {
  it('distance goes forward, across the wrap too', () => {
    assert.equal(distance(3, 5), 2);
    assert.equal(distance(0xffff, 1), 2);
    assert.equal(distance(5, 5), 0);
    assert.equal(distance(5, 4), 0xffff);
  });

  it('advance and distance undo each other', () => {
    fc.assert(
      fc.property(index, fc.integer({ min: -0xffff, max: 0xffff }), (from, steps) => {
        const to = advance(from, steps);
        assert.ok(to >= 0 && to <= 0xffff);
        assert.equal(distance(from, to), steps & 0xffff);
        assert.equal(advance(to, -steps), from);
      }),
      { seed },
    );
  });

  it('passes is true exactly where one of the steps leaves the event behind', () => {
    fc.assert(
      fc.property(index, fc.nat(600), fc.integer({ min: -3, max: 603 }), (before, steps, place) => {
        const event = (before + place) & 0xffff;
        let stepped = false;
        for (let i = 0; i < steps; i++) if (((before + i) & 0xffff) === event) stepped = true;
        assert.equal(passes(event, (before + steps) & 0xffff, before), stepped);
      }),
      { seed, numRuns: 10_000 },
    );
  });

  it('passes nothing by standing still', () => {
    for (const event of [0, 6, 7, 8, 0xffff]) assert.equal(passes(event, 7, 7), false);
  });
});
