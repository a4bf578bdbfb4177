import type { Command } from '../command.js';
import { parseOptions, UsageError } from '../usage.js';
import { measure, shortcomings } from './measure.js';
import { report } from './report.js';

export const demo: Command = {
  help: `Usage: vhost-net demo [--worker] [--flood N] [--json]

Answers ARP and ICMP behind a tap through /dev/vhost-net, while the kernel's own stack and the program ping talk to it:
20 pings and a flood of 2,000, in a network namespace of their own. Ends with status 0 if every ping was answered and
every frame is accounted for. Needs root, and ping, ip and unshare.

  --worker   without /dev/vhost-net: the device is the worker in this package
  --flood N  as many pings in the flood, 1 to 65535
  --json     one object on the standard output
  --help
`,
  async run(args, { out, err, signal }) {
    const { worker, flood, json } = parseOptions(args, {
      worker: { type: 'boolean', default: false },
      flood: { type: 'string', default: '2000' },
      json: { type: 'boolean', default: false },
    });
    const pings = Number(flood);
    // The sequence number of a ping has 16 bits: each has one of its own.
    if (!/^\d+$/.test(flood) || pings < 1 || pings > 0xffff)
      throw new UsageError(`--flood is a number of pings from 1 to 65535, not ${flood}`);
    const device = worker ? 'worker' : '/dev/vhost-net';
    const result = await measure(device, {
      flood: pings,
      signal,
      say: (message) => err(`demo: ${message}\n`),
    });
    out(json ? `${JSON.stringify(result, null, 2)}\n` : report(result));
    return shortcomings(result).length === 0 ? 0 : 1;
  },
};
