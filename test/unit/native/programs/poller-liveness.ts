import { hostKernel } from '../../../../lib/kernel/host.js';

/** Ends by itself, once: one watch is unreferenced, another keeps the loop until a thread of the pool signals. */
const { poller, eventfd, vhost } = hostKernel();
let called = 'never';

const unreferenced = poller.watchEventfd(eventfd.create(), () => {});
unreferenced.unref();
unreferenced.ref();
unreferenced.unref();

const fd = eventfd.create();
const watch = poller.watchEventfd(fd, () => {
  called = 'before the end';
  watch.close();
});
// Settles on a later turn of the loop, and fails: the descriptor is no device.
vhost.netDetachBackend(fd, 0).catch(() => eventfd.signal(fd));
process.on('exit', () => console.log(JSON.stringify({ called, unreferenced: true })));
