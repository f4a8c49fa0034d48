// @ts-check
/** All uploads of a page: the queue, and what people do with it. */
import { UploadError, UploadGone } from "./retry.js";
import { uploadFile } from "./upload-file.js";
import { fileKey, Upload } from "./upload.js";

/**
 * @typedef {{file: File, folder: string, folderId?: number|null, replaces?: string, token?: string,
 *   name?: string, order?: number}} NewFile  name: if not that of the file; order: from `nextOrder`
 */

/** Small files start in batches, so that API calls are full. A batch is hashed before its first byte is sent. */
const MAX_BATCH_FILES = 100;
const MAX_BATCH_BYTES = 64 * 1024 * 1024;
/** The next batch starts when only this many files of the last one are left to send. */
const NEXT_BATCH_THRESHOLD = 50;
/**
 * Time for running requests when an upload is paused: what they need at the measured speed, times the factor, within
 * these limits. What the others have sent is lost after that.
 */
const GRACE_FACTOR = 1.5;
const MIN_PAUSE_GRACE_MS = 10_000;
const MAX_PAUSE_GRACE_MS = 60_000;
/** Errors after which the upload cannot be resumed: a retry creates a new one. */
const NOT_RESUMABLE = new Set(["gone", "parts_lost", "checksum", "corrupted", "special_file"]);

/** @param {NewFile} item @returns {string} the same for the same file in the same place */
export function itemKey({ file, folder, folderId = null }) {
  return `${folderId} ${fileKey({ name: file.name, folder, size: file.size, modified: file.lastModified })}`;
}

/** All uploads of this page: the queue, and the actions of the user. */
export class Uploader {
  /** @type {Upload[]} */
  uploads = [];
  /** @type {import("./drop-target.js").SkippedFile[]} */
  skipped = [];
  paused = false;
  /** How many drops are being read. */
  #reading = 0;
  #order = 0;
  /** @type {{small: Upload[], large: Upload[]}} */
  #queues = { small: [], large: [] };
  /** Small files that have been started but not sent. @type {Set<Upload>} */
  #batch = new Set();
  /** @type {Upload|null} the large file that is being sent */
  #large = null;

  /**
   * @param {import("./context.js").UploadContext} context
   * @param {{maxBytes: number, onChange: (upload?: Upload) => void, onCanceled?: () => void}} options
   */
  constructor(context, { maxBytes, onChange, onCanceled = () => {} }) {
    this.context = context;
    this.maxBytes = maxBytes;
    this.onChange = onChange;
    this.onCanceled = onCanceled;
  }

  /** Files are about to be added. Until `endAdding`, the uploader counts as busy. */
  beginAdding() {
    if (!this.busy) this.#removeFinished();
    this.#reading += 1;
  }

  endAdding() {
    this.#reading -= 1;
    this.onChange();
  }

  /** Return the place of the next file in the list. */
  nextOrder() {
    return (this.#order += 1);
  }

  /**
   * Add files where they were dropped, even if they had to wait for an answer.
   * @param {NewFile[]} picked @param {string} visibility
   */
  add(picked, visibility) {
    for (const { file, token, ...place } of picked) {
      const upload = new Upload(file, { ...place, visibility, onChange: this.onChange });
      if (token) this.#resumeFrom(upload, token);
      this.uploads.push(upload);
      if (upload.size > this.maxBytes) this.#fail(upload, new UploadError("too_large"));
      else this.#enqueue(upload);
    }
    this.uploads.sort((a, b) => a.order - b.order);
    this.onChange();
    this.#startNext();
  }

  /** Add a file that cannot be uploaded, to show its error. @param {string} name @param {UploadError} error */
  addFailed(name, error) {
    const upload = new Upload(new File([], name), { order: this.nextOrder(), onChange: this.onChange });
    this.uploads.push(upload);
    this.#fail(upload, error);
  }

  /** @param {import("./drop-target.js").SkippedFile[]} skipped */
  addSkipped(skipped) {
    this.skipped.push(...skipped);
    this.onChange();
  }

  /** Keys of the files that are being uploaded, so that a file dropped again is skipped. */
  get activeKeys() {
    const active = this.uploads.filter(({ running, phase }) => running || phase === "waiting" || phase === "paused");
    return new Set(active.map(({ file, folder, folderId }) => itemKey({ file, folder, folderId })));
  }

  /** Tokens of the uploads of this page, which no other file may resume. */
  get activeTokens() {
    return new Set(this.uploads.filter((upload) => upload.phase !== "failed").map((upload) => upload.token));
  }

  /** Whether any upload is running, waiting or paused. */
  get busy() {
    const active = (/** @type {Upload} */ { running, phase }) => running || phase === "waiting" || phase === "paused";
    return this.#reading > 0 || this.uploads.some(active);
  }

  /** Whether leaving the page would interrupt an upload. */
  get inProgress() {
    return !this.paused && this.uploads.some((upload) => upload.running || upload.phase === "waiting");
  }

  /**
   * Start no new part, and give the running requests time to end.
   * @param {Upload} upload @param {number} [grace]  milliseconds
   */
  pause(upload, grace = this.#pauseGrace()) {
    if (upload.phase === "finishing" || upload.phase === "done") return;
    this.#dequeue(upload);
    upload.setPhase("paused");
    const reason = new DOMException("paused", "AbortError");
    const { controller, requests } = upload;
    controller.abort(reason);
    setTimeout(() => requests.abort(reason), grace);
  }

  /** Return how many milliseconds the running requests may need to send the rest of their parts. */
  #pauseGrace() {
    const unsent = this.uploads.reduce((bytes, upload) => bytes + upload.unsentInFlight, 0);
    const needed = (unsent / this.context.throughput.read()) * 1000 * GRACE_FACTOR || 0;
    return Math.min(Math.max(needed, MIN_PAUSE_GRACE_MS), MAX_PAUSE_GRACE_MS);
  }

  /** @param {Upload} upload */
  resume(upload) {
    if (upload.phase === "paused") this.#restart(upload);
  }

  /** @param {Upload} upload */
  retry(upload) {
    if (upload.retriable) this.#restart(upload);
  }

  retryFailed() {
    for (const upload of this.uploads) this.retry(upload);
  }

  pauseAll() {
    this.paused = true;
    const grace = this.#pauseGrace();
    for (const upload of this.uploads) {
      if (upload.phase === "waiting" || upload.running) this.pause(upload, grace);
    }
    this.context.resetThroughput();
    this.onChange();
  }

  resumeAll() {
    this.paused = false;
    for (const upload of this.uploads) if (upload.phase === "paused") this.#enqueue(upload);
    this.onChange();
    this.#startNext();
  }

  /** Cancel an upload here, on the server and in the storage. It stays in the list. @param {Upload} upload */
  cancel(upload) {
    if (upload.phase !== "waiting" && upload.phase !== "paused" && !upload.running) return;
    if (upload.phase === "finishing") return;
    this.#dequeue(upload);
    upload.setPhase("canceled");
    const reason = new DOMException("canceled", "AbortError");
    upload.controller.abort(reason);
    upload.requests.abort(reason);
    this.onChange();
    this.#cancelOnServer(upload);
    this.#startNext();
  }

  /** Remove a failed upload from the list. @param {Upload} upload */
  remove(upload) {
    if (upload.phase !== "failed") return;
    this.uploads.splice(this.uploads.indexOf(upload), 1);
    this.onChange();
    this.#cancelOnServer(upload);
  }

  cancelAll() {
    this.paused = false;
    for (const upload of [...this.uploads]) {
      this.remove(upload);
      this.cancel(upload);
    }
  }

  /**
   * Record how the checksum of a stored file was verified.
   * @param {Upload} upload
   * @param {string} status  "corrupted" if the checksum is wrong; "" if the file no longer exists
   */
  setChecksumStatus(upload, status) {
    if (status === "corrupted") this.#fail(upload, new UploadError("corrupted"));
    else upload.checksumStatus = status;
    this.onChange(upload);
  }

  /** Empty the list, unless an upload is running, waiting or paused. */
  clear() {
    if (!this.busy) this.uploads.length = this.skipped.length = 0;
    this.onChange();
  }

  /** @param {Upload} upload */
  async #cancelOnServer(upload) {
    // If the call that creates the upload is running, its response has the id.
    if (!upload.id) await upload.creating?.catch(() => {});
    // If this call fails, the upload expires.
    if (!upload.id) return;
    await this.context.api.cancel(upload.id, new AbortController().signal).catch(() => {});
    this.onCanceled();
  }

  /**
   * Resume an unfinished upload, and remove its failed entry if there is one.
   * @param {Upload} upload @param {string} token
   */
  #resumeFrom(upload, token) {
    const failed = this.uploads.findIndex((item) => item.token === token && item.phase === "failed");
    if (failed >= 0) this.uploads.splice(failed, 1);
    upload.token = token;
    upload.resumed = true;
  }

  #removeFinished() {
    this.paused = false;
    this.context.resetThroughput();
    this.uploads = this.uploads.filter((upload) => upload.phase === "failed");
    this.skipped.length = 0;
  }

  /** @param {Upload} upload */
  #restart(upload) {
    upload.error = undefined;
    upload.restarts = 0;
    this.paused = false;
    this.#enqueue(upload);
    this.#startNext();
  }

  /** @param {Upload} upload */
  #enqueue(upload) {
    upload.setPhase("waiting");
    this.#queueOf(upload).push(upload);
  }

  /** @param {Upload} upload */
  #queueOf(upload) {
    const large = upload.size > this.context.partBytes || upload.partCount > 1;
    return large ? this.#queues.large : this.#queues.small;
  }

  /** @param {Upload} upload */
  #dequeue(upload) {
    const queue = this.#queueOf(upload);
    const index = upload.phase === "waiting" ? queue.indexOf(upload) : -1;
    if (index >= 0) queue.splice(index, 1);
  }

  #startNext() {
    if (this.paused) return;
    const next = this.#large === null ? this.#queues.large.shift() : undefined;
    if (next) this.#startLarge(next);
    if (this.#batch.size <= NEXT_BATCH_THRESHOLD) this.#startBatch();
  }

  /** @param {Upload} upload */
  #startLarge(upload) {
    this.#large = upload;
    this.#run(upload, () => {
      if (this.#large !== upload) return;
      this.#large = null;
      this.#startNext();
    });
  }

  #startBatch() {
    const queue = this.#queues.small;
    let bytes = 0;
    let count = 0;
    const fits = () => count === 0 || bytes + queue[count].size <= MAX_BATCH_BYTES;
    while (count < queue.length && count < MAX_BATCH_FILES && fits()) {
      bytes += queue[count].size;
      count += 1;
    }
    const batch = queue.splice(0, count);
    for (const upload of batch) {
      this.#batch.add(upload);
      if (!upload.id) this.context.expectedCreates.add(upload);
      this.context.expectedCompletes.add(upload);
    }
    for (const upload of batch) this.#run(upload, () => this.#leaveBatch(upload));
  }

  /** @param {Upload} upload */
  #leaveBatch(upload) {
    if (this.#batch.delete(upload) && this.#batch.size <= NEXT_BATCH_THRESHOLD) this.#startNext();
  }

  /** @param {Upload} upload @param {() => void} onSent  may be called more than once */
  #run(upload, onSent) {
    const previous = upload.ended;
    upload.controller = new AbortController();
    const { signal } = upload.controller;
    upload.ended = previous.then(() => this.#runOnce(upload, signal, onSent));
  }

  /** @param {Upload} upload @param {AbortSignal} signal @param {() => void} onSent */
  async #runOnce(upload, signal, onSent) {
    upload.requests = new AbortController();
    try {
      signal.throwIfAborted();
      await uploadFile(upload, this.context, { signal, onSent });
    } catch (error) {
      if (!signal.aborted) this.#handleError(upload, error);
    } finally {
      upload.releaseLock();
      this.context.removeExpected(upload);
      onSent();
      this.#startNext();
    }
  }

  /** @param {Upload} upload @param {unknown} error */
  #handleError(upload, error) {
    if (error instanceof UploadGone && upload.restarts === 0) {
      upload.restarts = 1;
      upload.reset();
      return this.#enqueue(upload);
    }
    this.#fail(upload, error instanceof UploadError ? error : new UploadError("refused", { cause: error }));
    if (!(error instanceof UploadError)) console.error(error);
  }

  /** @param {Upload} upload @param {UploadError} error */
  #fail(upload, error) {
    upload.error = error;
    upload.setPhase("failed");
    if (!NOT_RESUMABLE.has(error.kind)) return;
    this.#cancelOnServer(upload);
    upload.reset();
  }
}
