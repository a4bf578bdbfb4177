import { checkOptions, wrongType, wrongValue } from '../errors/check.js';
import { hostKernel } from '../kernel/host.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Backend } from './backend.js';
import { Tap, type TapOptions } from './tap.js';

/** Which backend to open: exactly one of these. */
export interface BackendOptions {
  /** A tap, by name or by options; made where it does not exist. */
  readonly tap?: string | TapOptions;
}

/** The names of `BackendOptions`. */
export const backendOptionNames = ['tap'] as const;

/** Opens the one backend that is named. */
export function openBackend(options: BackendOptions, kernel: Kernel = hostKernel()): Backend {
  checkOptions('options', options, backendOptionNames);
  const named = backendOptionNames.filter((name) => options[name] !== undefined);
  if (named.length !== 1)
    throw wrongValue('options', `made of exactly one of ${backendOptionNames.join(', ')}`, named);
  const { tap } = options;
  if (typeof tap === 'string') return Tap.open({ name: tap }, kernel);
  if (typeof tap === 'object') return Tap.open(tap, kernel);
  throw wrongType('tap', 'a name or an object of options', tap);
}
