import { parentPort, workerData } from 'node:worker_threads';
import { hostKernel } from '../../../../lib/kernel/host.js';

/**
 * Runs a real device with a tap behind both queues, and lets go of nothing: as a Worker until it is terminated
 * (with a detach pending where `ending` says so), as a program until it has nothing more to do.
 */
const { vhost, tun, eventfd, memory, poller } = hostKernel();
const SIZE = 64;
const page = memory.pageSize();
const mapping = memory.create('device-worker', 16 * page, 0);
const fd = vhost.open('/dev/vhost-net');
vhost.setOwner(fd);
vhost.setFeatures(fd, 1n << 32n);
vhost.setMemTable(fd, [{ guestPhysicalAddress: 0n, size: BigInt(16 * page), userAddress: mapping.address }]);
const tap = tun.open('/dev/net/tun');
tun.setIff(tap, 'running%d', 0x5002);
tun.setVnetHdrSz(tap, 12);
for (const queue of [0, 1]) {
  const base = mapping.address + BigInt(queue * page);
  vhost.setVringNum(fd, queue, SIZE);
  vhost.setVringBase(fd, queue, 0);
  vhost.setVringAddr(fd, queue, {
    flags: 0,
    descriptorTable: base,
    availableRing: base + 1024n,
    usedRing: base + 2048n,
    log: 0n,
  });
  const call = eventfd.create();
  vhost.setVringKick(fd, queue, eventfd.create());
  vhost.setVringCall(fd, queue, call);
  const watch = poller.watchEventfd(call, () => {});
  if (parentPort === null) watch.unref();
  vhost.netSetBackend(fd, queue, tap);
}
const { ending } = (workerData ?? {}) as { ending?: string };
if (ending === 'detaching') for (const queue of [0, 1]) vhost.netDetachBackend(fd, queue).catch(() => {});
if (parentPort === null) console.log('"running"');
else parentPort.postMessage('running');
