import { writeFileSync } from 'node:fs';
import { run } from './programs.mjs';

/** Makes taps that outlive the programs on them, quiet: no IPv6, nothing that the host would send by itself. */
export class Taps {
  /** @type {string[]} */
  #names = [];

  /** @param {string} name @param {boolean} [multiQueue] several queues may be opened on it */
  async add(name, multiQueue = false) {
    const flags = ['vnet_hdr', ...(multiQueue ? ['multi_queue'] : [])];
    await run('ip', 'tuntap', 'add', 'dev', name, 'mode', 'tap', ...flags);
    this.#names.push(name);
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
    await run('ip', 'link', 'set', name, 'up');
    return name;
  }

  async remove() {
    for (const name of this.#names.splice(0)) await run('ip', 'link', 'del', name);
  }
}
