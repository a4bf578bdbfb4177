import { channel } from 'node:diagnostics_channel';

/** A `Nic` opened or closed: `{ nic }`. */
export const openChannel = channel('vhost-net:nic:open');
export const closeChannel = channel('vhost-net:nic:close');
/** A queue stopped on an error: `{ nic, queue, error }`. */
export const errorChannel = channel('vhost-net:queue:error');
/** A backend took the place of another: `{ nic, backend }`. */
export const backendChannel = channel('vhost-net:nic:backend');
/** The device called: `{ nic, queue, count }`, `count` signals since the last time. */
export const callChannel = channel('vhost-net:queue:call');
/** A device had taken chains that it never returned by the time it was stopped: `{ nic, pair, queue, count }`. */
export const lostChannel = channel('vhost-net:queue:lost');
/** A device waits for more receive buffers than it has: `{ nic, pair, buffers }`. */
export const starvedChannel = channel('vhost-net:queue:starved');
