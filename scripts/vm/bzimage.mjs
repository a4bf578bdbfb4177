import { readFile, rm, writeFile } from 'node:fs/promises';
import { decompressed } from './modules.mjs';
import { needPrograms } from './packages.mjs';

// In the header of a bzImage (Linux, Documentation/arch/x86/boot.rst).
const SETUP_SECTORS = 0x1f1;
const MAGIC = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const SECTOR = 512;
/** Behind the packed kernel: how long it is unpacked. */
const TRAILER = 4;

/** How what is packed begins, by the suffix of such a file. */
const FORMATS = {
  '.xz': Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]),
  '.zst': Buffer.from([0x28, 0xb5, 0x2f, 0xfd]),
};

/**
 * Unpacks a kernel, as its first instructions would: where a machine is emulated, that takes longer than the rest of its
 * boot. QEMU starts the result as it is (PVH).
 *
 * @param {string} image
 * @param {string} target the file to be made; packed in a way that is not known, the kernel starts all the same
 * @param {string} busybox the program that unpacks xz
 * @param {import('./packages.mjs').Say} say
 */
export async function unpackKernel(image, target, busybox, say) {
  const bytes = await readFile(image);
  const found = packedKernel(bytes);
  if (found === undefined) return writeFile(target, bytes);
  if (found.suffix === '.zst') await needPrograms(['zstd'], say);
  const packed = `${target}${found.suffix}`;
  try {
    await writeFile(packed, found.payload);
    await writeFile(target, await decompressed(packed, busybox));
  } finally {
    await rm(packed, { force: true });
  }
}

/**
 * @param {Buffer} image
 * @returns {{payload: Buffer, suffix: string} | undefined} the packed kernel of a bzImage, and the suffix of such files
 */
export function packedKernel(image) {
  if (image.toString('latin1', MAGIC, MAGIC + 4) !== 'HdrS') return undefined;
  const start = (image.readUInt8(SETUP_SECTORS) + 1) * SECTOR + image.readUInt32LE(PAYLOAD_OFFSET);
  const payload = image.subarray(start, start + image.readUInt32LE(PAYLOAD_LENGTH) - TRAILER);
  const format = Object.entries(FORMATS).find(([, head]) => payload.subarray(0, head.length).equals(head));
  return format && { payload, suffix: format[0] };
}
