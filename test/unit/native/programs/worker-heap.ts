import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { openCable } from '../../../../lib/backend/cable.js';
import { hostKernel } from '../../../../lib/kernel/host.js';
import { GuestMemory } from '../../../../lib/memory/guest-memory.js';
import { WorkerVhost } from '../../../../lib/vhost/worker/worker-vhost.js';
import { DriverRing } from '../../../../lib/vring/driver-ring.js';

/** What frames from one worker to another over a cable leave on the heap. */
const FRAMES = 100_000;
const SIZE = 256;
const RINGS = 0x1_0000;
const BUFFER = 2048;
const FRAME = 72;

/** A queue of a worker on one end of the cable, and the driver's side of it. */
class End {
  readonly kernel = hostKernel();
  readonly memory = new GuestMemory(this.kernel);
  readonly region = this.memory.addRegion({ size: RINGS + SIZE * BUFFER });
  readonly vhost = new WorkerVhost();
  readonly ring: DriverRing;
  readonly kick = this.kernel.eventfd.create();
  readonly writable: boolean;

  constructor(queue: number, backend: number) {
    this.writable = queue === 0;
    this.ring = new DriverRing({ region: this.region, offset: 0, size: SIZE, queue });
    this.vhost.setOwner();
    this.vhost.setFeatures(1n << 32n);
    this.vhost.setMemTable(this.memory);
    this.vhost.setVringNum(queue, SIZE);
    this.vhost.setVringAddr(queue, { ...this.ring.addresses, flags: 0 });
    this.vhost.setVringKick(queue, this.kick);
    void this.vhost.setBackend(queue, backend);
  }

  /** Takes back what the worker is done with; how many. */
  reap(): number {
    return this.ring.reap();
  }

  fill(): void {
    const { ring, region, writable } = this;
    for (let i = ring.free; i > 0; i--)
      ring.post(0, region.guestPhysicalAddress + RINGS, writable ? BUFFER : FRAME, writable);
    ring.publish();
    this.kernel.eventfd.signal(this.kick);
  }

  async close(): Promise<void> {
    await this.vhost.close();
    this.kernel.descriptor.close(this.kick);
    this.memory.close();
  }
}

const cable = openCable();
const sender = new End(1, cable[0].fd);
const receiver = new End(0, cable[1].fd);

async function send(frames: number): Promise<void> {
  for (let arrived = 0; arrived < frames; ) {
    sender.reap();
    arrived += receiver.reap();
    receiver.fill();
    sender.fill();
    await nextTurn();
  }
}

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ['gc'] });

await send(FRAMES);
globalThis.gc!();
await nextTurn();
await nextTurn();
collections = 0;
const before = process.memoryUsage().heapUsed;
await send(FRAMES);
const bytes = process.memoryUsage().heapUsed - before;
await nextTurn();
const result = { frames: FRAMES, bytes, collections };
await sender.close();
await receiver.close();
for (const end of cable) end.close();
console.log(JSON.stringify(result));
