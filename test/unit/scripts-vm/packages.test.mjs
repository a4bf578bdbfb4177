import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signalOf, statusOfSignal } from '../../../scripts/vm/conversation.mjs';
import { hasNetAdmin } from '../../../scripts/vm/host.mjs';
import { findKernel, imageVersion, kernelPackages } from '../../../scripts/vm/kernel.mjs';
import { needPrograms, packageOf } from '../../../scripts/vm/packages.mjs';
import { completePath, findProgram } from '../../../scripts/vm/programs.mjs';

const silent = () => {};

describe('vm packages', () => {
  it('know which one brings a program', () => {
    assert.equal(packageOf('ping'), 'iputils-ping');
    assert.equal(packageOf('tc'), 'iproute2');
    assert.equal(packageOf('iperf3'), 'iperf3');
    assert.equal(packageOf('qemu-system-x86_64'), 'qemu-system-x86');
  });

  it('are left alone when the program is there', async () => {
    assert.match((await findProgram('sh')) ?? '', /\/sh$/);
    assert.equal(await findProgram('no-such-program-at-all'), undefined);
    await needPrograms(['sh', 'node'], () => assert.fail('nothing to install'));
  });

  it('search the folders of the system as well', () => {
    assert.deepEqual(completePath('/x:/usr/bin').split(':').slice(0, 2), ['/x', '/usr/bin']);
    assert(completePath(undefined).split(':').includes('/usr/sbin'));
    assert.equal(
      completePath('/sbin')
        .split(':')
        .filter((folder) => folder === '/sbin').length,
      1,
    );
  });
});

describe('vm kernel', () => {
  it('of a series has packages to look in, the smallest first', () => {
    assert.equal(kernelPackages('6.12')[0], 'linux-image-6.12-cloud-amd64');
  });

  it('at a path must be a kernel', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vm-kernel-'));
    try {
      await assert.rejects(findKernel(join(folder, 'none'), silent), {
        code: 'ERR_VM_KERNEL',
        message: /there is no kernel/,
      });
      await assert.rejects(findKernel(folder, silent), {
        code: 'ERR_VM_KERNEL',
        message: /holds no boot\/vmlinuz/,
      });
      const text = join(folder, 'text');
      await writeFile(text, 'x'.repeat(100));
      await assert.rejects(findKernel(text, silent), {
        code: 'ERR_VM_KERNEL',
        message: /no bootable x86 kernel/,
      });
      const image = Buffer.alloc(4096);
      image.write('HdrS', 0x202);
      image.writeUInt16LE(0x300, 0x20e);
      image.write('6.9.9-test (someone@somewhere) #1', 0x500);
      await writeFile(text, image);
      assert.equal(await imageVersion(text), '6.9.9-test');
      await assert.rejects(findKernel(text, silent), {
        code: 'ERR_VM_KERNEL',
        message: /lib\/modules\/6\.9\.9-test/,
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('vm host', () => {
  it('reads the capability that a tap needs', () => {
    assert.equal(hasNetAdmin('Name:\tx\nCapEff:\t000001ffffffffff\n'), true);
    assert.equal(hasNetAdmin('CapEff:\t0000000000001000\n'), true);
    assert.equal(hasNetAdmin('CapEff:\t0000000000000fff\n'), false);
    assert.equal(hasNetAdmin(''), false);
  });
});

describe('vm interruption', () => {
  it('is the signal that the reason names', () => {
    assert.equal(signalOf('SIGINT'), 'SIGINT');
    assert.equal(signalOf('toString'), 'SIGTERM');
    assert.equal(signalOf(new DOMException('aborted', 'AbortError')), 'SIGTERM');
    assert.equal(statusOfSignal('SIGINT'), 130);
  });
});
