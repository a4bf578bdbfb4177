import type { FakeDescriptors } from './fake-descriptors.js';
import { OpenFile } from './fake-file.js';
import { ownNamespace } from './fake-interfaces.js';

/** A descriptor of a network namespace. */
export class NamespaceFile extends OpenFile {
  readonly namespace: string;

  constructor(namespace: string) {
    super('namespace');
    this.namespace = namespace;
  }
}

/** The namespace that a path leads to: one that was added by that path, or the one of a descriptor. */
export function namespaceAt(descriptors: FakeDescriptors, path = ownNamespace): string {
  const fd = /^\/proc\/self\/fd\/(\d+)$/.exec(path)?.[1];
  if (fd === undefined) return path;
  const file = descriptors.peek(Number(fd));
  return file instanceof NamespaceFile ? file.namespace : path;
}
