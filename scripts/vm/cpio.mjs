/**
 * @typedef {object} Entry one member of an initial file system
 * @property {string} path without a leading slash
 * @property {number} mode type and permissions, as in stat
 * @property {Uint8Array | string} [data] the content
 */

const FOLDER = 0o040755;

/** @type {(path: string) => Entry} */
export const folder = (path) => ({ path, mode: FOLDER });
/** @type {(path: string, data: Uint8Array | string) => Entry} */
export const file = (path, data) => ({ path, mode: 0o100644, data });
/** @type {(path: string, data: Uint8Array | string) => Entry} */
export const program = (path, data) => ({ path, mode: 0o100755, data });

/**
 * Writes the "newc" form of cpio, which the kernel unpacks into its first root. Archives may simply follow one
 * another in one file, which is how the part of one run is added to the part that is kept.
 *
 * @param {Entry[]} entries folders before what they hold
 * @returns {Buffer}
 */
export function cpio(entries) {
  /** @type {Buffer[]} */
  const parts = [];
  [...entries, { path: 'TRAILER!!!', mode: 0, data: '' }].forEach((entry, index) => {
    const data = Buffer.from(entry.data ?? '');
    const name = Buffer.from(`${entry.path}\0`);
    const fields = [index + 1, entry.mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length, 0];
    const header = Buffer.from(
      `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`,
    );
    parts.push(header, name, padding(header.length + name.length), data, padding(data.length));
  });
  return Buffer.concat(parts);
}

/** @param {number} length */
function padding(length) {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
