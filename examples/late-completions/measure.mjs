// Where a real device is: eight frames on a link that holds each for 200 ms, and the time at which each is done.
// Prints one object: { linkState, outOfOrder, frames: [{ bytes, completed }] }, `completed` in milliseconds.
import { execFileSync } from 'node:child_process';
import { Nic } from 'vhost-net';

const SIZES = [1000, 1000, 64, 1000, 64, 1000, 1000, 64];

/** @param {string} command */
function run(command) {
  const [program, ...args] = command.split(' ');
  execFileSync(/** @type {string} */ (program), args, { stdio: 'inherit' });
}

run('ip netns add late');
try {
  // A macvtap on one end of a cable, whose queueing discipline lets go of each frame 200 ms after it came.
  run('ip -n late link add v0 type veth peer name v1');
  run('ip -n late link set v0 up');
  run('ip -n late link set v1 up');
  run('ip netns exec late tc qdisc add dev v0 root netem delay 200ms');
  run('ip -n late link add link v0 name late0 type macvtap mode bridge');

  const nic = await Nic.open({ macvtap: { name: 'late0', netns: 'late' } });
  const source = nic.backend.interface.mac.split(':').map((byte) => Number.parseInt(byte, 16));
  const frames = SIZES.map((length) => {
    const frame = new Uint8Array(length);
    frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...source, 0x88, 0xb5]);
    return frame;
  });

  const submission = nic.submit(frames);
  await submission.completed;

  const { linkState, outOfOrder } = nic.stats().transmit;
  await nic.close();
  const completed = SIZES.map((bytes, i) => ({ bytes, completed: submission.latency[i] }));
  console.log(JSON.stringify({ linkState, outOfOrder, frames: completed }));
} finally {
  run('ip netns del late');
}
