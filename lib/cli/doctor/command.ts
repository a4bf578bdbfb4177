import type { Command } from '../command.js';
import { parseOptions } from '../usage.js';
import { diagnose } from './diagnosis.js';
import { thisMachine } from './machine.js';
import { report } from './report.js';

export const doctor: Command = {
  help: `Usage: vhost-net doctor [--json]

Tells what a Nic finds on this machine and, where something is missing or blocked, the command that mends it. Changes
nothing. Ends with status 0 if a Nic can be opened on a tap, 1 if not.

  --json   one object on the standard output
  --help
`,
  async run(args, { out }) {
    const { json } = parseOptions(args, { json: { type: 'boolean' } });
    const diagnosis = diagnose(thisMachine);
    out(json ? `${JSON.stringify(diagnosis, null, 2)}\n` : report(diagnosis));
    return diagnosis.ready ? 0 : 1;
  },
};
