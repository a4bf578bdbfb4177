import { constants, realpathSync } from 'node:fs';
import { access, mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { exists } from './cache.mjs';
import { codeOf, VmError } from './errors.mjs';
import { isKnown, needPrograms } from './packages.mjs';
import { capture, findProgram } from './programs.mjs';
import { supervise } from './supervise.mjs';

const SCRIPT = fileURLToPath(new URL('share.sh', import.meta.url));
/** The checkout that these scripts stand in. */
export const CHECKOUT = realpathSync(fileURLToPath(new URL('../..', import.meta.url)));

const START_PATIENCE = 20_000;

/** What this package's own scripts make. */
const BUILD_OUTPUT = ['build', 'coverage', 'dist'];

// Debian 12 brings it with QEMU, later releases in a package of its own.
const PLACES = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd', '/usr/lib/virtiofsd'];

/**
 * @typedef {object} FileServer
 * @property {string} program
 * @property {'qemu' | 'rust'} kind the C program of old QEMU, or its successor; their options differ
 * @property {boolean} announces whether it tells of mounts below the one it serves unless told not to
 * @property {boolean} overlay whether what it serves can lie under an overlay
 */

/**
 * @param {import('./packages.mjs').Say} say
 * @returns {Promise<FileServer>}
 */
export async function findFileServer(say) {
  const program = await findVirtiofsd(say);
  const { stdout, stderr } = await capture(program, ['--help']);
  const help = stdout + stderr;
  const kind = help.includes('--shared-dir') ? 'rust' : 'qemu';
  const announces = help.includes('--no-announce-submounts');
  // An overlay opens files with O_NOATIME, which the older one asks of the host; there only a file's owner may.
  return { program, kind, announces, overlay: isRoot() || kind === 'rust' };
}

/**
 * @returns {Promise<string[]>} the file server where it is neither here nor, as on Debian 12, a part of QEMU's packages
 */
export async function lackingFileServer() {
  return (await installedVirtiofsd()) || !(await isKnown('virtiofsd')) ? [] : ['virtiofsd'];
}

/** @returns {Promise<string | undefined>} */
async function installedVirtiofsd() {
  for (const place of [...PLACES, 'virtiofsd']) {
    const found = await findProgram(place);
    if (found) return found;
  }
  return undefined;
}

/**
 * @param {import('./packages.mjs').Say} say
 * @returns {Promise<string>}
 */
async function findVirtiofsd(say) {
  const here = await installedVirtiofsd();
  if (here) return here;
  // Lists that were fetched since may know of it.
  await needPrograms(['virtiofsd'], say);
  const found = await installedVirtiofsd();
  if (found) return found;
  throw new VmError(
    'ERR_VM_PACKAGE',
    'the package virtiofsd brought no virtiofsd; try: sudo apt-get install --reinstall virtiofsd',
  );
}

/**
 * @param {FileServer} server
 * @param {string} socket
 * @param {string} view
 * @param {boolean} changes whether this machine changes what is in the view while the VM looks at it
 * @returns {string[]}
 */
export function serverArguments({ kind, announces }, socket, view, changes) {
  // To ask again at every look makes programs start twice as slowly under emulation.
  const cache = changes ? 'auto' : 'always';
  if (kind === 'rust') {
    // An overlay refuses to step into a mount that it was told of.
    const quiet = announces ? ['--no-announce-submounts'] : [];
    const options = [...quiet, '--cache', cache, '--sandbox', 'namespace', '--modcaps=-mknod'];
    return ['--socket-path', socket, '--shared-dir', view, ...options];
  }
  return [`--socket-path=${socket}`, '-o', `source=${view},cache=${cache},modcaps=-mknod`, '-f'];
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
  /** @type {string[]} */
  const folders = [];
  /** @type {string[]} */
  const made = [];
  for (const path of BUILD_OUTPUT.map((name) => join(CHECKOUT, name))) {
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
 * @param {FileServer} options.server
 * @param {string[]} options.writable real paths of folders to share alone and writable; none: all files, read-only
 * @returns {Promise<{socket: string, process: import('./supervise.mjs').Supervised}>}
 */
export async function shareFiles({ folder, name, server, writable }) {
  const socket = join(folder, `${name}.sock`);
  const view = join(folder, name);
  await mkdir(view);
  const namespace = isRoot() ? '-m' : '-Urm';
  const args = [namespace, '--', '/bin/sh', SCRIPT, view, ...writable, '--', server.program];
  const options = serverArguments(server, socket, view, writable.length > 0);
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
