import assert from 'node:assert/strict';
import { packedKernel } from '../../../scripts/vm/bzimage.mjs';

/**
 * A bzImage of two sectors of set-up, with something between them and what is packed.
 *
 * @param {Buffer} packed
 */
function bzImage(packed) {
  const image = Buffer.alloc(4096);
  image.writeUInt8(2, 0x1f1);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt32LE(100, 0x248);
  image.writeUInt32LE(packed.length + 4, 0x24c);
  image.set(packed, 3 * 512 + 100);
  return image;
}

describe('the packed kernel in a bzImage', () => {
  it('is found, and how it is packed', () => {
    const zstd = Buffer.from('28b52ffd0102030405', 'hex');
    assert.deepEqual(packedKernel(bzImage(zstd)), { payload: zstd, suffix: '.zst' });
    const xz = Buffer.from('fd377a585a000102', 'hex');
    assert.deepEqual(packedKernel(bzImage(xz)), { payload: xz, suffix: '.xz' });
  });

  it('is none where it is packed in another way, or the file is another', () => {
    assert.equal(packedKernel(bzImage(Buffer.from('1f8b0800', 'hex'))), undefined);
    assert.equal(packedKernel(Buffer.from('ELF')), undefined);
    assert.equal(packedKernel(Buffer.alloc(4096)), undefined);
  });
});
