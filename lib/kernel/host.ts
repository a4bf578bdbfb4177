import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { wrongType } from '../errors/check.js';
import { loadAddon } from './addon.js';
import type { FilesSurface, Kernel } from './kernel.js';

const files: FilesSurface = {
  read(path) {
    if (typeof path !== 'string') throw wrongType('files.read: path', 'a string', path);
    try {
      return readFileSync(path, 'utf8');
    } catch {
      return undefined;
    }
  },
  list(path) {
    if (typeof path !== 'string') throw wrongType('files.list: path', 'a string', path);
    try {
      return readdirSync(path);
    } catch {
      return [];
    }
  },
  link(path) {
    if (typeof path !== 'string') throw wrongType('files.link: path', 'a string', path);
    try {
      return readlinkSync(path);
    } catch {
      return undefined;
    }
  },
};

let kernel: Kernel | undefined;

/**
 * The kernel of this host, one for each thread. The addon is loaded by the first call, so that a program may
 * import this package, and diagnose a machine, where it cannot be: ERR_VHOST_ADDON.
 */
export function hostKernel(): Kernel {
  kernel ??= Object.freeze({ ...loadAddon(), files });
  return kernel;
}
