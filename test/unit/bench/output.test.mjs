import assert from 'node:assert/strict';
import { charts } from '../../../scripts/bench/chart.mjs';
import { makeRows } from '../../../scripts/bench/compare.mjs';
import { number, table } from '../../../scripts/bench/table.mjs';

/** @param {number} value */
const turn = (value) => [{ value, cpu: {} }];
const rows = makeRows(
  { name: 'transmit <60 B>', unit: 'Mpps' },
  [
    { name: 'ring', ours: true },
    { name: 'limit.c', goal: 0.95 },
  ],
  [turn(0.2), turn(0.4)],
);
const bench = { machine: 'a machine', kernel: '6.12', versions: { node: '20' }, rows };

describe('bench: what is printed and drawn', () => {
  it('shows three digits that count', () => {
    assert.deepEqual([0, 0.012345, 1.2345, 123.45, 123456].map(number), [
      '0',
      '0.0123',
      '1.23',
      '123',
      '123456',
    ]);
  });

  it('tells in the table what was missed, where and with what', () => {
    const text = table(bench);
    assert.match(text, /ring +limit\.c +0\.2 +0\.4 +Mpps +0\.5 \(0\.5–0\.5\) +≥ 0\.95 +MISSED/);
    assert.match(text, /a machine; Linux 6\.12; node 20/);
  });

  it('draws each contender once, and no name becomes markup', () => {
    const drawn = charts({ ...bench, rows: [...rows, ...rows] });
    assert.equal(drawn.length, 1);
    const [name, svg] = drawn[0] ?? [];
    assert.equal(name, 'bench-transmit-60-b.svg');
    assert.equal(svg?.match(/<rect x=/g)?.length, 2);
    assert.ok(!svg?.includes('<60 B>'));
  });
});
