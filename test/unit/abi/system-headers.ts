import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const { CC: compiler = 'cc' } = process.env;

/** In this order: glibc's socket.h tells the kernel's headers which structs it has defined already. */
const prelude = [
  'sys/types.h',
  'sys/socket.h',
  'stddef.h',
  'stdio.h',
  'linux/version.h',
  'linux/major.h',
  'linux/if.h',
  'linux/if_arp.h',
  'linux/if_ether.h',
  'linux/if_packet.h',
  'linux/if_tun.h',
  'linux/sockios.h',
  'linux/vhost.h',
  'linux/virtio_config.h',
  'linux/virtio_net.h',
  'linux/virtio_ring.h',
]
  .map((header) => `#include <${header}>\n`)
  .join('');

/** Expressions by a label of the caller's. */
export type Expressions = ReadonlyMap<string, string>;

/** The C headers that this system has, asked through its compiler, and others after them. */
export class SystemHeaders {
  private readonly directory = mkdtempSync(join(tmpdir(), 'vhost-abi-'));
  private readonly prelude: string;
  private files = 0;

  /** `others`: paths of headers that are included after the system's. */
  constructor(others: readonly string[] = []) {
    this.prelude = [prelude, ...others.map((path) => `#include "${path}"\n`)].join('');
  }

  dispose(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Names that the preprocessor knows; an enumerator need not be among them. */
  macros(): Set<string> {
    const source = this.write(this.prelude);
    const text = execFileSync(compiler, ['-E', '-dM', source], { encoding: 'utf8', maxBuffer: 1 << 24 });
    return new Set([...text.matchAll(/^#define (\w+)/gm)].map((match) => match[1]!));
  }

  /** The version that the headers are of, as [6, 1]. */
  async version(): Promise<readonly [number, number]> {
    const code = (await this.evaluate(new Map([['version', 'LINUX_VERSION_CODE']]))).get('version')!;
    return [code >> 16, (code >> 8) & 0xff];
  }

  /**
   * Those of the expressions that compile, as far as possible all at once: what the headers lack is found by
   * halving, so that a few absentees among hundreds cost a few compiler runs.
   */
  async available(expressions: Expressions): Promise<Map<string, string>> {
    const entries = [...expressions];
    if (entries.length === 0) return new Map();
    const source = this.write(this.program(new Map(entries)));
    const good = await run(compiler, ['-fsyntax-only', source]).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        // Only a compiler that ran and refused says something about the headers.
        if (typeof error.code !== 'number') throw error;
        return false;
      },
    );
    if (good) return new Map(entries);
    if (entries.length === 1) return new Map();
    const middle = entries.length >> 1;
    const [low, high] = await Promise.all([
      this.available(new Map(entries.slice(0, middle))),
      this.available(new Map(entries.slice(middle))),
    ]);
    return new Map([...low, ...high]);
  }

  /** The values of expressions, each as the C compiler sees it. */
  async evaluate(expressions: Expressions): Promise<Map<string, number>> {
    const source = this.write(this.program(expressions));
    const program = source.replace(/\.c$/, '');
    await run(compiler, ['-o', program, source]);
    const { stdout } = await run(program, { maxBuffer: 1 << 24 });
    return new Map(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' '))
        .map(([label, value]) => [label!, Number(value)]),
    );
  }

  private program(expressions: Expressions): string {
    const lines = [...expressions].map(
      ([label, expression]) => `  printf("${label} %lld\\n", (long long)(${expression}));\n`,
    );
    return `${this.prelude}int main(void) {\n${lines.join('')}  return 0;\n}\n`;
  }

  private write(text: string): string {
    const path = join(this.directory, `probe${this.files++}.c`);
    writeFileSync(path, text);
    return path;
  }
}
