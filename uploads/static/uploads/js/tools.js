// @ts-check
import { troubleFrom } from "./api.js";
import { sha256 } from "./hash.js";
import { Batcher, Slots } from "./limits.js";
import { Patience, Pulse } from "./patience.js";
import { Speedometer } from "./speed.js";
import { retryAfter } from "./waits.js";

/** @typedef {import("./upload.js").Upload} Upload */

/** Browsers open six connections to a host over HTTP/1.1; more requests would wait in the browser, unseen. */
const CONNECTIONS = 6;
/** Places for parts of large files, so that small ones always get through. */
const LARGE_PARTS = 4;
/** Slices in memory at once while they are hashed. */
const HASHERS = 3;
const MAX_NEW_FOLDERS = 200; // in one call, as services/tree.py has it
const START_DELAY_MS = 1500;
const FINISH_DELAY_MS = 3000;

/** What all files on their way share: the limits, the batches, and the calls in terms of files. */
export class Tools {
  pulse;
  slots = new Slots(CONNECTIONS);
  largeSlots = new Slots(LARGE_PARTS);
  hashers = new Slots(HASHERS);
  speed = new Speedometer();
  /** Small files that will soon join a call to start, and a call to finish. @type {Set<Upload>} */
  beforeStart = new Set();
  /** @type {Set<Upload>} */
  beforeFinish = new Set();
  /** @type {WeakMap<Upload, any>} */
  answers = new WeakMap();

  /**
   * @param {{api: import("./api.js").Api, gate: import("./session.js").Gate, pulse: Pulse, partBytes: number,
   *   batch: number}} options
   */
  constructor({ api, gate, pulse, partBytes, batch }) {
    this.api = api;
    this.gate = gate;
    this.pulse = pulse;
    this.partBytes = partBytes;
    this.starter = new Batcher({
      max: batch, delay: START_DELAY_MS,
      expecting: () => this.beforeStart.size > 0, send: (uploads) => this.#startAll(uploads),
    });
    this.finisher = new Batcher({
      max: batch, delay: FINISH_DELAY_MS,
      expecting: () => this.beforeFinish.size > 0, send: (uploads) => this.#finishAll(uploads),
    });
  }

  /** @param {number} bytes */
  moved(bytes) {
    this.speed.add(bytes);
  }

  /** Nobody waits for this one any more. @param {Upload} upload */
  leave(upload) {
    if (this.beforeStart.delete(upload)) this.starter.nudge();
    if (this.beforeFinish.delete(upload)) this.finisher.nudge();
  }

  /**
   * @param {Upload} upload @param {number} number @param {AbortSignal} signal
   * @param {{again?: boolean}} [options]
   */
  async hash(upload, number, signal, { again = false } = {}) {
    if (upload.digests.has(number) && !again) return;
    const free = await this.hashers.take(signal);
    try {
      upload.digests.set(number, await sha256(upload.slice(number)));
    } finally {
      free();
    }
    signal.throwIfAborted();
  }

  /** @param {Upload} upload @param {number[]} numbers @param {AbortSignal} signal */
  async sign(upload, numbers, signal) {
    const parts = numbers.map((number) => ({ number, sha256: upload.digests.get(number) }));
    const answer = await this.api.sign(upload.id, parts, signal);
    for (const part of answer.parts) upload.sign(part.number, part);
  }

  /** Asks which parts the store has. @param {Upload} upload @param {AbortSignal} signal */
  async look(upload, signal) {
    const answer = await this.api.status(upload.id, signal);
    upload.forgetParts();
    upload.state = answer.state;
    for (const { number, sha256 } of answer.parts ?? []) if (sha256) upload.there.set(number, sha256);
  }

  /** @param {Upload} upload @param {AbortSignal} signal */
  async start(upload, signal) {
    await this.#joined(upload, this.starter, this.beforeStart, signal, (adding) => (upload.starting = adding));
  }

  /**
   * @param {Upload} upload @param {AbortSignal} signal
   * @returns {Promise<any>} the facts of the stored file, or `{error}` with parts that are missing
   */
  async finish(upload, signal) {
    for (;;) {
      const answer = await this.#joined(upload, this.finisher, this.beforeFinish, signal);
      if (answer.state !== "completing") return answer;
      await new Patience(this.pulse).wait(signal, retryAfter(answer.retry_after ?? 1));
    }
  }

  /**
   * @param {Upload} upload @param {Batcher<Upload>} batcher @param {Set<Upload>} expected @param {AbortSignal} signal
   * @param {(adding: Promise<void>) => void} [seen]
   */
  async #joined(upload, batcher, expected, signal, seen = () => {}) {
    const patience = new Patience(this.pulse);
    for (;;) {
      expected.delete(upload);
      const adding = batcher.add(upload);
      seen(adding);
      await adding;
      signal.throwIfAborted();
      const answer = this.answers.get(upload) ?? {};
      const code = answer.error?.code;
      if (!code || code === "parts_missing") return answer;
      if (code !== "unavailable") throw troubleFrom(answer.error);
      await patience.wait(signal, retryAfter(answer.retry_after));
    }
  }

  /** @param {Upload[]} uploads */
  async #startAll(uploads) {
    for (const into of new Set(uploads.map((upload) => upload.into))) {
      for (const together of calls(uploads.filter((upload) => upload.into === into))) {
        const { files } = await this.api.start(together.map(startItem), into, new AbortController().signal);
        files.forEach((/** @type {any} */ answer, /** @type {number} */ index) => {
          this.answers.set(together[index], answer);
          if (!answer.error) accept(together[index], answer);
        });
      }
    }
  }

  /** @param {Upload[]} uploads */
  async #finishAll(uploads) {
    const wanted = uploads.map((upload) => ({ id: upload.id, sha256: upload.allDigests() }));
    const { files } = await this.api.finish(wanted, new AbortController().signal);
    files.forEach((/** @type {any} */ answer, /** @type {number} */ index) => this.answers.set(uploads[index], answer));
  }
}

/**
 * Splits uploads into calls whose paths have no more folders than one call may make.
 * @param {Upload[]} uploads
 */
export function* calls(uploads) {
  /** @type {Upload[]} */
  let together = [];
  let folders = new Set();
  for (const upload of uploads) {
    const names = upload.folder.split("/");
    const paths = names.map((_name, index) => names.slice(0, index + 1).join("/"));
    if (together.length && new Set([...folders, ...paths]).size > MAX_NEW_FOLDERS) {
      yield together;
      together = [];
      folders = new Set();
    }
    together.push(upload);
    for (const path of paths) folders.add(path);
  }
  if (together.length) yield together;
}

/** @param {Upload} upload */
function startItem(upload) {
  return {
    token: upload.token, name: upload.name, size: upload.size, type: upload.file.type,
    modified: upload.file.lastModified, folder: upload.folder, visibility: upload.visibility,
    replaces: upload.replaces || undefined, sha256: upload.digests.get(1),
  };
}

/**
 * Takes over what the server decided. A digest hashed before is worth keeping only if the parts are cut as assumed.
 * @param {Upload} upload
 * @param {{id: string, state: string, part_size: number, part_count: number, parts?: any[]}} answer
 */
function accept(upload, answer) {
  upload.id = answer.id;
  upload.state = answer.state;
  upload.partSize = answer.part_size;
  upload.partCount = answer.part_count;
  if (answer.part_count > 1) upload.digests.clear();
  for (const part of answer.parts ?? []) upload.sign(part.number, part);
}
