// @ts-check
/** The session: the CSRF token, and waiting for a new sign-in when the session has ended. */

const POLL_INTERVAL_MS = 8000;

/** Blocks all requests while it is closed. */
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
  async waitUntilOpen(signal) {
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
  #csrfToken = "";

  /**
   * @param {{pageUrl: string, gate: Gate, onChange: () => void}} options  pageUrl: a page that requires a sign-in and
   *   contains a form
   */
  constructor({ pageUrl, gate, onChange }) {
    this.pageUrl = pageUrl;
    this.gate = gate;
    this.onChange = onChange;
    document.addEventListener("visibilitychange", () => this.gate.reason && this.refresh());
  }

  get csrfToken() {
    return this.#csrfToken || csrfTokenIn(document);
  }

  /** Block all requests until the user has signed in again, for example in another tab. */
  waitForSignIn() {
    if (this.gate.reason) return;
    this.gate.close("signin");
    this.onChange();
    const timer = setInterval(async () => {
      if (!this.gate.reason || (await this.refresh())) clearInterval(timer);
    }, POLL_INTERVAL_MS);
  }

  /**
   * Fetch a page for its CSRF token, which every sign-in changes.
   * @returns {Promise<boolean>} whether the user is signed in
   */
  async refresh() {
    const token = await this.#fetchToken();
    if (!token) return false;
    this.#csrfToken = token;
    if (this.gate.reason) {
      this.gate.open();
      this.onChange();
    }
    return true;
  }

  async #fetchToken() {
    try {
      const response = await fetch(this.pageUrl, { credentials: "same-origin", cache: "no-store" });
      if (!response.ok || new URL(response.url).pathname !== new URL(this.pageUrl, location.href).pathname) return "";
      return csrfTokenIn(new DOMParser().parseFromString(await response.text(), "text/html"));
    } catch {
      return "";
    }
  }
}

/** @param {Document} page */
function csrfTokenIn(page) {
  const field = page.querySelector("input[name=csrfmiddlewaretoken]");
  return field instanceof HTMLInputElement || field ? (field.getAttribute("value") ?? "") : "";
}
