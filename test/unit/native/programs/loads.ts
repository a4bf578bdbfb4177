import { readFileSync } from 'node:fs';
import { hostKernel } from '../../../../lib/kernel/host.js';

/** Loads the addon, from the path that an argument names, and tells what came of it. */
const isLoaded = () => readFileSync('/proc/self/maps', 'utf8').includes('vhost_net.node');
const loadedByImport = isLoaded();
if (process.argv[2] !== undefined) Object.assign(process.env, { VHOST_NET_ADDON: process.argv[2] });

let error: object | undefined;
try {
  hostKernel();
} catch (thrown) {
  const { name, code, message, cause } = thrown as Error & { code: string };
  error = { name, code, message, ...(cause instanceof Error ? { cause: cause.message } : {}) };
}
console.log(JSON.stringify({ loadedByImport, error }));
