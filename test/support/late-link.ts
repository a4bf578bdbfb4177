import { KernelVhost, Nic, type NicOptions, type Submission } from '../../lib/index.js';
import { Namespace } from './device-namespace.js';
import { until } from './until.js';

let made = 0;

/** A `Nic`, and its device. */
export interface TellingNic {
  readonly nic: Nic;
  readonly vhost: KernelVhost;
}

/** Submits frames, the first of this `Nic`, and waits until the device has taken all of them. */
export async function submitTaken(
  { nic, vhost }: TellingNic,
  frames: readonly Uint8Array[],
): Promise<Submission> {
  const submission = nic.submit(frames);
  await until('the device has taken every frame', () => vhost.getVringBase(1) === frames.length);
  return submission;
}

/**
 * A link whose near end is a macvtap on a cable that holds frames back (netem), so that the kernel holds on to their
 * memory as long where it sends without copying; its far end is a tap, bridged to the other end of the cable.
 */
export class LateLink {
  readonly near = Namespace.add();
  readonly far = Namespace.add();
  /** Names of the ends; a macvtap's is unique, because its device node bears its index alone. */
  readonly macvtap = `macvtap${++made}`;
  readonly tap = 'tap-far';

  /** `netem`: how frames are held back, the arguments of `tc qdisc … netem`. */
  static lay(netem: string): LateLink {
    const link = new LateLink();
    try {
      const { near, far, macvtap, tap } = link;
      near.ip('link', 'add', 'cable', 'type', 'veth', 'peer', 'name', 'cable', 'netns', far.name);
      near.ip('link', 'set', 'cable', 'up');
      near.run('tc', 'qdisc', 'add', 'dev', 'cable', 'root', 'netem', 'limit', '100000', ...netem.split(' '));
      near.ip('link', 'add', 'link', 'cable', 'name', macvtap, 'type', 'macvtap', 'mode', 'bridge');
      far.ip('tuntap', 'add', 'dev', tap, 'mode', 'tap', 'vnet_hdr');
      // Room for what a test lets be under way at once: the tap drops what it cannot hold.
      far.ip('link', 'set', tap, 'txqueuelen', '20000');
      far.bridge('switch', 'cable', tap);
      for (const port of ['cable', tap]) far.ip('link', 'set', port, 'up');
      return link;
    } catch (error) {
      link.remove();
      throw error;
    }
  }

  openNear(options: Omit<NicOptions, 'macvtap'> = {}): Promise<Nic> {
    return Nic.open({ ...options, macvtap: { name: this.macvtap, netns: this.near.name } });
  }

  /** Resolves once frames reach it: the kernel opens a port of a bridge some time after its carrier came. */
  async openFar(options: Omit<NicOptions, 'tap'> = {}): Promise<Nic> {
    const nic = await Nic.open({ ...options, tap: { name: this.tap, netns: this.far.name } });
    try {
      await until('both ports of the bridge forward', () => this.far.forwards('switch'));
    } catch (error) {
      await nic.close();
      throw error;
    }
    return nic;
  }

  /** A near end whose device tells which frames it has taken. */
  async openTelling(options: Omit<NicOptions, 'macvtap' | 'vhost'> = {}): Promise<TellingNic> {
    const vhost = KernelVhost.open();
    return { nic: await this.openNear({ ...options, vhost }), vhost };
  }

  /** Changes how frames are held back. */
  delay(netem: string): void {
    this.near.run(
      'tc',
      'qdisc',
      'change',
      'dev',
      'cable',
      'root',
      'netem',
      'limit',
      '100000',
      ...netem.split(' '),
    );
  }

  /** Removes it. What was opened on it is closed before. */
  async remove(): Promise<void> {
    await this.near.remove();
    await this.far.remove();
  }
}
