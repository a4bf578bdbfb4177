// What a completion costs in the ring and the ledger alone, by how many are in flight: a device that is nothing but two
// stores returns chains in order, and the program reaps, settles and posts again. No kernel, no frame, no copy.
import { setUp } from '../setup.mjs';

await setUp();
const { DriverRing, Ledger } = await import('vhost-net');

const SIZE = 32_768;
const STEPS = [1, 8, 64, 512, 4096, SIZE];
const TOTAL = 30_000;
const ROUNDS = 40;
const BYTES = 64;

function world() {
  const buffer = new ArrayBuffer(2 ** 22);
  const region = {
    buffer,
    bytes: new Uint8Array(buffer),
    size: buffer.byteLength,
    guestPhysicalAddress: 2 ** 20,
    userAddress: 0n,
    fd: -1,
    mapped: true,
    unmap() {},
  };
  // A Region but for the kernel behind it.
  const ring = new DriverRing({ region: /** @type {any} */ (region), offset: 0, size: SIZE, eventIdx: true });
  const { availableRing, usedRing } = ring.layout;
  return {
    ring,
    ledger: new Ledger(SIZE),
    available: new Uint16Array(buffer, availableRing + 4, SIZE),
    usedIndex: new Uint16Array(buffer, usedRing, 2),
    used: new Uint32Array(buffer, usedRing + 4, 2 * SIZE),
    device: 0,
  };
}

/**
 * @param {ReturnType<typeof world>} all
 * @param {number} count
 */
function post({ ring, ledger }, count) {
  ledger.stamp();
  for (let i = 0; i < count; i++) {
    const head = ring.post(0, 2 ** 20, BYTES, false);
    ledger.submit(head, BYTES, head);
  }
  ring.publish();
}

/**
 * @param {ReturnType<typeof world>} all
 * @param {number} batch
 * @returns {number} nanoseconds a completion
 */
function turnOver(all, batch) {
  const { ring, ledger, available, usedIndex, used } = all;
  const begin = process.hrtime.bigint();
  for (let done = 0; done < TOTAL; done += batch) {
    for (let i = 0; i < batch; i++) {
      const slot = all.device & (SIZE - 1);
      used[2 * slot] = /** @type {number} */ (available[slot]);
      used[2 * slot + 1] = 0;
      all.device = (all.device + 1) & 0xffff;
    }
    Atomics.store(usedIndex, 1, all.device);
    const count = ring.reap(batch);
    ledger.complete(ring.heads, count);
    post(all, count);
  }
  return Number(process.hrtime.bigint() - begin) / TOTAL;
}

let spread = 0;
for (const batch of [1, 64]) {
  const steps = STEPS.filter((inFlight) => inFlight >= batch);
  const worlds = steps.map((inFlight) => {
    const all = world();
    post(all, inFlight);
    return all;
  });
  // The least of many rounds, in turn: what another program on this machine takes is never the least.
  const least = steps.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, all] of worlds.entries())
      least[i] = Math.min(/** @type {number} */ (least[i]), turnOver(all, batch));
  }
  const middle = /** @type {number} */ ([...least].sort((a, b) => a - b)[least.length >> 1]);
  console.log(`\nbatches of ${batch}`);
  for (const [i, inFlight] of steps.entries()) {
    const off = /** @type {number} */ (least[i]) / middle - 1;
    spread = Math.max(spread, Math.abs(off));
    console.log(
      `${String(inFlight).padStart(7)} in flight  ${least[i]?.toFixed(1).padStart(6)} ns  ${(off * 100).toFixed(0).padStart(4)} %`,
    );
  }
}
console.log(`\nat most ${(spread * 100).toFixed(0)} % from the middle`);
process.exitCode = spread <= 0.15 ? 0 : 1;
