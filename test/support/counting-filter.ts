import { ETH_HLEN } from '../../lib/abi/if-ether.js';
import type { Namespace } from './device-namespace.js';

/** What tc(8) tells of a filter, of which there is one. */
interface Filter {
  readonly options?: { readonly actions?: readonly [{ readonly stats: { readonly packets: number } }] };
}

/**
 * Counts frames that come in by an interface and are those of a template, every byte compared: done by the kernel
 * (tc-u32), none can get lost on its way here. What is counted goes out of another interface.
 */
export class CountingFilter {
  readonly #namespace: Namespace;
  readonly #from: string;

  constructor(namespace: Namespace, template: Uint8Array, from: string, to: string) {
    this.#namespace = namespace;
    this.#from = from;
    namespace.run('tc', 'qdisc', 'add', 'dev', from, 'ingress');
    const filter = ['filter', 'add', 'dev', from, 'ingress', 'protocol', 'all', 'u32'];
    const action = ['action', 'mirred', 'egress', 'redirect', 'dev', to];
    namespace.run('tc', ...filter, ...matches(template), ...action);
  }

  get count(): number {
    const told = this.#namespace.run('tc', '-s', '-j', 'filter', 'show', 'dev', this.#from, 'ingress');
    const filters: Filter[] = JSON.parse(told);
    return filters.flatMap(({ options }) => options?.actions ?? [])[0]!.stats.packets;
  }
}

/**
 * Compares 16 bits at a time. Offsets count from the network header, behind which the kernel reads four bytes at a time:
 * of a frame whose payload is no multiple of that, it finds the end missing.
 */
function matches(template: Uint8Array): string[] {
  const view = new DataView(template.buffer, template.byteOffset, template.byteLength);
  const offsets = Array.from({ length: template.length / 2 }, (_, i) => 2 * i);
  return offsets.flatMap((at) => [
    ...['match', 'u16', String(view.getUint16(at)), '0xffff', 'at', String(at - ETH_HLEN)],
  ]);
}
