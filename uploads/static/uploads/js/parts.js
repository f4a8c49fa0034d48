// @ts-check
/** Parts of a file: byte ranges, checksums, and how many to sign at the measured throughput. */
import { UploadError } from "./retry.js";

/** Parts to sign while the throughput is unknown: as many as are sent at once, so that they start soon. */
const DEFAULT_BATCH_SIZE = 4;
const MAX_BATCH_SIZE = 24;
const LOOKAHEAD_SECONDS = 60;
const SAMPLE_INTERVAL_MS = 250;
const WINDOW_MS = 8000;
const MIN_WINDOW_MS = 1500;

const MIB = 1024 ** 2;
/**
 * How to send large files on slow connections, where a large part takes minutes and is lost if the connection fails:
 * below this many bytes per second, with parts of this size, this many at a time. 5 MiB is S3's minimum.
 */
const SLOW_PLANS = [
  { below: 500_000, partBytes: 5 * MIB, concurrency: 2 },
  { below: 2_000_000, partBytes: 8 * MIB, concurrency: 2 },
  { below: 8_000_000, partBytes: 8 * MIB, concurrency: 4 },
];
const FAST_PLAN = { partBytes: Infinity, concurrency: 4 };

/** @typedef {{partBytes: number, concurrency: number}} Plan  partBytes: the largest part */

/** @param {number} bytesPerSecond  0 while unknown @returns {Plan} how to send large files */
export function planFor(bytesPerSecond) {
  return SLOW_PLANS.find(({ below }) => bytesPerSecond > 0 && bytesPerSecond < below) ?? FAST_PLAN;
}

/**
 * Return the byte range of a part.
 * @param {number} number  from 1
 * @param {number} partSize @param {number} size
 * @returns {[number, number]} start, and end (exclusive)
 */
export function byteRange(number, partSize, size) {
  const start = (number - 1) * partSize;
  return [start, Math.min(start + partSize, size)];
}

/**
 * Return the numbers of the parts that are not stored yet, in order.
 * @param {number} count @param {{has(number: number): boolean}} stored
 */
export function missingParts(count, stored) {
  const numbers = [];
  for (let number = 1; number <= count; number += 1) if (!stored.has(number)) numbers.push(number);
  return numbers;
}

/**
 * Return how many parts to sign in one call at most: those that are sent within a minute. Then no URL expires unused
 * (they are valid for ten minutes), and a large file costs few calls.
 * @param {number} bytesPerSecond  0 while unknown
 * @param {number} partSize
 */
export function signBatchSize(bytesPerSecond, partSize) {
  if (!bytesPerSecond) return DEFAULT_BATCH_SIZE;
  return Math.max(1, Math.min(MAX_BATCH_SIZE, Math.round((bytesPerSecond * LOOKAHEAD_SECONDS) / partSize)));
}

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

/**
 * Whether this page can compute checksums.
 * @returns {boolean} false on http, except on localhost: browsers offer `crypto.subtle` in secure contexts only
 */
export function canHash() {
  return globalThis.crypto?.subtle !== undefined;
}

/** @param {ArrayBuffer} buffer */
function base64(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer)));
}

/**
 * Return the SHA-256 of a blob in base64, computed off the main thread.
 * @param {Blob} blob
 * @throws {UploadError} `unreadable` when the file was changed or moved, or is a folder
 */
export async function sha256(blob) {
  return base64(await crypto.subtle.digest("SHA-256", await readBytes(blob)));
}

/**
 * Read with FileReader rather than `blob.arrayBuffer()`: it costs a quarter less CPU in Chromium.
 * @param {Blob} blob @returns {Promise<ArrayBuffer>}
 */
function readBytes(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(/** @type {ArrayBuffer} */ (reader.result));
    reader.onerror = () => reject(new UploadError("unreadable", { cause: reader.error }));
    reader.readAsArrayBuffer(blob);
  });
}

/**
 * Throw if the file was changed or removed. To a request, this looks the same as a network error.
 * @param {Blob} blob
 */
export async function assertReadable(blob) {
  await readBytes(blob.slice(0, 1));
}
