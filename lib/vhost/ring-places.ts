import { bit } from '../abi/bit.js';
import { VIRTIO_F_ACCESS_PLATFORM } from '../abi/virtio-config.js';
import {
  VIRTIO_RING_F_EVENT_IDX,
  VRING_AVAIL_ELEM_SIZE,
  VRING_AVAIL_EVENT_SIZE,
  VRING_AVAIL_RING_OFFSET,
  VRING_DESC_ALIGN_SIZE,
  VRING_DESC_SIZE,
  VRING_USED_ELEM_SIZE,
  VRING_USED_EVENT_SIZE,
  VRING_USED_RING_OFFSET,
} from '../abi/virtio-ring.js';
import { checkU64, wrongType, wrongValue } from '../errors/check.js';
import type { MemoryTableEntry, VringAddresses } from '../kernel/kernel.js';

interface Ring {
  /** 1 until it is told, like vhost_vq_reset(). */
  size: number;
  addresses: VringAddresses | undefined;
  running: boolean;
}

interface RingPart {
  readonly name: 'descriptorTable' | 'availableRing' | 'usedRing';
  /** User address. */
  readonly start: bigint;
  readonly bytes: number;
}

/**
 * What the kernel was told of a device's rings and memory, for the checks that it does not make: it takes any user
 * address for a ring, and of two regions with one guest physical address it silently uses one.
 */
export class RingPlaces {
  /** As agreed last; they say how long a ring is and what its addresses mean. */
  features = 0n;
  table: readonly MemoryTableEntry[] | undefined;
  readonly #rings = new Map<number, Ring>();

  ring(queue: number): Ring {
    let ring = this.#rings.get(queue);
    if (ring === undefined) {
      ring = { size: 1, addresses: undefined, running: false };
      this.#rings.set(queue, ring);
    }
    return ring;
  }

  /** As after open(2). */
  reset(): void {
    this.features = 0n;
    this.table = undefined;
    this.#rings.clear();
  }

  /** Refuses regions that share guest physical addresses, and a table that a running queue's ring is not in. */
  checkTable(table: readonly MemoryTableEntry[]): void {
    const request = 'VHOST_SET_MEM_TABLE';
    const sorted = [...table].sort((a, b) => (a.guestPhysicalAddress < b.guestPhysicalAddress ? -1 : 1));
    for (const [i, { guestPhysicalAddress, size }] of sorted.entries()) {
      const next = sorted[i + 1];
      if (next !== undefined && guestPhysicalAddress + size > next.guestPhysicalAddress)
        throw wrongValue(
          'memory',
          'made of regions that share no guest physical address',
          `regions at ${hex(guestPhysicalAddress)} and ${hex(next.guestPhysicalAddress)}`,
          { request },
        );
    }
    for (const [queue, ring] of this.#rings) {
      const part = ring.running ? this.#outside(table, ring) : undefined;
      if (part !== undefined)
        throw wrongValue('memory', `a table that holds the ring of queue ${queue}, which runs`, show(part), {
          request,
          queue,
        });
    }
  }

  /** Refuses a descriptor table off its alignment, and ring parts outside the memory where that is known. */
  checkAddresses(queue: number, addresses: VringAddresses): void {
    if (typeof addresses !== 'object' || addresses === null)
      throw wrongType('addresses', 'an object', addresses);
    const details = { request: 'VHOST_SET_VRING_ADDR', queue };
    // VIRTIO 1.3 §2.7 Split Virtqueues: the alignment of each part. The kernel looks at the other two itself.
    const table = checkU64('addresses.descriptorTable', addresses.descriptorTable);
    if (table % BigInt(VRING_DESC_ALIGN_SIZE) !== 0n)
      throw wrongValue(
        'addresses.descriptorTable',
        `a multiple of ${VRING_DESC_ALIGN_SIZE}`,
        hex(table),
        details,
      );
    checkU64('addresses.availableRing', addresses.availableRing);
    checkU64('addresses.usedRing', addresses.usedRing);
    const part = this.#outside(this.table, { size: this.ring(queue).size, addresses });
    if (part !== undefined)
      throw wrongValue(
        `addresses.${part.name}`,
        'inside one region of the memory table',
        show(part),
        details,
      );
  }

  /** Refuses to start a queue whose ring, at the size that it has by now, is not all inside the memory. */
  checkStart(queue: number): void {
    const part = this.#outside(this.table, this.ring(queue));
    if (part !== undefined)
      throw wrongValue(`the ring of queue ${queue}`, 'inside the regions of the memory table', show(part), {
        request: 'VHOST_NET_SET_BACKEND',
        queue,
      });
  }

  #outside(
    table: readonly MemoryTableEntry[] | undefined,
    { size, addresses }: Pick<Ring, 'size' | 'addresses'>,
  ): RingPart | undefined {
    if (table === undefined || addresses === undefined) return undefined;
    // With an IOTLB they are addresses of the device's, which only a translator can judge.
    if ((this.features & bit(VIRTIO_F_ACCESS_PLATFORM)) !== 0n) return undefined;
    const events = (this.features & bit(VIRTIO_RING_F_EVENT_IDX)) !== 0n;
    const parts: Readonly<Record<RingPart['name'], number>> = {
      descriptorTable: size * VRING_DESC_SIZE,
      availableRing:
        VRING_AVAIL_RING_OFFSET + size * VRING_AVAIL_ELEM_SIZE + (events ? VRING_USED_EVENT_SIZE : 0),
      usedRing: VRING_USED_RING_OFFSET + size * VRING_USED_ELEM_SIZE + (events ? VRING_AVAIL_EVENT_SIZE : 0),
    };
    for (const name of ['descriptorTable', 'availableRing', 'usedRing'] as const) {
      const part = { name, start: addresses[name], bytes: parts[name] };
      const end = part.start + BigInt(part.bytes);
      if (!table.some(({ userAddress, size }) => part.start >= userAddress && end <= userAddress + size))
        return part;
    }
    return undefined;
  }
}

function hex(address: bigint): string {
  return `0x${address.toString(16)}`;
}

function show({ name, start, bytes }: RingPart): string {
  return `${name}: ${bytes} bytes at ${hex(start)}`;
}
