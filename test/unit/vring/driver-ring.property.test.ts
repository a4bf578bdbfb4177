import assert from 'node:assert/strict';
import { DeviceOnRing } from '../../support/device-on-ring.js';
import { property, type Random, runs } from '../../support/random.js';
import { RingAndModel, type RingOptions } from '../../support/ring-and-model.js';

/** Where the indexes of both rings begin: most often just before they wrap. */
function base(random: Random): number {
  return random.pick([65_535, 65_534, 65_535 - random.below(300), 0, 32_767, random.below(65_536)]);
}

/** One operation of one side, in a mix that keeps rings of every size between empty and full. */
function step(world: RingAndModel, random: Random): void {
  const { size } = world.ring;
  const burst = (): number => random.between(1, Math.min(size, 64));
  switch (random.below(16)) {
    case 0:
    case 1:
      for (let i = burst(); i > 0; i--) world.post();
      break;
    case 2:
    case 3:
      world.postChain(random.between(1, Math.min(size + 1, 9)));
      break;
    case 4:
      // The longest that can be, and longer.
      world.postChain(random.oneIn(2) ? random.between(1, Math.min(size, 300) + 1) : random.between(1, 4));
      break;
    case 5:
      world.dropChain(random.between(1, 5));
      break;
    case 6:
    case 7:
      world.publish();
      break;
    case 8:
    case 9:
      world.take(random.oneIn(2) ? size : burst());
      break;
    case 10:
      world.complete(random.oneIn(2) ? size : burst());
      break;
    case 11:
      world.publishUsed();
      if (random.oneIn(2)) world.call();
      break;
    case 12:
      world.askForKicks();
      break;
    case 13:
      if (random.oneIn(3)) world.disableCalls();
      else world.enableCalls(random.oneIn(2) ? undefined : random.between(1, size));
      break;
    default:
      world.reap(random.oneIn(2) ? undefined : random.between(0, burst()));
  }
  world.check();
}

function prove(
  random: Random,
  options: RingOptions,
  operations: number,
  replace: (world: RingAndModel) => void = () => {},
): void {
  const world = new RingAndModel({ ...options, base: base(random) }, random);
  for (let i = 0; i < operations; i++) {
    step(world, random);
    if (random.oneIn(20)) {
      replace(world);
      world.check();
    }
  }
  world.finish();
  assert.ok(world.posted > 0);
}

const sizes = [1, 2, 4, 8, 16, 64, 256, 1024, 4096, 32_768];

const devices: readonly [string, Pick<RingOptions, 'attach'>][] = [
  ['a model of the device', {}],
  ['DeviceRing', { attach: (ring, eventIdx) => new DeviceOnRing(ring, eventIdx) }],
];

for (const [device, attach] of devices)
  describe(`DriverRing against ${device}`, () => {
    for (const eventIdx of [false, true]) {
      const events = eventIdx ? 'EVENT_IDX' : 'flags';
      property(`keeps every chain of one ring, whatever comes when (${events})`, (random) => {
        for (const size of sizes) prove(random, { ...attach, size, eventIdx }, runs(3000));
      });

      property(`keeps chains in indirect tables (${events})`, (random) => {
        for (const size of sizes.slice(0, -1))
          prove(random, { ...attach, size, eventIdx, indirect: random.between(2, 8) }, runs(2000));
      });

      property(`is sound after every reclaim and goes on at its base (${events})`, (random) => {
        for (const size of sizes.slice(0, -2)) {
          const replace = (world: RingAndModel): void => world.replaceDevice(random.oneIn(2));
          prove(random, { ...attach, size, eventIdx }, runs(1500), replace);
          prove(random, { ...attach, size, eventIdx, indirect: 4 }, runs(1500), replace);
        }
      });

      property(`is taken over with every chain, wherever its driver ends (${events})`, (random) => {
        for (const size of sizes.slice(0, -2)) {
          const replace = (world: RingAndModel): void => world.replaceDriver();
          prove(random, { ...attach, size, eventIdx }, runs(1000), replace);
          prove(random, { ...attach, size, eventIdx, indirect: 4 }, runs(1000), replace);
        }
      });
    }

    property('goes round all 65,536 indexes with every size', (random) => {
      for (const size of [1, 2, 256, 32_768]) {
        const world = new RingAndModel({ ...attach, size, eventIdx: true, base: base(random) }, random);
        while (world.posted < 70_000) {
          for (let i = random.between(1, size); i > 0; i--) world.post();
          world.publish();
          world.take(size);
          world.complete(random.between(1, size));
          world.publishUsed();
          world.reap(undefined);
          world.check();
        }
        world.finish();
      }
    });
  });
