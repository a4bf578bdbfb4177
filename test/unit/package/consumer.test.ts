import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const compiler = fileURLToPath(import.meta.resolve('typescript/bin/tsc'));

/** What a program that uses the package writes, right and wrong; the compiler must object to just the wrong. */
const program = `
import {
  FramePool, FrameStatus, GuestMemory, HEADER_SIZE, KernelVhost, Nic, VhostError, checkHeader, openBackend, openTap,
  type Backend, type Kernel, type NicOptions, type NicStats, type Submission, type Vhost,
} from 'vhost-net';

export async function friendly(options: NicOptions): Promise<NicStats> {
  await using nic = await Nic.open(options);
  nic.on('error', (error: Error) => console.error(error.message));
  await nic.send(new Uint8Array(60), { signal: AbortSignal.timeout(1000), header: { gsoType: 'none' } });
  const submission: Submission = nic.submit([Buffer.alloc(60)]);
  const { completed, abandoned, withdrawn } = await submission.completed;
  const status: number = submission.status[0] ?? FrameStatus.withdrawn;
  for await (using batch of nic.receive({ limit: 8 })) {
    for (const frame of batch) console.log(frame.byteLength, status, completed + abandoned + withdrawn);
    break;
  }
  return nic.stats();
}

export function ring(nic: Nic): number {
  const buffer: number = nic.pool.lease();
  nic.pool.length[buffer] = HEADER_SIZE + 60;
  checkHeader(nic.pool.bytes, nic.pool.offset(buffer), HEADER_SIZE + 60);
  return nic.tx.post(buffer);
}

export function raw(kernel: Kernel): Vhost {
  const vhost = KernelVhost.open({ kernel, path: '/dev/vhost-net' });
  const features: bigint = vhost.getFeatures();
  vhost.setFeatures(features);
  const memory = new GuestMemory(kernel);
  memory.addRegion({ size: 4096 });
  new FramePool(memory, 2048, 1);
  const backend: Backend = openTap({ name: 'tap0' }, kernel);
  openBackend({ tap: 'tap0' }).close();
  if (new VhostError('ERR_VHOST_CLOSED', '').code === 'ERR_VHOST_CLOSED') backend.close();
  return vhost;
}

export async function wrong(nic: Nic, vhost: KernelVhost): Promise<void> {
  // @ts-expect-error: no such option
  await Nic.open({ tapp: 'tap0' });
  // @ts-expect-error: frames are bytes
  await nic.send('text');
  // @ts-expect-error: 64 bits are a bigint
  vhost.setFeatures(1);
  // @ts-expect-error: not the program's to write
  nic.tx = nic.tx;
  // @ts-expect-error: no such code
  new VhostError('ERR_NO_SUCH', '');
  // @ts-expect-error: opened, not constructed
  new Nic({});
  // @ts-expect-error: no such type of segment offload
  await nic.send(new Uint8Array(60), { header: { gsoType: 'tcp' } });
}
`;

describe('a program that uses the package', function () {
  this.timeout(120_000);

  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'vhost-net-consumer-'));
    mkdirSync(join(folder, 'node_modules', '@types'), { recursive: true });
    symlinkSync(root, join(folder, 'node_modules', 'vhost-net'), 'dir');
    const types = join(fileURLToPath(import.meta.resolve('@types/node/package.json')), '..');
    symlinkSync(types, join(folder, 'node_modules', '@types', 'node'), 'dir');
  });
  after(() => rmSync(folder, { recursive: true }));

  it('compiles as ES module and as CommonJS with nodenext', () => {
    const names = ['program.mts', 'program.cts'];
    for (const name of names) writeFileSync(join(folder, name), program);
    const { status, stdout } = compile(folder, 'nodenext', ['--skipLibCheck', 'false', ...names]);
    assert.equal(status, 0, stdout);
  });

  it('compiles as ES module with node16, where only nodenext may require one', () => {
    for (const name of ['program.mts', 'requires.cts']) writeFileSync(join(folder, name), program);
    const { status, stdout } = compile(folder, 'node16', ['--skipLibCheck', 'program.mts', 'requires.cts']);
    assert.notEqual(status, 0);
    const errors = stdout.split('\n').filter((line) => /error TS/.test(line));
    assert.equal(errors.length, 1, stdout);
    assert.match(errors[0]!, /^requires\.cts.*TS1479/, 'the compiler says that it is an ES module');
  });

  it('may import the package', () => {
    const text = `import('vhost-net').then((all) => console.log(typeof all.Nic.open, typeof all.checkHeader));`;
    assert.equal(run(folder, ['--input-type=module', '--eval', text]), 'function function\n');
  });

  it('may require the package, and gets the same', () => {
    writeFileSync(
      join(folder, 'both.cjs'),
      `const required = require('vhost-net');
      import('vhost-net').then((imported) => console.log(required.Nic === imported.Nic, typeof required.Nic));`,
    );
    assert.equal(run(folder, ['--no-warnings', 'both.cjs']), 'true function\n');
  });

  it('loads the addon only when it asks something of the kernel', () => {
    const text = `import { hostKernel } from 'vhost-net';
      const loaded = () => process.report.getReport().sharedObjects.some((path) => path.endsWith('.node'));
      console.log(loaded(), typeof hostKernel);`;
    assert.equal(run(folder, ['--input-type=module', '--eval', text]), 'false function\n');
  });

  it('reaches nothing behind the package', () => {
    for (const path of ['vhost-net/dist/lib/net/nic.js', 'vhost-net/lib/index.ts']) {
      const text = `import('${path}').catch((error) => console.log(error.code));`;
      assert.equal(run(folder, ['--input-type=module', '--eval', text]), 'ERR_PACKAGE_PATH_NOT_EXPORTED\n');
    }
    const text = `import manifest from 'vhost-net/package.json' with { type: 'json' }; console.log(manifest.name);`;
    assert.equal(run(folder, ['--no-warnings', '--input-type=module', '--eval', text]), 'vhost-net\n');
  });
});

function compile(
  folder: string,
  resolution: string,
  args: readonly string[],
): { status: number | null; stdout: string } {
  const options = [
    ...['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--target', 'es2022'],
    ...['--lib', 'es2023,esnext.disposable', '--types', 'node'],
    ...['--module', resolution, '--moduleResolution', resolution],
  ];
  return spawnSync(process.execPath, [compiler, ...options, ...args], { cwd: folder, encoding: 'utf8' });
}

function run(folder: string, args: readonly string[]): string {
  return execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
}
