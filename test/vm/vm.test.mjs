import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../../scripts/vm/programs.mjs';
import { runWithDevice } from '../../scripts/vm/run.mjs';

const CLI = fileURLToPath(new URL('../../scripts/vm/vm.mjs', import.meta.url));
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Runs a shell script in a VM.
 *
 * @param {string} script
 * @param {Partial<import('../../scripts/vm/run.mjs').RunOptions>} [options]
 */
async function inVm(script, options = {}) {
  /** @type {Buffer[]} */
  const stdout = [];
  /** @type {Buffer[]} */
  const stderr = [];
  const result = await runWithDevice({
    command: 'sh',
    args: ['-c', script],
    vm: true,
    onStdout: (chunk) => void stdout.push(chunk),
    onStderr: (chunk) => void stderr.push(chunk),
    ...options,
  });
  return { ...result, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) };
}

/**
 * @param {number} pid
 * @returns {Promise<Array<{pid: number, name: string}>>} what runs below a process
 */
async function descendants(pid) {
  const all = (await readdir('/proc'))
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const [, comm, parent] = /\((.*)\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8')) ?? [];
        return [{ pid: Number(name), name: comm ?? '', parent: Number(parent) }];
      } catch {
        return [];
      }
    });
  /** @param {number} parent @returns {Array<{pid: number, name: string}>} */
  const below = (parent) =>
    all.filter((entry) => entry.parent === parent).flatMap((entry) => [entry, ...below(entry.pid)]);
  return below(pid);
}

/** @param {number} pid */
const runs = (pid) => {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};

/** @param {Array<{pid: number, name: string}>} processes */
async function assertGone(processes) {
  assert(
    processes.some(({ name }) => name.startsWith('qemu')) &&
      processes.some(({ name }) => name === 'virtiofsd'),
  );
  const deadline = Date.now() + 3000;
  while (processes.some(({ pid }) => runs(pid)) && Date.now() < deadline) await sleep(50);
  assert.deepEqual(
    processes.filter(({ pid }) => runs(pid)),
    [],
  );
}

/** @param {number} pid */
async function runFolders(pid) {
  return (await readdir(tmpdir())).filter((name) => name.startsWith(`vhost-net-${pid}-`));
}

/** Starts the command line on a command that runs until it is stopped, and waits until it does. */
async function startCommand() {
  const child = spawn(
    process.execPath,
    [CLI, '--vm', '--quiet', '--', 'sh', '-c', 'echo up; exec sleep 600'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  assert(child.pid);
  const ended = once(child, 'exit').then((how) => assert.fail(`ended before the command began: ${how}`));
  assert.equal(String(await Promise.race([once(child.stdout, 'data'), ended])), 'up\n');
  return { child, pid: child.pid, processes: await descendants(child.pid) };
}

describe('a VM with a real /dev/vhost-net', function () {
  // Under emulation, on a machine that does other things besides.
  this.timeout(120_000);
  /** @type {string} */
  let folder;
  before(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'vm-test-')));
  });
  after(async () => rm(folder, { recursive: true, force: true }));

  it('passes words, folder, environment, input, both outputs and the status through', async () => {
    await writeFile(join(folder, 'noise'), Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
    const script = `
      [ -c /dev/vhost-net ] && [ -c /dev/net/tun ] || exit 99
      pwd; printf '%s|' "$@"; printf '%s|%s\\n' "$VHOST_WORD" "$(cat /sys/module/vhost_net/parameters/experimental_zcopytx)"
      cat noise
      cat >"$VHOST_SCRATCH/input"
      head -c 3000000 /dev/zero | tr '\\0' e >&2
      sleep 1000 &
      exit 3`;
    const words = ["it's", '$HOME "x"', 'two\nlines'];
    const scratch = join(folder, 'scratch');
    const { Readable } = await import('node:stream');
    const run = await inVm(script, {
      args: ['-c', script, 'sh', ...words],
      cwd: folder,
      env: { ...process.env, VHOST_WORD: "o'clock\r\n", VHOST_SCRATCH: scratch },
      stdin: Readable.from([Buffer.from('in\r\n'), Buffer.alloc(100_000, 'i')]),
      zerocopy: true,
    });
    const text = Buffer.from(`${folder}\n${words.join('|')}|o'clock\r\n|1\n`);
    assert.equal(
      run.stdout.toString('latin1'),
      Buffer.concat([text, await readFile(join(folder, 'noise'))]).toString('latin1'),
    );
    assert.equal(run.stderr.length, 3_000_000);
    assert.equal(
      createHash('sha1').update(run.stderr).digest('hex'),
      createHash('sha1').update('e'.repeat(3_000_000)).digest('hex'),
    );
    assert.equal((await stat(join(scratch, 'input'))).size, 100_004);
    assert.equal(run.status, 3);
    assert.equal(run.signal, null);
    assert.equal(run.where, 'vm');
    assert.match(run.kernel ?? '', /^6\.12\./);
  });

  it("keeps root in the VM from this machine's files", async () => {
    const victim = join(folder, 'victim');
    await writeFile(victim, 'mine');
    const { status, stdout } = await inVm(`
      # What the shell sees is an overlay: this all works, in memory.
      mount -o remount,rw /; touch /usr/vm-was-here; rm /etc/hostname; rm ${victim}; echo changed >${victim}
      # The shared folders themselves, mounted anew and without the overlay.
      mkdir /run/raw /run/writable
      mount -t virtiofs host /run/raw && mount -o remount,rw /run/raw
      mount -t virtiofs writable /run/writable
      for path in /usr/vm-was-here /etc/vm-was-here ${folder}/vm-was-here ${ROOT}vm-was-here; do
        touch /run/raw$path 2>/dev/null && echo "wrote $path"
      done
      rm -f /run/raw/etc/hostname 2>/dev/null && echo 'removed hostname'
      rm -f /run/raw${victim} 2>/dev/null && echo 'removed victim'
      echo changed 2>/dev/null >/run/raw${victim} && echo 'changed victim'
      chmod 777 /run/raw/etc 2>/dev/null && echo 'changed a mode'
      mkdir /run/writable/0/../../vm-was-here 2>/dev/null; touch /run/writable/vm-was-here 2>/dev/null && echo 'wrote beside'
      mknod "$VHOST_SCRATCH/memory" c 1 1 2>/dev/null && echo 'made a device'
      ls /run/raw/proc /run/raw/sys /run/raw/dev
      [ -f /run/raw${victim} ] && touch "$VHOST_SCRATCH/allowed" && echo end`);
    assert.equal(stdout.toString(), '/run/raw/dev:\n\n/run/raw/proc:\n\n/run/raw/sys:\nend\n');
    assert.equal(status, 0);
    assert.equal(await readFile(victim, 'utf8'), 'mine');
    for (const path of ['/usr', '/etc', folder, ROOT, '/run'])
      assert(!existsSync(join(path, 'vm-was-here')), path);
  });

  it('loads what a program first needs, and names the command that does not exist', async () => {
    const { status, stdout, stderr } = await inVm(
      'ip link add name one type veth peer name two && ls /sys/class/net; no-such-program',
    );
    assert.equal(stdout.toString(), 'lo\none\ntwo\n');
    assert.match(stderr.toString(), /no-such-program/);
    assert.equal(status, 127);
  });

  for (const name of ['virtiofsd', 'qemu-system-x86']) {
    it(`ends at once, with the reason, when ${name} dies under it`, async () => {
      let killed = 0;
      const run = inVm('echo up; exec sleep 600', {
        onStdout: async () => {
          const found = (await descendants(process.pid)).find((entry) =>
            entry.name.startsWith(name.slice(0, 15)),
          );
          assert(found);
          killed = Date.now();
          process.kill(found.pid, 'SIGKILL');
        },
      });
      await assert.rejects(run, {
        code: 'ERR_VM_DIED',
        message: /(virtiofsd|QEMU) ended under the VM \(killed by SIGKILL\)/,
      });
      assert(killed > 0 && Date.now() - killed < 5000);
      assert.deepEqual(await runFolders(process.pid), []);
    });
  }

  it('is booted again where its kernel panics before the command begins', async () => {
    const real = await findProgram('qemu-system-x86_64');
    const fake = join(folder, 'qemu-system-x86_64');
    await writeFile(
      fake,
      `#!/bin/sh
      if mkdir ${folder}/panicked 2>/dev/null; then
        for word; do case $word in file,id=console,path=*) console=\${word#*path=} ;; esac; done
        echo 'Kernel panic - not syncing: Fatal exception in interrupt' >"$console"
        exit 0
      fi
      exec ${real} "$@"`,
      { mode: 0o755 },
    );
    const { PATH: path } = process.env;
    process.env.PATH = `${folder}:${path}`;
    /** @type {string[]} */
    const said = [];
    try {
      const run = await inVm('echo up', { accel: 'tcg', onProgress: (message) => void said.push(message) });
      assert.equal(run.stdout.toString(), 'up\n');
      assert.equal(run.status, 0);
    } finally {
      process.env.PATH = path;
    }
    assert(said.includes('it did not start; trying again'));
    assert.deepEqual(await runFolders(process.pid), []);
  });

  it('stops after its time limit with status 124', async () => {
    const { status, timedOut } = await inVm('sleep 600', { timeout: 2 });
    assert.equal(status, 124);
    assert.equal(timedOut, true);
    assert.deepEqual(await runFolders(process.pid), []);
  });

  it('passes an interrupt to the command, and leaves nothing behind', async () => {
    const { child, pid, processes } = await startCommand();
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'exit'), [130, null]);
    await assertGone(processes);
    assert.deepEqual(await runFolders(pid), []);
  });

  it('leaves no process behind when it is killed itself, and no folder after the next run', async () => {
    const { child, pid, processes } = await startCommand();
    child.kill('SIGKILL');
    await once(child, 'exit');
    await assertGone(processes);
    await inVm('', { timeout: 1 });
    assert.deepEqual(await runFolders(pid), []);
  });
});
