import { writeU16 } from './big-endian.js';
import { internetChecksum } from './checksum.js';

export const IPPROTO_ICMP = 1;

// RFC 792, offsets in the message.
const TYPE = 0;
const CODE = 1;
const CHECKSUM = 2;
const LEAST_ECHO = 8;

const ECHO_REPLY = 0;
const ECHO = 8;

/** Whether a whole, sound echo request lies at `start` up to `end`. */
export function isEchoRequest(frame: Uint8Array, start: number, end: number): boolean {
  return (
    end - start >= LEAST_ECHO &&
    frame[start + TYPE] === ECHO &&
    frame[start + CODE] === 0 &&
    internetChecksum(frame, start, end) === 0
  );
}

/** Makes an echo request the reply to it. */
export function makeEchoReply(frame: Uint8Array, start: number, end: number): void {
  frame[start + TYPE] = ECHO_REPLY;
  writeU16(frame, start + CHECKSUM, 0);
  writeU16(frame, start + CHECKSUM, internetChecksum(frame, start, end));
}
