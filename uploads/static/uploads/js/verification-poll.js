// @ts-check
import { completeItem } from "./context.js";
import { sleep } from "./retry.js";

/** @typedef {import("./upload.js").Upload} Upload */

/** Most files are verified within seconds; after the last poll, only the page of the file shows the result. */
const DELAYS_MS = [2000, 2000, 3000, 5000, 10_000, 20_000, 40_000];

/**
 * Polls for the verification of stored files. Where the storage does not check checksums, the worker reads the stored
 * bytes soon after the upload.
 */
export class VerificationPoller {
  #controller = new AbortController();

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./uploader.js").Uploader} uploader
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
      for (const delay of DELAYS_MS) {
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
