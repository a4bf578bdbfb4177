import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { hostKernel } from '../../../../lib/kernel/host.js';

/**
 * To be run in a network namespace of its own: it goes at the interfaces that are there.
 *
 * Calls every method of the addon with arguments of every kind. Each call returns, or throws an error of this
 * package or a Node-shaped refusal; nothing ends the process.
 *
 * Numbers that could be a descriptor of this very process (its standard streams, what Node itself has open)
 * are kept away: to write into those, or to close them, is not the addon's to prevent.
 */
const { files: _files, ...addon } = hostKernel();
const { eventfd, memory, netdev, passing, tun } = addon;

const RUNS = Number(process.argv[2]);
const SAFE_FROM = 1_000_000;

const thrownByGetter = new Error('thrown by a getter');

function hostile(): object {
  return new Proxy(
    {},
    {
      get: (_, name) => {
        if (name === Symbol.toPrimitive || name === 'toString' || name === 'constructor') return undefined;
        throw thrownByGetter;
      },
    },
  );
}

const detached = new Uint8Array(16);
structuredClone(detached.buffer, { transfer: [detached.buffer] });

const sizes = fc.oneof(
  fc.constantFrom(0, -0, 1, -1, 0.5, 4096, 65_536, 2 ** 21, 2 ** 31, 2 ** 32, 2 ** 33, 2 ** 53, 2 ** 64),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.MIN_VALUE),
  fc.double(),
  fc.integer({ min: 0, max: 70_000 }),
);
const views = fc.oneof(
  fc.uint8Array({ maxLength: 64 }),
  fc.constantFrom(
    detached,
    new DataView(new ArrayBuffer(8)),
    new BigUint64Array(2),
    new Uint8ClampedArray(8),
  ),
  fc.constantFrom(Buffer.alloc(6), new ArrayBuffer(8), new SharedArrayBuffer(8)),
);
const anything = fc.anything({
  withBigInt: true,
  withDate: true,
  withTypedArray: true,
  withSparseArray: true,
});
const objects = fc.oneof(
  fc.constant(null).map(hostile),
  fc.record({ address: fc.bigInt(), buffer: fc.constant(new ArrayBuffer(8)), fd: sizes }),
  fc.record({
    flags: fc.nat(1),
    descriptorTable: fc.bigInt({ min: 0n, max: 2n ** 64n }),
    availableRing: fc.bigInt({ min: 0n }),
    usedRing: fc.bigInt({ min: 0n }),
    log: fc.constant(0n),
  }),
  fc.array(
    fc.oneof(
      fc.record({
        guestPhysicalAddress: fc.bigInt({ min: 0n, max: 2n ** 64n }),
        size: fc.bigInt({ min: 0n, max: 2n ** 64n }),
        userAddress: fc.bigInt({ min: 0n, max: 2n ** 64n }),
      }),
      anything,
    ),
    { maxLength: 100 },
  ),
  fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n }), { maxLength: 70 }),
  fc.constantFrom([], new Array(4_294_967_295), () => {}, class {}, Symbol('s'), new Proxy([], {})),
);
const texts = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('lo', '/proc/self/ns/net', '/proc/self/ns/uts', '/dev/null', '/', 'x'.repeat(100_000)),
  // Half of a surrogate pair, which is no UTF-8.
  fc.constantFrom('\ud800', '\udfff\ud800', 'a\0b'),
);
const values = fc.oneof(sizes, views, objects, texts, fc.bigInt(), anything);

// What the methods are about, and numbers that stand for no descriptor.
const own = {
  event: eventfd.create(),
  socket: netdev.open(),
  tun: tun.open('/dev/net/tun'),
  memfd: memory.create('fuzz', 65_536, 0).fd,
  stream: passing.pair()[0],
};
const descriptors = fc.oneof(
  fc.constantFrom(...Object.values(own)),
  fc.constantFrom(-1, -2, 0.5, -0.5, Number.NaN, 2 ** 31, 2 ** 32, -(2 ** 31), Number.POSITIVE_INFINITY),
  fc.integer({ min: SAFE_FROM, max: 2 ** 31 - 1 }),
  values.filter((value) => typeof value !== 'number'),
);

/** Methods whose first argument is no descriptor. */
const WITHOUT_DESCRIPTOR = new Set([
  'vhost.open',
  'tun.open',
  'packet.open',
  'netdev.open',
  'memory.create',
  'memory.unmap',
  'passing.listen',
  'passing.connect',
  'passing.pair',
]);

// Where sockets of any name are made.
const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
process.chdir(folder);
process.on('exit', () => rmSync(folder, { recursive: true }));
const insideFolder = texts.filter((text) => !/^\/|\.\./.test(text));

function checkThrown(error: unknown, method: string): void {
  if (error === thrownByGetter) return;
  assert.ok(error instanceof Error, `${method} threw ${String(error)}`);
  const { code, errno, syscall } = error as Error & { code?: string; errno?: number; syscall?: string };
  if (code === 'ERR_VHOST_INVALID_ARGUMENT') {
    assert.ok(error instanceof TypeError);
    assert.ok(error.message.startsWith(`${method}: `), error.message);
  } else if (code === 'ERR_VHOST_OUT_OF_RANGE') {
    assert.ok(error instanceof RangeError);
    assert.ok(error.message.startsWith(`${method}: `), error.message);
  } else {
    assert.match(code ?? '', /^E[A-Z0-9]+$/, `${method}: ${error.stack}`);
    assert.ok(Number.isInteger(errno) && (errno as number) < 0, method);
    assert.equal(typeof syscall, 'string');
  }
}

/** Undoes what a call that went well left open. */
function undo(method: string, result: unknown): void {
  if (method === 'memory.create' || method === 'memory.map') memory.unmap(result as never);
  else if (method.startsWith('poller.')) (result as { close(): void }).close();
  else if (method === 'passing.pair') for (const fd of result as number[]) addon.descriptor.close(fd);
  else if (/\.(open|create|duplicate|listen|accept|connect)$/.test(method))
    addon.descriptor.close(result as number);
}

const calls: { [method: string]: number } = {};
for (const [surface, methods] of Object.entries(addon) as [string, object][])
  for (const [name, call] of Object.entries(methods as Record<string, (...args: unknown[]) => unknown>)) {
    const method = `${surface}.${name}`;
    // It would take the descriptors above away; descriptor.test.ts is about it.
    const first =
      method === 'descriptor.close'
        ? descriptors.filter((fd) => !Object.values(own).includes(fd as number))
        : descriptors;
    const anyhow = method === 'passing.listen' ? fc.oneof(insideFolder, sizes, views) : values;
    const head = WITHOUT_DESCRIPTOR.has(method) ? anyhow : first;
    const rest = fc.array(values, { maxLength: 4 });
    let count = 0;
    await fc.assert(
      fc.asyncProperty(fc.option(head, { nil: undefined, freq: 30 }), rest, async (fd, others) => {
        count++;
        let result: unknown;
        try {
          result = await call(fd, ...others);
        } catch (error) {
          checkThrown(error, method);
          return;
        }
        undo(method, result);
      }),
      { numRuns: RUNS },
    );
    calls[method] = count;
  }
console.log(JSON.stringify(calls));
