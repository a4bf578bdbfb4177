import assert from 'node:assert/strict';
import { resultOf, runProgram } from './program.js';
import { requireRoot } from './root.js';

interface Left {
  readonly descriptors: number;
  readonly threads: number;
  readonly mappings: number;
}

describe('native ownership', () => {
  before(requireRoot);

  it('leaves nothing of 200 Workers, however they ended', async () => {
    const result = await resultOf('workers-come-and-go');
    const { before, after, untouched } = result as { before: Left; after: Left; untouched: boolean };
    assert.deepEqual(after, before);
    assert.equal(after.mappings, 0);
    assert.ok(untouched, 'what the main thread owns');
  });

  it('survives that the library is unloaded with the last Worker', async () => {
    assert.deepEqual(await resultOf('addon-in-workers-only'), { mappings: 0 });
  });

  it('keeps memory and device until a pending detach has run, though the Worker is terminated', async () => {
    assert.deepEqual(await resultOf('detach-at-termination'), {
      heldWhilePending: true,
      mappings: 0,
      descriptors: 0,
    });
  });

  for (const ending of ['by itself', 'process.exit', 'exit in a callback'])
    it(`ends with status 0 while everything is open: ${ending}`, async () => {
      assert.deepEqual(await runProgram('ends-holding', { arguments: [ending] }), {
        status: 0,
        signal: null,
        stdout: '',
        stderr: '',
      });
    });

  it('ends by an uncaught exception or a signal as any program does', async () => {
    const thrown = await runProgram('ends-holding', { arguments: ['uncaught'] });
    assert.deepEqual([thrown.status, thrown.signal], [1, null]);
    assert.match(thrown.stderr, /Error: the end/);
    const killed = await runProgram('ends-holding', { arguments: ['SIGTERM'] });
    assert.deepEqual([killed.status, killed.signal], [null, 'SIGTERM']);
  });
});
