import { constants } from 'node:fs';
import { access } from 'node:fs/promises';

/**
 * @returns {Promise<boolean>} whether /dev/kvm is there for us at all
 */
export async function hasKvm() {
  return access('/dev/kvm', constants.R_OK | constants.W_OK).then(() => true, () => false);
}

/**
 * @returns {Promise<'kvm' | 'tcg'>}
 */
export async function proveAccel() {
  return 'tcg';
}
