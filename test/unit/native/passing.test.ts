import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hostKernel } from '../../../lib/kernel/host.js';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { openDescriptors } from './process-state.js';
import { throwsRefusal, throwsWrongType, throwsWrongValue } from './refusal.js';

const CLOSE_ON_EXEC_NON_BLOCKING = 0o2004002;

describe('native passing', () => {
  const { passing, descriptor, eventfd, memory, poller } = hostKernel();
  let folder: ReturnType<typeof temporaryFolder>;
  let path: string;
  let before: Map<number, string>;
  let opened: number[];

  beforeEach(() => {
    folder = temporaryFolder();
    path = join(folder.path, 'socket');
    before = openDescriptors();
    opened = [];
  });
  afterEach(() => {
    for (const fd of opened) descriptor.close(fd);
    assert.deepEqual([...openDescriptors().keys()], [...before.keys()], 'nothing stays open');
    folder.remove();
  });

  function open(fd: number): number {
    opened.push(fd);
    return fd;
  }

  function pair(): [number, number] {
    const [first, second] = passing.pair();
    return [open(first), open(second)];
  }

  function flags(fd: number): number {
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    return Number.parseInt(/flags:\s+(\d+)/.exec(info)![1]!, 8);
  }

  it('listens, connects and accepts, without blocking and without surviving exec', () => {
    const listener = open(passing.listen(path, 0o600, 4));
    throwsRefusal(() => passing.accept(listener), { code: 'EAGAIN', syscall: 'accept4' });
    const client = open(passing.connect(path));
    const server = open(passing.accept(listener));
    for (const fd of [listener, client, server]) assert.equal(flags(fd), CLOSE_ON_EXEC_NON_BLOCKING);
    assert.equal(passing.send(client, new Uint8Array([1, 2, 3]), []), 3);
    const buffer = new Uint8Array(8);
    assert.deepEqual(passing.receive(server, buffer), { size: 3, fds: [] });
    assert.deepEqual([...buffer], [1, 2, 3, 0, 0, 0, 0, 0]);
    throwsRefusal(() => passing.receive(server, buffer), { code: 'EAGAIN', syscall: 'recvmsg' });
  });

  it('gives the socket its mode from the start', () => {
    open(passing.listen(path, 0o640, 4));
    assert.equal(statSync(path).mode & 0o777, 0o640 & ~process.umask());
    throwsWrongValue(() => passing.listen(`${path}2`, 0o1000, 4), 'passing.listen', 'mode');
  });

  it('refuses where nobody listens, or somebody does', () => {
    throwsRefusal(() => passing.connect(path), { code: 'ENOENT', syscall: 'connect', path });
    const listener = passing.listen(path, 0o600, 4);
    throwsRefusal(() => passing.listen(path, 0o600, 4), { code: 'EADDRINUSE', syscall: 'bind', path });
    descriptor.close(listener);
    throwsRefusal(() => passing.connect(path), { code: 'ECONNREFUSED', syscall: 'connect', path });
  });

  it('refuses to wait for a listener that has too many waiting', () => {
    open(passing.listen(path, 0o600, 1));
    open(passing.connect(path));
    open(passing.connect(path));
    throwsRefusal(() => passing.connect(path), { code: 'EAGAIN', syscall: 'connect', path });
  });

  it('takes a path of up to 107 bytes, and no abstract name', () => {
    const long = join(folder.path, 'x'.repeat(107 - folder.path.length - 1));
    open(passing.listen(long, 0o600, 1));
    assert.ok(statSync(long).isSocket());
    for (const call of [(name: string) => passing.listen(name, 0o600, 1), passing.connect]) {
      throwsWrongValue(
        () => call(`${long}x`),
        `passing.${call === passing.connect ? 'connect' : 'listen'}`,
        'path',
      );
      throwsWrongValue(() => call(''), `passing.${call === passing.connect ? 'connect' : 'listen'}`, 'path');
      throwsWrongValue(
        () => call('\0name'),
        `passing.${call === passing.connect ? 'connect' : 'listen'}`,
        'path',
      );
    }
  });

  it('passes descriptors that are the same files', () => {
    const [first, second] = pair();
    const event = open(eventfd.create());
    const mapping = memory.create('passed', memory.pageSize(), 0);
    assert.equal(passing.send(first, new Uint8Array([7]), [event, mapping.fd]), 1);
    const { size, fds } = passing.receive(second, new Uint8Array(16));
    assert.equal(size, 1);
    const [passedEvent, passedMemory] = fds.map(open) as [number, number];
    eventfd.signal(passedEvent);
    assert.equal(eventfd.take(event), 1);
    const other = memory.map(passedMemory, 0, memory.pageSize());
    new Uint8Array(mapping.buffer)[5] = 99;
    assert.equal(new Uint8Array(other.buffer)[5], 99);
    for (const fd of fds) assert.notEqual(flags(fd) & 0o2000000, 0, 'close-on-exec');
    memory.unmap(other);
    memory.unmap(mapping);
  });

  it('never joins bytes behind those that came with descriptors', () => {
    const [first, second] = pair();
    const event = open(eventfd.create());
    passing.send(first, new Uint8Array([1]), []);
    passing.send(first, new Uint8Array([2, 3]), [event]);
    passing.send(first, new Uint8Array([4]), []);
    const buffer = new Uint8Array(16);
    const joined = passing.receive(second, buffer);
    assert.deepEqual([joined.size, joined.fds.length, ...buffer.subarray(0, 3)], [3, 1, 1, 2, 3]);
    for (const fd of joined.fds) open(fd);
    assert.deepEqual(passing.receive(second, buffer), { size: 1, fds: [] });
  });

  it('passes up to 253 descriptors at once', () => {
    const [first, second] = pair();
    const event = open(eventfd.create());
    passing.send(first, new Uint8Array([1]), Array(253).fill(event));
    const { fds } = passing.receive(second, new Uint8Array(1));
    assert.equal(fds.length, 253);
    for (const fd of fds) open(fd);
    throwsWrongValue(
      () => passing.send(first, new Uint8Array([1]), Array(254).fill(event)),
      'passing.send',
      'fds',
    );
  });

  it('receives all descriptors of a message or keeps none', () => {
    // In a process whose table has room for some of them only.
    const program = `
      import { hostKernel } from ${JSON.stringify(new URL('../../../lib/kernel/host.js', import.meta.url).href)};
      import { readdirSync } from 'node:fs';
      const { passing, eventfd } = hostKernel();
      const [first, second] = passing.pair();
      passing.send(first, new Uint8Array([1]), Array(200).fill(eventfd.create()));
      const open = () => readdirSync('/proc/self/fd').length;
      const before = open();
      try {
        passing.receive(second, new Uint8Array(1));
      } catch ({ code, syscall, request }) {
        console.log(JSON.stringify({ code, syscall, request, more: open() - before }));
      }`;
    const script = join(folder.path, 'few.mjs');
    writeFileSync(script, program);
    const out = execFileSync('sh', ['-c', 'ulimit -n 100; exec "$0" "$1"', process.execPath, script], {
      encoding: 'utf8',
    });
    assert.deepEqual(JSON.parse(out), { code: 'EMFILE', syscall: 'recvmsg', request: 'SCM_RIGHTS', more: 0 });
  });

  it('closes what was on the way when an end closes', () => {
    const [first, second] = passing.pair();
    const mapping = memory.create('underway', memory.pageSize(), 0);
    passing.send(first, new Uint8Array([1]), [mapping.fd]);
    memory.unmap(mapping);
    descriptor.close(first);
    descriptor.close(second);
  });

  it('tells the end of the stream, and a sender that nobody reads', () => {
    const [first, second] = passing.pair();
    open(second);
    descriptor.close(first);
    assert.deepEqual(passing.receive(second, new Uint8Array(4)), { size: 0, fds: [] });
    throwsRefusal(() => passing.send(second, new Uint8Array(4), []), { code: 'EPIPE', syscall: 'sendmsg' });
  });

  it('sends what there is room for, and can be watched for more room', async () => {
    const [first, second] = pair();
    const block = new Uint8Array(65_536);
    const fill = (): void => {
      for (;;) passing.send(first, block, []);
    };
    throwsRefusal(fill, { code: 'EAGAIN', syscall: 'sendmsg' });
    let called = 0;
    const watch = poller.watchWritable(first, (error) => {
      assert.equal(error, false);
      called++;
    });
    for (let i = 0; i < 5; i++) await nextTurn();
    assert.equal(called, 0);
    for (let taken = 0; taken < 150_000; ) taken += passing.receive(second, block).size;
    while (called === 0) await nextTurn();
    watch.close();
  });

  it('tells who is at the other end', () => {
    const [first] = pair();
    const own = { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() };
    assert.deepEqual(passing.peerCredentials(first), own);
    throwsRefusal(() => passing.peerCredentials(1_000_000), {
      code: 'EBADF',
      syscall: 'getsockopt',
      request: 'SO_PEERCRED',
    });
  });

  it('never takes something else for its arguments', () => {
    const [first] = pair();
    const byte = new Uint8Array(1);
    throwsWrongType(() => passing.send(first, 'x' as never, []), 'passing.send', 'bytes');
    throwsWrongValue(() => passing.send(first, new Uint8Array(), [first]), 'passing.send', 'bytes');
    throwsWrongType(() => passing.send(first, byte, {} as never), 'passing.send', 'fds');
    throwsWrongType(() => passing.send(first, byte, [first, '3'] as never), 'passing.send', 'fds[1]');
    throwsWrongValue(() => passing.send(first, byte, [-1]), 'passing.send', 'fds[0]');
    throwsRefusal(() => passing.send(first, byte, [1_000_000]), { code: 'EBADF', syscall: 'sendmsg' });
    throwsWrongValue(() => passing.receive(first, new Uint8Array()), 'passing.receive', 'buffer');
    throwsRefusal(() => passing.accept(first), { code: 'EINVAL', syscall: 'accept4' });
  });
});
