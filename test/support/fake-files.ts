import type { FilesSurface } from '../../lib/kernel/kernel.js';
import type { FakeDescriptors } from './fake-descriptors.js';
import { ownNamespace } from './fake-interfaces.js';
import { namespaceAt } from './fake-namespace.js';
import type { Trace } from './fake-trace.js';

/** Small files: those of the module parameters, and what a test adds. */
export class FakeFiles implements FilesSurface {
  private readonly trace: Trace;
  private readonly descriptors: FakeDescriptors;
  private readonly texts = new Map<string, string>([
    ['/sys/module/vhost/parameters/max_mem_regions', '64\n'],
    ['/sys/module/vhost_net/parameters/experimental_zcopytx', '0\n'],
  ]);

  constructor(trace: Trace, descriptors: FakeDescriptors) {
    this.trace = trace;
    this.descriptors = descriptors;
  }

  /** The text of a file; `undefined` removes it. */
  set(path: string, text: string | undefined): void {
    if (text === undefined) this.texts.delete(path);
    else this.texts.set(path, text);
  }

  read(path: string): string | undefined {
    this.trace.tell('files.read', [path]);
    const fd = /^\/proc\/self\/fdinfo\/(\d+)$/.exec(path)?.[1];
    return fd === undefined ? this.texts.get(path) : this.about(Number(fd));
  }

  list(path: string): readonly string[] {
    this.trace.tell('files.list', [path]);
    const folder = `${path}/`;
    const names = [...this.texts.keys()]
      .filter((name) => name.startsWith(folder))
      .map((name) => name.slice(folder.length).split('/')[0]!);
    return [...new Set(names)];
  }

  link(path: string): string | undefined {
    this.trace.tell('files.link', [path]);
    if (path === '/proc/thread-self/ns/net') return `net:[${ownNamespace}]`;
    const namespace = namespaceAt(this.descriptors, path);
    return namespace === path ? undefined : `net:[${namespace}]`;
  }

  /** What /proc tells of a descriptor. */
  private about(fd: number): string | undefined {
    const file = this.descriptors.peek(fd);
    if (file === undefined) return undefined;
    return file.kind === 'eventfd' ? 'pos:\t0\neventfd-count:                0\n' : 'pos:\t0\n';
  }
}
