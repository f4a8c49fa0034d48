// @ts-check
/** Limits of what runs at once, tasks that fail together, and items that share a call. */

/** A number of permits, given out first come, first served. */
export class Semaphore {
  /** @type {(() => void)[]} */
  #waiters = [];
  #size;
  /** Below zero after the number was lowered, until enough permits are released. */
  #permits;

  /** @param {number} size */
  constructor(size) {
    this.#size = size;
    this.#permits = size;
  }

  /** Change the number of permits. @param {number} size */
  resize(size) {
    this.#permits += size - this.#size;
    this.#size = size;
    this.#wake();
  }

  /**
   * Wait for a permit.
   * @param {AbortSignal} signal
   * @returns {Promise<() => void>} releases the permit; safe to call twice
   */
  async acquire(signal) {
    signal.throwIfAborted();
    if (this.#permits > 0) this.#permits -= 1;
    else await this.#wait(signal);
    let released = false;
    return () => {
      if (!released) this.#release();
      released = true;
    };
  }

  /** @param {AbortSignal} signal @returns {Promise<void>} */
  #wait(signal) {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(signal.reason);
      };
      const waiter = () => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      this.#waiters.push(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #release() {
    this.#permits += 1;
    this.#wake();
  }

  #wake() {
    while (this.#permits > 0 && this.#waiters.length > 0) {
      this.#permits -= 1;
      this.#waiters.shift()?.();
    }
  }
}

/** Tasks that fail together: the first error aborts the others. Once stopped, those that have begun go on. */
export class TaskGroup {
  #controller = new AbortController();
  #stop;
  /** @type {Promise<void>[]} */
  #tasks = [];
  /** @type {unknown} */
  #error;

  /** @param {AbortSignal} stop  aborts what has not begun @param {AbortSignal} abort  aborts what has begun */
  constructor(stop, abort) {
    this.#stop = stop;
    /** for work that is short or has not begun */
    this.signal = AbortSignal.any([stop, this.#controller.signal]);
    /** for requests, which may outlast a stop */
    this.requestSignal = AbortSignal.any([abort, this.#controller.signal]);
  }

  /** @param {Promise<unknown>} task */
  add(task) {
    this.#tasks.push(task.then(() => {}, (error) => this.fail(error)));
  }

  /** @param {unknown} error */
  fail(error) {
    this.#error ??= error;
    if (!this.#stop.aborted) this.#controller.abort(error);
  }

  /** Wait for all tasks, then throw the first error, if any. */
  async done() {
    await Promise.all(this.#tasks);
    if (this.#error !== undefined) throw this.#error;
  }
}

/**
 * Collects items into calls of up to `max`. A call is sent when it is full, when no more items are expected, or after
 * `delay` milliseconds: so 100 small files cost one call, and a single file does not wait.
 * @template T
 */
export class Batcher {
  /** @type {{item: T, resolve: () => void, reject: (reason: unknown) => void}[]} */
  #queue = [];
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /** @param {{max: number, delay: number, expectsMore: () => boolean, send: (items: T[]) => Promise<void>}} options */
  constructor({ max, delay, expectsMore, send }) {
    this.max = max;
    this.delay = delay;
    this.expectsMore = expectsMore;
    this.send = send;
  }

  /**
   * @param {T} item
   * @returns {Promise<void>} settles with the call that included the item
   */
  add(item) {
    return new Promise((resolve, reject) => {
      this.#queue.push({ item, resolve, reject });
      this.flushIfReady();
    });
  }

  /** Send the call if it is full or no more items are expected. Call this when an expected item will not come. */
  flushIfReady() {
    if (this.#queue.length >= this.max) return void this.#flush();
    if (this.#queue.length === 0) return;
    this.#timer ??= setTimeout(() => this.#flush(), this.delay);
    queueMicrotask(() => this.expectsMore() || this.#flush());
  }

  async #flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#queue.splice(0, this.max);
    this.flushIfReady();
    if (batch.length === 0) return;
    try {
      await this.send(batch.map(({ item }) => item));
      batch.forEach(({ resolve }) => resolve());
    } catch (error) {
      batch.forEach(({ reject }) => reject(error));
    }
  }
}
