import { checkOptions, wrongType, wrongValue } from '../errors/check.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import { type AdoptOptions, adoptDescriptor } from './adopt.js';
import type { Backend } from './backend.js';
import { type MacvtapOptions, openMacvtap } from './macvtap.js';
import { openPacketSocket, type PacketSocketOptions } from './packet-socket.js';
import { openTap, type TapOptions } from './tap.js';

/** Which backend to open: exactly one of these. */
export interface BackendOptions {
  /** A tap, by name or by options; made where it does not exist. */
  readonly tap?: string | TapOptions;
  /** A macvtap, by name or by options. */
  readonly macvtap?: string | MacvtapOptions;
  /** The wire of an interface, by name or by options. */
  readonly packet?: string | PacketSocketOptions;
  /** A descriptor that the caller opened, by number or by options. */
  readonly fd?: number | AdoptOptions;
}

/** The names of `BackendOptions`. */
export const backendOptionNames = ['tap', 'macvtap', 'packet', 'fd'] as const;

/** Opens the one backend that is named, with so many queues where its own options do not say how many. */
export function openBackend(
  options: BackendOptions,
  kernel: Kernel = hostKernel(),
  queues: number = 1,
): Backend {
  checkOptions('options', options, backendOptionNames);
  const named = backendOptionNames.filter((name) => options[name] !== undefined);
  if (named.length !== 1)
    throw wrongValue('options', `made of exactly one of ${backendOptionNames.join(', ')}`, named);
  const { tap, macvtap, packet, fd } = options;
  if (tap !== undefined) return openTap({ queues, ...byName('tap', tap) }, kernel);
  if (macvtap !== undefined) return openMacvtap({ queues, ...byName('macvtap', macvtap) }, kernel);
  if (packet !== undefined) return openPacketSocket(byName('packet', packet), kernel);
  return adoptDescriptor(typeof fd === 'number' ? { fd } : fd!, kernel);
}

function byName<T extends object>(argument: string, given: string | T): T | { name: string } {
  if (typeof given === 'string') return { name: given };
  if (typeof given === 'object' && given !== null) return given;
  throw wrongType(argument, 'a name or an object of options', given);
}
