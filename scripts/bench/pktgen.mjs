import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from './contender.mjs';
import { interfaceCounter } from './interface-counters.mjs';
import { run } from './programs.mjs';

const FOLDER = '/proc/net/pktgen';

/**
 * Has the kernel's own generator send frames into an interface while something runs. What the program on a tap does
 * not take is dropped there, so that only what it takes counts.
 *
 * @template T
 * @param {string} name the interface
 * @param {{size: number, rate?: number}} load frames of `size` bytes, `rate` a second; as many as go by default
 * @param {() => Promise<T>} something
 * @returns {Promise<T>}
 */
export async function underLoad(name, { size, rate }, something) {
  await load();
  tell('kpktgend_0', `add_device ${name}`);
  for (const setting of [
    'count 0',
    'delay 0',
    `pkt_size ${size}`,
    ...(rate === undefined ? [] : [`ratep ${rate}`]),
    'dst 10.99.99.2',
    'dst_mac 02:00:00:00:00:02',
  ])
    tell(name, setting);
  // To start returns when the generator stops.
  const generator = spawn('sh', ['-c', `echo start >${FOLDER}/pgctrl`], { stdio: 'inherit' });
  const ended = once(generator, 'exit');
  try {
    await arrival(name);
    return await something();
  } finally {
    tell('pgctrl', 'stop');
    await ended;
    tell('kpktgend_0', 'rem_device_all');
    // Its thread removes in its own time, and would remove a device added meanwhile.
    while (existsSync(`${FOLDER}/${name}`)) await sleep(20);
  }
}

/** Waits for the first frame: the generator takes its time to start. @param {string} name */
async function arrival(name) {
  const seen = () => interfaceCounter(name, 'tx_packets') + interfaceCounter(name, 'tx_dropped');
  const before = seen();
  for (const deadline = Date.now() + 20_000; seen() === before; await sleep(20))
    if (Date.now() > deadline) throw new BenchError(`pktgen sends nothing to ${name}`);
}

async function load() {
  if (existsSync(FOLDER)) return;
  // The VM keeps its modules in one folder, without the index that modprobe wants.
  const inVm = `/lib/modules/${release()}/pktgen.ko`;
  await (existsSync(inVm) ? run('insmod', inVm) : run('modprobe', 'pktgen'));
}

/** @param {string} file @param {string} words */
function tell(file, words) {
  // pktgen reads a number to its end, even beyond what was written.
  writeFileSync(`${FOLDER}/${file}`, `${words}\n`);
}
