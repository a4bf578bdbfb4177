import { readFileSync } from 'node:fs';

/** @typedef {'rx_packets' | 'tx_packets' | 'rx_bytes' | 'tx_bytes' | 'rx_dropped' | 'tx_dropped'} Counter */

/**
 * A counter of an interface, as the kernel keeps it. For a tap, what its program sends is received by the host, and
 * the other way round; `tx_packets` counts what the program's device has really taken.
 *
 * @param {string} name
 * @param {Counter} counter
 */
export function interfaceCounter(name, counter) {
  return Number(readFileSync(`/sys/class/net/${name}/statistics/${counter}`, 'utf8'));
}
