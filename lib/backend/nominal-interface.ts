import { checkInteger } from '../errors/check.js';
import type { BackendInterface } from './backend.js';
import { formatMac, parseMac } from './network-interface.js';

/** What is said of an interface that no kernel has. */
export interface NominalOptions {
  /** What it is called in messages. */
  readonly name?: string;
  /** The longest frame without its Ethernet header; 1,500 bytes by default. */
  readonly mtu?: number;
  /** The station's address; none by default. */
  readonly mac?: string;
}

export const nominalOptionNames = ['name', 'mtu', 'mac'] as const;

/** The interface of a backend behind which there is none: all there is to say is what was agreed. */
export function nominalInterface(kind: string, options: NominalOptions): BackendInterface {
  const { name = kind, mtu = 1500, mac = '00:00:00:00:00:00' } = options;
  checkInteger(`${kind}.mtu`, mtu, 68, 65_535);
  const address = formatMac(parseMac(`${kind}.mac`, mac));
  return { name, mtu, mac: address, up: true, watch: () => ({ close: () => {} }), close: () => {} };
}
