import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { codeOf } from './errors.mjs';

export const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;
const ZEROCOPY = '/sys/module/vhost_net/parameters/experimental_zcopytx';

/**
 * @typedef {object} HostDevice
 * @property {boolean} usable whether a program started here can drive /dev/vhost-net with a tap
 * @property {string} reason what is missing, or '' if nothing is
 * @property {boolean} zerocopy whether the module transmits without copying
 */

/**
 * Finds out whether this machine itself has a device that works, by opening it.
 *
 * @returns {Promise<HostDevice>}
 */
export async function deviceOnHost() {
  const zerocopy = (await readFile(ZEROCOPY, 'utf8').catch(() => '0')).trim() === '1';
  for (const path of ['/dev/vhost-net', '/dev/net/tun']) {
    try {
      await (await open(path, constants.O_RDWR)).close();
    } catch (error) {
      return { usable: false, reason: `${path}: ${codeOf(error)}`, zerocopy };
    }
  }
  const status = await readFile('/proc/self/status', 'utf8');
  if (!hasCapability(status, CAP_NET_ADMIN))
    return { usable: false, reason: 'CAP_NET_ADMIN is missing: no tap can be made', zerocopy };
  return { usable: true, reason: '', zerocopy };
}

/** @returns {Promise<boolean>} whether a program started here can make taps, and namespaces for them */
export async function tapsOnHost() {
  try {
    await (await open('/dev/net/tun', constants.O_RDWR)).close();
  } catch {
    return false;
  }
  const status = await readFile('/proc/self/status', 'utf8');
  return [CAP_NET_ADMIN, CAP_SYS_ADMIN].every((capability) => hasCapability(status, capability));
}

/**
 * @param {string} status the text of /proc/self/status
 * @param {bigint} capability
 * @returns {boolean}
 */
export function hasCapability(status, capability) {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> capability) & 1n) === 1n;
}
