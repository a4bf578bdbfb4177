import { hostKernel } from '../../../../lib/kernel/host.js';
import { holdEverything } from './holdings.js';

/** Ends with everything open, in the way its argument names. */
const kernel = hostKernel();
const ending = process.argv[2];

if (ending === 'by itself') {
  const { memory, eventfd, poller, vhost } = kernel;
  memory.create('held', memory.pageSize(), 0);
  const fd = eventfd.create();
  poller.watchEventfd(fd, () => {}).unref();
  vhost.open('/dev/net/tun');
} else {
  const { device } = holdEverything(kernel);
  kernel.vhost.netDetachBackend(device, 0).catch(() => {});
  if (ending === 'process.exit') process.exit(0);
  if (ending === 'exit in a callback') {
    const fd = kernel.eventfd.create();
    kernel.poller.watchEventfd(fd, () => process.exit(0));
    kernel.eventfd.signal(fd);
  }
  if (ending === 'uncaught') throw new Error('the end');
  if (ending === 'SIGTERM') process.kill(process.pid, 'SIGTERM');
}
