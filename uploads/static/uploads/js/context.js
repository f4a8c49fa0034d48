// @ts-check
/** What all uploads of a page share, and polling for the verification of stored files. */
import { uploadError } from "./api.js";
import { Batcher, Semaphore } from "./concurrency.js";
import { planFor, sha256, ThroughputMeter } from "./parts.js";
import { parseRetryAfter, RetryPolicy, sleep } from "./retry.js";

/** @typedef {import("./upload.js").Upload} Upload */

/** Browsers open six connections to a host over HTTP/1.1 and queue further requests where we cannot see them. */
const REQUEST_CONCURRENCY = 6;
/** Where the browser keeps how fast large files were sent last, so that the next upload begins with a plan for it. */
const SPEED_KEY = "amalga-upload-speed";
/** Parts in memory at a time while they are hashed. */
const HASH_CONCURRENCY = 2;
/** New folders in one call; the server has the same limit. */
const MAX_NEW_FOLDERS = 200;
const CREATE_DELAY_MS = 1500;
const COMPLETE_DELAY_MS = 3000;
/** Most files are verified within seconds; after the last poll, only the page of the file shows the result. */
const VERIFICATION_DELAYS_MS = [2000, 2000, 3000, 5000, 10_000, 20_000, 40_000];

/** What all uploads share: the concurrency limits, the batches, and the API calls in terms of uploads. */
export class UploadContext {
  requests = new Semaphore(REQUEST_CONCURRENCY);
  plan = planFor(readSpeed());
  /** For parts of large files, so that small files always get a connection. */
  largeFileRequests = new Semaphore(this.plan.concurrency);
  /** How fast large files are sent: small ones rather measure how fast the server responds. */
  #largeFileThroughput = new ThroughputMeter();
  hashing = new Semaphore(HASH_CONCURRENCY);
  throughput = new ThroughputMeter();
  /** Small files that will soon be created. @type {Set<Upload>} */
  expectedCreates = new Set();
  /** Small files that will soon be completed. @type {Set<Upload>} */
  expectedCompletes = new Set();
  /** The results of the last calls. @type {WeakMap<Upload, any>} */
  results = new WeakMap();

  /**
   * @param {{api: import("./api.js").Api, gate: import("./api.js").Gate,
   *   lastSuccess: import("./retry.js").LastSuccess, partBytes: number, batchSize: number}} options
   *   batchSize: files in one call
   */
  constructor({ api, gate, lastSuccess, partBytes, batchSize }) {
    this.api = api;
    this.gate = gate;
    this.lastSuccess = lastSuccess;
    this.partBytes = partBytes;
    this.createBatcher = new Batcher({
      max: batchSize, delay: CREATE_DELAY_MS,
      expectsMore: () => this.expectedCreates.size > 0, send: (uploads) => this.#createAll(uploads),
    });
    this.completeBatcher = new Batcher({
      max: batchSize, delay: COMPLETE_DELAY_MS,
      expectsMore: () => this.expectedCompletes.size > 0, send: (uploads) => this.#completeAll(uploads),
    });
  }

  /** @param {Upload} upload @param {number} bytes */
  recordSent(upload, bytes) {
    this.throughput.add(bytes);
    if (upload.partCount === 1) return;
    this.#largeFileThroughput.add(bytes);
    this.#adapt(this.#largeFileThroughput.read());
  }

  /** Forget the measured speed, for example after a pause. */
  resetThroughput() {
    this.throughput.reset();
    this.#largeFileThroughput.reset();
  }

  /** The largest file or part to send at once. */
  get maxPartBytes() {
    return Math.min(this.partBytes, this.plan.partBytes);
  }

  /** @param {number} bytesPerSecond  0 while unknown */
  #adapt(bytesPerSecond) {
    const plan = bytesPerSecond ? planFor(bytesPerSecond) : this.plan;
    if (plan === this.plan) return;
    this.plan = plan;
    this.largeFileRequests.resize(plan.concurrency);
    writeSpeed(bytesPerSecond);
  }

  /** Stop expecting this upload in a batch. @param {Upload} upload */
  removeExpected(upload) {
    if (this.expectedCreates.delete(upload)) this.createBatcher.flushIfReady();
    if (this.expectedCompletes.delete(upload)) this.completeBatcher.flushIfReady();
  }

  /**
   * @param {Upload} upload @param {number} number @param {AbortSignal} signal
   * @param {{force?: boolean}} [options]  force: hash a part again
   */
  async hash(upload, number, signal, { force = false } = {}) {
    if (upload.digests.has(number) && !force) return;
    const release = await this.hashing.acquire(signal);
    const { partSize } = upload;
    try {
      const digest = await sha256(upload.slice(number));
      if (upload.partSize === partSize) upload.digests.set(number, digest);
    } finally {
      release();
    }
    signal.throwIfAborted();
  }

  /** @param {Upload} upload @param {number[]} numbers @param {AbortSignal} signal */
  async sign(upload, numbers, signal) {
    const requested = numbers.map((number) => ({ number, sha256: upload.digests.get(number) }));
    const { parts } = await this.api.sign(upload.id, requested, signal);
    for (const part of parts) upload.setSignedPart(part.number, part);
  }

  /** Ask which parts are stored. @param {Upload} upload @param {AbortSignal} signal */
  async refreshParts(upload, signal) {
    const status = await this.api.status(upload.id, signal);
    upload.resetParts();
    upload.state = status.state;
    for (const { number, sha256 } of status.parts ?? []) if (sha256) upload.remoteDigests.set(number, sha256);
  }

  /** @param {Upload} upload @param {AbortSignal} signal */
  async create(upload, signal) {
    await this.#batched(upload, this.createBatcher, this.expectedCreates, signal, (call) => (upload.creating = call));
  }

  /**
   * @param {Upload} upload @param {AbortSignal} signal
   * @returns {Promise<any>} the stored file, or `{error}` with the missing parts
   */
  async complete(upload, signal) {
    for (;;) {
      const result = await this.#batched(upload, this.completeBatcher, this.expectedCompletes, signal);
      if (result.state !== "completing") return result;
      await new RetryPolicy(this.lastSuccess).wait(signal, parseRetryAfter(result.retry_after ?? 1));
    }
  }

  /**
   * Add an upload to a batched call and return its result; retry while the storage is unavailable.
   * @param {Upload} upload @param {Batcher<Upload>} batcher @param {Set<Upload>} expected @param {AbortSignal} signal
   * @param {(call: Promise<void>) => void} [onCall]
   */
  async #batched(upload, batcher, expected, signal, onCall = () => {}) {
    const retryPolicy = new RetryPolicy(this.lastSuccess);
    for (;;) {
      expected.delete(upload);
      const call = batcher.add(upload);
      onCall(call);
      await call;
      signal.throwIfAborted();
      const result = this.results.get(upload) ?? {};
      const code = result.error?.code;
      if (!code || code === "parts_missing") return result;
      if (code !== "unavailable") throw uploadError(result.error);
      upload.setNote("unavailable");
      await retryPolicy.wait(signal, parseRetryAfter(result.retry_after));
    }
  }

  /** @param {Upload[]} uploads */
  async #createAll(uploads) {
    for (const folderId of new Set(uploads.map((upload) => upload.folderId))) {
      for (const batch of splitByFolders(uploads.filter((upload) => upload.folderId === folderId))) {
        const items = batch.map((upload) => createItem(upload, this.plan));
        const { files } = await this.api.create(items, folderId, new AbortController().signal);
        files.forEach((/** @type {any} */ result, /** @type {number} */ index) => {
          this.results.set(batch[index], result);
          if (!result.error) applyCreated(batch[index], result);
        });
      }
    }
  }

  /** @param {Upload[]} uploads */
  async #completeAll(uploads) {
    const items = uploads.map(completeItem);
    const { files } = await this.api.complete(items, new AbortController().signal);
    files.forEach((/** @type {any} */ result, /** @type {number} */ index) => this.results.set(uploads[index], result));
  }
}

/**
 * Split uploads into batches with at most as many folders as one call may create.
 * @param {Upload[]} uploads
 */
function* splitByFolders(uploads) {
  /** @type {Upload[]} */
  let batch = [];
  let folders = new Set();
  for (const upload of uploads) {
    const names = upload.folder.split("/");
    const paths = names.map((_name, index) => names.slice(0, index + 1).join("/"));
    if (batch.length && new Set([...folders, ...paths]).size > MAX_NEW_FOLDERS) {
      yield batch;
      batch = [];
      folders = new Set();
    }
    batch.push(upload);
    for (const path of paths) folders.add(path);
  }
  if (batch.length) yield batch;
}

/** @param {Upload} upload @param {import("./parts.js").Plan} plan */
function createItem(upload, { partBytes }) {
  return {
    part_size: Number.isFinite(partBytes) ? partBytes : undefined,
    token: upload.token, name: upload.name, size: upload.size, type: upload.file.type,
    modified: upload.file.lastModified, folder: upload.folder, visibility: upload.visibility,
    replaces: upload.replaces || undefined, sha256: upload.digests.get(1),
  };
}

/** @param {Upload} upload */
function completeItem(upload) {
  return { id: upload.id, sha256: upload.allDigests() };
}

/**
 * Apply the server's response. Checksums computed before are kept only if the file has the parts that were expected.
 * @param {Upload} upload
 * @param {{id: string, state: string, part_size: number, part_count: number, parts?: any[]}} result
 */
function applyCreated(upload, result) {
  const sameSize = result.part_count === 1 || result.part_size === upload.partSize;
  if (!sameSize || result.part_count !== upload.partCount) upload.digests.clear();
  upload.id = result.id;
  upload.state = result.state;
  upload.partSize = result.part_size;
  upload.partCount = result.part_count;
  for (const part of result.parts ?? []) upload.setSignedPart(part.number, part);
}

/** @returns {number} bytes per second; 0 if unknown */
function readSpeed() {
  try {
    return Number(localStorage.getItem(SPEED_KEY)) || 0;
  } catch {
    return 0; // people can forbid pages to store anything
  }
}

/** @param {number} bytesPerSecond */
function writeSpeed(bytesPerSecond) {
  try {
    localStorage.setItem(SPEED_KEY, String(Math.round(bytesPerSecond)));
  } catch {
    // The next page measures again.
  }
}

/**
 * Polls for the verification of stored files. Where the storage does not check checksums, the worker reads the stored
 * bytes soon after the upload.
 */
export class VerificationPoller {
  #controller = new AbortController();

  /**
   * @param {import("./api.js").Api} api
   * @param {{uploads: readonly Upload[], setChecksumStatus: (upload: Upload, status: string) => void}} uploader
   * @param {number} batchSize  files in one call
   */
  constructor(api, uploader, batchSize) {
    this.api = api;
    this.uploader = uploader;
    this.batchSize = batchSize;
  }

  /** Poll until all files are verified or the last delay is over. Replaces an earlier run. */
  async start() {
    this.#controller.abort();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    try {
      for (const delay of VERIFICATION_DELAYS_MS) {
        if (unverified(this.uploader.uploads).length === 0) return;
        await sleep(delay, signal);
        await this.#poll(signal);
      }
    } catch {
      // Replaced by a later run, or the server is unavailable: the files are stored in any case.
    }
  }

  /** Complete the uploads again: the response has the current state of each file. @param {AbortSignal} signal */
  async #poll(signal) {
    const uploads = unverified(this.uploader.uploads);
    for (let start = 0; start < uploads.length; start += this.batchSize) {
      const batch = uploads.slice(start, start + this.batchSize);
      const { files } = await this.api.complete(batch.map(completeItem), signal);
      batch.forEach((upload, index) => this.uploader.setChecksumStatus(upload, files[index].checksum_status ?? ""));
    }
  }
}

/** @param {readonly Upload[]} uploads */
function unverified(uploads) {
  return uploads.filter((upload) => upload.phase === "done" && upload.checksumStatus === "unverified");
}
