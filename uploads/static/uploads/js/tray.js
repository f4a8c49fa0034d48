// @ts-check
/** The panel of uploads: head, progress, receipt, questions, and announcements for screen readers. */
import { announce, button, cloneTemplate, ref, setProgress, setText, setVisible } from "./dom.js";
import { copyToClipboard, formatLinks } from "./enhance.js";
import { isolate, percent } from "./i18n.js";
import { extensionOf, groupByFolder, summarize } from "./upload.js";
import { VirtualList } from "./virtual-list.js";

/** @typedef {import("./i18n.js").Messages} Messages */
/** @typedef {import("./upload.js").Summary} Summary */
/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./uploader.js").Uploader} Uploader */

/** Time between two updates of the page: often enough to read, and the CPU is needed for hashing. */
const REDRAW_INTERVAL_MS = 100;
/** Failures to show with the receipt; the list of files has the rest. */
const MAX_FAILURES_SHOWN = 20;
/** Uploads that have sent this much are canceled after a question only. */
const CONFIRM_BYTES = 50_000_000;
/** Time until the list collapses after all files are stored. */
const COLLAPSE_DELAY_MS = 8000;
/** How often to check whether people have left the list, so that it can collapse. */
const COLLAPSE_POLL_MS = 1000;
/** The progress in the title of the tab. */
const PROGRESS_PREFIX = /^\(\d+ %\) /;
/** Steps of progress to announce. */
const STEP_PERCENT = 25;

/** The panel that shows all uploads. It is updated at most ten times a second. */
export class Tray {
  #redrawScheduled = false;
  #drawnAt = 0;
  #wasFinished = true;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #collapseTimer;
  /** Whether the list has collapsed by itself. */
  #collapsed = false;
  /** @type {Map<string, import("./upload.js").UploadedFolder>} */
  #folders = new Map();
  /** The last question, since only one can be open. @type {Promise<string>} */
  #question = Promise.resolve("");

  /**
   * @param {HTMLElement} box
   * @param {{uploader: Uploader, messages: Messages, gate: import("./api.js").Gate,
   *   refreshSession: () => void, onStored: () => void}} options
   */
  constructor(box, { uploader, messages, gate, refreshSession, onStored }) {
    this.box = box;
    this.uploader = uploader;
    this.messages = messages;
    this.gate = gate;
    this.refreshSession = refreshSession;
    this.onStored = onStored;
    /** Why API calls fail, as the key of a text; "" while they succeed. */
    this.problem = "";
    this.announcer = new Announcer(messages);
    const onAction = (/** @type {string} */ action, /** @type {Upload} */ upload) => this.#onAction(action, upload);
    const describe = (/** @type {import("./upload.js").Row} */ upload) => messages.row(upload, gate.reason);
    this.list = new VirtualList(box, { describe, onAction, redraw: () => this.redraw() });
    this.receipt = new Receipt(box, { messages, onAction });
    box.addEventListener("click", (event) => this.#onClick(event));
  }

  redraw() {
    if (this.#redrawScheduled) return;
    this.#redrawScheduled = true;
    const delay = this.#drawnAt + REDRAW_INTERVAL_MS - performance.now();
    // A timer, not an animation frame, which does not run in hidden tabs: the end is announced there as well.
    setTimeout(() => this.#draw(), Math.max(0, delay));
  }

  /** @param {string} problem */
  setProblem(problem) {
    this.problem = problem;
    this.redraw();
  }

  /** Show the tray after files were added. */
  open() {
    if (this.box.hidden) this.list.reset();
    setVisible(this.box, true);
    this.redraw();
  }

  #draw() {
    this.#redrawScheduled = false;
    this.#drawnAt = performance.now();
    const { uploads, skipped, paused } = this.uploader;
    const summary = summarize(uploads, this.uploader.busy);
    if (uploads.length === 0 && skipped.length === 0) setVisible(this.box, false);
    if (this.box.hidden) return;
    this.#drawHead(summary, paused || (summary.paused > 0 && summary.active === 0));
    const skippedText = this.messages.skipped(skipped);
    setText(ref(this.box, "skipped"), skippedText);
    setVisible(ref(this.box, "skipped"), skippedText !== "");
    const shown = new Set(this.receipt.draw(uploads, summary));
    this.box.toggleAttribute("data-single", uploads.length === 1);
    if (this.#collapsed && (!summary.finished || summary.failed)) this.#setCollapsed(false);
    if (!ref(this.box, "body").hidden) {
      const rows = uploads.filter((upload) => !shown.has(upload));
      this.list.render(summary.finished ? groupByFolder(rows, this.#folders) : rows);
    }
    const prefix = summary.finished ? "" : `(${percent(summary.sent, summary.bytes)} %) `;
    document.title = prefix + document.title.replace(PROGRESS_PREFIX, "");
    this.announcer.update(summary, this.problem || summary.note);
    if (summary.finished && !this.#wasFinished && summary.done > 0) this.onStored();
    const allWell = summary.finished && !summary.failed && !skippedText;
    if (summary.finished !== this.#wasFinished) this.#scheduleCollapse(allWell);
    this.#wasFinished = summary.finished;
  }

  /** @param {Summary} summary @param {boolean} paused */
  #drawHead(summary, paused) {
    const { finished } = summary;
    const problem = this.problem || summary.note;
    setText(ref(this.box, "title"), this.messages.title(summary, paused));
    this.box.dataset.outcome = !finished ? "" : summary.failed ? "failed" : summary.done ? "stored" : "canceled";
    setVisible(ref(this.box, "progress"), !finished);
    setVisible(ref(this.box, "signin"), this.gate.reason === "signin" && !finished);
    setVisible(button(this.box, "close"), finished);
    setVisible(button(this.box, "pause-all"), !paused);
    setVisible(button(this.box, "resume-all"), paused);
    setVisible(button(this.box, "try-now"), Boolean(problem) && !paused);
    setProgress(ref(this.box, "bar"), summary.sent, summary.bytes);
    const progress = this.messages.progress(summary, this.uploader.context.throughput.read(), paused);
    const text = problem && !paused ? this.messages.translate(`problem.${problem}`) : progress;
    setText(ref(this.box, "progress-text"), text);
  }

  /** @param {Event} event */
  #onClick(event) {
    const target = event.target instanceof Element && event.target.closest("button[data-action]");
    const actions = {
      toggle: () => this.#toggleBody(),
      close: () => this.uploader.clear(),
      "refresh-session": () => this.refreshSession(),
      "pause-all": () => this.uploader.pauseAll(),
      "resume-all": () => this.uploader.resumeAll(),
      "try-now": () => this.uploader.context.lastSuccess.retryNow(),
      "cancel-all": () => this.#cancelAll(),
      "retry-failed": () => this.uploader.retryFailed(),
      "copy-links": () => this.#copyLinks(/** @type {HTMLElement} */ (target)),
    };
    const action = target && actions[/** @type {keyof typeof actions} */ (target.getAttribute("data-action"))];
    if (action) action();
  }

  /** @param {string} action @param {Upload} upload */
  #onAction(action, upload) {
    if (action === "pause" || action === "resume" || action === "retry") this.uploader[action](upload);
    if (action === "cancel") this.#confirmCancel([upload], () => this.uploader.cancel(upload));
    if (action === "remove") this.#keepFocus(() => this.uploader.remove(upload));
    this.redraw();
  }

  #toggleBody() {
    this.#scheduleCollapse(false);
    this.#setCollapsed(!ref(this.box, "body").hidden);
    this.#collapsed = false;
  }

  /** @param {boolean} collapsed */
  #setCollapsed(collapsed) {
    this.#collapsed = collapsed;
    setVisible(ref(this.box, "body"), !collapsed);
    button(this.box, "toggle").setAttribute("aria-expanded", String(!collapsed));
    this.redraw();
  }

  /**
   * Collapse the list in some seconds, but not while people are in it.
   * @param {boolean} wanted @param {number} [delay]
   */
  #scheduleCollapse(wanted, delay = COLLAPSE_DELAY_MS) {
    clearTimeout(this.#collapseTimer);
    if (!wanted) return;
    this.#collapseTimer = setTimeout(() => {
      if (this.box.matches(":hover, :focus-within")) this.#scheduleCollapse(true, COLLAPSE_POLL_MS);
      else if (!ref(this.box, "body").hidden && this.#wasFinished) this.#setCollapsed(true);
    }, delay);
  }

  #cancelAll() {
    const ended = ["done", "failed", "canceled"];
    const active = this.uploader.uploads.filter(({ phase }) => !ended.includes(phase));
    this.#confirmCancel(active, () => this.uploader.cancelAll());
  }

  /**
   * Ask before several uploads are canceled, or much that was sent is lost.
   * @param {Upload[]} uploads @param {() => void} cancel
   */
  async #confirmCancel(uploads, cancel) {
    const count = uploads.length;
    const asks = count > 1 || uploads.some(({ sent }) => sent >= CONFIRM_BYTES);
    const question = this.messages.translate("confirm_cancel", { count });
    if (asks && !(await this.#confirm("cancel-dialog", question))) return;
    this.#keepFocus(() => {
      cancel();
      this.announcer.addCanceled(uploads.filter(({ phase }) => phase === "canceled"));
    });
  }

  /** Do something that hides or removes the button with the focus. @param {() => void} act */
  #keepFocus(act) {
    act();
    this.#draw();
    const target = ref(this.box, "body").hidden ? button(this.box, "toggle") : ref(this.box, "rows");
    target.focus({ preventScroll: true });
  }

  /**
   * Ask before a file is replaced by one with another extension, since its name stays.
   * @param {string} name  of the file to replace @param {string} newName
   * @returns {Promise<boolean>} whether to replace it
   */
  async confirmReplacement(name, newName) {
    if (extensionOf(name).toLowerCase() === extensionOf(newName).toLowerCase()) return true;
    const names = { name: isolate(name), new_name: isolate(newName) };
    return this.#confirm("replace-dialog", this.messages.translate("confirm_replace", names));
  }

  /** @param {string} id  of the dialog @param {string} question @returns {Promise<boolean>} */
  #confirm(id, question) {
    const dialog = /** @type {HTMLDialogElement} */ (document.getElementById(id));
    setText(ref(dialog, "question"), question);
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    });
  }

  /**
   * Ask what to do with files whose names exist: once for all of them.
   * @param {readonly {path: string, replaceable: boolean}[]} conflicts
   * @returns {Promise<string>} "new_version", "keep_both" or "skip"
   */
  askAboutConflicts(conflicts) {
    this.#question = this.#question.then(() => this.#askAboutConflicts(conflicts));
    return this.#question;
  }

  /** @param {readonly {path: string, replaceable: boolean}[]} conflicts @returns {Promise<string>} */
  #askAboutConflicts(conflicts) {
    const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("conflict-dialog"));
    const { question, names, explanation } = this.messages.describeConflicts(conflicts);
    setText(ref(dialog, "question"), question);
    setText(ref(dialog, "names"), names);
    setVisible(ref(dialog, "names"), names !== "");
    setText(ref(dialog, "explanation"), explanation);
    const versions = /** @type {HTMLButtonElement} */ (dialog.querySelector("[value=new_version]"));
    const both = /** @type {HTMLButtonElement} */ (dialog.querySelector("[value=keep_both]"));
    setVisible(versions, conflicts.some(({ replaceable }) => replaceable));
    dialog.returnValue = "";
    dialog.showModal();
    (versions.hidden ? both : versions).focus();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue || "skip"), { once: true });
    });
  }

  /** @param {HTMLElement} target */
  #copyLinks(target) {
    const stored = this.uploader.uploads.filter((upload) => upload.url);
    const links = stored.map(({ name, url }) => ({ name, url: new URL(url, location.href).href }));
    copyToClipboard(formatLinks(links), target, this.messages.translate("copied"));
  }
}

/** The result of finished uploads: the failures, and what can be done next. */
class Receipt {
  #shown = "";

  /**
   * @param {HTMLElement} tray
   * @param {{messages: Messages, onAction: (action: string, upload: Upload) => void}} options
   */
  constructor(tray, { messages, onAction }) {
    this.tray = tray;
    this.messages = messages;
    this.onAction = onAction;
  }

  /**
   * @param {readonly Upload[]} uploads @param {Summary} summary
   * @returns {Upload[]} the failures that are shown here
   */
  draw(uploads, summary) {
    const failed = summary.finished ? uploads.filter((upload) => upload.phase === "failed") : [];
    setVisible(ref(this.tray, "receipt"), summary.finished && (summary.done > 0 || failed.length > 0));
    setText(ref(this.tray, "verification"), summary.finished ? this.messages.receipt(summary) : "");
    setVisible(button(this.tray, "copy-links"), uploads.some(({ url }) => url));
    setVisible(button(this.tray, "retry-failed"), failed.filter((upload) => upload.retriable).length > 1);
    const shown = failed.slice(0, MAX_FAILURES_SHOWN);
    const tokens = failed.map((upload) => upload.token).join();
    if (tokens === this.#shown) return shown;
    this.#shown = tokens;
    ref(this.tray, "failures").replaceChildren(...shown.map((upload) => this.#failure(upload)));
    const count = failed.length - MAX_FAILURES_SHOWN;
    setVisible(ref(this.tray, "more"), count > 0);
    if (count > 0) setText(ref(this.tray, "more"), this.messages.translate("more_failed", { count }));
    return shown;
  }

  /** @param {Upload} upload */
  #failure(upload) {
    const item = cloneTemplate(this.tray, "failure");
    setText(ref(item, "name"), upload.path);
    setText(ref(item, "reason"), this.messages.reason(upload));
    setVisible(button(item, "retry"), upload.retriable);
    button(item, "retry").addEventListener("click", () => this.onAction("retry", upload));
    return item;
  }
}

/**
 * Return the step of progress to announce.
 * @param {number} last  the percentage that was announced last @param {number} now
 * @returns {number} 0 for none
 */
export function nextStep(last, now) {
  const step = Math.floor(now / STEP_PERCENT) * STEP_PERCENT;
  return step > last && step < 100 ? step : 0;
}

/** Announces the progress of uploads: at steps of 25 %, on problems, and at the end. */
class Announcer {
  #announced = 0;
  #problem = "";
  #finished = true;
  #canceled = "";

  /** @param {Messages} messages */
  constructor(messages) {
    this.messages = messages;
  }

  /** Announce canceled uploads with the next update. @param {readonly Upload[]} uploads */
  addCanceled(uploads) {
    if (uploads.length > 1) this.#canceled = this.messages.canceled(uploads.length);
    else if (uploads.length) {
      this.#canceled = this.messages.translate("canceled_name", { name: isolate(uploads[0].path) });
    }
  }

  /** @param {Summary} summary @param {string} problem */
  update(summary, problem) {
    const canceled = this.#canceled;
    this.#canceled = "";
    if (summary.finished) {
      const result = !this.#finished && summary.files > 0 ? this.messages.result(summary) : "";
      if (canceled || result) announce([canceled, result].filter(Boolean).join(" "));
      this.#announced = 0;
    } else if (canceled) {
      announce(canceled);
    } else if (problem !== this.#problem && problem) {
      announce(this.messages.translate(`problem.${problem}`));
    } else {
      this.#announceStep(percent(summary.sent, summary.bytes));
    }
    this.#problem = problem;
    this.#finished = summary.finished;
  }

  /** @param {number} now */
  #announceStep(now) {
    const step = nextStep(this.#announced, now);
    if (!step) return;
    this.#announced = step;
    announce(this.messages.translate("announce", { percent: step }));
  }
}
