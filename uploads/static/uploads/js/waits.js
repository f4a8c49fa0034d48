// @ts-check
/** Waiting: growing, jittered, bounded, and cut short when the network comes back. */

const FIRST_MS = 800;
const LONGEST_MS = 30_000;
const LONGEST_ASKED_MS = 120_000;

/**
 * @param {number} attempt  0 for the first wait
 * @param {() => number} [random]
 * @returns {number} milliseconds, between half and the whole of a doubling wait
 */
export function backoff(attempt, random = Math.random) {
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt);
  return full / 2 + (random() * full) / 2;
}

/**
 * `Retry-After` as seconds or as a date (RFC 9110, 10.2.3).
 * @param {string|number|null|undefined} value
 * @param {number} [now]  milliseconds since the epoch
 * @returns {number} milliseconds, 0 when there is none
 */
export function retryAfter(value, now = Date.now()) {
  if (value === null || value === undefined || value === "") return 0;
  const seconds = Number(value);
  const asked = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(String(value)) - now;
  return Number.isFinite(asked) ? Math.min(LONGEST_ASKED_MS, Math.max(0, asked)) : 0;
}

/**
 * Sleeps, but wakes when the browser comes online.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>} rejects with the signal's reason
 */
export function nap(ms, signal) {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const end = (/** @type {() => void} */ how) => {
      clearTimeout(timer);
      over.abort();
      how();
    };
    const timer = setTimeout(() => end(resolve), ms);
    if (signal.aborted) return end(() => reject(signal.reason));
    signal.addEventListener("abort", () => end(() => reject(signal.reason)), { signal: over.signal });
    addEventListener("online", () => end(resolve), { signal: over.signal });
  });
}
