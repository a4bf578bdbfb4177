import assert from 'node:assert/strict';
import { suggest } from '../../../lib/cli/suggest.js';

describe('what a mistyped word was meant to be', () => {
  const known = ['doctor', 'demo', 'capture'];
  for (const [word, meant] of [
    ['docter', 'doctor'],
    ['dmo', 'demo'],
    ['Demo', 'demo'],
    ['cap', 'capture'],
    ['bridge', undefined],
    ['c', undefined],
  ] as const)
    it(`${word}: ${meant ?? 'nothing known'}`, () => assert.equal(suggest(word, known), meant));
});
