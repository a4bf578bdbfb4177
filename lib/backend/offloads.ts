import {
  TUN_F_CSUM,
  TUN_F_TSO_ECN,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUN_F_UFO,
  TUN_F_USO4,
  TUN_F_USO6,
} from '../abi/if-tun.js';
import { wrongType, wrongValue } from '../errors/check.js';
import type { Kernel } from '../kernel/kernel.js';
import type { Offload } from './backend.js';

const bits: Readonly<Record<Offload, number>> = {
  csum: TUN_F_CSUM,
  tso4: TUN_F_TSO4,
  tso6: TUN_F_TSO6,
  ecn: TUN_F_TSO_ECN,
  ufo: TUN_F_UFO,
  uso4: TUN_F_USO4,
  uso6: TUN_F_USO6,
};
const names = Object.keys(bits) as Offload[];
/** USO is taken for both families or for none (set_offload() in drivers/net/tun.c). */
const withoutUso = names.filter((name) => name !== 'uso4' && name !== 'uso6');

/**
 * Agrees on offloads with TUNSETOFFLOAD: those listed, or, for `true`, all that this kernel knows – it refuses
 * unknown bits, so the newest are asked for first. Returns what was agreed.
 */
export function agreeOffloads(kernel: Kernel, fd: number, wanted: boolean | readonly Offload[]): Offload[] {
  if (wanted !== true) {
    const listed = wanted === false ? [] : checkOffloads(wanted);
    kernel.tun.setOffload(fd, mask(listed));
    return listed;
  }
  try {
    kernel.tun.setOffload(fd, mask(names));
    return names;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    kernel.tun.setOffload(fd, mask(withoutUso));
    return withoutUso;
  }
}

function mask(offloads: readonly Offload[]): number {
  return offloads.reduce((all, name) => all | bits[name], 0);
}

function checkOffloads(wanted: readonly Offload[]): Offload[] {
  if (!Array.isArray(wanted)) throw wrongType('offloads', 'true, false or an array of names', wanted);
  for (const name of wanted as unknown[])
    if (!names.includes(name as Offload))
      throw wrongValue('offloads', `names among ${names.join(', ')}`, name);
  if (wanted.length > 0 && !wanted.includes('csum'))
    throw wrongValue('offloads', "a list with 'csum', on which segment offload stands", wanted);
  return [...wanted] as Offload[];
}
