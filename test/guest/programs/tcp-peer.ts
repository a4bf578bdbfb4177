// The far end of a guest's TCP transfers: `node tcp-peer.js ADDRESS BYTES`. It sends as many bytes of chance to whoever
// connects to port 1000, and takes as many from whoever connects to port 1001. Every transfer waits at its half until a
// line comes in. What happens stands on its standard output, a line each.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

const [address, size] = process.argv.slice(2) as [string, string];
const bytes = Number(size);
const data = randomBytes(bytes);
const lines = createInterface({ input: process.stdin });
/** A line lets one transfer beyond its half, whichever of the two comes first. */
const passes = lines[Symbol.asyncIterator]();

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function sha256(of: Uint8Array): string {
  return createHash('sha256').update(of).digest('hex');
}

/** Tells of the quarter, and waits at the half. */
class Gate {
  #passed = 0;

  async pass(count: number): Promise<void> {
    const before = this.#passed;
    this.#passed += count;
    const crosses = (mark: number): boolean => before < mark && this.#passed >= mark;
    if (crosses(bytes / 4)) say('quarter');
    if (crosses(bytes / 2)) await passes.next();
  }
}

async function send(socket: Socket): Promise<void> {
  const gate = new Gate();
  const piece = 1 << 16;
  for (let at = 0; at < bytes; at += piece) {
    if (!socket.write(data.subarray(at, at + piece))) await once(socket, 'drain');
    await gate.pass(Math.min(piece, bytes - at));
  }
  socket.end();
  say(`sent ${sha256(data)}`);
}

async function take(socket: Socket): Promise<void> {
  const gate = new Gate();
  const hash = createHash('sha256');
  let count = 0;
  for await (const piece of socket) {
    hash.update(piece);
    count += piece.length;
    await gate.pass(piece.length);
  }
  say(`taken ${count} ${hash.digest('hex')}`);
}

const ends: readonly [number, (socket: Socket) => Promise<void>][] = [
  [1000, send],
  [1001, take],
];
for (const [port, serve] of ends) {
  const server = createServer((socket) => {
    socket.on('error', (error) => say(`failed ${error.message}`));
    serve(socket).catch((error) => say(`failed ${error}`));
  });
  server.listen(port, address);
  await once(server, 'listening');
}
lines.once('close', () => process.exit());
say('listening');
