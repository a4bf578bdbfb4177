import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { until } from './until.js';

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
].join(' ');

export interface GuestOptions {
  /** The vhost-user socket that its network device connects to. */
  readonly socket: string;
  /** The file that gets what its kernel prints. */
  readonly console: string;
  /** More of QEMU's arguments. */
  readonly more?: readonly string[];
}

/**
 * QEMU with a stock kernel, whose own virtio-net driver has a vhost-user device. It does what it is told at a shell. One
 * thread runs its processor: in several, QEMU 7.2 races with the kernel that patches its own code.
 */
export class Guest {
  readonly #child: ChildProcess;
  readonly #console: string;
  /** What it printed and nobody has taken yet. */
  #output = '';
  #complaint = '';

  /** Starts it; `ready` tells when it listens to commands. */
  constructor({ socket, console, more = [] }: GuestOptions) {
    const { VHOST_GUEST_KERNEL: kernel, VHOST_GUEST_INITRD: initrd } = process.env;
    if (!kernel || !initrd) throw new Error('no kernel for a guest; run the tests by: npm run test:guest');
    this.#console = console;
    const args = [
      ...['-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-M', 'q35,memory-backend=memory,usb=off,smbus=off', '-m', '256M', '-smp', '1'],
      ...['-object', 'memory-backend-memfd,id=memory,size=256M,share=on'],
      // Emulated, `rep movsb` copies a byte at a time.
      ...['-accel', 'tcg,thread=single', '-cpu', 'max,-erms'],
      ...['-kernel', kernel, '-initrd', initrd, '-append', COMMAND_LINE],
      ...['-serial', `file:${console}`, '-chardev', 'stdio,id=shell,signal=off', '-serial', 'chardev:shell'],
      ...[
        '-chardev',
        `socket,id=net,path=${socket},reconnect=1`,
        '-netdev',
        'vhost-user,id=net0,chardev=net',
      ],
      // Emulating, QEMU 7.2 dies where the driver of a vhost-user network device uses MSI-X.
      ...['-device', 'virtio-net-pci,netdev=net0,mac=52:54:00:00:00:02,romfile=,vectors=0'],
      ...more,
    ];
    // However this process ends, QEMU ends with it.
    const command = ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...args];
    this.#child = spawn('setpriv', command, { stdio: ['pipe', 'pipe', 'pipe'] });
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

  /** Ends QEMU at once. */
  async kill(): Promise<void> {
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
