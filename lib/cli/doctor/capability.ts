import type { Machine } from './machine.js';

/** Numbers of `<linux/capability.h>`. */
export const CAP_NET_ADMIN = 12;
export const CAP_IPC_LOCK = 14;

/** Whether this program has a capability in effect. */
export function hasCapability(machine: Machine, capability: number): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(machine.read('/proc/self/status') ?? '')?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> BigInt(capability)) & 1n) === 1n;
}
