import { bit } from '../../abi/bit.js';
import { featureNames } from '../../abi/feature-names.js';
import { VIRTIO_F_VERSION_1 } from '../../abi/virtio-config.js';
import { addonCheck } from './addon-check.js';
import { blocked, type Check, type Finding, missing, ok } from './check.js';
import { DEVICE, type DeviceProbe, probeDevice } from './device-probe.js';
import { moduleState } from './kernel-module.js';
import type { Machine } from './machine.js';
import { accessTo, allowed, asRoot, IN_VM, inContainer } from './mend.js';

const ZEROCOPY = '/sys/module/vhost_net/parameters/experimental_zcopytx';
const LOAD = 'modprobe vhost_net';

/** The module is loaded where its parameter shows, in a kernel that has it built in too. */
function isLoaded(machine: Machine): boolean {
  return machine.read(ZEROCOPY) !== undefined;
}

export const moduleCheck: Check = {
  name: 'module vhost_net',
  find(machine) {
    if (isLoaded(machine)) return ok('loaded');
    const state = moduleState(machine, 'vhost_net');
    if (state === 'loaded' || state === 'built in') return ok(state);
    if (state === 'loadable') return missing('not loaded', asRoot(machine, LOAD));
    return missing(`Linux ${machine.kernelRelease} brings none here`, IN_VM);
  },
};

export const nodeCheck: Check = {
  name: 'device node',
  find(machine) {
    if (machine.device(DEVICE) !== undefined) return ok(DEVICE);
    const absent = `${DEVICE} is not there`;
    if (isLoaded(machine))
      return missing(absent, inContainer(machine) ?? asRoot(machine, `mknod -m 660 ${DEVICE} c 10 238`));
    const anew = inContainer(machine);
    return missing(absent, anew === undefined ? moduleCheck.find(machine).mend : `sudo ${LOAD} && ${anew}`);
  },
};

export const permissionCheck: Check = {
  name: 'permission',
  find(machine) {
    if (machine.device(DEVICE) === undefined)
      return blocked(`${DEVICE} is not there to be opened`, nodeCheck.find(machine).mend);
    const code = machine.openRefusal(DEVICE);
    switch (code) {
      case '':
        return ok(`${DEVICE} opens for reading and writing`);
      case 'EACCES':
        return blocked(`${DEVICE} belongs to others`, accessTo(machine, DEVICE));
      case 'EPERM':
        return blocked(`the rules of this container or service forbid ${DEVICE}`, allowed(machine, DEVICE));
      case 'ENXIO':
      case 'ENODEV':
        return blocked(
          'the node is there, its module is not',
          moduleCheck.find(machine).mend ?? asRoot(machine, LOAD),
        );
      default:
        return blocked(`open: ${code}; the kernel may have said why`, asRoot(machine, 'dmesg'));
    }
  },
};

export const featuresCheck: Check = {
  name: 'vhost features',
  find: (machine) =>
    probed(machine, ({ features }) => {
      const names = featureNames(features).join(' ');
      if ((features & bit(VIRTIO_F_VERSION_1)) !== 0n) return ok(names);
      return blocked(`without VIRTIO_F_VERSION_1, which a Nic needs: ${names}`, IN_VM);
    }),
};

export const workersCheck: Check = {
  name: 'worker requests',
  optional: true,
  find: (machine) =>
    probed(machine, ({ workers }) =>
      workers === ''
        ? ok('VHOST_NEW_WORKER and its like are offered')
        : missing(`${workers} before Linux 6.4: all queues of a device share one worker`, IN_VM),
    ),
};

export const busyPollCheck: Check = {
  name: 'busy polling',
  optional: true,
  find: (machine) =>
    probed(machine, ({ busyPoll }) =>
      busyPoll === ''
        ? ok('VHOST_SET_VRING_BUSYLOOP_TIMEOUT is offered')
        : missing(`${busyPoll} before Linux 4.6: the option busyPoll of a Nic is refused`, IN_VM),
    ),
};

export const zerocopyCheck: Check = {
  name: 'zero-copy',
  optional: true,
  find(machine) {
    const value = machine.read(ZEROCOPY)?.trim();
    if (value === undefined)
      return missing('not known before the module is loaded', moduleCheck.find(machine).mend);
    if (value === '1') return ok('on: frames of 256 bytes and more complete late and out of order');
    const command = 'modprobe -r vhost_net && modprobe vhost_net experimental_zcopytx=1';
    return missing(
      'off, as is usual: every frame is copied, and completes in order',
      machine.isRoot ? command : `sudo sh -c '${command}'`,
    );
  },
};

function probed(machine: Machine, judge: (probe: DeviceProbe) => Finding): Finding {
  const probe = probeDevice(machine);
  if (typeof probe !== 'string') return judge(probe);
  const cause = [nodeCheck, addonCheck, permissionCheck]
    .map((check) => check.find(machine))
    .find(({ status }) => status !== 'ok');
  return blocked(probe, cause?.mend);
}
