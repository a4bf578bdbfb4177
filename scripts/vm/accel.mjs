import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheFolder, withLock } from './cache.mjs';
import { proofArchive } from './command.mjs';
import { VmError } from './errors.mjs';
import { Control, listenPort } from './ports.mjs';
import { qemuArguments } from './qemu.mjs';
import { supervise } from './supervise.mjs';

/** @typedef {'kvm' | 'tcg'} Accel */
/** @typedef {{accel: Accel, why: string}} Verdict */

// With a KVM that works, the first process speaks after one or two seconds.
const PROOF_PATIENCE = 15_000;
/** @type {Verdict} */
const TOO_LATE = { accel: 'tcg', why: 'it did not start in time' };

/**
 * @returns {Promise<boolean>} whether /dev/kvm is there for us at all
 */
async function hasKvm() {
  return access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
}

/**
 * Chooses between KVM and emulation. A /dev/kvm that opens may still fail to run a kernel, or hang: only a VM that has
 * started proves it. The answer is kept for as long as machine, QEMU and kernel stay what they are.
 *
 * @param {'auto' | Accel} wanted
 * @param {Omit<import('./machine.mjs').Boot, 'accel' | 'cpus' | 'memory' | 'server'>} boot
 * @param {string} folder the run's own folder
 * @returns {Promise<Accel>}
 */
export async function chooseAccel(wanted, boot, folder) {
  if (wanted === 'tcg') return 'tcg';
  const there = await hasKvm();
  if (wanted === 'kvm') {
    if (there) return 'kvm';
    throw new VmError(
      'ERR_VM_KVM',
      '/dev/kvm is missing or not yours to open; sudo usermod -aG kvm $USER, or --accel tcg',
    );
  }
  if (!there) return 'tcg';
  const file = join(cacheFolder(), 'accel.json');
  const key = machineKey(boot);
  const kept = (await readVerdicts(file))[key];
  if (kept) return kept.accel;
  return withLock('accel', async () => {
    const verdicts = await readVerdicts(file);
    const verdict = verdicts[key] ?? (await prove(boot, folder));
    const draft = `${file}.${process.pid}`;
    await writeFile(draft, `${JSON.stringify({ ...verdicts, [key]: verdict }, null, 2)}\n`);
    await rename(draft, file);
    return verdict.accel;
  });
}

/**
 * @param {{qemu: string, kernel: {version: string}}} boot
 * @returns {string}
 */
function machineKey({ qemu, kernel }) {
  const facts = [release(), cpus()[0]?.model, qemu, kernel.version];
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 16);
}

/**
 * @param {string} file
 * @returns {Promise<Record<string, Verdict>>}
 */
async function readVerdicts(file) {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    // None yet, or spoilt: it is proved anew.
    return {};
  }
}

/**
 * @param {Omit<import('./machine.mjs').Boot, 'accel' | 'cpus' | 'memory' | 'server'>} boot
 * @param {string} folder
 * @returns {Promise<Verdict>}
 */
async function prove({ kernel, initrd: base, qemu, say }, folder) {
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
      sleep(PROOF_PATIENCE, TOO_LATE, { signal: deadline.signal }).catch(() => TOO_LATE),
    ]);
  } finally {
    deadline.abort();
    await trial.stop();
    port.close();
    await Promise.all([initrd, console, port.path].map((path) => rm(path, { force: true })));
  }
}
