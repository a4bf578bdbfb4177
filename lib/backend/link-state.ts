import type { Kernel } from '../kernel/kernel.js';
import type { LinkState } from './backend.js';

const PARAMETER = '/sys/module/vhost_net/parameters/experimental_zcopytx';

/**
 * The link state of a tap or macvtap: `async` where vhost_net was loaded with experimental_zcopytx, since their
 * sockets bear SOCK_ZEROCOPY (vhost_sock_zcopy()). The kernel does not tell a driver; its parameter does.
 */
export function tapLinkState(kernel: Kernel): LinkState {
  const value = kernel.files.read(PARAMETER)?.trim();
  return value === undefined || value === '0' || value === 'N' ? 'sync' : 'async';
}
