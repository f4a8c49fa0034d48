// @ts-check
import { bytes, number, percent, wait } from "./format.js";

/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./summary.js").Summary} Summary */
/** @typedef {import("./words.js").Words} Words */

/** Names of skipped files that are spelled out. */
const MAX_NAMES = 3;

/** Everything the tray says, as sentences. */
export class Texts {
  /** @param {Words} words @param {{language: string, maxBytes: number}} options */
  constructor(words, { language, maxBytes }) {
    this.words = words;
    this.language = language;
    this.maxBytes = maxBytes;
  }

  /** @param {Upload} upload @param {string} [held]  what holds everything up */
  row(upload, held = "") {
    return { size: bytes(upload.size, this.language), state: this.state(upload, held) };
  }

  /** @param {Upload} upload @param {string} held */
  state(upload, held) {
    const { phase, note } = upload;
    if (phase === "failed") return this.reason(upload);
    if (phase === "done") return this.words(isVerified(upload) ? "state.done" : "state.done_size");
    const waits = held || note;
    if (upload.running && waits) return this.words(`note.${waits}`);
    const key = phase === "checking" && upload.resumed ? "resuming" : phase;
    return this.words(`state.${key}`, { percent: percent(upload.sent, upload.size) });
  }

  /** Why it failed: the server's own sentence if there is one. @param {Upload} upload */
  reason({ error }) {
    if (!error) return "";
    if (error.message && error.kind !== "gone") return error.message;
    const values = { limit: bytes(this.maxBytes, this.language) };
    const text = this.words(`why.${error.kind}`, values);
    return text.startsWith("why.") ? this.words("why.refused") : text;
  }

  /** @param {Summary} whole @param {boolean} paused */
  title(whole, paused) {
    if (whole.over) return this.receipt(whole);
    const values = { done: this.count(whole.done), files: this.count(whole.files) };
    const text = this.words(paused ? "paused" : "uploading", values);
    return whole.failed ? `${text} · ${this.words("failed_so_far", { failed: this.count(whole.failed) })}` : text;
  }

  /** What was left out of a drop, by kind, with some of the names. @param {import("./entries.js").Skipped[]} skipped */
  skipped(skipped) {
    const kinds = /** @type {const} */ (["system", "empty"]);
    const texts = kinds.map((kind) => {
      const paths = skipped.filter((item) => item.kind === kind).map(({ path }) => path);
      const names = kind === "system" ? paths.map((path) => path.split("/").pop() ?? "") : paths;
      const few = [...new Set(names)];
      const list = few.slice(0, MAX_NAMES).join(", ") + (few.length > MAX_NAMES ? ", …" : "");
      return paths.length ? this.words(`skipped.${kind}`, { count: paths.length, names: list }) : "";
    });
    return texts.filter(Boolean).join(" ");
  }

  /** Says no more than what is true: bytes that nobody checked yet are not called verified. @param {Summary} whole */
  receipt(whole) {
    if (whole.files === 0) return this.words("nothing");
    const values = { done: this.count(whole.done), files: this.count(whole.files) };
    const key = whole.done === 0 ? "none_stored" : whole.verified ? "verified" : "size_verified";
    const stored = this.words(key, values);
    return whole.failed ? this.words("with_failures", { stored, failed: this.count(whole.failed) }) : stored;
  }

  /** @param {Summary} whole @param {number} speed  bytes per second @param {boolean} paused */
  facts(whole, speed, paused) {
    const sizes = { sent: bytes(whole.sent, this.language), bytes: bytes(whole.bytes, this.language) };
    const facts = [this.words("facts", { percent: percent(whole.sent, whole.bytes), ...sizes })];
    if (speed > 0 && !paused) {
      const { key, count } = wait((whole.bytes - whole.sent) / speed);
      facts.push(this.words("speed", { speed: bytes(speed, this.language) }), this.words(key, { count }));
    }
    return facts.join(" · ");
  }

  /** @param {number} value */
  count(value) {
    return number(value, this.language);
  }
}

/** @param {Upload} upload */
function isVerified({ basis }) {
  return basis === "store" || basis === "read";
}
