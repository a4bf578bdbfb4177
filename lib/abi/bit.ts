/**
 * The mask of one feature bit. Feature constants are bit numbers, as in the kernel's headers and in the
 * spec; masks of 64 bits and more are bigints.
 */
export function bit(n: number): bigint {
  return 1n << BigInt(n);
}
