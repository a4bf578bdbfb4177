import { blocked, type Check, missing, ok } from './check.js';
import { moduleState } from './kernel-module.js';
import type { Machine } from './machine.js';
import { accessTo, asRoot } from './mend.js';

const KVM = '/dev/kvm';

export const kvmCheck: Check = {
  name: 'KVM',
  optional: true,
  find(machine) {
    if (machine.device(KVM) === undefined) {
      const { why, mend } = withoutKvm(machine);
      return missing(`virtual machines are emulated, some ten times slower${why}`, mend);
    }
    if (machine.refusal(KVM) !== '') return blocked(`${KVM} belongs to others`, accessTo(machine, KVM));
    return ok(`${KVM}; whether it works, only a virtual machine that starts can tell`);
  },
};

/** Why there is no KVM, and what makes it where a command can. */
function withoutKvm(machine: Machine): { readonly why: string; readonly mend?: string } {
  // The module kvm alone makes no device; those of the processors do. Elsewhere KVM is a part of the kernel itself.
  if (machine.arch !== 'x64') return { why: '' };
  const flag = /^flags\s*:.*\b(vmx|svm)\b/m.exec(machine.read('/proc/cpuinfo') ?? '')?.[1];
  if (flag === undefined)
    return { why: ': this processor offers none (a setting of the firmware, or of the hypervisor below)' };
  const name = flag === 'vmx' ? 'kvm_intel' : 'kvm_amd';
  if (moduleState(machine, name) === 'unavailable')
    return { why: `: Linux ${machine.kernelRelease} brings no module ${name} here` };
  return { why: '', mend: asRoot(machine, `modprobe ${name}`) };
}

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
