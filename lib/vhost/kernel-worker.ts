import type { FilesSurface } from '../kernel/kernel.js';

/** The kernel's worker of a device: it serves both queues, and its CPU time is theirs. */
export interface KernelWorker {
  /** The id by which it can be pinned and its time be read: of a thread of this process, or of a kernel thread. */
  readonly pid: number;
  /** vhost-<thread that set the owner>, counted as outside of containers. */
  readonly name: string;
  /** A `task` is a thread of the owner (Linux 6.4 and later, unless VHOST_SET_FORK_FROM_OWNER says otherwise). */
  readonly kind: 'task' | 'kernel thread';
}

const TASKS = '/proc/self/task';
const PROCESSES = '/proc';

/** A list of tasks ends early where one of them ends just then (next_tid()): so it is made more than once. */
const ATTEMPTS = 4;

/**
 * Tells the worker that VHOST_SET_OWNER starts from those of other devices: it is the one that was not there before.
 * Made before the request, asked after it.
 */
export class WorkerSearch {
  readonly #files: FilesSurface;
  readonly #tasks: ReadonlySet<string>;
  readonly #processes: ReadonlySet<string>;

  constructor(files: FilesSurface) {
    this.#files = files;
    this.#tasks = new Set(Array.from({ length: ATTEMPTS }, () => files.list(TASKS)).flat());
    this.#processes = new Set(files.list(PROCESSES));
  }

  /**
   * The worker; `undefined` where it does not show (/proc is not mounted, a kernel thread seen from a container) or
   * where another thread started one at the same time and their names do not tell which is which.
   */
  find(): KernelWorker | undefined {
    for (let i = 0; i < ATTEMPTS; i++) {
      const found = this.#look();
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #look(): KernelWorker | undefined {
    // Like vhost_worker_create(): named after the thread that asks, which is not the process in a Worker.
    const caller = this.#files.read('/proc/thread-self/stat')?.split(' ')[0];
    const named = ({ name }: KernelWorker): boolean => name === `vhost-${caller}`;
    const tasks = this.#started(TASKS, this.#tasks, 'task');
    // In a container the name has a number of the host's, which is nobody's here: one alone is told without it.
    if (tasks.length > 0) return only(tasks) ?? only(tasks.filter(named));
    // A kernel thread may be any process's; one that bears another name is.
    return only(this.#started(PROCESSES, this.#processes, 'kernel thread').filter(named));
  }

  #started(folder: string, before: ReadonlySet<string>, kind: KernelWorker['kind']): KernelWorker[] {
    return this.#files
      .list(folder)
      .filter((entry) => !before.has(entry) && /^\d+$/.test(entry))
      .map((entry) => ({
        pid: Number(entry),
        name: this.#files.read(`${folder}/${entry}/comm`)?.trim() ?? '',
        kind,
      }))
      .filter(({ name }) => /^vhost-\d+$/.test(name));
  }
}

function only<T>(found: readonly T[]): T | undefined {
  return found.length === 1 ? found[0] : undefined;
}
