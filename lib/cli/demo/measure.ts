import { release } from 'node:os';
import { parseMac } from '../../backend/network-interface.js';
import { Nic } from '../../net/nic.js';
import type { QueueStats } from '../../net/queue-stats.js';
import { parseIpv4 } from '../wire/ipv4.js';
import { NetworkNamespace } from './namespace.js';
import { type PingResult, parsePing, percentile } from './ping.js';
import { respond, type Station } from './responder.js';

/** One run of ping. */
export interface PingRun {
  readonly sent: number;
  readonly answered: number;
  /** Milliseconds, as ping measured them. */
  readonly roundTrip: { readonly p50?: number | undefined; readonly p99?: number | undefined };
}

/** The kernel's device, or the worker in this package. */
export type DemoDevice = '/dev/vhost-net' | 'worker';

/** What the demo saw, as `--json` prints it. */
export interface DemoResult {
  readonly device: DemoDevice;
  readonly kernel: string;
  readonly where: 'host' | 'vm';
  readonly interface: string;
  readonly pings: {
    /** So many were asked for. */
    readonly asked: number;
    readonly sent: number;
    readonly answered: number;
    readonly paced: PingRun;
    readonly flood: PingRun;
  };
  /** Of the frames sent. */
  readonly ledger: Pick<QueueStats, 'submitted' | 'completed' | 'abandoned' | 'inFlight'>;
  readonly transmit: Pick<QueueStats, 'kicks' | 'calls'> & { readonly frames: number };
  readonly receive: Pick<QueueStats, 'kicks' | 'calls'> & { readonly frames: number };
}

export interface DemoOptions {
  /** So many pings follow one another without a pause. */
  readonly flood: number;
  readonly signal: AbortSignal;
  /** Told what is under way. */
  readonly say: (message: string) => void;
}

// Addresses of RFC 5737, which nobody has, and of no manufacturer.
const HOST_ADDRESS = '192.0.2.1/24';
const NODE_ADDRESS = '192.0.2.2';
const NODE_MAC = '02:00:00:00:00:02';

const PACED = 20;
/** Milliseconds; an emulated machine takes seconds. */
const PATIENCE = 300_000;

/** Lets the kernel's own stack and ping(8) talk through a device to a station that this program plays. */
export async function measure(
  device: DemoDevice,
  { flood: count, signal, say }: DemoOptions,
): Promise<DemoResult> {
  await using namespace = await NetworkNamespace.create();
  await using nic = await Nic.open({ vhost: device, tap: { name: 'vhost0', netns: namespace.path } });
  await namespace.must('ip', ['address', 'add', HOST_ADDRESS, 'dev', nic.name]);

  const failure = new AbortController();
  nic.on('error', (error) => failure.abort(error));
  const station = { mac: parseMac('mac', NODE_MAC), ip: parseIpv4(NODE_ADDRESS) };
  serve(nic, station).catch((error: unknown) => failure.abort(error));

  const stop = AbortSignal.any([signal, failure.signal]);
  const ping = async (times: number, interval: string): Promise<PingResult> => {
    const args = ['-n', '-c', String(times), '-i', interval, '-W', '10', NODE_ADDRESS];
    const run = namespace.run('ping', args, { signal: stop, timeout: PATIENCE });
    const { stdout, stderr } = await run.catch((error: unknown) => {
      stop.throwIfAborted();
      throw error;
    });
    return parsePing(stdout + stderr);
  };
  say(`pinging ${NODE_ADDRESS} behind ${nic.name}: ${PACED} times`);
  const paced = await ping(PACED, '0.2');
  say(`pinging ${NODE_ADDRESS} behind ${nic.name}: a flood of ${count}`);
  // No interval makes a flood as -f does, and unlike -f it tells every round trip.
  const flood = await ping(count, '0');

  await drained(nic);
  const { transmit, receive } = nic.stats();
  const { VHOST_VM } = process.env;
  return {
    device,
    kernel: release(),
    where: VHOST_VM === '1' ? 'vm' : 'host',
    interface: nic.name,
    pings: {
      asked: PACED + count,
      sent: paced.sent + flood.sent,
      answered: paced.answered + flood.answered,
      paced: summary(paced),
      flood: summary(flood),
    },
    ledger: {
      submitted: transmit.submitted,
      completed: transmit.completed,
      abandoned: transmit.abandoned,
      inFlight: transmit.inFlight,
    },
    transmit: { frames: transmit.submitted, kicks: transmit.kicks, calls: transmit.calls },
    receive: { frames: receive.frames, kicks: receive.kicks, calls: receive.calls },
  };
}

/** What speaks against a result: empty where every ping was answered and every frame is accounted for. */
export function shortcomings({ pings, ledger }: DemoResult): string[] {
  const problems: string[] = [];
  if (pings.sent !== pings.asked)
    problems.push(`ping sent ${pings.sent} of ${pings.asked} before its time was over`);
  if (pings.answered !== pings.sent) problems.push(`pings not answered: ${pings.sent - pings.answered}`);
  if (ledger.inFlight > 0) problems.push(`frames still in flight: ${ledger.inFlight}`);
  if (ledger.abandoned > 0) problems.push(`frames lost: ${ledger.abandoned}`);
  if (ledger.completed + ledger.abandoned + ledger.inFlight !== ledger.submitted)
    problems.push('the ledger does not add up');
  return problems;
}

async function serve(nic: Nic, station: Station): Promise<void> {
  for await (const batch of nic.receive()) {
    const replies = [...batch].filter((frame) => respond(frame, station));
    if (replies.length > 0) await nic.submit(replies).accepted;
  }
}

/** Waits for the last frame; one that does not come back is for the ledger to show. */
async function drained(nic: Nic): Promise<void> {
  const deadline = AbortSignal.timeout(10_000);
  await nic.drain({ signal: deadline }).catch((error: unknown) => {
    if (!deadline.aborted) throw error;
  });
}

function summary({ sent, answered, roundTrips }: PingResult): PingRun {
  return {
    sent,
    answered,
    roundTrip: { p50: percentile(roundTrips, 50), p99: percentile(roundTrips, 99) },
  };
}
