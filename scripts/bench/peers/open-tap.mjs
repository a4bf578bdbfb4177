// Node has no ioctl, so a program without vhost gets its tap from the same backend; only the descriptor is used.
import { openTap } from 'vhost-net';

/**
 * @param {string} name
 * @returns {{fd: number, header: number}} frames are written with `header` bytes of virtio-net header before them
 */
export function openTapDescriptor(name) {
  const { fd, headerSize } = openTap({ name });
  return { fd, header: headerSize };
}
