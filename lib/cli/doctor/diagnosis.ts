import { addonCheck } from './addon-check.js';
import type { Check, Finding } from './check.js';
import {
  busyPollCheck,
  featuresCheck,
  moduleCheck,
  nodeCheck,
  permissionCheck,
  workersCheck,
  zerocopyCheck,
} from './device-checks.js';
import type { Machine } from './machine.js';
import { hugePagesCheck, memlockCheck } from './memory-checks.js';
import { macvtapCheck, netAdminCheck, tunCheck } from './network-checks.js';
import { kvmCheck, qemuCheck } from './vm-checks.js';

/** In an order in which what mends one line may mend those after it. */
const CHECKS: readonly Check[] = [
  addonCheck,
  moduleCheck,
  nodeCheck,
  permissionCheck,
  featuresCheck,
  tunCheck,
  netAdminCheck,
  workersCheck,
  busyPollCheck,
  zerocopyCheck,
  macvtapCheck,
  hugePagesCheck,
  memlockCheck,
  kvmCheck,
  qemuCheck,
];

/** One line of a diagnosis. */
export interface CheckResult extends Finding {
  readonly name: string;
  readonly optional: boolean;
}

/** What the doctor says of a machine, as `--json` prints it. */
export interface Diagnosis {
  /** Whether a `Nic` on a tap can be opened here. */
  readonly ready: boolean;
  readonly kernel: string;
  readonly node: string;
  readonly arch: string;
  readonly checks: readonly CheckResult[];
}

/** Looks a machine over, and changes nothing. */
export function diagnose(machine: Machine): Diagnosis {
  const checks = CHECKS.map((check) => ({
    name: check.name,
    optional: check.optional ?? false,
    ...check.find(machine),
  }));
  return {
    ready: checks.every(({ status, optional }) => status === 'ok' || optional),
    kernel: machine.kernelRelease,
    node: process.version,
    arch: machine.arch,
    checks,
  };
}
