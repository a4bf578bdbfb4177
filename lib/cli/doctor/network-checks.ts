import { CAP_NET_ADMIN, hasCapability } from './capability.js';
import { blocked, type Check, missing, ok } from './check.js';
import { type ModuleState, moduleState } from './kernel-module.js';
import type { Machine } from './machine.js';
import { accessTo, allowed, asRoot, IN_VM, inContainer } from './mend.js';

const TUN = '/dev/net/tun';

export const tunCheck: Check = {
  name: 'tun/tap',
  find(machine) {
    const runs = machine.read('/sys/class/misc/tun/dev') !== undefined;
    const state = runs ? 'loaded' : moduleState(machine, 'tun');
    if (machine.device(TUN) === undefined)
      return missing(`${TUN} is not there`, inContainer(machine) ?? makeTun(machine, state));
    if (machine.refusal(TUN) !== '') return blocked(`${TUN} belongs to others`, accessTo(machine, TUN));
    if (state === 'unavailable')
      return missing(`${TUN} is there, but Linux ${machine.kernelRelease} brings no module tun here`, IN_VM);
    // To open it would load a module that is not loaded yet.
    if (runs && machine.openRefusal(TUN) === 'EPERM')
      return blocked(`the rules of this container or service forbid ${TUN}`, allowed(machine, TUN));
    return ok(TUN);
  },
};

/** What makes the node: the module, where it is not loaded, or a hand. */
function makeTun(machine: Machine, state: ModuleState): string {
  if (state === 'unavailable') return IN_VM;
  if (state === 'loadable') return asRoot(machine, 'modprobe tun');
  return asRoot(machine, `sh -c 'mkdir -p /dev/net && mknod -m 666 ${TUN} c 10 200'`);
}

export const netAdminCheck: Check = {
  name: 'CAP_NET_ADMIN',
  find(machine) {
    if (hasCapability(machine, CAP_NET_ADMIN)) return ok('taps can be made and set up');
    return blocked(
      'no tap can be made here, only one that was made for this user be opened',
      inContainer(machine) ?? 'sudo ip tuntap add dev NAME mode tap user $USER vnet_hdr',
    );
  },
};

export const macvtapCheck: Check = {
  name: 'macvtap',
  optional: true,
  find(machine) {
    const state = moduleState(machine, 'macvtap');
    if (state !== 'unavailable') return ok(state);
    return missing(`Linux ${machine.kernelRelease} brings no module macvtap here`, IN_VM);
  },
};
