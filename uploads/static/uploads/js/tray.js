// @ts-check
import { Announcer } from "./announce.js";
import { copy } from "./copy.js";
import { button, fillBar, part, show, write } from "./dom.js";
import { Receipt } from "./receipt.js";
import { Rows } from "./rows.js";
import { summarize } from "./summary.js";

/** @typedef {import("./engine.js").Engine} Engine */
/** @typedef {import("./summary.js").Summary} Summary */
/** @typedef {import("./upload.js").Upload} Upload */

/** Time between two drawings: smooth enough to read, and the bytes need the processor more. */
const CALM_MS = 100;

/** The box that shows what is on its way. However much happens in between, it is drawn ten times a second. */
export class Tray {
  #awaited = false;
  #drawnAt = 0;
  #wasOver = true;

  /**
   * @param {HTMLElement} box
   * @param {{engine: Engine, texts: import("./texts.js").Texts, gate: import("./session.js").Gate,
   *   look: () => void, onStored: () => void}} options
   */
  constructor(box, { engine, texts, gate, look, onStored }) {
    this.box = box;
    this.engine = engine;
    this.texts = texts;
    this.gate = gate;
    this.look = look;
    this.onStored = onStored;
    /** What the calls to the server suffer from; "" when all is well. */
    this.trouble = "";
    this.announcer = new Announcer(texts);
    const act = (/** @type {string} */ verb, /** @type {Upload} */ upload) => this.#act(verb, upload);
    this.rows = new Rows(box, { say: (upload) => texts.row(upload, this.gate.reason), act, redraw: () => this.redraw() });
    this.receipt = new Receipt(box, { texts, act });
    box.addEventListener("click", (event) => this.#pressed(event));
  }

  redraw() {
    if (this.#awaited) return;
    this.#awaited = true;
    const calm = this.#drawnAt + CALM_MS - performance.now();
    // Timers run in hidden tabs too, frames do not: the end is announced wherever the person is.
    setTimeout(() => this.#draw(), Math.max(0, calm));
  }

  /** @param {string} trouble */
  tell(trouble) {
    this.trouble = trouble;
    this.redraw();
  }

  /** Files were added: show them, from the top. */
  open() {
    if (this.box.hidden) this.rows.restart();
    show(this.box, true);
    this.redraw();
  }

  #draw() {
    this.#awaited = false;
    this.#drawnAt = performance.now();
    const { uploads, skipped, paused } = this.engine;
    const whole = summarize(uploads, this.engine.busy);
    if (uploads.length === 0 && skipped.length === 0) show(this.box, false);
    if (this.box.hidden) return;
    this.#drawHead(whole, paused || (whole.paused > 0 && whole.active === 0));
    const left = this.texts.skipped(skipped);
    write(part(this.box, "skipped"), left);
    show(part(this.box, "skipped"), left !== "");
    const spelled = new Set(this.receipt.draw(uploads, whole));
    if (!part(this.box, "body").hidden) this.rows.draw(uploads.filter((upload) => !spelled.has(upload)));
    this.announcer.tell(whole, this.trouble || whole.note);
    if (whole.over && !this.#wasOver && whole.done > 0) this.onStored();
    this.#wasOver = whole.over;
  }

  /** @param {Summary} whole @param {boolean} paused */
  #drawHead(whole, paused) {
    const trouble = this.trouble || whole.note;
    write(part(this.box, "title"), this.texts.title(whole, paused));
    this.box.dataset.over = !whole.over ? "" : whole.failed ? "failed" : "stored";
    show(part(this.box, "whole"), !whole.over);
    show(part(this.box, "signin"), this.gate.reason === "signin" && !whole.over);
    show(button(this.box, "close"), whole.over);
    show(button(this.box, "pause-all"), !paused);
    show(button(this.box, "resume-all"), paused);
    fillBar(part(this.box, "bar"), whole.sent, whole.bytes);
    const facts = this.texts.facts(whole, this.engine.tools.speed.read(), paused);
    write(part(this.box, "facts"), trouble && !paused ? this.texts.words(`long.${trouble}`) : facts);
  }

  /** @param {Event} event */
  #pressed(event) {
    const pressed = event.target instanceof Element && event.target.closest("button[data-do]");
    const verbs = {
      fold: () => this.#fold(/** @type {HTMLElement} */ (pressed)),
      close: () => this.engine.clear(),
      look: () => this.look(),
      "pause-all": () => this.engine.pauseAll(),
      "resume-all": () => this.engine.resumeAll(),
      "cancel-all": () => this.#cancelAll(),
      "retry-failed": () => this.engine.retryFailed(),
      "copy-links": () => copy(this.#links(), /** @type {HTMLElement} */ (pressed), this.texts.words("copied")),
    };
    const verb = pressed && verbs[/** @type {keyof typeof verbs} */ (pressed.getAttribute("data-do"))];
    if (verb) verb();
  }

  /** @param {string} verb @param {Upload} upload */
  #act(verb, upload) {
    if (verb === "pause" || verb === "resume" || verb === "retry" || verb === "cancel") this.engine[verb](upload);
    if (verb === "remove") this.engine.cancel(upload);
    this.redraw();
  }

  /** @param {HTMLElement} pressed */
  #fold(pressed) {
    const body = part(this.box, "body");
    show(body, body.hidden);
    pressed.setAttribute("aria-expanded", String(!body.hidden));
    this.redraw();
  }

  #cancelAll() {
    const left = this.engine.uploads.filter((one) => one.phase !== "done" && one.phase !== "failed").length;
    if (left < 2) return this.engine.cancelAll();
    const sure = /** @type {HTMLDialogElement} */ (document.getElementById("tray-sure"));
    write(part(sure, "question"), this.texts.words("sure", { count: left }));
    sure.returnValue = "no";
    sure.addEventListener("close", () => sure.returnValue === "yes" && this.engine.cancelAll(), { once: true });
    sure.showModal();
  }

  #links() {
    const stored = this.engine.uploads.filter((upload) => upload.url);
    return stored.map((upload) => new URL(upload.url, location.href).href).join("\n");
  }
}
