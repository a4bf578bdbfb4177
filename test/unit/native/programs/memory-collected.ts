import { hostKernel } from '../../../../lib/kernel/host.js';
import { memfdMappings } from '../process-state.js';

/** Drops every reference to mappings, collects, and looks whether the memory is still there. */
const { memory } = hostKernel();
const page = memory.pageSize();
const kept = memory.create('collected', page, 0);
new Uint8Array(kept.buffer).fill(0x5a);

function makeAndForget(): WeakRef<object> {
  const mapping = memory.create('collected', page, 0);
  new Uint8Array(mapping.buffer)[0] = 1;
  return new WeakRef(mapping);
}
const forgotten = [makeAndForget(), makeAndForget(), makeAndForget()];
// A WeakRef's target lives until the end of the job that made it.
await new Promise((resolve) => setImmediate(resolve));
for (let i = 0; i < 4; i++) globalThis.gc?.();
await new Promise((resolve) => setImmediate(resolve));

const result = {
  buffersCollected: forgotten.every((reference) => reference.deref() === undefined),
  mappedAfterCollection: memfdMappings('collected'),
  bytesKept: new Uint8Array(kept.buffer).every((byte) => byte === 0x5a),
  mappedAfterUnmap: 0,
};
memory.unmap(kept);
globalThis.gc?.();
result.mappedAfterUnmap = memfdMappings('collected');
console.log(JSON.stringify(result));
