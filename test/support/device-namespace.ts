import { Nic, type NicOptions, type TapOptions } from '../../lib/index.js';
import { run } from './standing-shell.js';
import { testDevice } from './test-device.js';

/** A pace of five frames a second: whatever is in flight stays so while something else happens. */
export const STALLED = '8kbit';

let made = 0;

/** What a `Nic` on a tap of a namespace is opened with: a tap's options and a `Nic`'s, in one. */
export interface TapNicOptions extends Omit<NicOptions, 'tap'> {
  readonly tap?: Omit<TapOptions, 'name' | 'netns'>;
}

/** What ip(8) tells of a port of a bridge. */
interface Port {
  readonly linkinfo: { readonly info_slave_data: { readonly state: string } };
}

/**
 * A network namespace of one test: nothing in it touches the host's network, and with it goes all that was made in
 * it. No IPv6, so that no interface sends a frame of its own accord.
 */
export class Namespace {
  readonly name: string;
  readonly #nics = new Set<Nic>();
  readonly #added: boolean;

  private constructor(name: string, added: boolean) {
    this.name = name;
    this.#added = added;
  }

  static add(): Namespace {
    const namespace = new Namespace(`vhost-${process.pid}-${++made}`, true);
    run('ip', ['netns', 'add', namespace.name]);
    namespace.run(
      'sysctl',
      '-qw',
      'net.ipv6.conf.all.disable_ipv6=1',
      'net.ipv6.conf.default.disable_ipv6=1',
    );
    return namespace;
  }

  /** A namespace that another process added, and will remove. */
  static enter(name: string): Namespace {
    return new Namespace(name, false);
  }

  /** Runs ip(8) on this namespace; what it printed. */
  ip(...args: string[]): string {
    return run('ip', ['-n', this.name, ...args]);
  }

  /** Runs a program in this namespace; what it printed. */
  run(program: string, ...args: string[]): string {
    return run('ip', ['netns', 'exec', this.name, program, ...args]);
  }

  /** Opens a `Nic` on a tap here; it is closed by `remove` if not before. */
  async nic(tap: string, options: TapNicOptions = {}): Promise<Nic> {
    const nic = await Nic.open({
      ...testDevice,
      ...options,
      tap: { ...options.tap, name: tap, netns: this.name },
    });
    this.#nics.add(nic);
    return nic;
  }

  /** Joins taps, and puts them up, by a bridge that does nothing but forward: no spanning tree, no multicast snooping. */
  bridge(name: string, ...taps: string[]): void {
    const lines = [
      `link add ${name} type bridge stp_state 0 mcast_snooping 0`,
      ...taps.map((tap) => `link set ${tap} master ${name} up`),
      `link set ${name} up`,
    ];
    run('ip', ['-n', this.name, '-batch', '-'], `${lines.join('\n')}\n`);
  }

  /** Whether every port of a bridge forwards: the kernel opens one some time after its carrier came. */
  forwards(bridge: string): boolean {
    const ports = JSON.parse(this.ip('-json', '-details', 'link', 'show', 'master', bridge));
    return ports.every((port: Port) => port.linkinfo.info_slave_data.state === 'forwarding');
  }

  /** Lets so many bits a second leave through an interface; what waits for its turn stays in the queue. */
  pace(name: string, rate: string): void {
    this.run('tc', ...`qdisc replace dev ${name} root tbf rate ${rate} burst 2kb limit 1mb`.split(' '));
  }

  /** Frames that an interface dropped on their way to the program: its queue was full. */
  dropped(tap: string): number {
    return Number(this.run('cat', `/sys/class/net/${tap}/statistics/tx_dropped`));
  }

  /**
   * Closes every `Nic` opened here, the latest first, whatever state they are in, and removes the namespace where it
   * was added here.
   */
  async remove(): Promise<void> {
    const failures: unknown[] = [];
    for (const nic of [...this.#nics].reverse()) {
      // How a close that a test asked for ended is that test's to judge.
      const judged = nic.closed;
      await nic.close().catch((error: unknown) => judged || failures.push(error));
    }
    if (this.#added) run('ip', ['netns', 'del', this.name]);
    if (failures.length > 0) throw failures[0];
  }
}
