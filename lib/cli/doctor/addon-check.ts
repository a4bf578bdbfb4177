import { blocked, type Check, missing, ok } from './check.js';

export const addonCheck: Check = {
  name: 'native addon',
  find(machine) {
    try {
      machine.loadKernel();
      return ok('loaded');
    } catch (error) {
      const mend = `cd ${machine.packageFolder} && npx node-gyp rebuild`;
      // A file that is there and does not load is the cause; without one there was nothing to load.
      const { cause } = error as Error;
      if (cause === undefined) return missing('not built (needs a C++17 compiler, make and python3)', mend);
      return blocked(`built, but does not load: ${cause instanceof Error ? cause.message : cause}`, mend);
    }
  },
};
