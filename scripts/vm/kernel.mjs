import { mkdir, open, readdir, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { cacheFolder, exists, makeOnce } from './cache.mjs';
import { VmError } from './errors.mjs';
import { resolvePackage, unpackPackage, updateLists } from './packages.mjs';

/** @typedef {import('./packages.mjs').Say} Say */
/**
 * @typedef {object} Kernel
 * @property {string} version as `uname -r` will say
 * @property {string} image the file to boot
 * @property {string} tree the folder with its modules
 */

const DEFAULT_KERNEL = '6.12';

/**
 * Which packages may stand for a kernel series; the first whose image is of that series is taken. A release's own
 * `linux-image-cloud-amd64` is a different series on each release. The cloud flavour is the smallest.
 *
 * @param {string} series such as 6.12
 * @returns {string[]}
 */
export function kernelPackages(series) {
  const names = [`linux-image-${series}-cloud-amd64`, 'linux-image-cloud-amd64'];
  return [...names, `linux-image-${series}-amd64`, 'linux-image-amd64', 'linux-image-virtual'];
}

/**
 * @param {string | undefined} wanted a series such as 6.12, or the path of an image or of an unpacked package; without
 *   one, the usual series, or else the series of the release
 * @param {Say} say
 * @returns {Promise<Kernel>}
 */
export async function findKernel(wanted, say) {
  const series = wanted ?? DEFAULT_KERNEL;
  if (!/^\d+\.\d+$/.test(series)) return kernelAt(resolve(series));
  const pattern = new RegExp(`^linux-image-${series.replace('.', '\\.')}\\.`);
  const found = (await packagedKernel(series, pattern, say)) ?? (await soughtKernel(series, pattern, say));
  if (found) return found;
  const any = /^linux-image-\d/;
  const other = wanted === undefined ? await packagedKernel(series, any, say) : undefined;
  if (other) return other;
  throw new VmError(
    'ERR_VM_KERNEL',
    `no package brings a ${series} kernel here. Update the lists (sudo apt-get update), choose another series, ` +
      'or name an image: --kernel PATH',
  );
}

/**
 * Lists that lack a series may be lists that were never fetched whole; once is enough to know.
 *
 * @param {string} series
 * @param {RegExp} pattern which packages will do
 * @param {Say} say
 * @returns {Promise<Kernel | undefined>}
 */
async function soughtKernel(series, pattern, say) {
  const sought = join(keptKernels(), `${series}.lacking`);
  if ((await exists(sought)) || !(await updateLists(say))) return undefined;
  const found = await packagedKernel(series, pattern, say);
  if (!found) {
    await mkdir(keptKernels(), { recursive: true });
    await writeFile(sought, '');
  }
  return found;
}

function keptKernels() {
  return join(cacheFolder(), 'kernels');
}

/**
 * @param {RegExp} pattern
 * @returns {Promise<Kernel | undefined>} the newest that was unpacked before
 */
async function keptKernel(pattern) {
  const entries = await readdir(keptKernels()).catch(() => []);
  const [newest] = entries
    .filter((name) => pattern.test(name) && !name.includes('.draft'))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  return newest ? kernelIn(join(keptKernels(), newest)) : undefined;
}

/**
 * @param {string} series
 * @param {RegExp} pattern which packages will do
 * @param {Say} say
 * @returns {Promise<Kernel | undefined>}
 */
async function packagedKernel(series, pattern, say) {
  const kept = await keptKernel(pattern);
  if (kept) return kept;
  say(`looking for a ${series} kernel`);
  const name = await resolvePackage(kernelPackages(series), pattern, say);
  if (!name) return undefined;
  const folder = join(keptKernels(), name);
  await mkdir(keptKernels(), { recursive: true });
  await makeOnce(folder, async (draft) => {
    await unpackPackage(name, draft, say);
    // Ubuntu keeps the modules in a package of their own.
    if (await modulesIn(draft)) return;
    await unpackPackage(name.replace('-image-', '-modules-'), join(draft, 'modules'), say);
  });
  return kernelIn(folder);
}

/**
 * @param {string} folder
 * @returns {Promise<string | undefined>} the only tree of modules of an unpacked package
 */
async function modulesIn(folder) {
  for (const place of ['lib/modules', 'usr/lib/modules', 'modules/lib/modules', 'modules/usr/lib/modules']) {
    const [version] = await readdir(join(folder, place)).catch(() => []);
    if (version) return join(folder, place, version);
  }
  return undefined;
}

/**
 * @param {string} folder an unpacked package
 * @returns {Promise<Kernel>}
 */
async function kernelIn(folder) {
  const images = await readdir(join(folder, 'boot')).catch(() => []);
  const image = images.find((name) => name.startsWith('vmlinuz'));
  const tree = await modulesIn(folder);
  if (!image || !tree) {
    throw new VmError(
      'ERR_VM_KERNEL',
      `${folder} holds no boot/vmlinuz-* with its lib/modules; if kept: rm -r ${folder}`,
    );
  }
  return { version: basename(tree), image: join(folder, 'boot', image), tree };
}

/**
 * @param {string} path
 * @returns {Promise<Kernel>}
 */
async function kernelAt(path) {
  const found = await stat(path).catch(() => undefined);
  if (!found)
    throw new VmError('ERR_VM_KERNEL', `there is no kernel at ${path}; give a series (6.12) or an image`);
  if (found.isDirectory()) return kernelIn(path);
  const version = await imageVersion(path);
  const root = dirname(dirname(path));
  for (const place of [root, join(root, 'usr'), '/', '/usr']) {
    const tree = join(place, 'lib/modules', version);
    if (await exists(join(tree, 'modules.builtin'))) return { version, image: path, tree };
  }
  throw new VmError(
    'ERR_VM_KERNEL',
    `the modules of ${path} are missing: lib/modules/${version} beside it or in /lib`,
  );
}

/**
 * Reads the version out of a bzImage's header (Linux, Documentation/arch/x86/boot.rst, "kernel_version").
 *
 * @param {string} path
 * @returns {Promise<string>}
 */
export async function imageVersion(path) {
  const file = await open(path);
  try {
    const head = Buffer.alloc(0x10000);
    await file.read(head, 0, head.length, 0);
    const at = head.readUInt16LE(0x20e) + 0x200;
    const [version] = head.toString('latin1', at, at + 256).split(/[\s\0]/);
    if (head.toString('latin1', 0x202, 0x206) !== 'HdrS' || !version) {
      throw new VmError('ERR_VM_KERNEL', `${path} is no bootable x86 kernel image (bzImage)`);
    }
    return version;
  } finally {
    await file.close();
  }
}
