import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** A network namespace of its own, kept by a process that waits for the end of its input. */
export class NetworkNamespace {
  readonly path: string;
  readonly #keeper: ChildProcess;

  private constructor(keeper: ChildProcess) {
    this.#keeper = keeper;
    this.path = `/proc/${keeper.pid}/ns/net`;
  }

  static async make(): Promise<NetworkNamespace> {
    const keeper = spawn('unshare', ['--net', 'sh', '-c', 'echo ready && exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [chunk] = await Promise.race([
      once(keeper.stdout!, 'data'),
      once(keeper, 'exit').then(([status]) => {
        throw new Error(`unshare --net ended with status ${status}: these tests need root`);
      }),
    ]);
    assert.equal(String(chunk), 'ready\n');
    return new NetworkNamespace(keeper);
  }

  async close(): Promise<void> {
    const gone = once(this.#keeper, 'exit');
    this.#keeper.stdin!.end();
    await gone;
  }
}
