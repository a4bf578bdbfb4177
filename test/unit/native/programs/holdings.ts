import type { Kernel } from '../../../../lib/kernel/kernel.js';

/** A name that every mapping made here has, to be looked for in /proc/self/maps. */
export const MAPPING = 'holdings';

/** Opens one of everything that an environment can own, and closes nothing. */
export function holdEverything(kernel: Kernel): { eventfds: number[]; device: number } {
  const { eventfd, memory, descriptor, netdev, packet, passing, poller, tun, vhost } = kernel;
  const page = memory.pageSize();
  const mapping = memory.create(MAPPING, 16 * page, 0);
  memory.map(mapping.fd, page, page);
  netdev.open();
  packet.open();
  // Opened as a device, and so closed as one: before all other descriptors.
  const device = vhost.open('/dev/net/tun');
  descriptor.duplicate(device);
  descriptor.duplicate(tun.open('/dev/net/tun'));
  const eventfds = [eventfd.create(), eventfd.create(), eventfd.create()];
  for (const fd of eventfds) {
    poller.watchEventfd(fd, () => {
      eventfd.signal(fd);
      new Uint8Array(mapping.buffer)[0]++;
    });
    eventfd.signal(fd);
  }
  poller.watchReadable(eventfds[0], () => {}).unref();
  const [sender, receiver] = passing.pair();
  passing.send(sender, new Uint8Array(1), eventfds);
  passing.receive(receiver, new Uint8Array(1));
  // On the way when the environment ends.
  passing.send(receiver, new Uint8Array(1), [device]);
  return { eventfds, device };
}
