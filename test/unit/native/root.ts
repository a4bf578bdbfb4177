import assert from 'node:assert/strict';

/** For a `before` hook: what follows makes network namespaces and raw sockets, which is root's to do. */
export function requireRoot(): void {
  assert.equal(process.getuid?.(), 0, 'these tests make network namespaces: run them as root');
}
