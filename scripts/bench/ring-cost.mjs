// What a completion costs in the ring and the ledger alone, by how many are in flight: a device that is nothing but two
// stores returns chains, in order or in a random one, and the program reaps, settles and posts again. No kernel, no frame,
// no copy.
import { setUp } from '../setup.mjs';

await setUp();
const { DriverRing, Ledger } = await import('vhost-net');

const SIZE = 32_768;
const STEPS = [1, 8, 64, 512, 4096, 16_384, SIZE];
const TOTAL = 4096;
/** Stretches in a row, so that what the caches hold of a world is there from the second turn through it on. */
const STRETCHES = (2 * SIZE) / TOTAL;
const ROUNDS = 60;
const BYTES = 64;

/**
 * What is posted again is what came back, so the same heads are in flight for ever, and a random order can be drawn before
 * any clock runs: the device reads it as it would read the available ring, and costs the same in both.
 *
 * @param {Uint16Array} available
 * @param {number} inFlight
 */
function randomOrder(available, inFlight) {
  const order = new Uint16Array(SIZE);
  let state = 1;
  for (let start = 0; start < SIZE; start += inFlight) {
    order.set(available.subarray(0, inFlight), start);
    for (let left = inFlight; left > 1; left--) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      const one = start + Math.floor((state / 2 ** 32) * left);
      const last = start + left - 1;
      [order[one], order[last]] = [/** @type {number} */ (order[last]), /** @type {number} */ (order[one])];
    }
  }
  return order;
}

/** @param {{ inFlight: number, random: boolean }} options */
function world({ inFlight, random }) {
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
  const ledger = new Ledger(SIZE);
  // As a queue of a Nic whose frames nobody waits for.
  ledger.timeEvery = 4096;
  post({ ring, ledger }, inFlight);
  const available = new Uint16Array(buffer, availableRing + 4, SIZE);
  return {
    ring,
    ledger,
    returned: random ? randomOrder(available, inFlight) : available,
    usedIndex: new Uint16Array(buffer, usedRing, 2),
    used: new Uint32Array(buffer, usedRing + 4, 2 * SIZE),
    device: 0,
  };
}

/**
 * @param {{ ring: InstanceType<typeof DriverRing>, ledger: InstanceType<typeof Ledger> }} sides
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
  const { ring, ledger, returned, usedIndex, used } = all;
  const begin = process.hrtime.bigint();
  for (let done = 0; done < TOTAL; done += batch) {
    for (let i = 0; i < batch; i++) {
      const slot = all.device & (SIZE - 1);
      used[2 * slot] = /** @type {number} */ (returned[slot]);
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
  const inFlights = STEPS.filter((inFlight) => inFlight >= batch);
  const rows = [false, true].flatMap((random) => inFlights.map((inFlight) => ({ inFlight, random })));
  const worlds = rows.map(world);
  // The least of many rounds, in turn: what another program on this machine takes is never the least.
  const least = rows.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, all] of worlds.entries())
      for (let stretch = 0; stretch < STRETCHES; stretch++)
        least[i] = Math.min(/** @type {number} */ (least[i]), turnOver(all, batch));
  }
  for (const { ring } of worlds) if (ring.corruption) throw ring.corruption;
  for (const random of [false, true]) {
    const nanoseconds = least.filter((_, i) => rows[i]?.random === random);
    const middle = /** @type {number} */ ([...nanoseconds].sort((a, b) => a - b)[nanoseconds.length >> 1]);
    console.log(`\nbatches of ${batch}, in ${random ? 'random ' : ''}order`);
    for (const [i, inFlight] of inFlights.entries()) {
      const off = /** @type {number} */ (nanoseconds[i]) / middle - 1;
      spread = Math.max(spread, Math.abs(off));
      console.log(
        `${String(inFlight).padStart(7)} in flight  ${nanoseconds[i]?.toFixed(1).padStart(6)} ns  ${(off * 100).toFixed(0).padStart(4)} %`,
      );
    }
  }
}
console.log(`\nat most ${(spread * 100).toFixed(0)} % from the middle`);
process.exitCode = spread <= 0.15 ? 0 : 1;
