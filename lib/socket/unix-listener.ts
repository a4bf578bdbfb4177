import { chmodSync, chownSync, linkSync, lstatSync, renameSync, unlinkSync } from 'node:fs';
import { checkInteger } from '../errors/check.js';
import { explain } from '../errors/hints.js';
import { undo } from '../errors/undo.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Framing } from './framing.js';
import { Readiness } from './readiness.js';
import { UnixConnection } from './unix-connection.js';

export interface ListenOptions {
  /** Permission bits of the socket; who may write to it may connect. 0o600 by default. */
  readonly mode?: number | undefined;
  /** The user that the socket is to belong to. */
  readonly uid?: number | undefined;
  /** The group that the socket is to belong to. */
  readonly gid?: number | undefined;
  /** Peers that may wait to be accepted. 16 by default. */
  readonly backlog?: number | undefined;
}

/** A unix socket that peers connect to. */
export class UnixListener {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #framing: Framing;
  readonly #readiness: Readiness;
  /** The file that was made. */
  readonly #file: string;
  #fd: number;

  private constructor(kernel: Kernel, fd: number, path: string, framing: Framing) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#framing = framing;
    this.#readiness = new Readiness(kernel);
    this.path = path;
    this.#file = identity(path);
  }

  /**
   * Listens at `path`, in place of a socket there that nobody listens to any more. Nobody but those that `mode` allows
   * can connect at any moment. EADDRINUSE: something else is at `path`, or somebody listens there.
   */
  static listen(kernel: Kernel, path: string, framing: Framing, options: ListenOptions = {}): UnixListener {
    const { mode = 0o600, uid = -1, gid = -1, backlog = 16 } = options;
    checkInteger('mode', mode, 0, 0o777);
    checkInteger('uid', uid, -1, 2 ** 32 - 2);
    checkInteger('gid', gid, -1, 2 ** 32 - 2);
    checkInteger('backlog', backlog, 1, 4096);
    const given = uid !== -1 || gid !== -1;
    const listen = (): number => kernel.passing.listen(path, given ? 0 : mode, backlog);
    let fd: number;
    try {
      fd = listen();
    } catch (error) {
      if (!isCode(error, 'EADDRINUSE') || !removeStale(kernel, path)) throw explain(error);
      fd = listen();
    }
    const listener = new UnixListener(kernel, fd, path, framing);
    try {
      // The mode by name once more, since the umask took bits away: after the group that it is for, and while the socket
      // is still this process's, which may lack CAP_FOWNER.
      if (gid !== -1) chownSync(path, -1, gid);
      chmodSync(path, mode);
      if (uid !== -1) chownSync(path, uid, -1);
      return listener;
    } catch (error) {
      listener.close();
      throw error;
    }
  }

  get isOpen(): boolean {
    return this.#fd !== -1;
  }

  /** The next peer; `undefined` once the listener is closed. EMFILE: the process has no descriptor left for it. */
  async accept({
    signal,
  }: {
    readonly signal?: AbortSignal | undefined;
  } = {}): Promise<UnixConnection | undefined> {
    while (this.#fd !== -1) {
      try {
        return new UnixConnection(this.#kernel, this.#kernel.passing.accept(this.#fd), this.#framing);
      } catch (error) {
        // A peer that gave up before it was accepted is no concern of ours.
        if (isCode(error, 'ECONNABORTED')) continue;
        if (!isCode(error, 'EAGAIN')) throw error;
      }
      await this.#readiness.wait(this.#fd, 'readable', signal).catch((error: unknown) => {
        if (this.#fd !== -1) throw error;
      });
    }
    return undefined;
  }

  /** Whether waits on this listener hold the loop, as they do from the start. */
  ref(): void {
    this.#readiness.referenced = true;
  }

  unref(): void {
    this.#readiness.referenced = false;
  }

  /** Listens no more and removes the socket where that may be done and it is still this one. Idempotent. */
  close(): void {
    if (this.#fd === -1) return;
    const fd = this.#fd;
    this.#fd = -1;
    this.#readiness.close();
    // A process that gave up its privileges since may not be allowed to; then the next who listens there replaces it.
    undo(() => {
      if (this.#file === identity(this.path)) unlinkSync(this.path);
    });
    this.#kernel.descriptor.close(fd);
  }
}

/** Removes a socket that refuses connections, for nobody listens; whether it did. */
function removeStale(kernel: Kernel, path: string): boolean {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket() || !isRefused(kernel, path)) return false;
  // Another server may have replaced it since, whose socket must not go: what is there is looked at once more where
  // nobody else finds it.
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    // The other server was faster, and is about to listen.
    return isCode(error, 'ENOENT');
  }
  try {
    if (isRefused(kernel, aside)) return true;
    linkSync(aside, path);
    return false;
  } finally {
    undo(() => unlinkSync(aside));
  }
}

/** Whether nobody listens at a socket. */
function isRefused(kernel: Kernel, path: string): boolean {
  try {
    kernel.descriptor.close(kernel.passing.connect(path));
    return false;
  } catch (error) {
    return isCode(error, 'ECONNREFUSED');
  }
}

/** Which file a path names. */
function identity(path: string): string {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return `${stat?.dev}:${stat?.ino}`;
}

function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}
