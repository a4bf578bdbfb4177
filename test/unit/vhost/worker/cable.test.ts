import assert from 'node:assert/strict';
import { openCable } from '../../../../lib/backend/cable.js';
import { Nic } from '../../../../lib/net/nic.js';

const COUNT = 1500;

/** Bytes that tell a frame from every other, of a length that differs too, and takes more than a buffer now and then. */
function frame(side: number, n: number): Uint8Array {
  const bytes = new Uint8Array(60 + ((n * 37) % 1400) + (n % 50 === 0 ? 6000 : 0));
  new DataView(bytes.buffer).setUint32(14, n);
  return bytes.fill(side * 100 + (n % 100), 18);
}

describe('WorkerVhost: a cable between two', function () {
  this.timeout(60_000);

  it('brings every frame to the other end, both ways at once, in order and whole, however slow the other is', async () => {
    const ends = openCable({ mtu: 9000 });
    const nics = await Promise.all(
      ends.map((backend) => Nic.open({ vhost: 'worker', backend, queueSize: { receive: 16, transmit: 64 } })),
    );
    const send = async (side: number): Promise<void> => {
      for (let n = 0; n < COUNT; n++) await nics[side]!.send(frame(side, n));
    };
    const receive = async (side: number): Promise<void> => {
      let n = 0;
      for await (const batch of nics[side]!.receive()) {
        for (const received of batch) {
          assert.ok(Buffer.from(frame(1 - side, n)).equals(received), `frame ${n} at end ${side}`);
          n++;
        }
        if (n === COUNT) return;
      }
    };
    await Promise.all([send(0), send(1), receive(0), receive(1)]);
    for (const nic of nics) {
      assert.equal(nic.stats().transmit.completed, COUNT);
      await nic.close();
    }
    for (const end of ends) end.close();
  });
});
