/** Makes requests of a device that another process owns, its descriptor 3, and prints their refusals as JSON. */
import { hostKernel } from '../../../lib/index.js';
import { refusalOf } from '../../support/control-device.js';

const FD = 3;
const { vhost } = hostKernel();
console.log(
  JSON.stringify(
    [
      () => vhost.setOwner(FD),
      () => vhost.resetOwner(FD),
      () => vhost.setMemTable(FD, []),
      () => vhost.setLogBase(FD, 0n),
      () => vhost.setLogFd(FD, -1),
      () => vhost.setVringNum(FD, 0, 8),
      () => vhost.getVringBase(FD, 0),
      () => vhost.setVringKick(FD, 0, -1),
      () => vhost.getVringBusyloopTimeout(FD, 0),
      () => vhost.netSetBackend(FD, 0, -1),
      () => vhost.getFeatures(FD),
    ].map(refusalOf),
  ),
);
