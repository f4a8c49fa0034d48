// @ts-check
import { nap } from "./waits.js";

/** @typedef {import("./upload.js").Upload} Upload */

/** Most is read within seconds; what is not by then, its own page will tell. */
const WAITS_MS = [2000, 2000, 3000, 5000, 10_000, 20_000, 40_000];

/**
 * Where the store checks no digests, the stored bytes are read soon after. Asks how that went, so that the receipt
 * ends with the whole truth.
 */
export class Settler {
  #control = new AbortController();

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./engine.js").Engine} engine
   * @param {number} batch  files a call
   */
  constructor(api, engine, batch) {
    this.api = api;
    this.engine = engine;
    this.batch = batch;
  }

  /** Asks until nothing is left to ask; a later call takes over from an earlier one. */
  async watch() {
    this.#control.abort();
    this.#control = new AbortController();
    const { signal } = this.#control;
    try {
      for (const wait of WAITS_MS) {
        if (claimed(this.engine.uploads).length === 0) return;
        await nap(wait, signal);
        await this.#ask(signal);
      }
    } catch {
      // taken over, or the server is away: what is stored stays stored
    }
  }

  /** Finishing again is answered with what is known of the file now. @param {AbortSignal} signal */
  async #ask(signal) {
    const asked = claimed(this.engine.uploads);
    for (let start = 0; start < asked.length; start += this.batch) {
      const some = asked.slice(start, start + this.batch);
      const wanted = some.map((upload) => ({ id: upload.id, sha256: upload.allDigests() }));
      const { files } = await this.api.finish(wanted, signal);
      some.forEach((upload, index) => this.engine.settle(upload, files[index].checksum_basis ?? ""));
    }
  }
}

/** @param {readonly Upload[]} uploads */
function claimed(uploads) {
  return uploads.filter((upload) => upload.phase === "done" && upload.basis === "claimed");
}
