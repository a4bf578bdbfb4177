import { execFileSync } from 'node:child_process';

/** Names are made unique, so that tests can run one after another while the kernel still tears the last one down. */
let links = 0;

/** A macvtap over one end of a veth pair whose queueing discipline holds frames back, and a tap beyond the other end. */
export interface LateLink {
  /** The macvtap, in the namespace `near`. */
  readonly macvtap: string;
  /** The tap that gets what arrives at the far end, in the namespace `far`; open it with this name. */
  readonly tap: string;
  readonly near: string;
  readonly far: string;
  /** Changes what holds the frames back: the arguments of `tc qdisc … netem`. */
  delay(netem: string): void;
  remove(): void;
}

/** Runs `ip`, `tc` or another program of the system; its output. */
export function run(command: string): string {
  const [program, ...args] = command.split(' ');
  return execFileSync(program!, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/**
 * Makes the link. A frame sent on the macvtap waits in netem on `v0`, so that the kernel holds on to its memory for as
 * long where it sends without copying; then it crosses the pair and a bridge to the far tap.
 */
export function createLateLink(netem: string): LateLink {
  const id = `${process.pid}x${links++}`;
  const near = `near${id}`;
  const far = `far${id}`;
  const macvtap = `mv${links}`;
  const tap = `ft${links}`;
  const remove = (): void => {
    for (const namespace of [near, far]) {
      try {
        run(`ip netns del ${namespace}`);
      } catch {
        // Not made yet: what failed is told by the caller.
      }
    }
  };
  try {
    for (const namespace of [near, far]) run(`ip netns add ${namespace}`);
    run(`ip -n ${near} link add v0 type veth peer name v1 netns ${far}`);
    run(`ip -n ${near} link set v0 up`);
    run(`ip netns exec ${near} tc qdisc add dev v0 root netem limit 100000 ${netem}`);
    run(`ip -n ${near} link add link v0 name ${macvtap} type macvtap mode bridge`);
    run(`ip -n ${near} link set ${macvtap} up`);
    run(`ip -n ${far} link add br0 type bridge`);
    run(`ip -n ${far} tuntap add dev ${tap} mode tap vnet_hdr`);
    run(`ip -n ${far} link set ${tap} txqueuelen 20000`);
    for (const port of ['v1', tap]) run(`ip -n ${far} link set ${port} master br0`);
    for (const port of ['v1', tap, 'br0']) run(`ip -n ${far} link set ${port} up`);
  } catch (error) {
    remove();
    throw error;
  }
  return {
    macvtap,
    tap,
    near,
    far,
    delay: (change) => {
      run(`ip netns exec ${near} tc qdisc change dev v0 root netem limit 100000 ${change}`);
    },
    remove,
  };
}
