import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** What the kernel holds for a process, as far as a device or its memory could leave something of it behind. */
export interface Resources {
  /** What each open descriptor stands for, sorted. */
  readonly descriptors: readonly string[];
  /** Mappings of guest memory. */
  readonly mappings: number;
  /**
   * The kernel's workers of this process: its tasks that are named vhost-<pid>, and before Linux 6.4 kernel threads of that
   * name, which do not tell whose they are: those of every process.
   */
  readonly workers: number;
  /** Every thread, workers that are tasks included. */
  readonly threads: number;
}

/** What this process holds now. */
export function resources(): Resources {
  const tasks = names('/proc/self/task');
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
    workers: [...tasks, ...names('/proc')].filter((name) => /^vhost-\d+$/.test(name)).length,
    threads: tasks.length,
  };
}

/** What those are called that a folder of /proc lists. */
function names(folder: string): string[] {
  return readdirSync(folder)
    .filter((id) => /^\d+$/.test(id))
    .map((id) => read(`${folder}/${id}/comm`).trim());
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
