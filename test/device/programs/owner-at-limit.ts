/**
 * Takes a device, its descriptor 3, as a user who may have no thread more than there are, and prints how that ended.
 */
import { execFileSync } from 'node:child_process';
import { hostKernel } from '../../../lib/index.js';
import { refusalOf } from '../../support/control-device.js';

const FD = 3;
const NOBODY = 65_534;
const { vhost } = hostKernel();
// Asked for by the superuser, who is above such limits.
execFileSync('prlimit', ['--pid', String(process.pid), '--nproc=1:1']);
process.setgroups!([]);
process.setgid!(NOBODY);
process.setuid!(NOBODY);
console.log(refusalOf(() => vhost.setOwner(FD)));
