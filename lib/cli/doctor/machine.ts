import { accessSync, closeSync, constants, openSync, readFileSync, statSync } from 'node:fs';
import { arch, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hostKernel } from '../../kernel/host.js';
import type { Kernel } from '../../kernel/kernel.js';

/** A device node: who may use it. */
export interface DeviceNode {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
}

/** All that the doctor asks of a machine; none of it changes anything there. */
export interface Machine {
  readonly kernelRelease: string;
  /** As Node calls it: 'x64', 'arm64'. */
  readonly arch: string;
  readonly isRoot: boolean;
  /** Where this package lies. */
  readonly packageFolder: string;
  /** The text of a file, `undefined` where there is none or it may not be read. */
  read(path: string): string | undefined;
  /** A character device, `undefined` where there is none. */
  device(path: string): DeviceNode | undefined;
  /** Why this program may not read and write a file, as an error's code; '' where it may. Opens nothing. */
  refusal(path: string): string;
  /** Opens a device for reading and writing and closes it at once: an error's code, '' where it opened. */
  openRefusal(path: string): string;
  /** Where a program is installed. */
  program(name: string): string | undefined;
  /** The native part. Throws where it cannot be loaded. */
  loadKernel(): Kernel;
}

/** The machine that this program runs on. */
export const thisMachine: Machine = {
  kernelRelease: release(),
  arch: arch(),
  isRoot: process.getuid?.() === 0,
  packageFolder: fileURLToPath(new URL('../../../..', import.meta.url)).replace(/\/$/, ''),
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  },
  device(path) {
    const found = statSync(path, { throwIfNoEntry: false });
    if (!found?.isCharacterDevice()) return undefined;
    return { uid: found.uid, gid: found.gid, mode: found.mode & 0o777 };
  },
  refusal: (path) => codeOf(() => accessSync(path, constants.R_OK | constants.W_OK)),
  openRefusal: (path) => codeOf(() => closeSync(openSync(path, constants.O_RDWR))),
  program(name) {
    const { PATH = '' } = process.env;
    // A plain user's PATH lacks the folders of system programs on some distributions.
    const folders = [...PATH.split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
    return folders
      .filter((folder) => folder !== '')
      .map((folder) => join(folder, name))
      .find((path) => codeOf(() => accessSync(path, constants.X_OK)) === '');
  },
  loadKernel: hostKernel,
};

function codeOf(attempt: () => void): string {
  try {
    attempt();
    return '';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
