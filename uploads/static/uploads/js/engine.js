// @ts-check
import { carry } from "./carry.js";
import { Gone, Trouble } from "./trouble.js";
import { Upload } from "./upload.js";

/** @typedef {{file: File, folder: string, into?: number|null, replaces?: string, token?: string}} Picked */

/** Small files enter in crowds, so that their calls are full; a crowd is hashed before the store sees its first byte. */
const CROWD_FILES = 100;
const CROWD_BYTES = 64 * 1024 * 1024;
/** The next crowd enters when so few of the last are left to send. */
const CROWD_REST = 50;
/** Troubles after which the half-sent upload is not worth going back to: a retry begins anew. */
const HOPELESS = new Set(["gone", "parts", "digest", "damaged", "special"]);

/** All files of this page: who goes next, and what people want of them. */
export class Engine {
  /** @type {Upload[]} */
  uploads = [];
  /** @type {import("./entries.js").Skipped[]} left out of what was dropped */
  skipped = [];
  paused = false;
  #arrivals = 0;
  /** @type {{small: Upload[], large: Upload[]}} */
  #waiting = { small: [], large: [] };
  /** @type {Set<Upload>} */
  #crowd = new Set();
  /** @type {Upload|null} the large file whose parts are being taken */
  #large = null;

  /**
   * @param {import("./tools.js").Tools} tools
   * @param {{maxBytes: number, onChange: (upload?: Upload) => void}} options
   */
  constructor(tools, { maxBytes, onChange }) {
    this.tools = tools;
    this.maxBytes = maxBytes;
    this.onChange = onChange;
  }

  /** More files are being found; until `arrived` nothing counts as over. */
  arriving() {
    if (!this.busy) this.#forgetDone();
    this.#arrivals += 1;
  }

  arrived() {
    this.#arrivals -= 1;
    this.onChange();
  }

  /** @param {Picked[]} picked @param {string} visibility */
  add(picked, visibility) {
    for (const { file, folder, into, replaces, token } of picked) {
      const upload = new Upload(file, { folder, into, replaces, visibility, onChange: this.onChange });
      if (token) this.#takeOver(upload, token);
      this.uploads.push(upload);
      if (upload.size > this.maxBytes) this.#fail(upload, new Trouble("too_large"));
      else this.#enqueue(upload);
    }
    this.onChange();
    this.#pump();
  }

  /** Somebody dropped files we cannot even read. @param {string} name @param {Trouble} trouble */
  addFailed(name, trouble) {
    const upload = new Upload(new File([], name), { onChange: this.onChange });
    this.uploads.push(upload);
    this.#fail(upload, trouble);
  }

  /** @param {import("./entries.js").Skipped[]} skipped */
  skip(skipped) {
    this.skipped.push(...skipped);
    this.onChange();
  }

  /** Files that this page is busy with; their tokens are not to be given out again. */
  get heldTokens() {
    return new Set(this.uploads.filter((upload) => upload.phase !== "failed").map((upload) => upload.token));
  }

  /** Whether anything is left that goes on by itself or after a pause. */
  get busy() {
    const unsettled = (/** @type {Upload} */ { running, phase }) => running || phase === "waiting" || phase === "paused";
    return this.#arrivals > 0 || this.uploads.some(unsettled);
  }

  /** Whether leaving the page now would interrupt something. */
  get moving() {
    return !this.paused && this.uploads.some((upload) => upload.running || upload.phase === "waiting");
  }

  /** @param {Upload} upload */
  pause(upload) {
    if (upload.phase === "finishing" || upload.phase === "done") return;
    this.#drop(upload);
    upload.become("paused");
    upload.control.abort(new DOMException("paused", "AbortError"));
  }

  /** @param {Upload} upload */
  resume(upload) {
    if (upload.phase === "paused") this.#again(upload);
  }

  /** @param {Upload} upload */
  retry(upload) {
    if (upload.retriable) this.#again(upload);
  }

  retryFailed() {
    for (const upload of this.uploads) this.retry(upload);
  }

  pauseAll() {
    this.paused = true;
    this.tools.speed.reset();
    for (const upload of this.uploads) {
      if (upload.phase === "waiting" || upload.running) this.pause(upload);
    }
    this.onChange();
  }

  resumeAll() {
    this.paused = false;
    for (const upload of this.uploads) if (upload.phase === "paused") this.#enqueue(upload);
    this.onChange();
    this.#pump();
  }

  /** Nothing of it stays: here, on the server or in the store. @param {Upload} upload */
  cancel(upload) {
    if (upload.phase === "finishing" || upload.phase === "done") return;
    this.#drop(upload);
    upload.become("cancelled");
    upload.control.abort(new DOMException("cancelled", "AbortError"));
    this.uploads.splice(this.uploads.indexOf(upload), 1);
    this.onChange();
    this.#discard(upload);
    this.#pump();
  }

  cancelAll() {
    this.paused = false;
    for (const upload of [...this.uploads]) this.cancel(upload);
  }

  /** What reading the stored bytes told of a file; "" when it is not there any more. @param {Upload} upload @param {string} basis */
  settle(upload, basis) {
    if (basis === "damaged") this.#fail(upload, new Trouble("damaged"));
    else upload.basis = basis;
    this.onChange(upload);
  }

  /** Empties the list once all is over. */
  clear() {
    if (!this.busy) this.uploads.length = this.skipped.length = 0;
    this.onChange();
  }

  /** @param {Upload} upload */
  async #discard(upload) {
    // A call to start may be on its way: only its answer tells what there is to cancel.
    if (!upload.id) await upload.starting?.catch(() => {});
    // When it cannot be told now, the server forgets the upload when its time is over.
    if (upload.id) await this.tools.api.cancel(upload.id, new AbortController().signal).catch(() => {});
  }

  /** The same file dropped again goes on where the failed one stopped. @param {Upload} upload @param {string} token */
  #takeOver(upload, token) {
    const failed = this.uploads.findIndex((one) => one.token === token && one.phase === "failed");
    if (failed >= 0) this.uploads.splice(failed, 1);
    upload.token = token;
    upload.resumed = true;
  }

  #forgetDone() {
    this.paused = false;
    this.tools.speed.reset();
    this.uploads = this.uploads.filter((upload) => upload.phase === "failed");
    this.skipped.length = 0;
  }

  /** @param {Upload} upload */
  #again(upload) {
    upload.error = undefined;
    upload.restarts = 0;
    this.paused = false;
    this.#enqueue(upload);
    this.#pump();
  }

  /** @param {Upload} upload */
  #enqueue(upload) {
    upload.become("waiting");
    this.#queueOf(upload).push(upload);
  }

  /** @param {Upload} upload */
  #queueOf(upload) {
    const large = upload.size > this.tools.partBytes || upload.partCount > 1;
    return large ? this.#waiting.large : this.#waiting.small;
  }

  /** @param {Upload} upload */
  #drop(upload) {
    const queue = this.#queueOf(upload);
    const place = upload.phase === "waiting" ? queue.indexOf(upload) : -1;
    if (place >= 0) queue.splice(place, 1);
  }

  #pump() {
    if (this.paused) return;
    const next = this.#large === null ? this.#waiting.large.shift() : undefined;
    if (next) this.#openLarge(next);
    if (this.#crowd.size <= CROWD_REST) this.#openCrowd();
  }

  /** @param {Upload} upload */
  #openLarge(upload) {
    this.#large = upload;
    this.#run(upload, () => {
      if (this.#large !== upload) return;
      this.#large = null;
      this.#pump();
    });
  }

  #openCrowd() {
    const queue = this.#waiting.small;
    let bytes = 0;
    let count = 0;
    while (count < queue.length && count < CROWD_FILES && (count === 0 || bytes + queue[count].size <= CROWD_BYTES)) {
      bytes += queue[count].size;
      count += 1;
    }
    const crowd = queue.splice(0, count);
    for (const upload of crowd) {
      this.#crowd.add(upload);
      if (!upload.id) this.tools.beforeStart.add(upload);
      this.tools.beforeFinish.add(upload);
    }
    for (const upload of crowd) this.#run(upload, () => this.#sent(upload));
  }

  /** @param {Upload} upload */
  #sent(upload) {
    if (this.#crowd.delete(upload) && this.#crowd.size <= CROWD_REST) this.#pump();
  }

  /** @param {Upload} upload @param {() => void} drained  may be called more than once */
  async #run(upload, drained) {
    upload.control = new AbortController();
    const { signal } = upload.control;
    try {
      await carry(upload, this.tools, { signal, drained });
    } catch (error) {
      if (!signal.aborted) this.#stumble(upload, error);
    } finally {
      upload.release();
      this.tools.leave(upload);
      drained();
      this.#pump();
    }
  }

  /** @param {Upload} upload @param {unknown} error */
  #stumble(upload, error) {
    if (error instanceof Gone && upload.restarts === 0) {
      upload.restarts = 1;
      upload.renew();
      return this.#enqueue(upload);
    }
    this.#fail(upload, error instanceof Trouble ? error : new Trouble("refused", { cause: error }));
    if (!(error instanceof Trouble)) console.error(error);
  }

  /** @param {Upload} upload @param {Trouble} trouble */
  #fail(upload, trouble) {
    upload.error = trouble;
    upload.become("failed");
    if (!HOPELESS.has(trouble.kind)) return;
    this.#discard(upload);
    upload.renew();
  }
}
