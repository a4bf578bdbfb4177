import { Namespace } from './device-namespace.js';
import { type Guest, MAC } from './guest.js';
import { TcpPeer } from './tcp-peer.js';

/** Where guests find the other end. */
export const ADDRESS = '10.9.0.1';
const GUEST = '10.9.0.2';

/** What a guest's frames come to: a bridge of a namespace, with taps that stay when a server ends. */
export class GuestNetwork {
  readonly namespace = Namespace.add();
  peer!: TcpPeer;

  private constructor() {}

  /** `bytes` is the size of every transfer. */
  static async make(taps: readonly string[], bytes: number): Promise<GuestNetwork> {
    const network = new GuestNetwork();
    const { namespace } = network;
    try {
      for (const tap of taps) {
        namespace.ip('tuntap', 'add', 'dev', tap, 'mode', 'tap', 'vnet_hdr');
        namespace.ip('link', 'set', tap, 'up');
      }
      namespace.bridge('bridge', ...taps);
      // Its own, for otherwise it is that of one of its ports, and changes with them.
      namespace.ip('link', 'set', 'bridge', 'address', '52:54:00:00:00:01');
      namespace.ip('addr', 'add', `${ADDRESS}/24`, 'dev', 'bridge');
      network.peer = await TcpPeer.start(namespace, ADDRESS, bytes);
    } catch (error) {
      await namespace.remove();
      throw error;
    }
    return network;
  }

  /** Gives a guest that has booted its address. */
  async join(guest: Guest): Promise<void> {
    await guest.run(`ip link set eth0 up && ip addr add ${GUEST}/24 dev eth0`);
    await guest.until(`ping -c 1 -W 5 ${ADDRESS} >/dev/null`);
  }

  /** The tap behind which the bridge knows the guest to be. */
  get whereabouts(): string | undefined {
    const known: { mac: string; ifname: string }[] = JSON.parse(
      this.namespace.run('bridge', '-json', 'fdb', 'show', 'br', 'bridge'),
    );
    return known.find(({ mac }) => mac === MAC)?.ifname;
  }

  async remove(): Promise<void> {
    await this.peer.end();
    await this.namespace.remove();
  }
}
