import { ETH_HLEN } from '../../lib/abi/if-ether.js';
import { internetChecksum } from '../../lib/cli/wire/checksum.js';

const IP = ETH_HLEN;
const ICMP = IP + 20;
const SEQUENCE = ICMP + 6;
const LENGTH = 60;
const SOURCE = IP + 12;
const DESTINATION = IP + 16;

/**
 * Echo requests from one IPv4 address to another, which the host's own network stack answers. The pair of addresses is
 * the flow by which a tap steers.
 */
export class EchoFlow {
  /** The last byte of the asking address. */
  readonly source: number;
  readonly #frame = new Uint8Array(LENGTH);

  /** From `network`.`source` behind `mac` to `network`.1 at `gateway`. */
  constructor(network: readonly [number, number, number], source: number, mac: string, gateway: string) {
    this.source = source;
    const frame = this.#frame;
    frame.set(parse(gateway), 0);
    frame.set(parse(mac), 6);
    frame.set([0x08, 0x00, 0x45, 0, 0, LENGTH - IP], 12);
    frame.set([64, 1], IP + 8);
    frame.set([...network, source], SOURCE);
    frame.set([...network, 1], DESTINATION);
    writeU16(frame, IP + 10, internetChecksum(frame, IP, ICMP));
    frame[ICMP] = 8;
  }

  /** A request of its own. */
  request(sequence: number): Uint8Array {
    const frame = this.#frame;
    writeU16(frame, SEQUENCE, sequence);
    writeU16(frame, ICMP + 2, 0);
    writeU16(frame, ICMP + 2, internetChecksum(frame, ICMP, LENGTH));
    return frame.slice();
  }
}

/** Of a sound echo reply: whose request it answers, and which. `undefined` for any other frame. */
export function echoReply(frame: Uint8Array): { source: number; sequence: number } | undefined {
  const sound =
    frame.length >= LENGTH &&
    frame[12] === 0x08 &&
    frame[13] === 0x00 &&
    frame[IP + 9] === 1 &&
    frame[ICMP] === 0 &&
    internetChecksum(frame, ICMP, LENGTH) === 0;
  if (!sound) return undefined;
  return { source: frame[DESTINATION + 3]!, sequence: (frame[SEQUENCE]! << 8) | frame[SEQUENCE + 1]! };
}

function parse(mac: string): number[] {
  return mac.split(':').map((byte) => Number.parseInt(byte, 16));
}

function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value & 0xff;
}
