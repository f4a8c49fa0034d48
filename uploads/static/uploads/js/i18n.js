// @ts-check
/**
 * Texts for people, translated by the server: `<template id="uploader-texts">` has one element for each text, with its
 * key in `data-key`. Texts contain `{placeholders}`; `count` chooses between the keys `files.one`
 * and `files.other`. Sizes are in powers of ten and have few digits.
 */
import { isVerified } from "./upload.js";

/** @typedef {import("./upload.js").Summary} Summary */
/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./upload.js").Row} Row */
/** @typedef {(key: string, values?: Record<string, string|number>) => string} Translate */

const UNITS = ["B", "kB", "MB", "GB", "TB"];
/** Names of files to list in a text. */
const MAX_LISTED_NAMES = 3;

/**
 * Replace the placeholders of a text.
 * @param {string} text
 * @param {Record<string, string|number>} values
 */
function interpolate(text, values) {
  return text.replace(/\{(\w+)\}/g, (placeholder, name) => (name in values ? String(values[name]) : placeholder));
}

/**
 * Return a function that translates a key, and returns the key itself if it has no text.
 * @param {Map<string, string>} texts
 * @param {string} language
 * @returns {Translate}
 */
function translator(texts, language) {
  const plural = new Intl.PluralRules(language);
  return (key, values = {}) => {
    const form = "count" in values ? `${key}.${plural.select(Number(values.count))}` : key;
    const text = texts.get(form) ?? texts.get(`${key}.other`) ?? texts.get(key);
    return text === undefined ? key : interpolate(text, values);
  };
}

/** @param {Document} page */
export function translatorOf(page) {
  const template = /** @type {HTMLTemplateElement} */ (page.getElementById("uploader-texts"));
  const texts = new Map();
  for (const element of template.content.querySelectorAll("[data-key]")) {
    texts.set(element.getAttribute("data-key"), (element.textContent ?? "").trim());
  }
  return translator(texts, page.documentElement.lang || "en");
}

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
function number(value, language, digits = 0) {
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
function duration(seconds) {
  if (seconds < 50) return { key: "seconds", count: Math.max(5, Math.ceil(seconds / 5) * 5) };
  if (seconds < 5400) return { key: "minutes", count: Math.max(1, Math.round(seconds / 60)) };
  return { key: "hours", count: Math.round(seconds / 3600) };
}

/** @param {readonly string[]} names @returns {string} the first few of them */
export function listNames(names) {
  const unique = [...new Set(names)];
  const list = unique.slice(0, MAX_LISTED_NAMES).join(", ");
  return unique.length > MAX_LISTED_NAMES ? `${list}, …` : list;
}

/** Keep the direction of a name from changing the text around it. @param {string} name */
export function isolate(name) {
  return `\u2068${name}\u2069`;
}

/** The messages of the upload tray. */
export class Messages {
  /** @param {Translate} translate @param {{language: string, maxBytes: number}} options */
  constructor(translate, { language, maxBytes }) {
    this.translate = translate;
    this.language = language;
    this.maxBytes = maxBytes;
  }

  /** @param {Row} upload @param {string} [blockedBy]  why all uploads are blocked, if they are */
  row(upload, blockedBy = "") {
    if ("files" in upload) return this.#folderRow(upload);
    return { size: bytes(upload.size, this.language), state: this.state(upload, blockedBy) };
  }

  /** @param {import("./upload.js").UploadedFolder} folder */
  #folderRow({ files, size }) {
    const state = this.translate("folder_files", { count: files, files: this.#count(files) });
    return { size: bytes(size, this.language), state };
  }

  /** @param {Upload} upload @param {string} blockedBy */
  state(upload, blockedBy) {
    const { phase } = upload;
    if (phase === "failed") return this.reason(upload);
    if (phase === "done") return this.translate(isVerified(upload) ? "state.done" : "state.done_size");
    const note = blockedBy || upload.note;
    if (upload.running && note) return this.translate(`state.${note}`);
    const key = phase === "checking" && upload.resumed ? "resuming" : upload.pausing ? "pausing" : phase;
    return this.translate(`state.${key}`, { percent: percent(upload.sent, upload.size) });
  }

  /** Return why an upload failed: the server's own sentence if it sent one. @param {Upload} upload */
  reason({ error }) {
    if (!error) return "";
    if (error.message && error.kind !== "gone") return error.message;
    const values = { limit: bytes(this.maxBytes, this.language) };
    const text = this.translate(`error.${error.kind}`, values);
    return text.startsWith("error.") ? this.translate("error.refused") : text;
  }

  /** @param {Summary} summary @param {boolean} paused */
  title(summary, paused) {
    if (summary.finished) return this.result(summary);
    const key = summary.pausing ? "pausing" : paused ? "paused" : "uploading";
    const values = { ...this.#counts(summary), name: isolate(summary.name) };
    const text = this.translate(summary.name ? `${key}_name` : key, values);
    if (!summary.failed) return text;
    return `${text} · ${this.translate("failed_so_far", { failed: this.#count(summary.failed) })}`;
  }

  /**
   * @param {readonly {kind: "system"|"empty"|"exists"|"uploading", path: string}[]} skipped
   * @returns {string} what was left out, with some of the names
   */
  skipped(skipped) {
    const kinds = /** @type {const} */ (["uploading", "exists", "system", "empty"]);
    const texts = kinds.map((kind) => {
      const paths = skipped.filter((item) => item.kind === kind).map(({ path }) => path);
      const names = kind === "system" ? paths.map((path) => path.split("/").pop() ?? "") : paths;
      return paths.length ? this.translate(`skipped.${kind}`, { count: paths.length, names: listNames(names) }) : "";
    });
    return texts.filter(Boolean).join(" ").replaceAll("….", "…");
  }

  /**
   * @param {readonly {path: string, replaceable: boolean}[]} conflicts  files whose names exist
   * @returns {{question: string, names: string, explanation: string}}
   */
  describeConflicts(conflicts) {
    const count = conflicts.length;
    const fixed = conflicts.filter(({ replaceable }) => !replaceable).length;
    const kind = fixed === 0 ? "versions" : fixed === count ? "fixed" : "some_fixed";
    return {
      question: this.translate("conflict", { count, name: isolate(conflicts[0].path) }),
      names: count > 1 ? listNames(conflicts.map(({ path }) => isolate(path))) : "",
      explanation: this.translate(`conflict.${kind}`, { count: fixed || count }),
    };
  }

  /** Return how finished uploads ended, in a few words. @param {Summary} summary */
  result(summary) {
    const { files, done, failed, canceled } = summary;
    if (files === 0 && canceled) return this.canceled(canceled);
    if (files === 0) return this.translate("no_files");
    if (failed === 0) return this.translate("uploaded", { count: done, files: this.#count(done) });
    return this.translate("uploaded_some", { ...this.#counts(summary), failed: this.#count(failed) });
  }

  /** @param {number} count  of uploads */
  canceled(count) {
    return this.translate("canceled", { count, files: this.#count(count) });
  }

  /**
   * Return what is known of the stored files: "verified" only if the storage or the worker has verified all files.
   * @param {Summary} summary
   */
  receipt(summary) {
    const key = summary.done === 0 ? "none_stored" : summary.verified ? "verified" : "size_verified";
    const stored = this.translate(key, this.#counts(summary));
    if (!summary.failed) return stored;
    return this.translate("with_failures", { stored, failed: this.#count(summary.failed) });
  }

  /** @param {Summary} summary @param {number} bytesPerSecond @param {boolean} paused */
  progress(summary, bytesPerSecond, paused) {
    const sizes = { sent: bytes(summary.sent, this.language), bytes: bytes(summary.bytes, this.language) };
    const texts = [this.translate("progress", { percent: percent(summary.sent, summary.bytes), ...sizes })];
    if (bytesPerSecond > 0 && !paused) {
      const { key, count } = duration((summary.bytes - summary.sent) / bytesPerSecond);
      texts.push(this.translate("speed", { speed: bytes(bytesPerSecond, this.language) }));
      texts.push(this.translate(key, { count }));
    }
    return texts.join(" · ");
  }

  /** @param {Summary} summary */
  #counts({ done, files }) {
    return { done: this.#count(done), files: this.#count(files) };
  }

  /** @param {number} value */
  #count(value) {
    return number(value, this.language);
  }
}
