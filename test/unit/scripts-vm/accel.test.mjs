import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseAccel } from '../../../scripts/vm/accel.mjs';

/** What a QEMU of the tests does, in the words of JavaScript: `socket` is where the VM's first process speaks. */
const STARTS = `require('node:net').connect(socket).write('ready 6.12.1\\n'); setInterval(() => {}, 1000);`;
const HANGS = 'setInterval(() => {}, 1000);';
const DIES = `process.stderr.write('kvm: assertion failed\\n'); process.exit(3);`;

describe('vm accel', () => {
  /** @type {string} */
  let folder;
  /** @type {string[]} */
  let said;
  const { XDG_CACHE_HOME: cache } = process.env;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vm-accel-'));
    process.env.XDG_CACHE_HOME = folder;
    said = [];
    await writeFile(join(folder, 'kvm'), '');
    await writeFile(join(folder, 'initrd'), '');
  });
  afterEach(async () => {
    if (cache === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = cache;
    await rm(folder, { recursive: true });
  });

  /** Lets QEMU behave so, and counts how often it was started. @param {string} behaviour @param {string} [version] */
  const qemuThat = async (behaviour, version = '7.2') => {
    await writeFile(
      join(folder, 'qemu'),
      `#!${process.execPath}
      if (process.argv[2] === '--version') { console.log('${version}'); process.exit(); }
      require('node:fs').appendFileSync('${folder}/starts', '.');
      const socket = /id=control,path=([^,]+)/.exec(process.argv.join(' ').match(/socket,id=control\\S+/)[0])[1];
      ${behaviour}`,
      { mode: 0o755 },
    );
  };
  const starts = async () => (await readFile(join(folder, 'starts'), 'utf8').catch(() => '')).length;
  /** @param {'auto' | 'kvm' | 'tcg'} [wanted] @param {Partial<import('../../../scripts/vm/accel.mjs').Proof>} [proof] */
  const choose = (wanted = 'auto', proof = {}) =>
    chooseAccel(
      wanted,
      {
        kernel: { version: '6.12.1', image: '/k/vmlinuz', tree: '/k/modules' },
        initrd: join(folder, 'initrd'),
        qemu: join(folder, 'qemu'),
        say: (message) => void said.push(message),
      },
      folder,
      { device: join(folder, 'kvm'), patience: 60_000, ...proof },
    );

  it('is KVM once a VM has started with it, which is remembered', async () => {
    await qemuThat(STARTS);
    assert.equal(await choose(), 'kvm');
    assert.equal(await choose(), 'kvm');
    assert.equal(await starts(), 1);
    assert.deepEqual(said, ['trying KVM']);
  });

  it('is emulation where QEMU dies of KVM, which is told with the reason and remembered', async () => {
    await qemuThat(DIES);
    assert.equal(await choose(), 'tcg');
    assert.equal(await choose(), 'tcg');
    assert.equal(await starts(), 1);
    assert.match(said[1] ?? '', /QEMU ended: exit status 3; kvm: assertion failed/);
  });

  it('is emulation where the VM does not start in time, for a while: the machine may have been busy', async () => {
    await qemuThat(HANGS);
    assert.equal(await choose('auto', { patience: 10 }), 'tcg');
    assert.match(said[1] ?? '', /did not start within 0\.01 s/);
    await qemuThat(STARTS);
    assert.equal(await choose(), 'tcg');
    const file = join(folder, 'vhost-net', 'accel.json');
    const verdicts = JSON.parse(await readFile(file, 'utf8'));
    for (const verdict of Object.values(verdicts)) verdict.until = Date.now() - 1;
    await writeFile(file, JSON.stringify(verdicts));
    assert.equal(await choose(), 'kvm');
  });

  it('is proved anew for another QEMU', async () => {
    await qemuThat(DIES);
    assert.equal(await choose(), 'tcg');
    await qemuThat(STARTS, '9.0');
    assert.equal(await choose(), 'kvm');
  });

  it('is what was asked for, where it can be', async () => {
    assert.equal(await choose('tcg'), 'tcg');
    assert.equal(await choose('kvm'), 'kvm');
    const none = { device: join(folder, 'none') };
    assert.equal(await choose('auto', none), 'tcg');
    await assert.rejects(choose('kvm', none), { code: 'ERR_VM_KVM', message: /usermod -aG kvm/ });
    assert.equal(await starts(), 0);
  });
});
