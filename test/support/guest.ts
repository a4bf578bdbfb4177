import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Qmp } from './qmp.js';
import { until } from './until.js';

/** Whom QEMU runs as: a user without a name, a right or a capability. Its group may use the sockets of its devices. */
export const QEMU = { user: 65_532, group: 65_533 } as const;

/** A guest boots in seconds; emulated on an emulated machine, in minutes. */
const BOOT = 400_000;
const COMMAND = 400_000;

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
  '8250.nr_uarts=2',
  'apparmor=0',
  'audit=0',
  'init_on_alloc=0',
  'lpj=4000000',
  'nowatchdog',
  'numa=off',
  'rcupdate.rcu_expedited=1',
  'transparent_hugepage=never',
].join(' ');

/** The address of its network device. */
export const MAC = '52:54:00:00:00:02';

/** Bytes a second that memory goes to another QEMU at: at first, and where it must not arrive yet. */
const FAST = 64_000_000;
const SLOW = 4_000_000;
/** What is left of the memory, in bytes, when it is to slow down: more than goes over at once, in a tenth of a second. */
const REST = 8_000_000;

export interface GuestOptions {
  /** The vhost-user socket that its network device connects to. */
  readonly socket: string;
  /** A folder to be made, QEMU's own. */
  readonly folder: string;
  /** It does not boot: it waits for the guest of another QEMU. */
  readonly awaits?: boolean;
}

/** What QEMU tells of a guest on its way (`query-migrate`). */
interface Migration {
  readonly status: string;
  readonly 'error-desc'?: string;
  readonly ram?: { readonly remaining: number; readonly 'dirty-sync-count': number };
}

/**
 * QEMU with a stock kernel, whose own virtio-net driver has a vhost-user device. It does what it is told at a shell. One
 * thread runs its processor: in several, QEMU 7.2 races with the kernel that patches its own code.
 */
export class Guest {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #folder: string;
  #monitor: Qmp | undefined;
  /** What it printed and nobody has taken yet. */
  #output = '';
  #complaint = '';

  /** Starts it; `ready` tells when it listens to commands. */
  constructor({ socket, folder, awaits = false }: GuestOptions) {
    const { VHOST_GUEST_KERNEL: kernel, VHOST_GUEST_INITRD: initrd } = process.env;
    if (!kernel || !initrd) throw new Error('no kernel for a guest; run the tests by: npm run test:guest');
    mkdirSync(folder);
    chownSync(folder, QEMU.user, QEMU.group);
    this.#folder = folder;
    const args = [
      ...['-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-M', 'q35,memory-backend=memory,usb=off,smbus=off', '-m', '256M', '-smp', '1'],
      ...['-object', 'memory-backend-memfd,id=memory,size=256M,share=on'],
      // Emulated, `rep movsb` copies a byte at a time.
      ...['-accel', 'tcg,thread=single', '-cpu', 'max,-erms'],
      ...['-kernel', '/proc/self/fd/3', '-initrd', '/proc/self/fd/4', '-append', COMMAND_LINE],
      ...['-qmp', `unix:${join(folder, 'monitor')},server=on,wait=off`],
      ...(awaits ? ['-incoming', `unix:${this.#entrance}`] : []),
      ...[
        '-serial',
        `file:${this.#console}`,
        '-chardev',
        'stdio,id=shell,signal=off',
        '-serial',
        'chardev:shell',
      ],
      ...[
        '-chardev',
        `socket,id=net,path=${socket},reconnect=1`,
        '-netdev',
        'vhost-user,id=net0,chardev=net',
      ],
      // Emulating, QEMU 7.2 dies where the driver of a vhost-user network device uses MSI-X.
      ...['-device', `virtio-net-pci,netdev=net0,mac=${MAC},romfile=,vectors=0`],
    ];
    const rights = [
      ...[`--reuid=${QEMU.user}`, `--regid=${QEMU.group}`, '--clear-groups'],
      ...['--bounding-set=-all', '--inh-caps=-all', '--no-new-privs'],
      // However this process ends, QEMU ends with it.
      ...['--pdeathsig', 'KILL'],
    ];
    // What it boots may lie where only this process may look.
    const files = [kernel, initrd].map((path) => openSync(path, 'r'));
    this.#child = spawn('setpriv', [...rights, '--', 'qemu-system-x86_64', ...args], {
      stdio: ['pipe', 'pipe', 'pipe', ...files],
    });
    for (const file of files) closeSync(file);
    this.pid = this.#child.pid!;
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint += text;
    });
    // To write to one that has ended fails, of which `said` tells more.
    this.#child.stdin!.on('error', () => {});
  }

  /** Waits until it has booted and listens. */
  async ready(): Promise<void> {
    await this.#said(/ready\r?\n/, BOOT);
  }

  /** Runs a line of shell; what it printed. Rejects where its status is not 0. */
  async run(line: string): Promise<string> {
    const { output, status } = await this.#answer(line);
    if (status !== 0) throw new Error(`the guest's ${line} ended with status ${status}: ${output}`);
    return output;
  }

  /** Waits until a line of shell has the status 0. */
  async until(line: string): Promise<void> {
    await until(`the guest's ${line} succeeds`, async () => (await this.#answer(line)).status === 0, COMMAND);
  }

  /** Has it reboot, and waits until it listens again. */
  async reboot(): Promise<void> {
    this.#child.stdin!.write('reboot -f\n');
    await this.ready();
  }

  /**
   * Begins to move to another QEMU, which awaits it. Resolves when each page of its memory has gone over once and those
   * written meanwhile follow. Slowly: it must write more than 4 MB a second, or it may arrive at any moment.
   */
  async startMoving(to: Guest): Promise<void> {
    // That its monitor answers tells that it awaits the guest.
    for (const end of [to, this]) end.#monitor = await Qmp.connect(join(end.#folder, 'monitor'));
    await this.#setMove(FAST, 1);
    await this.#monitor!.run('migrate', { uri: `unix:${to.#entrance}` });
    await until('little is left of the memory', async () => (await this.#move()).remaining < REST, COMMAND);
    await this.#setMove(SLOW, 1);
    await until('every page has gone over', async () => (await this.#move()).rounds > 1, COMMAND);
  }

  /** Lets it arrive; resolves when it runs there. Nothing runs here any more. */
  async finishMoving(): Promise<void> {
    assert.equal((await this.#move()).status, 'active', 'it has not arrived by itself');
    await this.#setMove(FAST, 60_000);
    await until('the guest has moved', async () => (await this.#move()).status === 'completed', COMMAND);
  }

  /** `pause` is how long it may stand still at the end, in milliseconds. */
  async #setMove(bandwidth: number, pause: number): Promise<void> {
    await this.#monitor!.run('migrate-set-parameters', {
      'max-bandwidth': bandwidth,
      'downtime-limit': pause,
    });
  }

  async #move(): Promise<{ status: string; remaining: number; rounds: number }> {
    const { status, ram, ...more } = (await this.#monitor!.run('query-migrate')) as Migration;
    if (status === 'failed') throw new Error(`the guest cannot move: ${more['error-desc']}`);
    return { status, remaining: ram?.remaining ?? Infinity, rounds: ram?.['dirty-sync-count'] ?? 0 };
  }

  /** What its kernel prints. */
  get #console(): string {
    return join(this.#folder, 'console');
  }

  /** Where it awaits the guest of another. */
  get #entrance(): string {
    return join(this.#folder, 'entrance');
  }

  /** Ends QEMU at once. */
  async kill(): Promise<void> {
    this.#monitor?.close();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }

  async #answer(line: string): Promise<{ output: string; status: number }> {
    this.#child.stdin!.write(`${line}\n`);
    const [whole, status] = await this.#said(/status (\d+)\r?\n/, COMMAND, line);
    return { output: whole!, status: Number(status) };
  }

  /** Takes what it printed up to and with a pattern; that, and the pattern's group. */
  async #said(pattern: RegExp, deadline: number, line = 'boot'): Promise<[string, string | undefined]> {
    let found: RegExpExecArray | null = null;
    await until(
      `the guest has done: ${line}`,
      () => {
        found = pattern.exec(this.#output);
        if (found === null && (this.#child.exitCode !== null || this.#child.signalCode !== null))
          throw new Error(
            `QEMU ended: ${this.#complaint}${readFileSync(this.#console, 'utf8').slice(-2000)}`,
          );
        return found !== null;
      },
      deadline,
    ).catch((error: Error) => {
      error.message += `\nIt printed: ${this.#output}\n${readFileSync(this.#console, 'utf8').slice(-2000)}`;
      throw error;
    });
    const { index, 0: matched, 1: group } = found!;
    const output = this.#output.slice(0, index);
    this.#output = this.#output.slice(index + matched.length);
    return [output, group];
  }
}
