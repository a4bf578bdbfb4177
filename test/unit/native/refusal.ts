import assert from 'node:assert/strict';
import { constants } from 'node:os';

/** Node's list, and the one error that tun answers with and Node does not know. */
const numbers = { ...constants.errno, EBADFD: 77 };

/** What a refusal of the kernel must say; a field left out must be absent from the error too. */
export interface ExpectedRefusal {
  readonly code: keyof typeof numbers;
  readonly syscall: string;
  readonly request?: string;
  readonly queue?: number;
  readonly path?: string;
}

/** Holds an error to the one shape that refusals have. */
export function assertRefusal(error: unknown, expected: ExpectedRefusal): true {
  assert.ok(error instanceof Error, String(error));
  assert.deepEqual({ ...error }, { errno: -numbers[expected.code], ...expected });
  const call = expected.request === undefined ? expected.syscall : `${expected.syscall} ${expected.request}`;
  const where = expected.path === undefined ? '' : ` '${expected.path}'`;
  assert.ok(error.message.startsWith(`${expected.code}: `), error.message);
  assert.ok(error.message.endsWith(`, ${call}${where}`), error.message);
  return true;
}

export function throwsRefusal(call: () => unknown, expected: ExpectedRefusal): void {
  assert.throws(call, (error) => assertRefusal(error, expected));
}

/** A TypeError that names the method and the argument. */
export function throwsWrongType(call: () => unknown, method: string, argument: string): void {
  assert.throws(call, (error) => {
    assert.ok(error instanceof TypeError, String(error));
    assert.equal((error as Error & { code?: string }).code, 'ERR_VHOST_INVALID_ARGUMENT');
    assert.ok(error.message.startsWith(`${method}: ${argument} must be `), error.message);
    return true;
  });
}

/** A RangeError that names the method and the argument. */
export function throwsWrongValue(call: () => unknown, method: string, argument: string): void {
  assert.throws(call, (error) => {
    assert.ok(error instanceof RangeError, String(error));
    assert.equal((error as Error & { code?: string }).code, 'ERR_VHOST_OUT_OF_RANGE');
    assert.ok(error.message.startsWith(`${method}: ${argument} must be `), error.message);
    return true;
  });
}
