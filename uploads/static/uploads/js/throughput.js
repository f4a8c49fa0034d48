// @ts-check

const SAMPLE_INTERVAL_MS = 250;
const WINDOW_MS = 8000;
const MIN_WINDOW_MS = 1500;

/** Measures bytes per second over the last seconds. */
export class ThroughputMeter {
  /** @type {{at: number, total: number}[]} */
  #samples = [];
  #total = 0;

  /** @param {number} bytes @param {number} [now] */
  add(bytes, now = performance.now()) {
    const last = this.#samples.at(-1);
    if (!last || now - last.at >= SAMPLE_INTERVAL_MS) this.#samples.push({ at: now, total: this.#total });
    this.#total += bytes;
    while (this.#samples.length > 1 && now - this.#samples[0].at > WINDOW_MS) this.#samples.shift();
  }

  /** @param {number} [now] @returns {number} bytes per second; 0 until there are enough samples */
  read(now = performance.now()) {
    const oldest = this.#samples.find((sample) => now - sample.at <= WINDOW_MS);
    if (!oldest || now - oldest.at < MIN_WINDOW_MS) return 0;
    return ((this.#total - oldest.total) / (now - oldest.at)) * 1000;
  }

  /** Forget all samples, for example after a pause. */
  reset() {
    this.#samples = [];
  }
}
