import { realGuest } from '../../support/real-guest.js';

const BYTES = 50_000_000;

describe('A Linux guest in QEMU', function () {
  this.timeout(900_000);

  describe('over the worker, through the proxy', () => realGuest('worker', BYTES));
});
