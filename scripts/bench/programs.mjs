import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BenchError } from './contender.mjs';

const execute = promisify(execFile);

/** Runs a program to its end. @param {string} program @param {...string} args @returns {Promise<string>} its output */
export async function run(program, ...args) {
  try {
    return (await execute(program, args, { maxBuffer: 2 ** 24 })).stdout;
  } catch (error) {
    const { stderr = '', message } = /** @type {Error & {stderr?: string}} */ (error);
    throw new BenchError(`${program} ${args.join(' ')}: ${stderr.trim() || message}`);
  }
}

/** The command of one of our programs in ours/. @param {string} name @param {...(string | number)} args */
export function ours(name, ...args) {
  return node(`ours/${name}.mjs`, args);
}

/** The command of a Node program without vhost. @param {string} name @param {...(string | number)} args */
export function peer(name, ...args) {
  return node(`peers/${name}.mjs`, args);
}

/** @param {string} path @param {(string | number)[]} args */
function node(path, args) {
  return [process.execPath, fileURLToPath(new URL(path, import.meta.url)), ...args.map(String)];
}

/**
 * dpdk-testpmd on virtio-user over /dev/vhost-net, one port for each tap.
 *
 * @param {'txonly' | 'rxonly' | 'macswap' | 'io'} mode its forwarding mode
 * @param {string[]} taps
 * @param {...string} more of its options
 */
export function testpmd(mode, taps, ...more) {
  const devices = taps.map(
    (tap, i) => `--vdev=virtio_user${i},path=/dev/vhost-net,queue_size=256,iface=${tap}`,
  );
  const all = `0-${availableParallelism() - 1}`;
  const environment = ['--no-huge', '-m', '256', '--no-pci', '--no-telemetry', '--iova-mode=va'];
  return [
    // What it prints tells when it runs; to a pipe it would come late.
    'stdbuf',
    '-oL',
    'dpdk-testpmd',
    // Each thread may run on any processor, as those of every contender.
    `--lcores=0@(${all}),1@(${all})`,
    `--file-prefix=${taps.join('-')}`,
    ...environment,
    ...devices,
    '--',
    `--forward-mode=${mode}`,
    '--auto-start',
    '--total-num-mbufs=8192',
    '--no-lsc-interrupt',
    '--stats-period=3600',
    ...more,
  ];
}
