import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** What the open descriptors of this process are, by number. */
export function openDescriptors(): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      found.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The one that listed the folder is gone by now.
    }
  }
  return found;
}

/** How many mappings this process has of memfds named `name`. */
export function memfdMappings(name: string): number {
  return deletedMappings(`/memfd:${name}`);
}

/** How many mappings this process has of a file that is in no folder any more. */
export function deletedMappings(path: string): number {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  return maps.split('\n').filter((line) => line.endsWith(`${path} (deleted)`)).length;
}

export function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}

/** The network namespace that the calling thread is in. */
export function networkNamespace(): string {
  return readlinkSync('/proc/thread-self/ns/net');
}
