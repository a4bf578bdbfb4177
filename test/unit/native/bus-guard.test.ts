import assert from 'node:assert/strict';
import { resultOf, runProgram } from './program.js';

describe('native memory of a file that is cut short', () => {
  for (const where of ['here', 'worker'])
    it(`becomes zeroed memory at the first touch of what is gone, and nothing else does: ${where}`, async () => {
      assert.deepEqual(await resultOf('cut-short', { arguments: [where] }), {
        kept: 7,
        gone: 0,
        sum: 0,
        written: 3,
        untouched: 21,
        left: 0,
        second: 0,
      });
    });

  it('leaves other bus errors to end the process', async () => {
    const { status, signal } = await runProgram('cut-short', { arguments: ['unrelated'] });
    assert.deepEqual([status, signal], [null, 'SIGBUS']);
  });
});
