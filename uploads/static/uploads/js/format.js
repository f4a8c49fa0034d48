// @ts-check
/** Format numbers for people: sizes in powers of ten, few digits, in the language of the page. */

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/**
 * @param {number} value  bytes
 * @param {string} [language]
 * @returns {string} such as "12.4 MB"; no decimals below a megabyte
 */
export function bytes(value, language) {
  let unit = 0;
  let amount = value;
  while (unit < UNITS.length - 1 && Math.round(amount) >= 1000) {
    amount /= 1000;
    unit += 1;
  }
  const digits = unit < 2 || amount >= 100 ? 0 : 1;
  return `${number(amount, language, digits)}\u00a0${UNITS[unit]}`;
}

/** @param {number} value @param {string} [language] @param {number} [digits] */
export function number(value, language, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

/**
 * Return whole percent; 100 only when everything is done.
 * @param {number} done @param {number} total
 */
export function percent(done, total) {
  if (total <= 0) return 0;
  return Math.min(done >= total ? 100 : 99, Math.floor((done / total) * 100));
}

/**
 * Round a duration and return it as the key of a text and its count.
 * @param {number} seconds
 * @returns {{key: "seconds"|"minutes"|"hours", count: number}}
 */
export function duration(seconds) {
  if (seconds < 50) return { key: "seconds", count: Math.max(5, Math.ceil(seconds / 5) * 5) };
  if (seconds < 5400) return { key: "minutes", count: Math.max(1, Math.round(seconds / 60)) };
  return { key: "hours", count: Math.round(seconds / 3600) };
}
