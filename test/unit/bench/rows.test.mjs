import assert from 'node:assert/strict';
import { makeRows } from '../../../scripts/bench/compare.mjs';
import { BenchError } from '../../../scripts/bench/contender.mjs';

/** @param {...number} values */
const turns = (...values) => values.map((value) => ({ value, cpu: { node: value * 10 } }));

describe('bench: rows', () => {
  const entries = [
    { name: 'ring', ours: true },
    { name: 'friendly', ours: true },
    { name: 'limit.c', goal: 0.95 },
    { name: 'other' },
  ];

  it('has one for each tier against each peer', () => {
    const rows = makeRows({ name: 'work', unit: 'Mpps' }, entries, [
      turns(1, 2),
      turns(0.5, 1),
      turns(1, 2),
      turns(2, 2),
    ]);
    assert.deepEqual(
      rows.map(({ tier, peer, goal, reached }) => [tier, peer, goal, reached]),
      [
        ['ring', 'limit.c', 0.95, true],
        ['ring', 'other', null, null],
        ['friendly', 'limit.c', 0.665, false],
        ['friendly', 'other', null, null],
      ],
    );
    assert.deepEqual(rows[0]?.cpu.ours, { node: 15 });
    assert.equal(rows[0]?.pairs, 2);
  });

  it('takes a goal as the most allowed where less is better', () => {
    const [ring, , friendly] = makeRows({ name: 'work', unit: 'µs', less: true }, entries, [
      turns(9),
      turns(13),
      turns(10),
      turns(1),
    ]);
    assert.deepEqual([ring?.reached, ring?.goal], [true, 0.95]);
    assert.deepEqual([friendly?.reached, friendly?.goal], [true, 1.357]);
  });

  it('refuses a peer without turns, and a work that compares nothing', () => {
    assert.throws(
      () => makeRows({ name: 'work', unit: '' }, entries, [turns(1), turns(1), [], []]),
      RangeError,
    );
    assert.throws(() => makeRows({ name: 'work', unit: '' }, [], []), BenchError);
  });
});
