/** A network interface. */
export interface FakeInterface {
  readonly name: string;
  readonly index: number;
  readonly namespace: string;
  /** What it is: TUN/TAP interfaces accept TUNSETIFF, others do not. */
  readonly kind: 'tun' | 'tap' | 'macvtap' | 'ether';
  flags: number;
  mtu: number;
  hardwareAddress: Uint8Array;
  /** Least and most MTU. */
  readonly mtuRange: readonly [number, number];
  /** Called when the interface is deleted under its users. */
  readonly deleted: Set<() => void>;
}

/** The namespace that the program itself is in. */
export const ownNamespace = '';

const multicastBroadcast = 0x1002;

/** The interfaces of a fake kernel, by namespace. */
export class FakeInterfaces {
  private readonly namespaces = new Map<string, Map<string, FakeInterface>>([[ownNamespace, new Map()]]);
  private readonly watchers = new Set<{ readonly namespace: string; readonly removed: () => void }>();
  private nextIndex = 2;

  /** A namespace that can be opened by this path. */
  addNamespace(path: string): void {
    if (!this.namespaces.has(path)) this.namespaces.set(path, new Map());
  }

  hasNamespace(path: string): boolean {
    return this.namespaces.has(path);
  }

  add(kind: FakeInterface['kind'], name: string, namespace = ownNamespace): FakeInterface {
    const index = this.nextIndex++;
    const added: FakeInterface = {
      name,
      index,
      namespace,
      kind,
      flags: multicastBroadcast,
      mtu: 1500,
      hardwareAddress: Uint8Array.of(0x02, 0, 0, 0, index >> 8, index & 0xff),
      mtuRange: [68, 65521],
      deleted: new Set(),
    };
    this.namespaces.get(namespace)!.set(name, added);
    return added;
  }

  get(name: string, namespace = ownNamespace): FakeInterface | undefined {
    return this.namespaces.get(namespace)?.get(name);
  }

  byIndex(index: number, namespace = ownNamespace): FakeInterface | undefined {
    for (const found of this.namespaces.get(namespace)?.values() ?? [])
      if (found.index === index) return found;
    return undefined;
  }

  /** The first name of a pattern such as tap%d that nobody has. */
  freeName(pattern: string, namespace: string): string {
    for (let n = 0; ; n++) {
      const name = pattern.replace('%d', String(n));
      if (!this.get(name, namespace)) return name;
    }
  }

  /** Deletes an interface, as `ip link del` does. */
  remove(name: string, namespace = ownNamespace): void {
    const found = this.get(name, namespace);
    if (!found) throw new Error(`no interface ${name}`);
    this.namespaces.get(namespace)!.delete(name);
    for (const deleted of [...found.deleted]) deleted();
    for (const watcher of [...this.watchers]) if (watcher.namespace === namespace) watcher.removed();
  }

  /** Tells of every removal in a namespace, until the returned function is called. */
  onRemoved(namespace: string, removed: () => void): () => void {
    const watcher = { namespace, removed };
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  list(namespace = ownNamespace): FakeInterface[] {
    return [...(this.namespaces.get(namespace)?.values() ?? [])];
  }
}
