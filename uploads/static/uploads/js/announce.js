// @ts-check
import { percent } from "./format.js";

const STEP = 25;

/**
 * @param {number} last  the percentage told before @param {number} now
 * @returns {number} the step to tell now, 0 for none
 */
export function stepToTell(last, now) {
  const step = Math.floor(now / STEP) * STEP;
  return step > last && step < 100 ? step : 0;
}

/** Tells those who listen: at steps of 25 %, when something holds, and at the end. Never at each byte. */
export class Announcer {
  #told = 0;
  #trouble = "";
  #over = true;

  /** @param {import("./texts.js").Texts} texts */
  constructor(texts) {
    this.texts = texts;
  }

  /** @param {import("./summary.js").Summary} whole @param {string} trouble */
  tell(whole, trouble) {
    if (whole.over) {
      if (!this.#over) say(this.texts.receipt(whole));
      this.#told = 0;
    } else if (trouble !== this.#trouble && trouble) {
      say(this.texts.words(`long.${trouble}`));
    } else {
      this.#step(percent(whole.sent, whole.bytes));
    }
    this.#trouble = trouble;
    this.#over = whole.over;
  }

  /** @param {number} now */
  #step(now) {
    const step = stepToTell(this.#told, now);
    if (!step) return;
    this.#told = step;
    say(this.texts.words("announce", { percent: step }));
  }
}

/** @param {string} text */
export function say(text) {
  const region = document.getElementById("says");
  if (region) region.textContent = text;
}
