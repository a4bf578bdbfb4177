import type { Command } from '../command.js';
import { parseOptions } from '../usage.js';
import { measure, shortcomings } from './measure.js';
import { report } from './report.js';

export const demo: Command = {
  help: `Usage: vhost-net demo [--json]

Answers ARP and ICMP behind a tap through /dev/vhost-net, while the kernel's own stack and the program ping talk to it:
20 pings and a flood of 2,000, in a network namespace of their own. Ends with status 0 if every ping was answered and
every frame is accounted for. Needs root, and ping, ip and unshare.

  --json   one object on the standard output
  --help
`,
  async run(args, { out, err, signal }) {
    const { json } = parseOptions(args, { json: { type: 'boolean' } });
    const result = await measure({ signal, say: (message) => err(`demo: ${message}\n`) });
    out(json ? `${JSON.stringify(result, null, 2)}\n` : report(result));
    return shortcomings(result).length === 0 ? 0 : 1;
  },
};
