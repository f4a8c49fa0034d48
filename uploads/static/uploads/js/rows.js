// @ts-check
import { fillBar, part, show, stamp, write } from "./dom.js";

/** @typedef {import("./upload.js").Upload} Upload */

/** Height of a row; amalga.css (.tray-row) has the same. */
const ROW_PX = 56;
const SPARE_ROWS = 4;

/**
 * Which rows of a long list are in sight, the end exclusive.
 * @param {{top: number, height: number, count: number, row?: number, spare?: number}} view  pixels and a count
 * @returns {[number, number]}
 */
export function inSight({ top, height, count, row = ROW_PX, spare = SPARE_ROWS }) {
  const first = Math.max(0, Math.floor(top / row) - spare);
  return [Math.min(first, count), Math.min(count, Math.ceil((top + height) / row) + spare)];
}

/** The list of files: of thousands only those in sight are in the page. */
export class Rows {
  /** @type {Map<Upload, HTMLElement>} */
  #shown = new Map();
  #space = document.createElement("div");
  #follows = true;
  #placed = -1;

  /**
   * @param {HTMLElement} tray
   * @param {{say: (upload: Upload) => {size: string, state: string}, act: (verb: string, upload: Upload) => void,
   *   redraw: () => void}} options
   */
  constructor(tray, { say, act, redraw }) {
    this.tray = tray;
    this.box = part(tray, "rows");
    this.say = say;
    this.#space.className = "tray-space";
    this.#space.setAttribute("role", "presentation");
    this.box.append(this.#space);
    this.box.addEventListener("scroll", () => {
      this.#follows = Math.abs(this.box.scrollTop - this.#placed) < 2;
      redraw();
    });
    this.box.addEventListener("click", (event) => {
      const pressed = event.target instanceof Element && event.target.closest("button[data-do]");
      const upload = pressed && this.#uploadOf(pressed);
      if (upload) act(pressed.getAttribute("data-do") ?? "", upload);
    });
  }

  /** @param {readonly Upload[]} uploads  in the order to be shown */
  draw(uploads) {
    this.#space.style.height = `${uploads.length * ROW_PX}px`;
    this.#follow(uploads);
    const view = { top: this.box.scrollTop, height: this.box.clientHeight, count: uploads.length };
    const [first, end] = inSight(view);
    const wanted = new Set(uploads.slice(first, end));
    for (const [upload, row] of this.#shown) if (!wanted.has(upload)) this.#remove(upload, row);
    for (let index = first; index < end; index += 1) this.#drawRow(uploads[index], index, uploads.length);
  }

  /** From the top, and with the work again. */
  restart() {
    this.#follows = true;
    this.#placed = 0;
    this.box.scrollTop = 0;
  }

  /** Keeps the work in sight until somebody scrolls. @param {readonly Upload[]} uploads */
  #follow(uploads) {
    if (!this.#follows || this.box.contains(document.activeElement)) return;
    const busy = uploads.findIndex((upload) => upload.running);
    if (busy < 0) return;
    const place = Math.max(0, Math.min((busy - 1) * ROW_PX, this.box.scrollHeight - this.box.clientHeight));
    if (this.box.scrollTop !== place) this.box.scrollTop = place;
    this.#placed = this.box.scrollTop;
  }

  /** @param {Upload} upload @param {number} index @param {number} count */
  #drawRow(upload, index, count) {
    let row = this.#shown.get(upload);
    if (!row) {
      row = stamp(this.tray, "row");
      write(part(row, "name"), upload.path);
      part(row, "name").title = upload.path;
      this.#shown.set(upload, row);
      this.#space.append(row);
    }
    const top = `translateY(${index * ROW_PX}px)`;
    if (row.style.transform !== top) row.style.transform = top;
    row.setAttribute("aria-posinset", String(index + 1));
    row.setAttribute("aria-setsize", String(count));
    this.#fill(row, upload);
  }

  /** @param {HTMLElement} row @param {Upload} upload */
  #fill(row, upload) {
    const { size, state } = this.say(upload);
    const { phase } = upload;
    row.dataset.phase = phase;
    write(part(row, "size"), size);
    write(part(row, "state"), state);
    part(row, "state").title = phase === "failed" ? state : "";
    const bar = part(row, "bar");
    show(bar, phase === "sending" || (phase === "paused" && upload.sent > 0));
    fillBar(bar, upload.sent, upload.size);
    if (phase === "done") link(part(row, "name"), upload);
    const verbs = verbsOf(upload);
    for (const verb of row.querySelectorAll("button")) show(verb, verbs.includes(verb.dataset.do ?? ""));
  }

  /** @param {Upload} upload @param {HTMLElement} row */
  #remove(upload, row) {
    row.remove();
    this.#shown.delete(upload);
  }

  /** @param {Element} element */
  #uploadOf(element) {
    const row = element.closest(".tray-row");
    for (const [upload, shown] of this.#shown) if (shown === row) return upload;
    return undefined;
  }
}

/** @param {Pick<Upload, "phase"|"retriable">} upload @returns {string[]} what can be done with a file now */
export function verbsOf({ phase, retriable }) {
  if (phase === "failed") return retriable ? ["retry", "remove"] : ["remove"];
  if (phase === "paused") return ["resume", "cancel"];
  return phase === "done" || phase === "finishing" ? [] : ["pause", "cancel"];
}

/** The name of a stored file leads to its page. @param {HTMLElement} name @param {Upload} upload */
function link(name, upload) {
  if (name.firstElementChild) return;
  const anchor = document.createElement("a");
  anchor.href = upload.url;
  anchor.textContent = upload.path;
  name.replaceChildren(anchor);
  document.dispatchEvent(new CustomEvent("links-added", { detail: name }));
}
