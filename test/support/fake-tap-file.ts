import { constants } from 'node:fs';
import { MISC_MAJOR } from '../../lib/abi/major.js';
import { IFF_UP } from '../../lib/abi/netdevice.js';
import { OpenFile } from './fake-file.js';
import type { FakeInterface, FakeInterfaces } from './fake-interfaces.js';

/** What the queues of one TUN/TAP interface share, like `struct tun_struct`. */
export interface TapState {
  readonly interface: FakeInterface;
  readonly flags: number;
  readonly queues: Set<TapFile>;
  persistent: boolean;
  offload: number;
  headerBytes: number;
  headerLittleEndian: boolean;
  sendBuffer: number;
  owner: number;
  group: number;
  carrier: boolean;
}

/** An open /dev/net/tun or /dev/tapN. */
export class TapFile extends OpenFile {
  readonly namespace: string;
  private readonly interfaces: FakeInterfaces;
  /** The interface that it is a queue of. */
  state: TapState | undefined;
  /** The interface that TUNSETQUEUE took it from. */
  resting: TapState | undefined;

  constructor(interfaces: FakeInterfaces, namespace: string, kind: 'tun' | 'macvtap', minor: number) {
    // The major number of macvtap is given out when its module loads; here it is what udev often sees.
    super(kind, constants.S_IFCHR, kind === 'tun' ? MISC_MAJOR : 236, minor);
    this.interfaces = interfaces;
    this.namespace = namespace;
  }

  attach(state: TapState): void {
    this.state = state;
    this.resting = undefined;
    state.queues.add(this);
    state.interface.deleted.add(this.gone);
  }

  detach(): void {
    const state = this.state;
    if (!state) return;
    state.queues.delete(this);
    state.interface.deleted.delete(this.gone);
    this.state = undefined;
  }

  /** The interface was deleted: like tun_chr_poll(), every poll reports an error from now on. */
  private readonly gone = (): void => {
    this.detach();
    this.wake();
  };

  override get broken(): boolean {
    return this.state === undefined;
  }

  get up(): boolean {
    return this.state !== undefined && (this.state.interface.flags & IFF_UP) !== 0;
  }

  protected override released(): void {
    const { state, kind } = this;
    this.detach();
    if (!state || kind === 'macvtap' || state.persistent || state.queues.size > 0) return;
    const { name, namespace } = state.interface;
    if (this.interfaces.get(name, namespace) === state.interface) this.interfaces.remove(name, namespace);
  }
}
