import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** What the kernel holds for a process, as far as a device or its memory could leave something of it behind. */
export interface Resources {
  /** What each open descriptor stands for, sorted. */
  readonly descriptors: readonly string[];
  /** Mappings of guest memory. */
  readonly mappings: number;
  /** The kernel's workers of this process: tasks named vhost-<pid>. */
  readonly workers: number;
  /** Every thread, workers included. */
  readonly threads: number;
}

/** What this process holds now. */
export function resources(): Resources {
  const tasks = readdirSync('/proc/self/task').map((task) => read(`/proc/self/task/${task}/comm`).trim());
  return {
    descriptors: readdirSync('/proc/self/fd')
      .map((fd) => link(`/proc/self/fd/${fd}`))
      .filter((target) => target !== undefined)
      // The descriptor by which this list itself is read.
      .filter((target) => !/^\/proc\/\d+\/fd$/.test(target))
      .sort(),
    mappings: read('/proc/self/maps')
      .split('\n')
      .filter((line) => line.includes('memfd:vhost-net')).length,
    workers: tasks.filter((name) => name.startsWith('vhost-')).length,
    threads: tasks.length,
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // A thread that ended meanwhile.
    return '';
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
