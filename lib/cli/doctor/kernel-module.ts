import type { Machine } from './machine.js';

/** `unavailable`: this kernel was built without it, or its modules are not installed here. */
export type ModuleState = 'loaded' | 'built in' | 'loadable' | 'unavailable';

/** Whether a kernel module is there, by its name with underscores. */
export function moduleState(machine: Machine, name: string): ModuleState {
  if (
    machine
      .read(`/proc/modules`)
      ?.split('\n')
      .some((line) => line.startsWith(`${name} `))
  )
    return 'loaded';
  const folder = `/lib/modules/${machine.kernelRelease}`;
  // The file name has the dashes that its author liked.
  const file = new RegExp(`(^|/)${name.replaceAll('_', '[-_]')}\\.ko(\\.\\w+)?(:|$)`, 'm');
  if (file.test(machine.read(`${folder}/modules.builtin`) ?? '')) return 'built in';
  if (file.test(machine.read(`${folder}/modules.dep`) ?? '')) return 'loadable';
  return 'unavailable';
}
