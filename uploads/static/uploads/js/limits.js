// @ts-check
/** How much happens at once. */

/** A number of places; whoever comes later waits in line. */
export class Slots {
  /** @type {(() => void)[]} */
  #line = [];
  #free;

  /** @param {number} count */
  constructor(count) {
    this.#free = count;
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<() => void>} gives the place back; safe to call twice
   */
  async take(signal) {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(signal);
    let held = true;
    return () => {
      if (held) this.#give();
      held = false;
    };
  }

  /** @param {AbortSignal} signal @returns {Promise<void>} */
  #turn(signal) {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#line.splice(this.#line.indexOf(called), 1);
        reject(signal.reason);
      };
      const called = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      this.#line.push(called);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  #give() {
    const next = this.#line.shift();
    if (next) next();
    else this.#free += 1;
  }
}

/** Tasks that belong together: the first failure stops the others. */
export class Group {
  #control = new AbortController();
  /** @type {Promise<void>[]} */
  #tasks = [];
  /** @type {unknown} */
  #error;

  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = AbortSignal.any([signal, this.#control.signal]);
  }

  /** @param {Promise<unknown>} task */
  add(task) {
    this.#tasks.push(task.then(() => {}, (error) => this.fail(error)));
  }

  /** @param {unknown} error */
  fail(error) {
    this.#error ??= error;
    this.#control.abort(error);
  }

  /** Waits for all of them, and throws what went wrong first. */
  async done() {
    await Promise.all(this.#tasks);
    if (this.#error !== undefined) throw this.#error;
  }
}

/**
 * Collects single wishes into calls of up to `max`. A call goes out when it is full, when nobody else is about to
 * join, or after `delay`: so 100 small files cost one call, and one file alone does not wait.
 * @template T
 */
export class Batcher {
  /** @type {{item: T, resolve: () => void, reject: (reason: unknown) => void}[]} */
  #waiting = [];
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /** @param {{max: number, delay: number, expecting: () => boolean, send: (items: T[]) => Promise<void>}} options */
  constructor({ max, delay, expecting, send }) {
    this.max = max;
    this.delay = delay;
    this.expecting = expecting;
    this.send = send;
  }

  /**
   * @param {T} item
   * @returns {Promise<void>} settles with the call that carried it
   */
  add(item) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.nudge();
    });
  }

  /** To be called when somebody who was expected is not coming any more. */
  nudge() {
    if (this.#waiting.length >= this.max) return void this.#flush();
    if (this.#waiting.length === 0) return;
    this.#timer ??= setTimeout(() => this.#flush(), this.delay);
    queueMicrotask(() => this.expecting() || this.#flush());
  }

  async #flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#waiting.splice(0, this.max);
    this.nudge();
    if (batch.length === 0) return;
    try {
      await this.send(batch.map((one) => one.item));
      batch.forEach((one) => one.resolve());
    } catch (error) {
      batch.forEach((one) => one.reject(error));
    }
  }
}
