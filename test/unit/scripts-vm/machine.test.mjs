import assert from 'node:assert/strict';
import { lossError } from '../../../scripts/vm/machine.mjs';
import { qemuArguments } from '../../../scripts/vm/qemu.mjs';

const MACHINE = {
  kernel: { version: '6.12', image: '/k/vmlinuz', tree: '/k/modules' },
  initrd: '/run/initrd',
  accel: /** @type {const} */ ('tcg'),
  cpus: 2,
  memory: 4096,
  console: '/tmp/a,b/console',
  shares: { host: '/s/host.sock' },
  ports: { control: '/s/control.sock', terminal: '/s/terminal.sock' },
};

describe('vm machine', () => {
  it('has no way out: no network, no disk, no display, no monitor', () => {
    const args = qemuArguments(MACHINE);
    for (const needed of ['-nodefaults', '-no-user-config', '-no-reboot', '-display'])
      assert(args.includes(needed), needed);
    for (const banned of ['-netdev', '-nic', '-net', '-drive', '-blockdev', '-monitor', '-qmp'])
      assert(!args.includes(banned), banned);
    assert(!args.some((arg) => /virtio-net|virtio-blk|e1000/.test(arg)));
  });

  it('shares its memory with the server of files', () => {
    const args = qemuArguments(MACHINE);
    assert(args.includes('memory-backend-memfd,id=memory,size=4096M,share=on'));
    assert(args.includes('vhost-user-fs-pci,chardev=host,tag=host'));
  });

  it('takes a path with a comma', () => {
    assert(qemuArguments(MACHINE).includes('file,id=console,path=/tmp/a,,b/console'));
  });

  it('emulates its CPUs in turns unless told otherwise', () => {
    const accel = (/** @type {Partial<import('../../../scripts/vm/qemu.mjs').Machine>} */ more) => {
      const args = qemuArguments({ ...MACHINE, ...more });
      return args[args.indexOf('-accel') + 1];
    };
    assert.equal(accel({}), 'tcg,thread=single');
    assert.equal(accel({ parallel: true }), 'tcg,thread=multi');
    assert.equal(accel({ parallel: true, accel: 'kvm' }), 'kvm');
  });

  it('passes parameters to the kernel', () => {
    const args = qemuArguments({ ...MACHINE, parameters: ['hugepages=4'] });
    assert.match(args[args.indexOf('-append') + 1] ?? '', / hugepages=4$/);
  });
});

describe('vm loss', () => {
  it('names the part that ended and shows the end of the console', () => {
    const error = lossError('virtiofsd', 'killed by SIGKILL', '', 'line 1\r\nline 2\r\n');
    assert.equal(error.code, 'ERR_VM_DIED');
    assert.match(error.message, /virtiofsd ended under the VM \(killed by SIGKILL\)/);
    assert(error.message.endsWith('line 1\nline 2'));
  });

  it('names a panic, and shows what led to it rather than the trace', () => {
    const error = lossError(
      'QEMU',
      'exit status 0',
      '',
      'oh no\n[1.0] Kernel panic - not syncing: out of luck\nCall Trace:\n',
    );
    assert.equal(error.code, 'ERR_VM_PANIC');
    assert.match(error.message, /panicked: out of luck/);
    assert.match(error.message, /oh no/);
    assert.doesNotMatch(error.message, /Call Trace/);
  });
});
