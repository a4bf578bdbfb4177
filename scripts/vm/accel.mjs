import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheFolder, withLock } from './cache.mjs';
import { proofArchive } from './command.mjs';
import { VmError } from './errors.mjs';
import { Control, listenPort } from './ports.mjs';
import { capture } from './programs.mjs';
import { qemuArguments } from './qemu.mjs';
import { supervise } from './supervise.mjs';

/** @typedef {'kvm' | 'tcg'} Accel */
/** @typedef {{accel: Accel, why: string, until?: number}} Verdict `until` in milliseconds of the epoch, where it ends */
/** @typedef {Omit<import('./machine.mjs').Boot, 'accel' | 'cpus' | 'memory' | 'server'>} Candidate */
/**
 * @typedef {object} Proof
 * @property {string} device
 * @property {number} patience in milliseconds
 */

/** @type {Proof} with a KVM that works, the first process speaks after one or two seconds */
const PROOF = { device: '/dev/kvm', patience: 15_000 };
/** Milliseconds for which a start that came too late counts: the machine may have been busy. */
const SLOW_COUNTS = 24 * 3600 * 1000;

/** @param {string} device @returns {Promise<boolean>} whether it is there for us at all */
async function opens(device) {
  return access(device, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
}

/**
 * Chooses between KVM and emulation. A /dev/kvm that opens may still fail to run a kernel, or hang: only a VM that has
 * started proves it. The answer is kept for as long as machine, QEMU and kernel stay what they are.
 *
 * @param {'auto' | Accel} wanted
 * @param {Candidate} boot
 * @param {string} folder the run's own folder
 * @param {Proof} [proof]
 * @returns {Promise<Accel>}
 */
export async function chooseAccel(wanted, boot, folder, proof = PROOF) {
  if (wanted === 'tcg') return 'tcg';
  const there = await opens(proof.device);
  if (wanted === 'kvm') {
    if (there) return 'kvm';
    throw new VmError(
      'ERR_VM_KVM',
      '/dev/kvm is missing or not yours to open; sudo usermod -aG kvm $USER, or --accel tcg',
    );
  }
  if (!there) return 'tcg';
  const file = join(cacheFolder(), 'accel.json');
  const key = await machineKey(boot);
  const kept = (await readVerdicts(file))[key];
  if (kept) return kept.accel;
  return withLock('accel', async () => {
    const verdicts = await readVerdicts(file);
    const verdict = verdicts[key] ?? (await prove(boot, folder, proof));
    if (verdict.accel === 'tcg') boot.say(`KVM does not run a VM here (${verdict.why}); it is emulated`);
    await mkdir(dirname(file), { recursive: true });
    const draft = `${file}.${process.pid}`;
    await writeFile(draft, `${JSON.stringify({ ...verdicts, [key]: verdict }, null, 2)}\n`);
    await rename(draft, file);
    return verdict.accel;
  });
}

/**
 * @param {{qemu: string, kernel: {version: string}}} boot
 * @returns {Promise<string>}
 */
async function machineKey({ qemu, kernel }) {
  const { stdout: version } = await capture(qemu, ['--version']);
  const facts = [release(), cpus()[0]?.model, qemu, version, kernel.version];
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 16);
}

/**
 * @param {string} file
 * @returns {Promise<Record<string, Verdict>>} those that still count
 */
async function readVerdicts(file) {
  try {
    const all = Object.entries(
      /** @type {Record<string, Verdict>} */ (JSON.parse(await readFile(file, 'utf8'))),
    );
    return Object.fromEntries(all.filter(([, { until = Number.POSITIVE_INFINITY }]) => Date.now() < until));
  } catch {
    // None yet, or spoilt: it is proved anew.
    return {};
  }
}

/**
 * @param {Candidate} boot
 * @param {string} folder
 * @param {Proof} proof
 * @returns {Promise<Verdict>}
 */
async function prove({ kernel, initrd: base, qemu, say }, folder, { patience }) {
  say('trying KVM');
  const initrd = join(folder, 'proof-initrd');
  await writeFile(initrd, Buffer.concat([await readFile(base), proofArchive()]));
  const port = await listenPort(folder, 'control');
  const console = join(folder, 'proof-console');
  const machine = {
    kernel,
    initrd,
    accel: /** @type {const} */ ('kvm'),
    cpus: 1,
    memory: 512,
    console,
    shares: {},
  };
  const trial = supervise('QEMU', qemu, qemuArguments({ ...machine, ports: { control: port.path } }));
  const deadline = new AbortController();
  try {
    /** @type {Promise<Verdict>} */
    const started = port.connected.then(
      (socket) =>
        new Promise((resolve) =>
          new Control(socket).once('ready', () => resolve({ accel: 'kvm', why: 'it started' })),
        ),
    );
    return await Promise.race([
      started,
      trial.end.then((how) => ({
        accel: /** @type {const} */ ('tcg'),
        why: `QEMU ended: ${how}; ${trial.said()}`,
      })),
      sleep(patience, undefined, { signal: deadline.signal })
        .catch(() => {})
        .then(() => ({
          accel: /** @type {const} */ ('tcg'),
          why: `it did not start within ${patience / 1000} s`,
          until: Date.now() + SLOW_COUNTS,
        })),
    ]);
  } finally {
    deadline.abort();
    await trial.stop();
    port.close();
    await Promise.all([initrd, console, port.path].map((path) => rm(path, { force: true })));
  }
}
