// @ts-check
import { button, part, show, stamp, write } from "./dom.js";

/** @typedef {import("./upload.js").Upload} Upload */

/** Failures spelled out one by one; the list of files shows the rest. */
const MAX_SPELLINGS = 20;

/** What came of it: shown when nothing moves any more. */
export class Receipt {
  #drawn = "";

  /**
   * @param {HTMLElement} tray
   * @param {{texts: import("./texts.js").Texts, act: (verb: string, upload: Upload) => void}} options
   */
  constructor(tray, { texts, act }) {
    this.tray = tray;
    this.texts = texts;
    this.act = act;
  }

  /**
   * @param {readonly Upload[]} uploads @param {import("./summary.js").Summary} whole
   * @returns {Upload[]} the failures that are spelled out
   */
  draw(uploads, whole) {
    const failed = whole.over ? uploads.filter((upload) => upload.phase === "failed") : [];
    show(part(this.tray, "receipt"), whole.over && (whole.done > 0 || failed.length > 0));
    show(button(this.tray, "copy-links"), whole.done > 0);
    show(button(this.tray, "retry-failed"), failed.filter((upload) => upload.retriable).length > 1);
    const spelled = failed.slice(0, MAX_SPELLINGS);
    const state = failed.map((upload) => upload.token).join();
    if (state === this.#drawn) return spelled;
    this.#drawn = state;
    part(this.tray, "failures").replaceChildren(...spelled.map((one) => this.#failure(one)));
    const more = failed.length - MAX_SPELLINGS;
    show(part(this.tray, "more"), more > 0);
    if (more > 0) write(part(this.tray, "more"), this.texts.words("more_failed", { count: more }));
    return spelled;
  }

  /** @param {Upload} upload */
  #failure(upload) {
    const item = stamp(this.tray, "failure");
    write(part(item, "name"), upload.path);
    write(part(item, "reason"), this.texts.reason(upload));
    show(button(item, "retry"), upload.retriable);
    button(item, "retry").addEventListener("click", () => this.act("retry", upload));
    return item;
  }
}
