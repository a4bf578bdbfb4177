import assert from 'node:assert/strict';
import { openCable } from '../../../../lib/backend/cable.js';
import { turn, until } from '../../../support/until.js';
import { HEADER, Keeper, VERSION_1, WorkerOnFake } from '../../../support/worker-on-fake.js';

const RX = 0;
const TX = 1;
/** Bytes of the longest frame that any port is asked to take, with its header. */
const LONGEST = 0x1_1000;

describe('WorkerVhost: what is sent', () => {
  let on: WorkerOnFake;
  let socket: number;

  async function start(size = 8): Promise<void> {
    on = new WorkerOnFake(VERSION_1, size);
    socket = on.kernel.callersDescriptor('packet socket');
    await on.vhost.setBackend(TX, socket);
  }

  /** The byte behind the header of each frame that the socket took. */
  const sent = (): number[] => on.kernel.written(socket).map((frame) => frame[HEADER]!);

  /** How much is used after each turn of the loop. */
  async function perTurn(total: number): Promise<number[]> {
    const seen: number[] = [];
    for (let turns = 0; on.rings[TX]!.reapable < total; turns++) {
      assert.ok(turns < 10 * total, `${on.rings[TX]!.reapable} of ${total} are used`);
      await turn();
      const { reapable } = on.rings[TX]!;
      if (reapable > (seen.at(-1) ?? 0)) seen.push(reapable);
    }
    return seen;
  }

  afterEach(() => on.close());

  it('is as many bytes as a round has, and the loop goes round between', async () => {
    await start(64);
    for (let i = 0; i < 20; i++) on.sendLong(0x1_0000);
    on.kick(TX);
    assert.deepEqual(await perTurn(20), [8, 16, 20]);
    assert.equal(on.kernel.written(socket).length, 20);
  });

  it('costs the same where it is too long to be tried', async () => {
    await start(64);
    for (let i = 0; i < 20; i++) on.sendLong(LONGEST + 1);
    on.kick(TX);
    assert.deepEqual(await perTurn(20), [8, 16, 20]);
    assert.equal(on.kernel.written(socket).length, 0);
    assert.deepEqual(on.vhost.stats(TX), { refused: 20, dropped: 0 });
  });

  it('goes on behind a frame that is too long, in order', async () => {
    await start();
    on.send(0, 1);
    on.sendLong(LONGEST + 1);
    on.send(2);
    await on.idle();
    assert.deepEqual(sent(), [0, 1, 2]);
    assert.deepEqual(on.reap(TX).length, 4);
  });

  for (const code of ['EAGAIN', 'ENOBUFS', 'ENOMEM'])
    it(`waits for the socket where it answers ${code}, and goes on with the same frame`, async () => {
      await start();
      on.kernel.failOn('frames.write', code, { skip: 2 });
      on.send(0, 1, 2, 3, 4);
      await on.idle();
      assert.deepEqual(sent(), [0, 1, 2, 3, 4]);
      assert.deepEqual(on.reap(TX), [0, 1, 2, 3, 4]);
      assert.equal(on.kernel.callNames.filter((name) => name === 'poller.watchWritable').length, 1);
      assert.deepEqual([on.vhost.stats(TX).refused, on.faults], [0, []]);
    });

  it('stays in the ring as long as the other end of a cable takes no more, and loses nothing', async () => {
    on = new WorkerOnFake(VERSION_1, 128);
    const far = new WorkerOnFake(VERSION_1, 128, on);
    const [a, b] = openCable({}, on.kernel);
    await on.vhost.setBackend(TX, a.fd);
    const bytes = Array.from({ length: 100 }, (_, i) => i);
    on.send(...bytes);
    await on.idle();
    assert.deepEqual([on.vhost.getVringBase(TX), on.reap(TX).length], [64, 64]);
    // Kicks change nothing.
    on.kick(TX);
    await on.idle();
    assert.equal(on.vhost.getVringBase(TX), 64);
    await far.vhost.setBackend(RX, b.fd);
    far.offer(...bytes.map(() => 64));
    await on.idle();
    assert.deepEqual([on.vhost.getVringBase(TX), on.reap(TX).length], [100, 36]);
    const arrived = far.reap(RX).map((_, n) => far.region.bytes[far.at(RX, n) + HEADER]);
    assert.deepEqual(arrived, bytes);
    for (const end of [a, b]) end.close();
    await far.close();
  });

  it('is used all the same where the backend refuses it for any other reason', async () => {
    await start();
    on.kernel.failOn('frames.write', 'EIO', { skip: 1 });
    on.kernel.failOn('frames.write', 'EMSGSIZE', { skip: 2 });
    on.send(0, 1, 2, 3, 4);
    await on.idle();
    assert.deepEqual(on.reap(TX), [0, 1, 2, 3, 4]);
    assert.deepEqual(sent(), [0, 2, 4]);
    assert.deepEqual([on.vhost.stats(TX), on.faults], [{ refused: 2, dropped: 0 }, []]);
  });

  it('tells once that the backend is gone, however many frames were for it', async () => {
    await start();
    on.kernel.failOn('frames.write', 'EBADFD', { remaining: 5 });
    on.send(0, 1, 2, 3, 4);
    await on.idle();
    assert.deepEqual(on.reap(TX).length, 5);
    assert.deepEqual([on.vhost.stats(TX).refused, on.faults], [5, ['1 gone']]);
  });

  it('stands where there is no descriptor to wait with, and goes on at the next kick', async () => {
    await start();
    on.kernel.failOn('frames.write', 'EAGAIN', { skip: 1 });
    on.kernel.failOn('poller.watchWritable', 'EMFILE');
    on.send(0, 1);
    await on.idle();
    assert.deepEqual(on.faults, ['1 failed EMFILE']);
    on.kick(TX);
    await on.idle();
    assert.deepEqual([sent(), on.reap(TX), on.faults.length], [[0, 1], [0, 1], 1]);
  });

  it('is held by a program up to 64 MiB, and then waits in the ring', async () => {
    on = new WorkerOnFake(VERSION_1, 2048);
    const keeper = new Keeper();
    await on.vhost.setBackend(TX, on.program(keeper).fd);
    for (let i = 0; i < 1030; i++) on.sendLong(HEADER + 0x1_0000);
    on.kick(TX);
    await until('1,024 frames are held', () => keeper.held.length >= 1024);
    await on.idle();
    assert.deepEqual([keeper.held.length, on.vhost.getVringBase(TX)], [1024, 1024]);
    keeper.held[7]!.finish();
    await on.idle();
    assert.equal(keeper.held.length, 1025);
    const closing = on.vhost.close();
    for (const { finish } of keeper.held) finish();
    await closing;
  });
});
