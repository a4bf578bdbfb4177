import { run } from './programs.mjs';

/** Two network namespaces, left and right, that whatever is between them must connect. */
export class Namespaces {
  /** @type {string[]} */
  #names = [];

  /** @param {string} name */
  async add(name) {
    await run('ip', 'netns', 'add', name);
    this.#names.push(name);
    await run('ip', '-n', name, 'link', 'set', 'lo', 'up');
    return name;
  }

  async remove() {
    for (const name of this.#names.splice(0)) await run('ip', 'netns', 'del', name);
  }
}
