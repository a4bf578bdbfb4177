import { PORTS } from './ports.mjs';

/**
 * @typedef {object} Machine
 * @property {import('./kernel.mjs').Kernel} kernel
 * @property {string} initrd
 * @property {'kvm' | 'tcg'} accel
 * @property {number} cpus
 * @property {boolean} [parallel] emulated CPUs run at the same time
 * @property {number} memory in MiB
 * @property {string} console the file that gets what the kernel prints
 * @property {Record<string, string>} shares the sockets of virtiofsd, by tag
 * @property {string[]} [parameters] more of the kernel's parameters
 * @property {Partial<Record<import('./ports.mjs').PortName, string>>} ports sockets
 */

// Quiet, since every character costs; a panic restarts at once, which -no-reboot turns into an end. There is no one
// to protect inside from one another, so none of the costly mitigations.
const COMMAND_LINE = [
  'console=ttyS0',
  'quiet',
  'loglevel=4',
  'panic=-1',
  'oops=panic',
  'mitigations=off',
  'random.trust_cpu=on',
  'tsc=reliable',
  'no_timer_check',
  'rcupdate.rcu_expedited=1',
  '8250.nr_uarts=1',
  'rdinit=/init',
];

/**
 * The arguments of QEMU. No network device, no disk, no display, no monitor: what the VM can reach is this list.
 *
 * @param {Machine} machine
 * @returns {string[]}
 */
export function qemuArguments({
  kernel,
  initrd,
  accel,
  cpus,
  parallel = false,
  memory,
  console,
  shares,
  ports,
  parameters = [],
}) {
  const args = [
    '-nodefaults',
    '-no-user-config',
    '-no-reboot',
    '-display',
    'none',
    '-M',
    'q35,memory-backend=memory,usb=off,smbus=off',
    '-accel',
    // In turns by default: where emulated CPUs run at once, one of them at times executes what another is just patching
    // (QEMU 7.2), and the kernel dies of an int3 that nobody placed.
    accel === 'tcg' ? `tcg,thread=${parallel ? 'multi' : 'single'}` : 'kvm',
    '-cpu',
    // Emulated, `rep movsb` copies a byte at a time: with it (ERMS) the kernel and libc copy four to seven times as long.
    accel === 'tcg' ? 'max,-erms' : 'max',
    '-smp',
    String(cpus),
    '-m',
    `${memory}M`,
    '-object',
    `memory-backend-memfd,id=memory,size=${memory}M,share=on`,
    '-kernel',
    kernel.image,
    '-initrd',
    initrd,
    '-append',
    [...COMMAND_LINE, ...parameters].join(' '),
    '-chardev',
    `file,id=console,path=${asOption(console)}`,
    '-serial',
    'chardev:console',
    '-device',
    'virtio-rng-pci',
    '-device',
    'virtio-serial-pci',
  ];
  for (const [tag, path] of Object.entries(shares)) {
    args.push('-chardev', `socket,id=${tag},path=${asOption(path)}`);
    args.push('-device', `vhost-user-fs-pci,chardev=${tag},tag=${tag}`);
  }
  for (const [name, path] of Object.entries(ports)) {
    args.push('-chardev', `socket,id=${name},path=${asOption(path)}`, '-device');
    if (name === 'terminal') args.push(`virtconsole,chardev=${name},nr=0`);
    else args.push(`virtserialport,chardev=${name},nr=${PORTS[/** @type {keyof typeof PORTS} */ (name)]}`);
  }
  return args;
}

/**
 * @param {string} path
 * @returns {string} as QEMU wants it within a list of options
 */
function asOption(path) {
  return path.replaceAll(',', ',,');
}
