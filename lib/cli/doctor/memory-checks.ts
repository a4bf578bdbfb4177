import { CAP_IPC_LOCK, hasCapability } from './capability.js';
import { blocked, type Check, missing, ok } from './check.js';
import { asRoot, IN_VM } from './mend.js';

const MIB = 2 ** 20;
/** Enough for the default memory of many a Nic. */
const PLENTY = 64 * MIB;

export const hugePagesCheck: Check = {
  name: 'huge pages',
  optional: true,
  find(machine) {
    const facts = machine.read('/proc/meminfo') ?? '';
    const fact = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(facts)?.[1] ?? 0);
    const size = `${fact('Hugepagesize') / 1024} MiB`;
    const free = fact('HugePages_Free') - fact('HugePages_Rsvd');
    if (free > 0) return ok(`${free} free, of ${size}`);
    const command = asRoot(machine, 'sysctl vm.nr_hugepages=64');
    if (fact('HugePages_Total') > 0) return blocked(`all are in use, of ${size}`, command);
    if (fact('Hugepagesize') === 0) return missing('this kernel has none', IN_VM);
    return missing(`none of ${size} is reserved`, command);
  },
};

export const memlockCheck: Check = {
  name: 'locked memory',
  optional: true,
  find(machine) {
    const limit = /^Max locked memory\s+(\S+)/m.exec(machine.read('/proc/self/limits') ?? '')?.[1];
    if (limit === undefined)
      return missing('the limit is not known', asRoot(machine, 'mount -t proc proc /proc'));
    if (hasCapability(machine, CAP_IPC_LOCK)) return ok('without limit, by CAP_IPC_LOCK');
    if (limit === 'unlimited') return ok('without limit');
    const detail = `up to ${(Number(limit) / MIB).toFixed(1)} MiB`;
    if (Number(limit) >= PLENTY) return ok(detail);
    return blocked(detail, asRoot(machine, 'prlimit --memlock=unlimited --pid $$'));
  },
};
