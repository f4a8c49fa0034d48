// @ts-check

const STEP_MS = 250;
const WINDOW_MS = 8000;
const ENOUGH_MS = 1500;

/** Bytes per second over the last seconds: steady enough to read, quick enough to be true. */
export class Speedometer {
  /** @type {{at: number, total: number}[]} */
  #marks = [];
  #total = 0;

  /** @param {number} bytes @param {number} [now] */
  add(bytes, now = performance.now()) {
    const last = this.#marks.at(-1);
    if (!last || now - last.at >= STEP_MS) this.#marks.push({ at: now, total: this.#total });
    this.#total += bytes;
    while (this.#marks.length > 1 && now - this.#marks[0].at > WINDOW_MS) this.#marks.shift();
  }

  /** @param {number} [now] @returns {number} 0 while too little is known */
  read(now = performance.now()) {
    const recent = this.#marks.find((mark) => now - mark.at <= WINDOW_MS);
    if (!recent || now - recent.at < ENOUGH_MS) return 0;
    return ((this.#total - recent.total) / (now - recent.at)) * 1000;
  }

  /** After a pause the past says nothing. */
  reset() {
    this.#marks = [];
  }
}
