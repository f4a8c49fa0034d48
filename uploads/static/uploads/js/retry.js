// @ts-check
/** Errors, and retries: exponential backoff with jitter, `Retry-After`, and a limit on the attempts of each request. */

const BASE_DELAY_MS = 800;
const MAX_DELAY_MS = 15_000;
const MAX_RETRY_AFTER_MS = 120_000;
/** Attempts while other requests succeed: then the problem is this request. */
const MAX_ATTEMPTS = 8;
/** Attempts while no request succeeds, about 20 minutes: the network or the storage is unavailable. */
const MAX_OUTAGE_ATTEMPTS = 110;
/** How often to check again while the browser reports that it is offline; the report can be wrong. */
const OFFLINE_POLL_MS = 5000;

/** Why an upload failed. `kind` names a text of the page; `message` is the server's own sentence, if it sent one. */
export class UploadError extends Error {
  /**
   * @param {string} kind
   * @param {{message?: string, cause?: unknown, status?: number}} [options]
   */
  constructor(kind, { message = "", cause, status = 0 } = {}) {
    super(message, { cause });
    this.kind = kind;
    this.status = status;
  }
}

/** The upload has expired or was canceled elsewhere: start again with a new token. */
export class UploadGone extends UploadError {}

/** The storage no longer knows the multipart upload: ask the server which parts are stored. */
export class PartsGone extends UploadError {}

/**
 * Return the delay before an attempt.
 * @param {number} attempt  0 for the first delay
 * @param {() => number} [random]
 * @returns {number} milliseconds, between half and all of a delay that doubles with each attempt
 */
export function backoff(attempt, random = Math.random) {
  const delay = Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** attempt);
  return delay / 2 + (random() * delay) / 2;
}

/**
 * Parse `Retry-After`, which holds seconds or a date (RFC 9110, 10.2.3).
 * @param {string|number|null|undefined} value
 * @param {number} [now]  milliseconds since the epoch
 * @returns {number} milliseconds; 0 for a missing or invalid value
 */
export function parseRetryAfter(value, now = Date.now()) {
  if (value === null || value === undefined || value === "") return 0;
  const seconds = Number(value);
  const delay = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(String(value)) - now;
  return Number.isFinite(delay) ? Math.min(MAX_RETRY_AFTER_MS, Math.max(0, delay)) : 0;
}

/**
 * Sleep until the time is over, the browser comes back online, or one of the events happens.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @param {EventTarget} [target] @param {string[]} [events]  of the target
 * @returns {Promise<void>} rejects with the signal's reason
 */
export function sleep(ms, signal, target, events = []) {
  return new Promise((resolve, reject) => {
    const listeners = new AbortController();
    const end = (/** @type {() => void} */ settle) => {
      clearTimeout(timer);
      listeners.abort();
      settle();
    };
    const timer = setTimeout(() => end(resolve), ms);
    if (signal.aborted) return end(() => reject(signal.reason));
    signal.addEventListener("abort", () => end(() => reject(signal.reason)), { signal: listeners.signal });
    addEventListener("online", () => end(resolve), { signal: listeners.signal });
    for (const event of events) target?.addEventListener(event, () => end(resolve), { signal: listeners.signal });
  });
}

/** The time of the last successful request, shared by all. Fires "success", and "retry" when people ask for it. */
export class LastSuccess extends EventTarget {
  at = -1;

  record() {
    this.at = performance.now();
    this.dispatchEvent(new Event("success"));
  }

  /** Let all requests that wait be repeated now. */
  retryNow() {
    this.dispatchEvent(new Event("retry"));
  }
}

/** Counts the attempts of one request and waits between them. */
export class RetryPolicy {
  attempts = 0;
  /** @type {Map<string, number>} */
  counts = new Map();

  /** @param {LastSuccess} lastSuccess */
  constructor(lastSuccess) {
    this.lastSuccess = lastSuccess;
    this.startedAt = performance.now();
  }

  /**
   * Wait before the next attempt. Waiting while offline does not count as an attempt. The first success of another
   * request ends an outage for all: they try again at once.
   * @param {AbortSignal} signal
   * @param {number} [minDelay]  milliseconds that the server asked for
   * @throws {UploadError} `unavailable` after too many attempts
   */
  async wait(signal, minDelay = 0) {
    if (navigator.onLine === false) return sleep(OFFLINE_POLL_MS, signal, this.lastSuccess, ["retry"]);
    const othersSucceed = this.lastSuccess.at > this.startedAt;
    if (this.attempts >= (othersSucceed ? MAX_ATTEMPTS : MAX_OUTAGE_ATTEMPTS)) throw new UploadError("unavailable");
    this.attempts += 1;
    const events = othersSucceed || minDelay ? ["retry"] : ["retry", "success"];
    await sleep(Math.max(minDelay, backoff(this.attempts - 1)), signal, this.lastSuccess, events);
  }

  /**
   * Count one more problem of this kind.
   * @param {string} kind
   * @param {number} max
   * @throws {UploadError} of this kind when there were more than `max`
   */
  limit(kind, max) {
    const count = (this.counts.get(kind) ?? 0) + 1;
    this.counts.set(kind, count);
    if (count > max) throw new UploadError(kind);
  }
}
