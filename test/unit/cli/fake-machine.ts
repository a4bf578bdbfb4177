import type { DeviceNode, Machine } from '../../../lib/cli/doctor/machine.js';
import type { Kernel } from '../../../lib/kernel/kernel.js';

/** A refusal as Node shapes it. */
export function refused(code: string): Error {
  return Object.assign(new Error(`${code}: refused`), { code });
}

/** What the device of a fake machine answers; an error is thrown. */
export interface FakeAnswers {
  readonly open?: Error;
  readonly features?: bigint | Error;
  readonly owner?: Error;
  readonly worker?: Error;
  readonly busyPoll?: Error;
}

/** Calls made on the device of a fake machine, in order. */
export type Calls = string[];

/** As much of a kernel as the doctor asks. */
export function answering(answers: FakeAnswers, calls: Calls = []): Kernel {
  const answer = <T>(name: string, given: T | Error): T => {
    calls.push(name);
    if (given instanceof Error) throw given;
    return given;
  };
  return {
    vhost: {
      open: () => answer('open', answers.open ?? 9),
      getFeatures: () => answer('getFeatures', answers.features ?? 1n << 32n),
      setOwner: () => answer('setOwner', answers.owner),
      getVringWorker: () => answer('getVringWorker', answers.worker ?? 0),
      getVringBusyloopTimeout: () => answer('getVringBusyloopTimeout', answers.busyPoll ?? 0),
    },
    descriptor: { close: () => answer('close', undefined) },
  } as unknown as Kernel;
}

export interface FakeFacts {
  readonly arch?: string;
  readonly isRoot?: boolean;
  readonly files?: Readonly<Record<string, string>>;
  readonly devices?: Readonly<Record<string, DeviceNode>>;
  /** Codes of the errors with which paths are refused, to access and to open. */
  readonly refusals?: Readonly<Record<string, string>>;
  /** Of those that are refused only when they are opened. */
  readonly openRefusals?: Readonly<Record<string, string>>;
  readonly programs?: Readonly<Record<string, string>>;
  readonly kernel?: Kernel | Error;
}

/** A machine of which nothing is true but what is said here; a plain user's, with an addon. */
export function fakeMachine(facts: FakeFacts = {}): Machine {
  const { files = {}, devices = {}, refusals = {}, programs = {}, kernel = answering({}) } = facts;
  return {
    kernelRelease: '6.12.0',
    arch: facts.arch ?? 'x64',
    isRoot: facts.isRoot ?? false,
    packageFolder: '/p/vhost-net',
    read: (path) => files[path],
    device: (path) => devices[path],
    refusal: (path) => refusals[path] ?? '',
    openRefusal: (path) => refusals[path] ?? facts.openRefusals?.[path] ?? '',
    program: (name) => programs[name],
    loadKernel() {
      if (kernel instanceof Error) throw kernel;
      return kernel;
    },
  };
}
