import assert from 'node:assert/strict';
import { bit } from '../../lib/abi/bit.js';
import { VIRTIO_F_IN_ORDER } from '../../lib/abi/virtio-config.js';
import { READ, WRITE } from './fake-iotlb.js';
import type { FakeDevice, FakeQueue } from './fake-kernel.js';
import { type Chain, ModelDevice } from './model-device.js';

const RECEIVE = 0;
const HEADER = 12;

/** A frame that the device was given. */
export interface Sent {
  readonly head: number;
  /** The virtio-net header. */
  readonly header: Uint8Array;
  /** The Ethernet frame. */
  readonly frame: Uint8Array;
}

/** When the device is done with a frame that it took. */
export type Completion =
  /** At once: it copied the frame. */
  | 'copied'
  /** When the test says so. */
  | 'held'
  /** It does not even take it. */
  | 'asleep';

/** One queue that runs. */
interface Running {
  readonly queue: FakeQueue;
  readonly model: ModelDevice;
}

/**
 * Plays the kernel's worker for a fake vhost device: takes what is sent, delivers what a test has received, calls
 * where the driver asked for it, and returns on detach what is outstanding, as vhost-net does.
 */
export class ModelWorker implements FakeDevice {
  completion: Completion = 'copied';
  /** Whether a detach returns the frames that are held; false for a device that loses them. */
  returns = true;
  /** A detach waits for it. */
  detaching: Promise<void> | undefined;
  /** Everything that was sent, in the order in which the device took it. */
  readonly sent: Sent[] = [];
  /** Frames that wait for receive buffers. */
  readonly #backlog: Uint8Array[] = [];
  readonly #running = new Map<number, Running>();
  /** Calls that were made, by queue. */
  readonly calls: [number, number] = [0, 0];

  attached(queue: FakeQueue): void {
    this.#running.set(queue.index, { queue, model: new ModelDevice(queue.layout()) });
    if (queue.index === RECEIVE) this.#deliver();
  }

  kicked(queue: FakeQueue): void {
    if (queue.index === RECEIVE) this.#deliver();
    else this.work();
  }

  async detached(queue: FakeQueue): Promise<void> {
    const running = this.#running.get(queue.index);
    this.#running.delete(queue.index);
    if (running === undefined) return;
    await this.detaching;
    if (queue.index !== RECEIVE && this.returns)
      for (const head of running.model.heldHeads) running.model.complete(head, 0);
    if (isInOrder(queue)) running.model.publishInOrder();
    else running.model.publish();
    queue.base = running.model.availableIndex;
  }

  /** The model of a queue that runs, to lie with. */
  model(queue: number): ModelDevice {
    return this.#run(queue).model;
  }

  queue(queue: number): FakeQueue {
    return this.#run(queue).queue;
  }

  /** Takes what was sent, and completes it where frames are copied. */
  work(): void {
    const running = this.#running.get(1);
    if (running === undefined || this.completion === 'asleep') return;
    const { model, queue } = running;
    // A driver that publishes between the last look and the wish for a kick would not be heard: look again.
    do {
      for (let chain = model.take(); chain !== undefined; chain = model.take()) {
        if (!reaches(queue, [chain], READ)) {
          // Like vhost_get_vq_desc(): the queue goes on when the IOTLB was told, or at the next kick.
          model.discard(chain.head);
          queue.base = model.availableIndex;
          this.#publish(running);
          return;
        }
        this.sent.push(read(queue, chain));
        if (this.completion === 'copied') model.complete(chain.head, 0);
      }
      model.suppressKicks(false);
    } while (model.available() > 0);
    queue.base = model.availableIndex;
    this.#publish(running);
  }

  /** Heads of the frames that are held, oldest first. */
  get held(): number[] {
    return this.#run(1).model.heldHeads;
  }

  /** Is done with frames that it held, in this order. */
  complete(...heads: number[]): void {
    const running = this.#run(1);
    for (const head of heads) running.model.complete(head, 0);
    this.#publish(running);
  }

  /** Frames come from the network; they wait where there are no buffers. */
  receive(...frames: Uint8Array[]): void {
    this.#backlog.push(...frames);
    this.#deliver();
  }

  /** Frames that wait for buffers. */
  get backlog(): number {
    return this.#backlog.length;
  }

  /** Shows the driver what was done and calls it if it asked for it. */
  call(queue: number): void {
    this.#publish(this.#run(queue));
  }

  #deliver(): void {
    const running = this.#running.get(RECEIVE);
    if (running === undefined) return;
    const { model, queue } = running;
    for (let frame = this.#backlog[0]; frame !== undefined; frame = this.#backlog[0]) {
      const chains = this.#buffers(running, HEADER + frame.length);
      if (chains === undefined) {
        model.suppressKicks(false);
        if (this.#buffersLeft(running, HEADER + frame.length)) continue;
        break;
      }
      if (!reaches(queue, chains, WRITE)) {
        for (const { head } of chains.toReversed()) model.discard(head);
        break;
      }
      this.#backlog.shift();
      const bytes = new Uint8Array(HEADER + frame.length);
      bytes.set(frame, HEADER);
      new DataView(bytes.buffer).setUint16(10, chains.length, true);
      let at = 0;
      for (const chain of chains) {
        const from = at;
        for (const { gpa, length } of chain.segments) {
          const place = queue.guest(gpa, length, WRITE);
          assert.ok(place, `receive buffer at 0x${gpa.toString(16)} is mapped`);
          const piece = bytes.subarray(at, at + length);
          new Uint8Array(place.buffer, place.offset, length).set(piece);
          at += piece.length;
        }
        model.complete(chain.head, at - from);
      }
      // One element for each frame: its length is that of the last buffer.
      if (isInOrder(queue)) model.publishInOrder();
    }
    queue.base = model.availableIndex;
    this.#publish(running);
  }

  /** Buffers for a frame; `undefined` where too few are there. */
  #buffers(running: Running, bytes: number): Chain[] | undefined {
    if (!this.#buffersLeft(running, bytes)) return undefined;
    const chains: Chain[] = [];
    let room = 0;
    while (room < bytes) {
      const chain = running.model.take()!;
      chains.push(chain);
      room += chain.segments.reduce((sum, { length }) => sum + length, 0);
    }
    return chains;
  }

  /** Tests give every receive buffer one size, that of the first seen. */
  #buffersLeft({ model, queue }: Running, bytes: number): boolean {
    return model.available() * this.#bufferSize(queue) >= bytes;
  }

  #bufferSize(queue: FakeQueue): number {
    const { addresses } = queue;
    const table = queue.memory(addresses.descriptorTable, 16)!;
    const available = queue.memory(addresses.availableRing, 6 + 2 * queue.size)!;
    const slot = this.model(RECEIVE).availableIndex % queue.size;
    const head = new DataView(available.buffer).getUint16(available.offset + 4 + 2 * slot, true);
    return new DataView(table.buffer).getUint32(table.offset + 16 * head + 8, true);
  }

  #publish({ queue, model }: Running): void {
    if (isInOrder(queue)) model.publishInOrder();
    else model.publish();
    if (!model.shouldCall()) return;
    this.calls[queue.index as 0 | 1]++;
    queue.call();
  }

  #run(queue: number): Running {
    const running = this.#running.get(queue);
    assert.ok(running, `queue ${queue} runs`);
    return running;
  }
}

function isInOrder({ features }: FakeQueue): boolean {
  return (features & bit(VIRTIO_F_IN_ORDER)) !== 0n;
}

/** Whether every byte of these chains can be had; what cannot is asked for. */
function reaches(queue: FakeQueue, chains: readonly Chain[], permission: number): boolean {
  if (queue.device.iotlb === undefined) return true;
  return chains.every(({ segments }) =>
    segments.every(({ gpa, length }) => queue.guest(gpa, length, permission) !== undefined),
  );
}

function read(queue: FakeQueue, chain: Chain): Sent {
  const bytes = Buffer.concat(
    chain.segments.map(({ gpa, length }) => {
      const place = queue.guest(gpa, length);
      assert.ok(place, `what is sent lies in guest memory: 0x${gpa.toString(16)}`);
      return new Uint8Array(place.buffer, place.offset, length);
    }),
  );
  return { head: chain.head, header: bytes.subarray(0, HEADER), frame: bytes.subarray(HEADER) };
}
