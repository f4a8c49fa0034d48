// @ts-check
/** Who we are to the server: the CSRF token, and what happens when the sign-in ran out. */

const LOOK_MS = 8000;

/** Stops every request until it is opened again. */
export class Gate {
  reason = "";
  /** @type {Promise<void>} */
  #opened = Promise.resolve();
  #open = () => {};

  /** @param {string} reason */
  close(reason) {
    if (!this.reason) this.#opened = new Promise((resolve) => (this.#open = resolve));
    this.reason = reason;
  }

  open() {
    this.reason = "";
    this.#open();
  }

  /** @param {AbortSignal} signal */
  async passed(signal) {
    signal.throwIfAborted();
    if (!this.reason) return;
    await Promise.race([this.#opened, aborted(signal)]);
    signal.throwIfAborted();
  }
}

/** @param {AbortSignal} signal @returns {Promise<void>} resolves when the signal is aborted */
function aborted(signal) {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

export class Session {
  #token = "";

  /**
   * @param {{page: string, gate: Gate, onChange: () => void}} options  page: the address of any page of ours that
   *   needs a sign-in and holds a form
   */
  constructor({ page, gate, onChange }) {
    this.page = page;
    this.gate = gate;
    this.onChange = onChange;
    document.addEventListener("visibilitychange", () => this.gate.reason && this.refresh());
  }

  get token() {
    return this.#token || tokenIn(document);
  }

  /** The sign-in is over: hold everything, and go on by ourselves once somebody signed in in another tab. */
  lost() {
    if (this.gate.reason) return;
    this.gate.close("signin");
    this.onChange();
    const timer = setInterval(async () => {
      if (!this.gate.reason || (await this.refresh())) clearInterval(timer);
    }, LOOK_MS);
  }

  /**
   * Fetches a page for its fresh token: signing in anywhere changes it.
   * @returns {Promise<boolean>} whether we are signed in
   */
  async refresh() {
    const token = await this.#fetchToken();
    if (!token) return false;
    this.#token = token;
    if (this.gate.reason) {
      this.gate.open();
      this.onChange();
    }
    return true;
  }

  async #fetchToken() {
    try {
      const answer = await fetch(this.page, { credentials: "same-origin", cache: "no-store" });
      if (!answer.ok || new URL(answer.url).pathname !== new URL(this.page, location.href).pathname) return "";
      return tokenIn(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      return "";
    }
  }
}

/** @param {Document} page */
function tokenIn(page) {
  const field = page.querySelector("input[name=csrfmiddlewaretoken]");
  return field instanceof HTMLInputElement || field ? (field.getAttribute("value") ?? "") : "";
}
