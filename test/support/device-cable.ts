import type { Nic } from '../../lib/index.js';
import { Namespace, type TapNicOptions } from './device-namespace.js';

/**
 * A cable with a `Nic` of this program at both ends: each on a tap, both taps in one bridge of a namespace of their
 * own. Whatever one end sends, the kernel carries to the other.
 */
export class Cable {
  readonly a: Nic;
  readonly b: Nic;
  readonly namespace: Namespace;

  private constructor(namespace: Namespace, a: Nic, b: Nic) {
    this.namespace = namespace;
    this.a = a;
    this.b = b;
  }

  static async lay(
    options: TapNicOptions = {},
    optionsOfB: TapNicOptions = options,
    namespace: Namespace = Namespace.add(),
  ): Promise<Cable> {
    try {
      const a = await namespace.nic('tap-a', options);
      const b = await namespace.nic('tap-b', optionsOfB);
      namespace.bridge('cable', 'tap-a', 'tap-b');
      return new Cable(namespace, a, b);
    } catch (error) {
      await namespace.remove();
      throw error;
    }
  }

  /** Closes both ends and removes what lay between them. */
  remove(): Promise<void> {
    return this.namespace.remove();
  }
}
