import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { codeOf } from './errors.mjs';

const CAP_NET_ADMIN = 12n;
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
  if (!hasNetAdmin(status))
    return { usable: false, reason: 'CAP_NET_ADMIN is missing: no tap can be made', zerocopy };
  return { usable: true, reason: '', zerocopy };
}

/**
 * @param {string} status the text of /proc/self/status
 * @returns {boolean}
 */
export function hasNetAdmin(status) {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}
