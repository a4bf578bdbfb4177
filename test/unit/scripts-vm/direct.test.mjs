import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { runDirectly } from '../../../scripts/vm/direct.mjs';

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{timeout?: number, signal?: AbortSignal, stdin?: Readable, cwd?: string, onStdout?: () => void}} [options]
 */
async function run(command, args, { timeout = 20, signal, stdin, cwd = '/', onStdout } = {}) {
  let stdout = '';
  let stderr = '';
  const streams = {
    onStdout: (/** @type {Buffer} */ chunk) => {
      stdout += chunk;
      onStdout?.();
    },
    onStderr: (/** @type {Buffer} */ chunk) => {
      stderr += chunk;
    },
    stdin,
    terminal: undefined,
  };
  const outcome = await runDirectly({
    command,
    args,
    cwd,
    env: { PATH: '/bin', WORD: 'o' },
    streams,
    signal,
    timeout,
  });
  return { ...outcome, stdout, stderr };
}

describe('a command on a host that has the device', () => {
  it('gets folder, environment and input, and gives both outputs and its status', async () => {
    const stdin = Readable.from([Buffer.from('in')]);
    const found = await run('sh', ['-c', 'pwd; cat; echo $WORD >&2; exit 3'], { cwd: '/tmp', stdin });
    assert.deepEqual(found, { status: 3, timedOut: false, stdout: '/tmp\nin', stderr: 'o\n' });
  });

  it('has the status of the signal that it died of', async () => {
    assert.equal((await run('sh', ['-c', 'kill -TERM $$'])).status, 143);
  });

  it('that cannot be run has the status that a shell gives', async () => {
    const missing = await run('no-such-program', []);
    assert.equal(missing.status, 127);
    assert.match(missing.stderr, /no-such-program/);
    assert.equal((await run('/etc/passwd', [])).status, 126);
  });

  it('is stopped after its time limit, with all its children', async () => {
    const { status, timedOut } = await run('sh', ['-c', 'sleep 600 & sleep 600'], { timeout: 0.2 });
    assert.deepEqual({ status, timedOut }, { status: 124, timedOut: true });
  });

  it('gets the signal that the reason of an abort names', async () => {
    const controller = new AbortController();
    const script = 'trap "echo told; exit 9" INT; echo up; while :; do sleep 0.05; done';
    const options = { signal: controller.signal, onStdout: () => controller.abort('SIGINT') };
    const { status, stdout } = await run('sh', ['-c', script], options);
    assert.equal(status, 9);
    assert.equal(stdout, 'up\ntold\n');
  });
});
