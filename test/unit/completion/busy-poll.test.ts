import assert from 'node:assert/strict';
import { BusyPoll } from '../../../lib/completion/busy-poll.js';

/** A ring that has something after so many looks, and a clock that goes on by a microsecond each reading. */
class Scene {
  now = 0;
  looks = 0;
  readonly clock = (): number => {
    this.now += 0.001;
    return this.now;
  };

  ring(after: number): { readonly reapable: number } {
    const scene = this;
    return {
      get reapable() {
        return ++scene.looks > after ? 1 : 0;
      },
    };
  }
}

const NEVER = Number.POSITIVE_INFINITY;

describe('BusyPoll', () => {
  it('does not look where it has no time to', () => {
    const scene = new Scene();
    const poll = new BusyPoll(0, scene.clock);
    assert.equal(poll.look(scene.ring(0)), false);
    poll.woke();
    assert.deepEqual([scene.looks, scene.now], [0, 0]);
  });

  it('looks until the ring has something', () => {
    const scene = new Scene();
    assert.equal(new BusyPoll(1000, scene.clock).look(scene.ring(200)), true);
    assert.equal(scene.looks, 201);
  });

  it('gives up after its time', () => {
    const scene = new Scene();
    assert.equal(new BusyPoll(10, scene.clock).look(scene.ring(NEVER)), false);
    assert.ok(scene.now >= 0.01 && scene.now < 0.02, `${scene.now} ms`);
  });

  it('sleeps at once after a sleep longer than looking, until one is shorter', () => {
    const scene = new Scene();
    const poll = new BusyPoll(10, scene.clock);
    assert.equal(poll.look(scene.ring(NEVER)), false);
    scene.now += 1;
    poll.woke();
    const { looks } = scene;
    assert.equal(poll.look(scene.ring(0)), false);
    assert.equal(scene.looks, looks, 'nobody looked');
    poll.woke();
    assert.equal(poll.look(scene.ring(0)), true);
  });
});
