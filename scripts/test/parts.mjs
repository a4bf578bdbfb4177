import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../setup.mjs';

/**
 * @typedef {object} Part tests that run in one process
 * @property {string} name for `--only`
 * @property {string} title
 * @property {string[]} folders
 * @property {string[]} [except] folders in those that are another part's
 * @property {'host' | 'tap' | 'device'} where on this machine itself, where taps can be made, or where a /dev/vhost-net is
 * @property {boolean} [worker] over this package's own device instead of the kernel's
 * @property {boolean} [zerocopy] the device completes large frames late
 * @property {string[]} [needs] programs beside those that every test with a device needs
 * @property {boolean} [guest] boots guests of its own
 * @property {boolean} [asked] takes long, and runs only where it is asked for by name
 * @property {number} timeout of a test that names none, in seconds; a device under emulation takes its time
 * @property {number} limit of the whole part, in seconds
 */

/**
 * In the order in which they begin, several at a time: what is quick to fail first, and beside it what takes longest. The
 * tests of late completions hold with zero-copy on and off, so they run twice, and those of a Vhost and of Nics over the
 * worker too.
 *
 * @type {readonly Part[]}
 */
export const PARTS = [
  {
    name: 'unit',
    title: 'unit tests',
    folders: ['dist/test/unit', 'test/unit'],
    where: 'host',
    timeout: 60,
    limit: 1200,
  },
  {
    name: 'nic',
    title: 'device tests of Nics',
    folders: ['dist/test/device/nic'],
    where: 'device',
    timeout: 300,
    limit: 2400,
  },
  {
    name: 'device',
    title: 'device tests of the tiers below',
    folders: ['dist/test/device'],
    except: ['dist/test/device/nic'],
    where: 'device',
    timeout: 300,
    limit: 2400,
  },
  {
    name: 'vm',
    title: 'tests of the VM runner',
    folders: ['test/vm'],
    where: 'host',
    timeout: 120,
    limit: 1200,
  },
  {
    name: 'worker',
    title: 'tests of the worker that is in this package',
    folders: ['dist/test/device/contract', 'dist/test/device/nic'],
    where: 'tap',
    worker: true,
    timeout: 300,
    limit: 1200,
  },
  {
    name: 'zerocopy',
    title: 'device tests with zero-copy',
    folders: ['dist/test/device/zerocopy'],
    where: 'device',
    zerocopy: true,
    timeout: 300,
    limit: 1200,
  },
  {
    name: 'guest-host',
    title: 'tests with a guest and DPDK over the worker',
    folders: ['dist/test/guest/host'],
    where: 'tap',
    worker: true,
    needs: ['dpdk-testpmd', 'qemu-system-x86_64', 'setpriv', 'stdbuf', 'sysctl'],
    guest: true,
    timeout: 300,
    limit: 1200,
  },
  {
    name: 'guest',
    title: 'tests with other programs at the other end',
    folders: ['dist/test/guest/device'],
    where: 'device',
    needs: ['dpdk-testpmd', 'stdbuf'],
    timeout: 900,
    limit: 2400,
  },
  {
    name: 'guest-kernel',
    title: 'tests with a guest over the kernel’s device',
    folders: ['dist/test/guest/kernel'],
    where: 'device',
    needs: ['qemu-system-x86_64', 'setpriv', 'sysctl'],
    guest: true,
    asked: true,
    timeout: 900,
    limit: 3600,
  },
];

/**
 * @param {Part} part
 * @returns {string[]} its test files, relative to the checkout
 */
export function filesOf({ folders, except = [] }) {
  return folders
    .filter((folder) => existsSync(join(ROOT, folder)))
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) =>
        join(folder, name),
      ),
    )
    .filter((path) => /\.test\.m?js$/.test(path) && !except.some((folder) => path.startsWith(`${folder}/`)))
    .sort();
}
