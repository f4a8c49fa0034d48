// @ts-check
/** A list that draws only the rows in sight. */
import { cloneTemplate, ref, setProgress, setText, setVisible } from "./dom.js";

/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./upload.js").Row} Row */

/** Height of a row; must match .tray-row in amalga.css. */
const ROW_HEIGHT_PX = 56;
/** Rows to render above and below the visible ones. */
const OVERSCAN_ROWS = 4;

/**
 * Return which rows of a list to render.
 * @param {{scrollTop: number, height: number, count: number, rowHeight?: number, overscan?: number}} view  in pixels;
 *   count and overscan: in rows
 * @returns {[number, number]} the first row, and the end (exclusive)
 */
export function visibleRange({ scrollTop, height, count, rowHeight = ROW_HEIGHT_PX, overscan = OVERSCAN_ROWS }) {
  const first = Math.max(0, Math.floor(scrollTop / rowHeight) - overscan);
  return [Math.min(first, count), Math.min(count, Math.ceil((scrollTop + height) / rowHeight) + overscan)];
}

/** The list of uploads. Only the visible rows of thousands are in the page. */
export class VirtualList {
  /** @type {Map<Row, HTMLElement>} */
  #rows = new Map();
  #spacer = document.createElement("div");
  #autoScroll = true;
  #autoScrollTop = -1;

  /**
   * @param {HTMLElement} tray
   * @param {{describe: (upload: Row) => {size: string, state: string},
   *   onAction: (action: string, upload: Upload) => void, redraw: () => void}} options
   */
  constructor(tray, { describe, onAction, redraw }) {
    this.tray = tray;
    this.box = ref(tray, "rows");
    this.describe = describe;
    this.#spacer.className = "tray-spacer";
    this.#spacer.setAttribute("role", "presentation");
    this.box.append(this.#spacer);
    this.box.addEventListener("scroll", () => {
      this.#autoScroll = Math.abs(this.box.scrollTop - this.#autoScrollTop) < 2;
      redraw();
    });
    this.box.addEventListener("click", (event) => {
      const button = event.target instanceof Element && event.target.closest("button[data-action]");
      const upload = button && this.#uploadOf(button);
      if (upload && !("files" in upload)) onAction(button.getAttribute("data-action") ?? "", upload);
    });
  }

  /** @param {readonly Row[]} uploads  in the order of the rows */
  render(uploads) {
    this.#spacer.style.height = `${uploads.length * ROW_HEIGHT_PX}px`;
    this.#scrollToRunning(uploads);
    const view = { scrollTop: this.box.scrollTop, height: this.box.clientHeight, count: uploads.length };
    const [first, end] = visibleRange(view);
    const visible = new Set(uploads.slice(first, end));
    for (const [upload, row] of this.#rows) if (!visible.has(upload)) this.#remove(upload, row);
    for (let index = first; index < end; index += 1) this.#renderRow(uploads[index], index, uploads.length);
    this.#sortRows(uploads.slice(first, end));
  }

  /** Give the elements the order that people see, which is also that of the Tab key. @param {readonly Row[]} visible */
  #sortRows(visible) {
    let next = this.#spacer.firstElementChild;
    for (const upload of visible) {
      const row = /** @type {HTMLElement} */ (this.#rows.get(upload));
      if (row === next) next = row.nextElementSibling;
      else this.#spacer.insertBefore(row, next);
    }
  }

  /** Scroll to the top, and follow the running uploads again. */
  reset() {
    this.#autoScroll = true;
    this.#autoScrollTop = 0;
    this.box.scrollTop = 0;
  }

  /** Keep the running uploads visible until the user scrolls. @param {readonly Row[]} uploads */
  #scrollToRunning(uploads) {
    if (!this.#autoScroll || this.box.contains(document.activeElement)) return;
    const index = uploads.findIndex((upload) => upload.running);
    if (index < 0) return;
    const top = Math.max(0, Math.min((index - 1) * ROW_HEIGHT_PX, this.box.scrollHeight - this.box.clientHeight));
    if (this.box.scrollTop !== top) this.box.scrollTop = top;
    this.#autoScrollTop = this.box.scrollTop;
  }

  /** @param {Row} upload @param {number} index @param {number} count */
  #renderRow(upload, index, count) {
    let row = this.#rows.get(upload);
    if (!row) {
      row = cloneTemplate(this.tray, "row");
      setText(ref(row, "name"), upload.path);
      ref(row, "name").title = upload.path;
      this.#rows.set(upload, row);
      this.#spacer.append(row);
    }
    const transform = `translateY(${index * ROW_HEIGHT_PX}px)`;
    if (row.style.transform !== transform) row.style.transform = transform;
    row.setAttribute("aria-posinset", String(index + 1));
    row.setAttribute("aria-setsize", String(count));
    this.#update(row, upload);
  }

  /** @param {HTMLElement} row @param {Row} upload */
  #update(row, upload) {
    const { size, state } = this.describe(upload);
    const { phase } = upload;
    row.dataset.phase = phase;
    setText(ref(row, "size"), size);
    setText(ref(row, "state"), state);
    ref(row, "state").title = phase === "failed" ? state : "";
    const bar = ref(row, "bar");
    setVisible(bar, phase === "sending" || (phase === "paused" && upload.sent > 0));
    setProgress(bar, upload.sent, upload.size);
    if (phase === "done") addLink(ref(row, "name"), upload);
    const actions = actionsFor(upload);
    for (const button of row.querySelectorAll("button")) {
      setVisible(button, actions.includes(button.dataset.action ?? ""));
    }
  }

  /** @param {Row} upload @param {HTMLElement} row */
  #remove(upload, row) {
    row.remove();
    this.#rows.delete(upload);
  }

  /** @param {Element} element */
  #uploadOf(element) {
    const target = element.closest(".tray-row");
    for (const [upload, row] of this.#rows) if (row === target) return upload;
    return undefined;
  }
}

/** @param {Pick<Upload, "phase"|"retriable">} upload @returns {string[]} the actions that are possible now */
export function actionsFor({ phase, retriable }) {
  if (phase === "failed") return retriable ? ["retry", "remove"] : ["remove"];
  if (phase === "paused") return ["resume", "cancel"];
  return phase === "done" || phase === "finishing" || phase === "canceled" ? [] : ["pause", "cancel"];
}

/** Link the name of a stored file to its page. @param {HTMLElement} name @param {Row} upload */
function addLink(name, upload) {
  if (name.firstElementChild || !upload.url) return;
  const link = document.createElement("a");
  link.href = upload.url;
  link.textContent = upload.path;
  name.replaceChildren(link);
  document.dispatchEvent(new CustomEvent("links-added", { detail: name }));
}
