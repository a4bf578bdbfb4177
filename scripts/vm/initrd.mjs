import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder, makeOnce } from './cache.mjs';
import { cpio, file, folder, program } from './cpio.mjs';
import { VmError } from './errors.mjs';
import { collectModules } from './modules.mjs';
import { unpackPackage } from './packages.mjs';

/** @typedef {import('./packages.mjs').Say} Say */

/** What makes the device, and what the first process itself stands on. Loaded at every start, in this order. */
const LOADED = [
  'virtio_pci',
  'virtio_console',
  'virtiofs',
  'overlay',
  'virtio_rng',
  'tun',
  'tap',
  'vhost_net',
  'af_packet',
  'pktgen',
];

/** What the kernel asks for by itself, the moment a program uses it. */
const ON_DEMAND = [
  '8021q',
  'af_packet_diag',
  'act_bpf',
  'act_gact',
  'act_mirred',
  'act_pedit',
  'act_police',
  'act_skbedit',
  'bonding',
  'bridge',
  'cls_basic',
  'cls_bpf',
  'cls_flower',
  'cls_fw',
  'cls_matchall',
  'cls_u32',
  'dummy',
  'ifb',
  'ip_tables',
  'iptable_filter',
  'iptable_nat',
  'ipvlan',
  'ipvtap',
  'macvlan',
  'macvtap',
  'nf_conntrack',
  'nf_nat',
  'nf_tables',
  'nft_chain_nat',
  'nft_compat',
  'nft_ct',
  'nft_masq',
  'nft_nat',
  'nlmon',
  'sch_cake',
  'sch_fq',
  'sch_htb',
  'sch_ingress',
  'sch_multiq',
  'sch_netem',
  'sch_pie',
  'sch_prio',
  'sch_sfq',
  'sch_tbf',
  'team',
  'veth',
  'vhost_vdpa',
  'vhost_vsock',
  'virtio_net',
  'vrf',
  'vsock',
  'vsock_loopback',
  'vxlan',
  'xt_MASQUERADE',
];

// An interface appears when a program makes it, not by itself.
const MODULE_OPTIONS = 'options dummy numdummies=0\noptions ifb numifbs=0\n';

// The kernel starts it without any standard stream, and busybox then loads nothing.
const MODPROBE = '#!/bin/busybox sh\nexec /bin/busybox modprobe "$@" </dev/null >/dev/null 2>&1\n';

const INIT = fileURLToPath(new URL('init.sh', import.meta.url));

/**
 * @param {Say} say
 * @returns {Promise<string>} a shell and its tools in one program that needs nothing else
 */
export async function findBusybox(say) {
  const target = join(cacheFolder(), 'busybox-static');
  await mkdir(cacheFolder(), { recursive: true });
  await unpackPackage('busybox-static', target, say);
  for (const place of ['bin/busybox', 'usr/bin/busybox']) {
    const path = join(target, place);
    if (
      await readFile(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  throw new VmError('ERR_VM_PACKAGE', `busybox-static brought no busybox; try: rm -r ${target}`);
}

/**
 * Builds, once per kernel, the file system that the kernel starts from: busybox, init.sh and modules. It makes every
 * kernel boot alike, whether or not virtio is built in, and gives the first process a ground of its own: it can still
 * speak when the shared root is gone.
 *
 * @param {import('./kernel.mjs').Kernel} kernel
 * @param {Say} say
 * @returns {Promise<string>} the file
 */
export async function buildInitrd(kernel, say) {
  const [busybox, init] = await Promise.all([findBusybox(say), readFile(INIT)]);
  const recipe = createHash('sha256')
    .update(init)
    .update(JSON.stringify([LOADED, ON_DEMAND, MODULE_OPTIONS, MODPROBE]))
    .digest('hex');
  const kept = join(cacheFolder(), 'initrd');
  await mkdir(kept, { recursive: true });
  const path = join(kept, `${kernel.version}-${recipe.slice(0, 16)}.cpio`);
  await makeOnce(path, async (draft) => {
    say(`preparing the modules of ${kernel.version}`);
    const { modules, missing } = await collectModules(kernel.tree, [...LOADED, ...ON_DEMAND], busybox);
    const needed = missing.filter((name) =>
      ['tun', 'vhost_net', 'virtiofs', 'overlay', 'virtio_console'].includes(name),
    );
    if (needed.length > 0) {
      throw new VmError(
        'ERR_VM_KERNEL',
        `the kernel ${kernel.version} lacks ${needed.join(', ')}; choose another: --kernel 6.12`,
      );
    }
    const home = `lib/modules/${kernel.version}`;
    const lines = (/** @type {string[]} */ list) => list.map((line) => `${line}\n`).join('');
    await writeFile(
      draft,
      cpio([
        ...[
          'bin',
          'sbin',
          'dev',
          'etc',
          'proc',
          'sys',
          'lower',
          'over',
          'writable',
          'host',
          'lib',
          'lib/modules',
          home,
        ].map(folder),
        program('bin/busybox', await readFile(busybox)),
        program('sbin/modprobe', MODPROBE),
        program('init', init),
        file('etc/modprobe.conf', MODULE_OPTIONS),
        ...modules.map(({ name, data }) => file(`${home}/${name}.ko`, data)),
        file(
          `${home}/modules.dep`,
          lines(
            modules.map(
              ({ name, needs }) =>
                `${name}.ko:${closure(needs, modules)
                  .map((need) => ` ${need}.ko`)
                  .join('')}`,
            ),
          ),
        ),
        file(
          `${home}/modules.alias`,
          lines(modules.flatMap(({ name, aliases }) => aliases.map((alias) => `alias ${alias} ${name}`))),
        ),
        file('loaded', lines(LOADED.filter((name) => modules.some((module) => module.name === name)))),
      ]),
    );
  });
  return path;
}

/**
 * modules.dep names all that a module needs, directly or not, the last to load first.
 *
 * @param {string[]} needs
 * @param {import('./modules.mjs').Module[]} modules each after what it needs
 * @returns {string[]}
 */
export function closure(needs, modules) {
  const all = new Set(needs);
  for (const { name, needs: further } of modules.toReversed()) {
    if (all.has(name)) for (const need of further) all.add(need);
  }
  return modules
    .map(({ name }) => name)
    .filter((name) => all.has(name))
    .toReversed();
}
