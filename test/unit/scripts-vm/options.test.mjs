import assert from 'node:assert/strict';
import { HELP, parseCommandLine, parseMemory } from '../../../scripts/vm/options.mjs';

/** @param {string[]} argv */
const refusal = (argv) => {
  try {
    parseCommandLine(argv);
  } catch (error) {
    assert(error instanceof Error && 'code' in error);
    assert.equal(error.code, 'ERR_VM_USAGE');
    return error.message;
  }
  return assert.fail(`${argv.join(' ')} was taken`);
};

describe('vm command line', () => {
  it('leaves the options of the command to the command', () => {
    const { command, run } = parseCommandLine(['--zerocopy', 'ls', '-l', '--kernel', '/dev/vhost-net']);
    assert.deepEqual(command, ['ls', '-l', '--kernel', '/dev/vhost-net']);
    assert.equal(run.zerocopy, true);
    assert.equal(run.kernel, undefined);
  });

  it('takes the value of an option as a word of its own or after an equals sign', () => {
    const { command, run } = parseCommandLine(['--cpus', '4', '--timeout=60', '--', '--cpus']);
    assert.deepEqual(command, ['--cpus']);
    assert.equal(run.cpus, 4);
    assert.equal(run.timeout, 60);
  });

  it('collects every needed program', () => {
    const { run } = parseCommandLine(['--need', 'ping', '--need=iperf3', 'true']);
    assert.deepEqual(run.needs, ['ping', 'iperf3']);
  });

  it('needs a command, except for a shell or for help', () => {
    assert.match(refusal([]), /no command/);
    assert.match(refusal(['--']), /no command/);
    assert.equal(parseCommandLine(['--shell']).shell, true);
    assert.equal(parseCommandLine(['--help']).help, true);
  });

  it('counts memory in MiB', () => {
    assert.equal(parseMemory('1024'), 1024);
    assert.equal(parseMemory('512M'), 512);
    assert.equal(parseMemory('2g'), 2048);
    for (const text of ['', '64', '4T', '-1', '1.5G'])
      assert.throws(() => parseMemory(text), { code: 'ERR_VM_USAGE' });
  });

  it('names what is wrong with an option', () => {
    assert.match(refusal(['--kernal', '6.1', 'true']), /kernal/);
    assert.match(refusal(['--accel', 'xen', 'true']), /auto, kvm or tcg, not xen/);
    assert.match(refusal(['--cpus', '0', 'true']), /--cpus is a whole number from 1 up, not 0/);
    assert.match(refusal(['--timeout', '1s', 'true']), /--timeout/);
    assert.match(refusal(['--kernel']), /kernel/);
  });

  it('lists every option in its help', () => {
    for (const name of [
      'kernel',
      'zerocopy',
      'cpus',
      'parallel',
      'memory',
      'hugepages',
      'timeout',
      'accel',
      'vm',
      'need',
      'shell',
      'quiet',
    ]) {
      assert(HELP.includes(`--${name}`), name);
    }
  });
});
