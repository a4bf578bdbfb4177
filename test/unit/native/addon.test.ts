import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostKernel } from '../../../lib/kernel/host.js';
import { resultOf } from './program.js';

interface Loading {
  readonly loadedByImport: boolean;
  readonly error?: { name: string; code: string; message: string; cause?: string };
}

describe('native addon', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'vhost-net-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  async function loadFrom(path: string | undefined): Promise<Loading> {
    return (await resultOf('loads', { arguments: path === undefined ? [] : [path] })) as Loading;
  }

  it('is loaded by the first use, not by the import', async () => {
    assert.deepEqual(await loadFrom(undefined), { loadedByImport: false });
  });

  it('is one kernel for each thread', () => {
    assert.equal(hostKernel(), hostKernel());
  });

  it('tells each attempt, its reason and the command that mends it', async () => {
    const path = join(folder, 'missing.node');
    const { error } = await loadFrom(path);
    assert.equal(error?.name, 'VhostError [ERR_VHOST_ADDON]');
    assert.equal(error.code, 'ERR_VHOST_ADDON');
    assert.equal(error.cause, undefined);
    const lines = error.message.split('\n');
    assert.ok(lines.includes(`  ${path}: no such file`), error.message);
    assert.match(lines.at(-1) ?? '', /^ {2}cd .* && npx node-gyp rebuild$/);
  });

  it('tells why a file that is there could not be loaded', async () => {
    const path = join(folder, 'text.node');
    writeFileSync(path, 'no library');
    const { error } = await loadFrom(path);
    assert.equal(error?.code, 'ERR_VHOST_ADDON');
    assert.match(error.cause ?? '', /text\.node/);
    assert.ok(error.message.includes(`  ${path}: ${error.cause}`), error.message);
  });
});

describe('native files', () => {
  const { files } = hostKernel();

  it('reads what is there, and nothing where there is none or it may not be read', () => {
    assert.match(files.read('/proc/self/status') ?? '', /^Name:/);
    assert.equal(files.read('/proc/self/none'), undefined);
    assert.equal(files.read('/proc'), undefined);
    assert.equal(files.read('a\0b'), undefined);
    assert.throws(() => files.read(5 as never), { code: 'ERR_VHOST_INVALID_ARGUMENT' });
  });

  it('lists a folder, and nothing where there is none', () => {
    assert.ok(files.list('/proc/self').includes('status'));
    assert.deepEqual(files.list('/proc/self/status'), []);
    assert.deepEqual(files.list('/proc/none'), []);
    assert.throws(() => files.list(5 as never), { code: 'ERR_VHOST_INVALID_ARGUMENT' });
  });

  it('tells what a symbolic link says', () => {
    assert.match(files.link('/proc/self/ns/net') ?? '', /^net:\[\d+\]$/);
    assert.equal(files.link('/proc/self/status'), undefined);
    assert.equal(files.link('/proc/none'), undefined);
    assert.throws(() => files.link(5 as never), { code: 'ERR_VHOST_INVALID_ARGUMENT' });
  });
});
