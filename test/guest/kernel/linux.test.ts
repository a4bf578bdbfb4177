import { realGuest } from '../../support/real-guest.js';

const BYTES = 50_000_000;

describe('A Linux guest in QEMU', function () {
  this.timeout(1_800_000);

  describe('over the kernel’s device, through the proxy', () => realGuest('/dev/vhost-net', BYTES));
});
