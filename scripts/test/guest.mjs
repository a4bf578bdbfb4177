import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unpackKernel } from '../vm/bzimage.mjs';
import { cacheFolder, makeOnce } from '../vm/cache.mjs';
import { cpio, file, folder, program } from '../vm/cpio.mjs';
import { findBusybox } from '../vm/initrd.mjs';
import { findKernel } from '../vm/kernel.mjs';
import { collectModules } from '../vm/modules.mjs';

const INIT = fileURLToPath(new URL('guest-init.sh', import.meta.url));

/** What drives its network device. */
const MODULES = ['virtio_pci', 'virtio_net'];

/**
 * Gets what a guest of the tests starts from: a stock kernel, and a shell with the modules of its own virtio-net driver.
 *
 * @param {import('../vm/packages.mjs').Say} say
 * @returns {Promise<{VHOST_GUEST_KERNEL: string, VHOST_GUEST_INITRD: string}>} as the tests find it in the environment
 */
export async function prepareGuest(say) {
  const kernel = await findKernel(undefined, say);
  const [busybox, init] = await Promise.all([findBusybox(say), readFile(INIT)]);
  const recipe = createHash('sha256').update(init).update(JSON.stringify(MODULES)).digest('hex');
  const kept = join(cacheFolder(), 'initrd');
  await mkdir(kept, { recursive: true });
  const image = join(kept, `guest-${kernel.version}.elf`);
  await makeOnce(image, (draft) => unpackKernel(kernel.image, draft, busybox, say));
  const path = join(kept, `guest-${kernel.version}-${recipe.slice(0, 16)}.cpio`);
  await makeOnce(path, async (draft) => {
    const { modules } = await collectModules(kernel.tree, MODULES, busybox);
    await writeFile(
      draft,
      cpio([
        ...['bin', 'dev', 'modules', 'proc', 'sys', 'tmp'].map(folder),
        program('bin/busybox', await readFile(busybox)),
        program('init', init),
        ...modules.map(({ name, data }) => file(`modules/${name}.ko`, data)),
        file('loaded', modules.map(({ name }) => `${name}\n`).join('')),
      ]),
    );
  });
  return { VHOST_GUEST_KERNEL: image, VHOST_GUEST_INITRD: path };
}
