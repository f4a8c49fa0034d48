// @ts-check
/** Announcements to screen readers, through the page's ARIA live region. */
import { percent } from "./format.js";

const STEP_PERCENT = 25;

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
export class Announcer {
  #announced = 0;
  #problem = "";
  #finished = true;

  /** @param {import("./i18n.js").Messages} messages */
  constructor(messages) {
    this.messages = messages;
  }

  /** @param {import("./upload.js").Summary} summary @param {string} problem */
  update(summary, problem) {
    if (summary.finished) {
      if (!this.#finished) announce(this.messages.receipt(summary));
      this.#announced = 0;
    } else if (problem !== this.#problem && problem) {
      announce(this.messages.translate(`long.${problem}`));
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

/** @param {string} text */
export function announce(text) {
  const region = document.getElementById("live-region");
  if (region) region.textContent = text;
}
