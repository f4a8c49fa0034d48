// @ts-check
/** Arithmetic of parts. The server decides the part size. */

/** Parts to sign first, before any bytes are sent: all of them are hashed beforehand. */
const FIRST_BATCH_SIZE = 4;
/** Parts to sign while the throughput is unknown. */
const DEFAULT_BATCH_SIZE = 8;
const MAX_BATCH_SIZE = 12;
const LOOKAHEAD_SECONDS = 60;

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
 * Return how many parts to sign in one call: those that are sent within a minute. Then no URL expires unused (they are
 * valid for ten minutes), and 1 GiB in 64 parts costs seven calls.
 * @param {number} bytesPerSecond  0 while unknown
 * @param {number} partSize
 * @param {boolean} [first]  whether no part has been sent yet
 */
export function signBatchSize(bytesPerSecond, partSize, first = false) {
  if (first) return FIRST_BATCH_SIZE;
  if (!bytesPerSecond) return DEFAULT_BATCH_SIZE;
  return Math.max(1, Math.min(MAX_BATCH_SIZE, Math.round((bytesPerSecond * LOOKAHEAD_SECONDS) / partSize)));
}
