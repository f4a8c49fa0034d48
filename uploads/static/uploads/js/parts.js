// @ts-check
/** Arithmetic of parts; the server decides the part size, this only follows it. */

const FIRST_SIGN = 4;
const BLIND_SIGN = 8;
const MAX_SIGN = 12;
const SECONDS_AHEAD = 60;

/**
 * Byte range of a part, 1-based, the end exclusive.
 * @param {number} number @param {number} partSize @param {number} size
 * @returns {[number, number]}
 */
export function range(number, partSize, size) {
  const start = (number - 1) * partSize;
  return [start, Math.min(start + partSize, size)];
}

/**
 * Part numbers that are not there yet, in order.
 * @param {number} count @param {{has(number: number): boolean}} stored
 */
export function missing(count, stored) {
  const numbers = [];
  for (let number = 1; number <= count; number += 1) if (!stored.has(number)) numbers.push(number);
  return numbers;
}

/**
 * How many parts to sign in one call: what goes out within a minute, so that no URL waits until it expires
 * (they live ten minutes), and so that 1 GiB in 64 parts costs seven calls.
 * @param {number} speed  bytes per second; 0 when not known yet
 * @param {number} partSize
 * @param {boolean} [first]  nothing is on its way yet, so only a few are hashed before the first byte goes out
 */
export function signAhead(speed, partSize, first = false) {
  if (first) return FIRST_SIGN;
  if (!speed) return BLIND_SIGN;
  return Math.max(1, Math.min(MAX_SIGN, Math.round((speed * SECONDS_AHEAD) / partSize)));
}
