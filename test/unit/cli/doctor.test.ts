import assert from 'node:assert/strict';
import { addonCheck } from '../../../lib/cli/doctor/addon-check.js';
import type { Check, Finding } from '../../../lib/cli/doctor/check.js';
import * as device from '../../../lib/cli/doctor/device-checks.js';
import { diagnose } from '../../../lib/cli/doctor/diagnosis.js';
import { hugePagesCheck, memlockCheck } from '../../../lib/cli/doctor/memory-checks.js';
import { macvtapCheck, netAdminCheck, tunCheck } from '../../../lib/cli/doctor/network-checks.js';
import { report } from '../../../lib/cli/doctor/report.js';
import { kvmCheck, qemuCheck } from '../../../lib/cli/doctor/vm-checks.js';
import { VhostError } from '../../../lib/errors/errors.js';
import { answering, type Calls, type FakeFacts, fakeMachine, refused } from './fake-machine.js';

const VHOST = '/dev/vhost-net';
const TUN = '/dev/net/tun';
const ZEROCOPY = '/sys/module/vhost_net/parameters/experimental_zcopytx';
const DEPENDENCIES = '/lib/modules/6.12.0/modules.dep';
const BUILTIN = '/lib/modules/6.12.0/modules.builtin';
const DOCKER = { '/.dockerenv': '' };
const ANEW = 'run --device /dev/vhost-net --device /dev/net/tun --cap-add NET_ADMIN IMAGE';

const node = { uid: 0, gid: 0, mode: 0o600 };
const present = { devices: { [VHOST]: node } };

type Case = [what: string, facts: FakeFacts, status: Finding['status'], detail: RegExp, mend?: string];

function cases(check: Check, list: readonly Case[]): void {
  describe(`doctor: ${check.name}`, () => {
    for (const [what, facts, status, detail, mend] of list)
      it(`is ${status} with ${what}`, () => {
        const found = check.find(fakeMachine(facts));
        assert.equal(found.status, status);
        assert.match(found.detail, detail);
        assert.equal(found.mend, mend);
      });
  });
}

const IN_VM = 'npm run vm -- COMMAND, in a checkout of vhost-net';
const REBUILD = 'cd /p/vhost-net && npx node-gyp rebuild';
cases(addonCheck, [
  ['an addon', {}, 'ok', /loaded/],
  ['no file', { kernel: new VhostError('ERR_VHOST_ADDON', 'x') }, 'missing', /not built/, REBUILD],
  [
    'a file that does not load',
    { kernel: new VhostError('ERR_VHOST_ADDON', 'x', { cause: new Error('GLIBC_2.38 not found') }) },
    'blocked',
    /does not load: GLIBC_2.38 not found/,
    REBUILD,
  ],
]);

cases(device.moduleCheck, [
  ['its parameter to be seen', { files: { [ZEROCOPY]: '0\n' } }, 'ok', /^loaded$/],
  ['its name in the list', { files: { '/proc/modules': 'tun 1\nvhost_net 36864 0 -\n' } }, 'ok', /^loaded$/],
  ['a kernel that has it', { files: { [BUILTIN]: 'kernel/drivers/vhost/vhost_net.ko\n' } }, 'ok', /built in/],
  [
    'a file to load',
    { files: { [DEPENDENCIES]: 'kernel/drivers/vhost/vhost_net.ko.xz: kernel/drivers/vhost/vhost.ko.xz\n' } },
    'missing',
    /not loaded/,
    'sudo modprobe vhost_net',
  ],
  [
    'a file to load, for root',
    { isRoot: true, files: { [DEPENDENCIES]: 'vhost-net.ko:\n' } },
    'missing',
    /not loaded/,
    'modprobe vhost_net',
  ],
  [
    'another module that needs a longer name',
    { files: { [DEPENDENCIES]: 'kernel/other_vhost_net.ko: kernel/vhost_net.kox\n' } },
    'missing',
    /6.12.0 brings none/,
    IN_VM,
  ],
]);

cases(device.nodeCheck, [
  ['a node', present, 'ok', /vhost-net/],
  [
    'a module alone',
    { files: { [ZEROCOPY]: '0' } },
    'missing',
    /not there/,
    'sudo mknod -m 660 /dev/vhost-net c 10 238',
  ],
  [
    'a module alone, in a container',
    { files: { [ZEROCOPY]: '0', ...DOCKER } },
    'missing',
    /not there/,
    `docker ${ANEW}`,
  ],
  [
    'a module to load',
    { files: { [DEPENDENCIES]: 'vhost_net.ko:' } },
    'missing',
    /not there/,
    'sudo modprobe vhost_net',
  ],
  [
    'nothing, in a container',
    { files: { '/run/.containerenv': '' } },
    'missing',
    /not there/,
    `sudo modprobe vhost_net && podman ${ANEW}`,
  ],
]);

const GROUPS = 'root:x:0:\nkvm:x:104:alice\n';
const refusing = (code: string): FakeFacts => ({ ...present, refusals: { [VHOST]: code } });
cases(device.permissionCheck, [
  ['a device that opens', present, 'ok', /opens/],
  ['no node', {}, 'blocked', /not there/, IN_VM],
  [
    'no node, and a module to load',
    { files: { [DEPENDENCIES]: 'vhost_net.ko:' } },
    'blocked',
    /not there/,
    'sudo modprobe vhost_net',
  ],
  [
    'a group that may',
    {
      ...refusing('EACCES'),
      devices: { [VHOST]: { uid: 0, gid: 104, mode: 0o660 } },
      files: { '/etc/group': GROUPS },
    },
    'blocked',
    /belongs to others/,
    'sudo usermod -aG kvm $USER (then log in anew)',
  ],
  ['root alone', refusing('EACCES'), 'blocked', /others/, 'sudo setfacl -m u:$USER:rw /dev/vhost-net'],
  [
    'a container that forbids it',
    { ...refusing('EPERM'), files: DOCKER },
    'blocked',
    /forbid/,
    `docker ${ANEW}`,
  ],
  [
    'a service that forbids it',
    refusing('EPERM'),
    'blocked',
    /forbid/,
    "sudo systemctl set-property UNIT 'DeviceAllow=/dev/vhost-net rw'",
  ],
  ['a node without its module', refusing('ENODEV'), 'blocked', /its module is not/, IN_VM],
  [
    'a node whose module could be loaded',
    { ...refusing('ENODEV'), files: { [DEPENDENCIES]: 'vhost_net.ko:' } },
    'blocked',
    /its module is not/,
    'sudo modprobe vhost_net',
  ],
  [
    'a node of another number',
    { ...refusing('ENXIO'), files: { [ZEROCOPY]: '0' } },
    'blocked',
    /its module is not/,
    'sudo modprobe vhost_net',
  ],
  ['an error nobody foresaw', refusing('EIO'), 'blocked', /open: EIO/, 'sudo dmesg'],
]);

const unloaded = { ...present, kernel: new VhostError('ERR_VHOST_ADDON', 'x') };
const asked = (answers: Parameters<typeof answering>[0]): FakeFacts => ({
  ...present,
  kernel: answering(answers),
});
cases(device.featuresCheck, [
  ['their names', asked({ features: 0x1_1000_8000n }), 'ok', /^VIRTIO_NET_F_MRG_RXBUF .*VIRTIO_F_VERSION_1$/],
  ['too few of them', asked({ features: 0x8000n }), 'blocked', /without VIRTIO_F_VERSION_1/, IN_VM],
  ['no node', {}, 'blocked', /without the device node/, IN_VM],
  ['no addon', unloaded, 'blocked', /without the native addon/, REBUILD],
  [
    'a device that forbids it',
    { ...asked({ open: refused('EACCES') }), refusals: { [VHOST]: 'EACCES' } },
    'blocked',
    /not known: EACCES/,
    'sudo setfacl -m u:$USER:rw /dev/vhost-net',
  ],
  ['a device that does not open', asked({ open: refused('EACCES') }), 'blocked', /not known: EACCES/],
  ['a device that does not answer', asked({ features: refused('EIO') }), 'blocked', /not known: EIO/],
]);
cases(device.workersCheck, [
  ['an answer', asked({}), 'ok', /VHOST_NEW_WORKER/],
  ['an answer that refuses', asked({ worker: refused('EINVAL') }), 'ok', /VHOST_NEW_WORKER/],
  [
    'a device that knows no such request',
    asked({ worker: refused('ENOTTY') }),
    'missing',
    /ENOTTY.*one worker/,
    IN_VM,
  ],
  ['no device', {}, 'blocked', /not known/, IN_VM],
]);
cases(device.busyPollCheck, [
  ['an answer', asked({}), 'ok', /BUSYLOOP/],
  ['a device that knows no such request', asked({ busyPoll: refused('ENOTTY') }), 'missing', /ENOTTY/, IN_VM],
  ['no owner to be had', asked({ owner: refused('ENOMEM') }), 'blocked', /ENOMEM/],
]);

const RELOAD = 'modprobe -r vhost_net && modprobe vhost_net experimental_zcopytx=1';
cases(device.zerocopyCheck, [
  ['the parameter on', { files: { [ZEROCOPY]: '1\n' } }, 'ok', /out of order/],
  ['the parameter off', { files: { [ZEROCOPY]: '0\n' } }, 'missing', /^off/, `sudo sh -c '${RELOAD}'`],
  ['the parameter off, for root', { isRoot: true, files: { [ZEROCOPY]: '0\n' } }, 'missing', /^off/, RELOAD],
  ['no module', {}, 'missing', /not known/, IN_VM],
]);

cases(tunCheck, [
  [
    'a node and its class',
    { devices: { [TUN]: node }, files: { '/sys/class/misc/tun/dev': '10:200' } },
    'ok',
    /tun/,
  ],
  [
    'a node and a module',
    { devices: { [TUN]: node }, files: { [DEPENDENCIES]: 'drivers/net/tun.ko:' } },
    'ok',
    /tun/,
  ],
  ['a node alone', { devices: { [TUN]: node } }, 'missing', /brings no module tun/, IN_VM],
  ['nothing', {}, 'missing', /not there/, IN_VM],
  [
    'a module to load',
    { files: { [DEPENDENCIES]: 'drivers/net/tun.ko:' } },
    'missing',
    /not there/,
    'sudo modprobe tun',
  ],
  [
    'a module alone',
    { files: { '/sys/class/misc/tun/dev': '10:200' } },
    'missing',
    /not there/,
    "sudo sh -c 'mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200'",
  ],
  ['nothing, in a container', { files: DOCKER }, 'missing', /not there/, `docker ${ANEW}`],
  [
    'a node of others',
    { devices: { [TUN]: node }, refusals: { [TUN]: 'EACCES' } },
    'blocked',
    /others/,
    'sudo setfacl -m u:$USER:rw /dev/net/tun',
  ],
  [
    'a service that forbids it',
    {
      devices: { [TUN]: node },
      files: { '/sys/class/misc/tun/dev': '10:200' },
      openRefusals: { [TUN]: 'EPERM' },
    },
    'blocked',
    /forbid/,
    "sudo systemctl set-property UNIT 'DeviceAllow=/dev/net/tun rw'",
  ],
]);

const status = (capabilities: string): FakeFacts => ({
  files: { '/proc/self/status': `Name:\tnode\nCapPrm:\tffffffff\nCapEff:\t${capabilities}\n` },
});
const TUNTAP = 'sudo ip tuntap add dev NAME mode tap user $USER vnet_hdr';
cases(netAdminCheck, [
  ['the capability', status('0000000000001000'), 'ok', /taps/],
  ['all others', status('000001ffffffefff'), 'blocked', /no tap/, TUNTAP],
  ['nothing known', {}, 'blocked', /no tap/, TUNTAP],
  ['none in a container', { files: DOCKER }, 'blocked', /no tap/, `docker ${ANEW}`],
]);

cases(macvtapCheck, [
  ['a file to load', { files: { [DEPENDENCIES]: 'kernel/drivers/net/macvtap.ko.zst:\n' } }, 'ok', /loadable/],
  ['no module', {}, 'missing', /no module macvtap/, IN_VM],
]);

const pages = (total: number, free: number, reserved: number): FakeFacts => ({
  files: {
    '/proc/meminfo': `HugePages_Total: ${total}\nHugePages_Free: ${free}\nHugePages_Rsvd: ${reserved}\nHugepagesize: 2048 kB\n`,
  },
});
const RESERVE = 'sudo sysctl vm.nr_hugepages=64';
cases(hugePagesCheck, [
  ['some free', pages(8, 5, 1), 'ok', /^4 free, of 2 MiB$/],
  ['all promised', pages(8, 2, 2), 'blocked', /in use/, RESERVE],
  ['none', pages(0, 0, 0), 'missing', /none of 2 MiB/, RESERVE],
  ['a kernel without', { files: { '/proc/meminfo': 'MemTotal: 1 kB\n' } }, 'missing', /has none/, IN_VM],
]);

const limits = (limit: string): FakeFacts => ({
  files: { '/proc/self/limits': `Max locked memory         ${limit.padEnd(20)} ${limit} bytes\n` },
});
cases(memlockCheck, [
  ['no limit', limits('unlimited'), 'ok', /without limit$/],
  ['a high limit', limits('67108864'), 'ok', /64.0 MiB/],
  ['a low limit', limits('8388608'), 'blocked', /8.0 MiB/, 'sudo prlimit --memlock=unlimited --pid $$'],
  [
    'a low limit that does not count',
    { files: { ...limits('65536').files, ...status('4000').files } },
    'ok',
    /CAP_IPC_LOCK/,
  ],
  ['nothing known', {}, 'missing', /not known/, 'sudo mount -t proc proc /proc'],
]);

const KVM = '/dev/kvm';
const processor = (flag: string, modules: string): FakeFacts => ({
  files: { '/proc/cpuinfo': `processor\t: 0\nflags\t\t: fpu ${flag} ht\n`, [DEPENDENCIES]: modules },
});
cases(kvmCheck, [
  ['a device', { devices: { [KVM]: node } }, 'ok', /kvm/],
  [
    'a module for a processor of Intel',
    processor('vmx', 'kernel/arch/x86/kvm/kvm-intel.ko.xz:'),
    'missing',
    /slower$/,
    'sudo modprobe kvm_intel',
  ],
  [
    'a module for a processor of AMD',
    processor('svm', 'kernel/arch/x86/kvm/kvm-amd.ko.xz:'),
    'missing',
    /slower$/,
    'sudo modprobe kvm_amd',
  ],
  ['no module', processor('vmx', ''), 'missing', /brings no module kvm_intel here$/],
  ['a processor without', processor('sse', 'kvm-intel.ko:'), 'missing', /this processor offers none/],
  ['none for arm', { arch: 'arm64' }, 'missing', /slower$/],
  [
    'a device of a group',
    {
      devices: { [KVM]: { uid: 0, gid: 104, mode: 0o660 } },
      refusals: { [KVM]: 'EACCES' },
      files: { '/etc/group': GROUPS },
    },
    'blocked',
    /others/,
    'sudo usermod -aG kvm $USER (then log in anew)',
  ],
]);

cases(qemuCheck, [
  ['the program', { programs: { 'qemu-system-x86_64': '/usr/bin/qemu' } }, 'ok', /^\/usr\/bin\/qemu$/],
  ['none', {}, 'missing', /guests/, 'sudo apt-get install qemu-system-x86'],
  ['none for arm', { arch: 'arm64' }, 'missing', /guests/, 'sudo apt-get install qemu-system-arm'],
]);

describe('doctor: the device', () => {
  it('is opened once, closed, and asked for nothing that lasts', () => {
    const calls: Calls = [];
    diagnose(fakeMachine({ ...present, kernel: answering({}, calls) }));
    const asks = ['getFeatures', 'setOwner', 'getVringWorker', 'getVringBusyloopTimeout'];
    assert.deepEqual(calls, ['open', ...asks, 'close']);
  });

  it('is closed where it does not answer', () => {
    const calls: Calls = [];
    diagnose(fakeMachine({ ...present, kernel: answering({ owner: refused('EBUSY') }, calls) }));
    assert.deepEqual(calls, ['open', 'getFeatures', 'setOwner', 'close']);
  });
});

describe('doctor: the diagnosis', () => {
  const ready: FakeFacts = {
    devices: { [VHOST]: node, [TUN]: node },
    files: { [ZEROCOPY]: '0', '/sys/class/misc/tun/dev': '10:200', ...status('1000').files },
  };

  it('is well where only what is optional is missing', () => {
    const diagnosis = diagnose(fakeMachine(ready));
    assert.equal(diagnosis.ready, true);
    assert.deepEqual(
      diagnosis.checks.filter((check) => check.status !== 'ok' && !check.optional),
      [],
    );
    assert.match(report(diagnosis), /\nReady: a Nic can be opened on a tap\.\n$/);
  });

  it('names what blocks', () => {
    const diagnosis = diagnose(fakeMachine({ ...ready, refusals: { [TUN]: 'EACCES' } }));
    assert.equal(diagnosis.ready, false);
    assert.match(report(diagnosis), /\nNot ready: tun\/tap\.\n$/);
  });

  it('is complete on a machine that has nothing, not even the addon', () => {
    const diagnosis = diagnose(fakeMachine({ kernel: new VhostError('ERR_VHOST_ADDON', 'x') }));
    assert.equal(diagnosis.checks.length, 15);
    assert.equal(diagnosis.ready, false);
  });

  it('is printed a line for each check, the mending below it', () => {
    const diagnosis = {
      ready: false,
      kernel: '6.12.0',
      node: 'v20.19.0',
      arch: 'x64',
      checks: [
        { name: 'device node', optional: false, status: 'ok', detail: '/dev/vhost-net' },
        {
          name: 'long',
          optional: false,
          status: 'blocked',
          detail: `${'word '.repeat(20)}end`,
          mend: 'do this',
        },
        { name: 'QEMU', optional: true, status: 'missing', detail: 'for guests' },
      ],
    } as const;
    assert.equal(
      report(diagnosis),
      `Linux 6.12.0 on x64, Node v20.19.0

ok       device node  /dev/vhost-net
blocked  long         word word word word word word word word word word word word word word word word word
                      word word word end
                      → do this
missing  QEMU         for guests (optional)

Not ready: long.
`,
    );
  });
});
