/**
 * A failure of the machinery around the command: a package, the kernel, QEMU, the shared file system. A command
 * that merely fails is no error; its status is the result.
 */
export class VmError extends Error {
  /**
   * @param {string} code `ERR_VM_*`, for programs
   * @param {string} message names the problem and what mends it, for people
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.code = code;
  }
}
VmError.prototype.name = 'VmError';

/**
 * @param {unknown} error
 * @returns {string} its `code`, or '' where it has none
 */
export function codeOf(error) {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
