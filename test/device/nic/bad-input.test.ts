import assert from 'node:assert/strict';
import { GuestMemory, hostKernel, KernelVhost, Nic, type NicOptions, openTap } from '../../../lib/index.js';
import { Namespace } from '../../support/device-namespace.js';
import { runProgram } from '../../support/node-program.js';
import { resources } from '../../support/process-resources.js';
import { onKernel } from '../../support/test-device.js';

const program = new URL('./programs/open-nic.js', import.meta.url);

describe('bad input', function () {
  this.timeout(120_000);
  let namespace: Namespace;
  let nic: Nic;

  before(async () => {
    namespace = Namespace.add();
    nic = await namespace.nic('tap-x');
  });
  after(() => namespace.remove());

  describe('to Nic.open is refused with the name of the argument and its rule, and opens nothing:', () => {
    const wrongType = { name: 'TypeError [ERR_VHOST_INVALID_ARGUMENT]', code: 'ERR_VHOST_INVALID_ARGUMENT' };
    const outOfRange = { name: 'RangeError [ERR_VHOST_OUT_OF_RANGE]', code: 'ERR_VHOST_OUT_OF_RANGE' };
    const tap = 'tap-y';
    for (const [what, options, expected, message] of [
      ['no options', undefined, wrongType, /^options must be an object of options; received undefined$/],
      ['no backend', {}, outOfRange, /^options must be such that exactly one of tap, .* is named/],
      ['a name where options belong', 'tap-y', wrongType, /^options must be an object of options/],
      ['an unknown option', { tap, color: 'red' }, wrongType, /^options must be made of the options tap, /],
      [
        'an option that is nearly one',
        { tap, queue_size: 8 },
        wrongType,
        /\(did you mean "queueSize"\?\); received \{ queue_size: 8 \}$/,
      ],
      ['an unknown option of the tap', { tap: { name: tap, Mtu: 9000 } }, wrongType, /^tap must .* "mtu"\?/],
      [
        'a tap of the wrong type',
        { tap: 7 },
        wrongType,
        /^tap must be a name or an object of options; received 7$/,
      ],
      [
        'a name of the wrong type',
        { tap: { name: 7 } },
        wrongType,
        /^tap\.name must be a string; received 7$/,
      ],
      [
        'a name of 16 bytes',
        { tap: 'tap-0123456789ab' },
        outOfRange,
        /^tap\.name must be an interface name of 1 to 15 bytes \(this one has 16\); received 'tap-0123456789ab'$/,
      ],
      [
        'a name of 15 letters and 16 bytes',
        { tap: 'tap-01234567é9a' },
        outOfRange,
        /^tap\.name .* \(this one has 16\)/,
      ],
      ['an empty name', { tap: '' }, outOfRange, /^tap\.name .* \(this one has 0\)/],
      [
        'a name with a slash',
        { tap: 'a/b' },
        outOfRange,
        /^tap\.name must be an interface name without '\/'/,
      ],
      [
        'a queue size in words',
        { tap, queueSize: '256' },
        wrongType,
        /^queueSize must be a number; received '256'$/,
      ],
      [
        'a queue size that is no power of two',
        { tap, queueSize: 300 },
        outOfRange,
        /^queueSize must be a power of two/,
      ],
      [
        'an unknown option of the queue size',
        { tap, queueSize: { rx: 8 } },
        wrongType,
        /^queueSize must be made of the options receive, transmit/,
      ],
      [
        'a buffer too small',
        { tap, bufferSize: 64 },
        outOfRange,
        /^bufferSize must be a whole number from 128 to/,
      ],
      ['half a buffer', { tap, buffers: 10.5 }, outOfRange, /^buffers must be a whole number/],
      ['no frame in flight', { tap, maxInFlight: { frames: 0 } }, outOfRange, /^maxInFlight\.frames must/],
      ['no byte in flight', { tap, maxInFlight: { bytes: 0 } }, outOfRange, /^maxInFlight\.bytes must/],
      ['an empty budget', { tap, budget: { frames: 0 } }, outOfRange, /^budget\.frames must/],
      ['a time to poll below none', { tap, busyPoll: -1 }, outOfRange, /^busyPoll must/],
      [
        'a device of the wrong type',
        { tap, vhost: 7 },
        wrongType,
        /^vhost must be a path, 'worker', a Vhost or an array of these; received 7$/,
      ],
      [
        'an MTU too small',
        { tap: { name: tap, mtu: 20 } },
        outOfRange,
        /mtu must be a whole number from 68 to/,
      ],
      ['an address that is none', { tap: { name: tap, mac: '02:00' } }, outOfRange, /mac must be six bytes/],
      [
        'an offload that is none',
        { tap: { name: tap, offloads: ['tso5'] } },
        outOfRange,
        /offloads must be names/,
      ],
      [
        'huge pages of an odd size',
        { tap, hugePageSize: 12345 },
        undefined,
        /hugePageSize|MAP_HUGETLB|memfd_create/,
      ],
    ] as const)
      it(what, async () => {
        const before = resources();
        const inNamespace =
          typeof options === 'object' && 'tap' in options && typeof options.tap === 'string'
            ? { ...options, tap: { name: options.tap, netns: namespace.name } }
            : typeof options === 'object' && 'tap' in options && typeof options.tap === 'object'
              ? { ...options, tap: { ...options.tap, netns: namespace.name } }
              : options;
        await assert.rejects(Nic.open(inNamespace as NicOptions), { ...expected, message });
        assert.deepEqual(resources().descriptors, before.descriptors);
        assert.doesNotMatch(namespace.ip('link'), /tap-y/);
      });
  });

  describe('to an open Nic:', () => {
    for (const [what, call, message] of [
      [
        'a string for a frame',
        () => nic.send('frame' as never),
        /^frame must be a Uint8Array; received 'frame'$/,
      ],
      [
        'an array for a frame',
        () => nic.trySend([1, 2] as never),
        /^frame must be a Uint8Array; received \[ 1, 2 \]$/,
      ],
      [
        'a frame for frames',
        () => nic.submit(new Uint8Array(60) as never),
        /^frames must be an array of Uint8Array/,
      ],
      [
        'no frame among frames',
        () => nic.submit([new Uint8Array(60), 7 as never]),
        /^frames\[1\] must be a Uint8Array/,
      ],
      [
        'an unknown part of a header',
        () => nic.send(new Uint8Array(60), { header: { gso: 1 } as never }),
        /^header must be made of the options .* \(did you mean "gsoType"\?\)/,
      ],
      [
        'a checksum offset in words',
        () => nic.send(new Uint8Array(60), { header: { csumStart: '34' as never } }),
        /^header\.csumStart must be a number; received '34'$/,
      ],
    ] as const)
      it(`${what} is refused with the name of the argument`, async () => {
        await assert.rejects(async () => call(), { code: 'ERR_VHOST_INVALID_ARGUMENT', message });
      });

    it('values out of range are refused with their rule', async () => {
      const frame = new Uint8Array(60);
      await assert.rejects(nic.receive({ limit: 0 }).next(), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: 'limit must be a whole number from 1 to 65536; received 0',
      });
      await assert.rejects(nic.send(frame, { header: { gsoSize: 70_000 } }), {
        code: 'ERR_VHOST_OUT_OF_RANGE',
        message: 'header.gsoSize must be a whole number from 0 to 65535; received 70000',
      });
      await assert.rejects(nic.send(frame, { header: { gsoType: 'tcp' as never } }), {
        message: "header.gsoType must be one of none, tcpv4, tcpv6, udp, udp-l4; received 'tcp'",
      });
      await assert.rejects(nic.send(frame, { signal: AbortSignal.abort() }), { name: 'AbortError' });
    });

    it('a second receiver is refused while one iterates', async () => {
      const waiting = nic.receive().next();
      await assert.rejects(nic.receive().next(), {
        code: 'ERR_VHOST_IN_USE',
        message: 'another iteration receives already; end it first',
      });
      // The first ends with the Nic; a later one may then follow.
      await nic.close();
      assert.deepEqual(await waiting, { done: true, value: undefined });
      nic = await namespace.nic('tap-x');
    });

    it('buffers that are not the caller’s are refused by the ring tier', () => {
      const { pool, tx } = nic;
      const buffer = pool.lease();
      pool.release(buffer);
      assert.throws(() => pool.release(buffer), {
        code: 'ERR_VHOST_NOT_LEASED',
        message: /must be leased; it is free/,
      });
      assert.throws(() => tx.post(buffer), {
        message: `buffer ${buffer} is not out on lease; lease it before it is posted`,
      });
      assert.throws(() => pool.release(pool.count), {
        code: 'ERR_VHOST_NOT_LEASED',
        message: /none of this pool/,
      });
    });
  });

  describe('what the kernel refuses comes through as it is, with a hint:', () => {
    it('a tap that is open already', async () => {
      await assert.rejects(namespace.nic('tap-x'), {
        code: 'EBUSY',
        syscall: 'ioctl',
        request: 'TUNSETIFF',
        hint: 'the tap is open already, here or in another process; close that one, or choose another name',
        message: /\(the tap is open already, here or in another process/,
      });
      // The first is none the worse for it.
      await nic.send(new Uint8Array(60));
      await nic.drain();
    });

    it('an interface that is no tap', async () => {
      await assert.rejects(namespace.nic('lo'), {
        code: 'EINVAL',
        request: 'TUNSETIFF',
        hint: /is no tap/,
      });
    });

    it('a namespace that does not exist', async () => {
      const netns = 'no-such-namespace';
      await assert.rejects(Nic.open({ tap: { name: 'tap-y', netns } }), (error: NodeJS.ErrnoException) => {
        assert.equal(error.code, 'ENOENT');
        assert.match(error.message, /no-such-namespace/);
        return true;
      });
    });

    it('a device that is not there', async () => {
      assert.throws(() => KernelVhost.open({ path: '/dev/none' }), {
        code: 'ENOENT',
        syscall: 'open',
        path: '/dev/none',
        message: /\/dev\/none/,
      });
      await assert.rejects(namespace.nic('tap-y', { vhost: '/dev/none' }), {
        code: 'ENOENT',
        path: '/dev/none',
      });
      // Where the module is missing, so is its node: the hint says what to do.
      assert.throws(() => KernelVhost.open({ path: '/dev/none/vhost-net' }), {
        code: 'ENOENT',
        hint: /modprobe vhost_net/,
      });
    });

    it('a file that is no vhost device', async () => {
      await assert.rejects(namespace.nic('tap-y', { vhost: '/dev/null' }), {
        code: 'ENOTTY',
        syscall: 'ioctl',
        request: 'VHOST_SET_OWNER',
      });
    });

    onKernel(() => {
      it('requests out of order', () => {
        const memory = new GuestMemory(hostKernel());
        const vhost = KernelVhost.open();
        const tap = openTap({ name: 'tap-z', netns: namespace.name });
        try {
          const refusal = (code: string, request: string) => ({ code, syscall: 'ioctl', request });
          assert.throws(() => vhost.setVringNum(0, 8), refusal('EPERM', 'VHOST_SET_VRING_NUM'));
          vhost.setOwner();
          assert.throws(() => vhost.setOwner(), {
            ...refusal('EBUSY', 'VHOST_SET_OWNER'),
            hint: /owner already/,
          });
          assert.throws(() => vhost.setFeatures(1n), {
            ...refusal('EOPNOTSUPP', 'VHOST_SET_FEATURES'),
            hint: /agreed at the tap/,
          });
          assert.throws(() => vhost.setVringNum(2, 8), refusal('ENOBUFS', 'VHOST_SET_VRING_NUM'));
          assert.throws(() => vhost.setBackend(0, tap.fd), {
            ...refusal('EFAULT', 'VHOST_NET_SET_BACKEND'),
            hint: /VHOST_SET_MEM_TABLE has not been called/,
          });
        } finally {
          vhost.close();
          tap.close();
          memory.close();
        }
      });
    });
  });

  describe('without permission', () => {
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const powerless = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'];

    onKernel(() => {
      it('the device refuses another user, and the hint says what to do', async () => {
        const { stdout, stderr } = await runProgram(program, ['{"vhost":"/dev/vhost-net"}'], {
          under: nobody,
        });
        assert.equal(stderr, '');
        const { message, ...error } = JSON.parse(stdout);
        assert.deepEqual(error, {
          code: 'EACCES',
          syscall: 'open',
          path: '/dev/vhost-net',
          hint: 'the device belongs to another user or group: join its group (often kvm), or run as root',
        });
        assert.match(message, /\/dev\/vhost-net/);
      });
    });

    it('no tap is made without CAP_NET_ADMIN, and the hint says what to do', async () => {
      const tap = { name: 'tap-y', netns: '/proc/self/ns/net' };
      const { stdout, stderr } = await runProgram(program, [JSON.stringify({ tap })], { under: powerless });
      assert.equal(stderr, '');
      const { code, request, hint } = JSON.parse(stdout);
      assert.deepEqual([code, request], ['EPERM', 'TUNSETIFF']);
      assert.match(hint, /CAP_NET_ADMIN/);
    });
  });
});
