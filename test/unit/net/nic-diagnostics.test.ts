import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { openNic, turn } from '../../support/open-nic.js';
import { numberedFrame } from '../../support/queue-on-model.js';

describe('Nic on diagnostics channels', () => {
  it('tells of its life, its backends, its calls and its errors', async () => {
    const told: [string, object][] = [];
    const listen = (message: unknown, name: string | symbol): void =>
      void told.push([String(name), message as object]);
    const names = ['nic:open', 'nic:close', 'nic:backend', 'queue:call', 'queue:error'].map(
      (name) => `vhost-net:${name}`,
    );
    for (const name of names) subscribe(name, listen);
    try {
      const { nic, kernel, worker } = await openNic();
      await nic.send(numberedFrame(1, 60));
      await nic.drain();
      await nic.swapBackend({ tap: 'tap1' });
      worker.queue(0).error();
      for (let i = 0; i < 6; i++) await turn();
      await nic.close();
      kernel.assertNothingLeft();
      assert.deepEqual(new Set(told.map(([name]) => name)), new Set(names));
      for (const [, message] of told) assert.equal((message as { nic: unknown }).nic, nic);
      const first = (name: string) =>
        told.find(([each]) => each === `vhost-net:${name}`)![1] as {
          backend?: unknown;
          queue?: number;
          count?: number;
          error?: { code: string };
        };
      assert.equal(first('nic:backend').backend, nic.backend);
      assert.deepEqual([first('queue:call').queue, first('queue:call').count], [1, 1]);
      assert.equal(first('queue:error').queue, 0);
      assert.equal(first('queue:error').error!.code, 'ERR_VHOST_QUEUE_ERROR');
    } finally {
      for (const name of names) unsubscribe(name, listen);
    }
  });
});
