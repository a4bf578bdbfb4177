import { constants } from 'node:fs';
import { access, mkdir, realpath, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { exists } from './cache.mjs';
import { codeOf, VmError } from './errors.mjs';
import { needPrograms } from './packages.mjs';
import { capture, findProgram } from './programs.mjs';
import { supervise } from './supervise.mjs';

const SCRIPT = fileURLToPath(new URL('share.sh', import.meta.url));
const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));

const START_PATIENCE = 20_000;

/** What this package's own scripts make. */
const BUILD_OUTPUT = ['build', 'coverage', 'dist'];

// Debian 12 brings it with QEMU, later releases in a package of its own.
const PLACES = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd', '/usr/lib/virtiofsd'];

/**
 * @param {import('./packages.mjs').Say} say
 * @returns {Promise<string>}
 */
export async function findVirtiofsd(say) {
  for (const place of PLACES) if (await findProgram(place)) return place;
  await needPrograms(['virtiofsd'], say);
  for (const place of [...PLACES, 'virtiofsd']) {
    const found = await findProgram(place);
    if (found) return found;
  }
  throw new VmError(
    'ERR_VM_PACKAGE',
    'the package virtiofsd brought no virtiofsd; try: sudo apt-get install virtiofsd',
  );
}

/**
 * @param {string} virtiofsd
 * @param {string} socket
 * @param {string} view
 * @param {boolean} changes whether this machine changes what is in the view while the VM looks at it
 * @returns {Promise<string[]>} its arguments; the C program of QEMU and its successor in Rust differ
 */
async function virtiofsdArguments(virtiofsd, socket, view, changes) {
  // To ask again at every look makes programs start three times slower under emulation.
  const cache = changes ? 'auto' : 'always';
  const help = await capture(virtiofsd, ['--help']);
  if ((help.stdout + help.stderr).includes('--shared-dir')) {
    const sandbox = isRoot() ? 'namespace' : 'chroot';
    return [
      '--socket-path',
      socket,
      '--shared-dir',
      view,
      '--cache',
      cache,
      '--sandbox',
      sandbox,
      '--modcaps=-mknod',
    ];
  }
  return [
    `--socket-path=${socket}`,
    '-o',
    `source=${view},cache=${cache},sandbox=namespace,modcaps=-mknod`,
    '-f',
  ];
}

function isRoot() {
  return process.getuid?.() === 0;
}

/**
 * Lets the folders of the build output be written inside, even those that are not there yet. In a checkout of someone
 * else's there is nothing to let.
 *
 * @returns {Promise<{folders: string[], tidy: () => Promise<void>}>} `tidy` removes the ones that stayed empty
 */
export async function buildOutput() {
  const root = await realpath(CHECKOUT);
  /** @type {string[]} */
  const folders = [];
  /** @type {string[]} */
  const made = [];
  for (const path of BUILD_OUTPUT.map((name) => join(root, name))) {
    try {
      if (await mkdir(path, { recursive: true })) made.push(path);
      await access(path, constants.W_OK);
      folders.push(path);
    } catch (error) {
      if (!['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error))) throw error;
    }
  }
  const tidy = async () => {
    for (const path of made) await rmdir(path).catch(() => {});
  };
  return { folders, tidy };
}

/**
 * Serves files of this machine to a VM.
 *
 * @param {object} options
 * @param {string} options.folder the run's own folder
 * @param {string} options.name of this share in that folder
 * @param {string[]} options.writable real paths of folders to share alone and writable; none: all files, read-only
 * @param {import('./packages.mjs').Say} options.say
 * @returns {Promise<{socket: string, process: import('./supervise.mjs').Supervised}>}
 */
export async function shareFiles({ folder, name, writable, say }) {
  const virtiofsd = await findVirtiofsd(say);
  const socket = join(folder, `${name}.sock`);
  const view = join(folder, name);
  await mkdir(view);
  const namespace = isRoot() ? '-m' : '-Urm';
  const args = [namespace, '--', '/bin/sh', SCRIPT, view, ...writable, '--', virtiofsd];
  const options = await virtiofsdArguments(virtiofsd, socket, view, writable.length > 0);
  const share = supervise('virtiofsd', 'unshare', [...args, ...options]);
  const deadline = Date.now() + START_PATIENCE;
  while (!(await exists(socket))) {
    if (share.ended !== undefined || Date.now() > deadline) {
      await share.stop();
      throw new VmError(
        'ERR_VM_SHARE',
        `files of this machine cannot be shared with the VM: ${share.said() || share.ended}`,
      );
    }
    await sleep(10);
  }
  return { socket, process: share };
}
