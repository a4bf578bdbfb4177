import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { signalOf } from './conversation.mjs';
import { codeOf, VmError } from './errors.mjs';
import { completePath } from './programs.mjs';

/**
 * Runs a command on this machine itself, with the same results as in a VM.
 *
 * @param {object} errand
 * @param {string} errand.command
 * @param {string[]} errand.args
 * @param {string} errand.cwd
 * @param {Record<string, string | undefined>} errand.env
 * @param {import('./conversation.mjs').Streams} errand.streams
 * @param {AbortSignal | undefined} errand.signal
 * @param {number} errand.timeout in seconds
 * @returns {Promise<import('./conversation.mjs').Outcome>}
 */
export function runDirectly({ command, args, cwd, env, streams, signal, timeout }) {
  return new Promise((resolve, reject) => {
    const { PATH: path } = env;
    const inside = { ...env, PATH: completePath(path) };
    const child = spawn(command, args, { cwd, env: inside, stdio: 'pipe', detached: true });
    let timedOut = false;
    /** @param {NodeJS.Signals} name */
    const send = (name) => {
      // The group, as in a VM: a shell's children hear of it as well.
      try {
        if (child.pid) process.kill(-child.pid, name);
      } catch (error) {
        if (codeOf(error) !== 'ESRCH') throw error;
      }
    };
    const interrupt = () => send(signalOf(signal?.reason));
    const limit = setTimeout(() => {
      timedOut = true;
      send('SIGKILL');
    }, timeout * 1000);
    signal?.addEventListener('abort', interrupt, { once: true });
    if (streams.stdin) streams.stdin.pipe(child.stdin);
    else child.stdin.end();
    child.stdin.on('error', () => {});
    const carried = Promise.all([
      carry(child.stdout, streams.onStdout),
      carry(child.stderr, streams.onStderr),
    ]);
    const over = () => {
      clearTimeout(limit);
      signal?.removeEventListener('abort', interrupt);
      streams.stdin?.unpipe(child.stdin).pause();
    };
    child.on('error', (cause) => {
      over();
      const status = 'code' in cause && cause.code === 'EACCES' ? 126 : 127;
      if (!('code' in cause)) reject(new VmError('ERR_VM_COMMAND', `${command} cannot be run`, { cause }));
      else
        resolve(
          Promise.resolve(streams.onStderr(Buffer.from(`${command}: ${cause.message}\n`))).then(() => ({
            status,
            timedOut,
          })),
        );
    });
    child.on('exit', (code, name) => {
      over();
      const status = timedOut ? 124 : (code ?? 128 + constants.signals[name ?? 'SIGKILL']);
      carried.then(() => resolve({ status, timedOut }), reject);
    });
  });
}

/**
 * @param {import('node:stream').Readable} stream
 * @param {(chunk: Buffer) => void | Promise<void>} onData
 */
async function carry(stream, onData) {
  for await (const chunk of stream) await onData(chunk);
}
