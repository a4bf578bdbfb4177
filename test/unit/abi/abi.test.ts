import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { laterKernels } from './later-kernels.js';
import { layouts } from './layouts.js';
import { SystemHeaders } from './system-headers.js';
import { withoutHeader } from './without-header.js';

/** Modules of lib/abi whose exports are functions, not numbers. */
const functions = new Set(['bit.js', 'feature-names.js']);

const abi = new URL('../../../lib/abi/', import.meta.url);

/** Every constant that lib/abi exports, found in the directory, so that a new file cannot be forgotten. */
async function constants(): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const file of readdirSync(abi)) {
    if (!file.endsWith('.js') || functions.has(file)) continue;
    const module: Record<string, unknown> = await import(new URL(file, abi).href);
    for (const [name, value] of Object.entries(module)) {
      assert.ok(typeof value === 'number', `${name} of ${file} is no number`);
      assert.ok(!found.has(name), `${name} is exported by ${file} and by another file`);
      found.set(name, value);
    }
  }
  return found;
}

function older(version: readonly [number, number], since: readonly [number, number]): boolean {
  return version[0] < since[0] || (version[0] === since[0] && version[1] < since[1]);
}

describe('abi: the numbers of the kernel', function () {
  this.timeout(60_000);

  const headers = new SystemHeaders();
  let exported: Map<string, number>;
  let version: readonly [number, number];
  /** Of each export that has a counterpart in C: the expression. */
  let expressions: Map<string, string>;
  /** The part of `expressions` that this system's headers have. */
  let present: Map<string, string>;

  before(async () => {
    exported = await constants();
    version = await headers.version();
    expressions = new Map(
      [...exported.keys()]
        .filter((name) => !withoutHeader.has(name))
        .map((name) => [name, layouts.get(name) ?? name]),
    );
    // A name that is no macro may be an enumerator: only the compiler can tell. These few are tried one by
    // one, the rest together.
    const macros = headers.macros();
    const certain = new Map([...expressions].filter(([name]) => macros.has(name) || layouts.has(name)));
    const doubtful = [...expressions].filter(([name]) => !certain.has(name));
    const found = await Promise.all([
      headers.available(certain),
      ...doubtful.map((entry) => headers.available(new Map([entry]))),
    ]);
    present = new Map(found.flatMap((part) => [...part]));
  });

  after(() => headers.dispose());

  it('every value fits an unsigned 32-bit field, or is the -1 that means no descriptor', () => {
    assert.ok(exported.size > 0);
    for (const [name, value] of exported) {
      assert.match(name, /^[A-Z][A-Z0-9_]*$/);
      if (name === 'VHOST_FILE_UNBIND') continue;
      assert.ok(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff, `${name} is ${value}`);
    }
  });

  it('equals what the C compiler reads in the headers of this system', async function () {
    const values = await headers.evaluate(present);
    const differences = [...present.keys()]
      .filter((name) => values.get(name) !== exported.get(name))
      .map((name) => `${name} is ${exported.get(name)}, in C ${values.get(name)}`);
    assert.deepEqual(differences, []);
    assert.equal(values.size, present.size);
    this.test!.title += ` (${values.size} of ${exported.size}, headers of Linux ${version.join('.')})`;
  });

  it('lacks a counterpart in these headers only where a later kernel introduced it', function () {
    const absent = [...expressions.keys()].filter((name) => !present.has(name));
    const unexplained = absent.filter((name) => {
      const known = laterKernels.get(name);
      return !known || !older(version, known.since);
    });
    assert.deepEqual(unexplained, []);
    this.test!.title += absent
      .map(
        (name) =>
          `\n        not in this system's headers: ${name} (${laterKernels.get(name)!.since.join('.')})`,
      )
      .join('');
  });

  it('equals, where a later kernel introduced it, the value built from what every header has', async () => {
    const values = await headers.evaluate(
      new Map([...laterKernels].map(([name, { expression }]) => [name, expression])),
    );
    for (const [name, value] of values) assert.equal(exported.get(name), value, name);
    assert.equal(values.size, laterKernels.size);
  });

  it('equals what native/ gives to the kernel where a header lacks it', async function () {
    const names = ['vhost_abi.h', 'linux_abi.h'];
    const paths = names.map((name) => fileURLToPath(new URL(`../../../../native/${name}`, import.meta.url)));
    const native = new SystemHeaders(paths);
    try {
      const defined = paths.flatMap((path) =>
        [...readFileSync(path, 'utf8').matchAll(/^#define ((?:VHOST|PACKET)_\w+) /gm)].map(
          ([, name]) => name!,
        ),
      );
      const sizes = ['VHOST_WORKER_STATE', 'VHOST_VRING_WORKER', 'VHOST_FEATURES_ARRAY'].flatMap((prefix) =>
        [...layouts].filter(([name]) => name.startsWith(`${prefix}_`)),
      );
      const asked = new Map([...defined.map((name) => [name, name] as const), ...sizes]);
      const values = await native.evaluate(asked);
      const differences = [...asked.keys()].filter((name) => values.get(name) !== exported.get(name));
      assert.deepEqual(differences, []);
      assert.ok(defined.length >= 11, `${defined.length} names`);
      const own = defined.filter((name) => !present.has(name));
      this.test!.title += ` (${defined.length} names, ${own.length} of them not in this system's headers)`;
    } finally {
      native.dispose();
    }
  });

  it('equals the source that it names where no header has it', () => {
    for (const [name, { value, source }] of withoutHeader)
      assert.equal(exported.get(name), value, `${name} (${source})`);
  });

  it('has tables for this test that name nothing that is not exported', () => {
    const known = [...layouts.keys(), ...laterKernels.keys(), ...withoutHeader.keys()];
    assert.deepEqual(
      known.filter((name) => !exported.has(name)),
      [],
    );
  });

  describe('the comparison itself', () => {
    it('finds an enumerator that is no macro', async () => {
      const enumerator = new Map([['TPACKET_V2', 'TPACKET_V2']]);
      assert.equal(headers.macros().has('TPACKET_V2'), false);
      assert.deepEqual(await headers.available(enumerator), enumerator);
      assert.equal((await headers.evaluate(enumerator)).get('TPACKET_V2'), 1);
    });

    it('finds the one name among many that the headers lack', async () => {
      const asked = new Map(
        ['VHOST_VIRTIO', 'NO_SUCH_NAME', 'ETH_ALEN', 'IFF_UP'].map((name) => [name, name]),
      );
      assert.deepEqual([...(await headers.available(asked)).keys()], ['VHOST_VIRTIO', 'ETH_ALEN', 'IFF_UP']);
    });

    it('reads numbers above 2^31 and below zero as C does', async () => {
      const values = await headers.evaluate(
        new Map([
          ['request', 'VHOST_GET_FEATURES'],
          ['none', 'VHOST_FILE_UNBIND'],
        ]),
      );
      assert.deepEqual([...values.values()], [0x8008af00, -1]);
    });
  });
});
