import type { Command } from '../command.js';
import { parseOptions } from '../usage.js';
import { measure, shortcomings } from './measure.js';
import { report } from './report.js';

export const demo: Command = {
  help: `Usage: vhost-net demo [--worker] [--json]

Answers ARP and ICMP behind a tap through /dev/vhost-net, while the kernel's own stack and the program ping talk to it:
20 pings and a flood of 2,000, in a network namespace of their own. Ends with status 0 if every ping was answered and
every frame is accounted for. Needs root, and ping, ip and unshare.

  --worker  without /dev/vhost-net: the device is the worker in this package
  --json    one object on the standard output
  --help
`,
  async run(args, { out, err, signal }) {
    const { worker, json } = parseOptions(args, {
      worker: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    });
    const device = worker ? 'worker' : '/dev/vhost-net';
    const result = await measure(device, { signal, say: (message) => err(`demo: ${message}\n`) });
    out(json ? `${JSON.stringify(result, null, 2)}\n` : report(result));
    return shortcomings(result).length === 0 ? 0 : 1;
  },
};
