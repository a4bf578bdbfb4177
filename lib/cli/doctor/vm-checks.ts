import { blocked, type Check, missing, ok } from './check.js';
import { accessTo, asRoot } from './mend.js';

const KVM = '/dev/kvm';

export const kvmCheck: Check = {
  name: 'KVM',
  optional: true,
  find(machine) {
    if (machine.device(KVM) === undefined)
      return missing('virtual machines are emulated, some ten times slower', asRoot(machine, 'modprobe kvm'));
    if (machine.refusal(KVM) !== '') return blocked(`${KVM} belongs to others`, accessTo(machine, KVM));
    return ok(`${KVM}; whether it works, only a virtual machine that starts can tell`);
  },
};

export const qemuCheck: Check = {
  name: 'QEMU',
  optional: true,
  find(machine) {
    const x86 = machine.arch === 'x64';
    const path = machine.program(x86 ? 'qemu-system-x86_64' : 'qemu-system-aarch64');
    if (path !== undefined) return ok(path);
    const command = `apt-get install qemu-system-${x86 ? 'x86' : 'arm'}`;
    return missing('for tests where there is no device, and for guests', asRoot(machine, command));
  },
};
