import { CAP_NET_ADMIN, hasCapability } from './capability.js';
import { blocked, type Check, missing, ok } from './check.js';
import { moduleState } from './kernel-module.js';
import { accessTo, asRoot, inContainer } from './mend.js';

const TUN = '/dev/net/tun';

export const tunCheck: Check = {
  name: 'tun/tap',
  find(machine) {
    const container = inContainer(machine, `--device ${TUN}`);
    if (machine.device(TUN) === undefined)
      return missing(`${TUN} is not there`, container ?? asRoot(machine, 'modprobe tun'));
    if (machine.refusal(TUN) !== '') return blocked(`${TUN} belongs to others`, accessTo(machine, TUN));
    if (
      machine.read('/sys/class/misc/tun/dev') === undefined &&
      moduleState(machine, 'tun') === 'unavailable'
    )
      return missing(`${TUN} is there, the module tun is not`, asRoot(machine, 'modprobe tun'));
    return ok(TUN);
  },
};

export const netAdminCheck: Check = {
  name: 'CAP_NET_ADMIN',
  find(machine) {
    if (hasCapability(machine, CAP_NET_ADMIN)) return ok('taps can be made and set up');
    return blocked(
      'no tap can be made here, only one that was made for this user be opened',
      inContainer(machine, '--cap-add NET_ADMIN') ??
        'sudo ip tuntap add dev NAME mode tap user $USER vnet_hdr',
    );
  },
};

export const macvtapCheck: Check = {
  name: 'macvtap',
  optional: true,
  find(machine) {
    const state = moduleState(machine, 'macvtap');
    if (state !== 'unavailable') return ok(state);
    return missing(`Linux ${machine.kernelRelease} brings no module macvtap here`);
  },
};
