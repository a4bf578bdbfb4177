/** Bytes written in hexadecimal, with blanks wherever they help a reader. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
}

/** "Who has 192.0.2.2? Tell 192.0.2.1", as Linux asks it. */
export const arpRequest = (): Uint8Array =>
  hex(`ffffffffffff 020000000001 0806
       0001 0800 06 04 0001
       020000000001 c0000201
       000000000000 c0000202`);

/** An echo request from 192.0.2.1 to 192.0.2.2: identifier 0x1234, sequence 1, "abc". */
export const echoRequest = (): Uint8Array =>
  hex(`020000000002 020000000001 0800
       45 00 001f 1c46 4000 40 01 9a94 c0000201 c0000202
       08 00 2168 1234 0001 616263`);
