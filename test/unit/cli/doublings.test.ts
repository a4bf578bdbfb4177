import assert from 'node:assert/strict';
import { doublings } from '../../../lib/cli/proxy/doublings.js';

describe('lines that a guest can bring about', () => {
  it('are said once, and again at each doubling', () => {
    const said: string[] = [];
    const say = doublings((line) => said.push(line));
    for (let i = 0; i < 1_000_000; i++) say('queue 1 stands still: header');
    assert.equal(said.length, 20);
    assert.deepEqual(said.slice(0, 3), [
      'queue 1 stands still: header',
      'queue 1 stands still: header, 2 times by now',
      'queue 1 stands still: header, 4 times by now',
    ]);
    say('queue 0 stands still: gone');
    assert.equal(said.at(-1), 'queue 0 stands still: gone');
  });
});
