// @ts-check
/** The upload protocol: its calls, the session with its CSRF token, and waiting for a new sign-in when it has ended. */
import { parseRetryAfter, RetryPolicy, UploadError, UploadGone } from "./retry.js";

/** @typedef {{code: string, message: string, missing?: number[]}} ApiError */
/** @typedef {{status: number, body: any, retryAfter: number, code: string}} ApiResponse  status: 0 if there is none */

const TIMEOUT_MS = 60_000;
/** How often to check whether the user has signed in again. */
const SIGN_IN_POLL_MS = 8000;
const MAX_CSRF_RETRIES = 3;
/** Retries after a 500, which is a bug and seldom goes away; a 502, 503 or 504 does. */
const MAX_SERVER_ERRORS = 4;
const TRANSIENT_STATUSES = new Set([0, 408, 429, 502, 503, 504]);

/** The calls of the upload protocol. All of them are safe to repeat, and are retried. */
export class Api {
  /**
   * @param {{uploadsUrl: string, finishUrl: string}} urls
   * @param {{session: Session, lastSuccess: import("./retry.js").LastSuccess,
   *   onProblem: (problem: string) => void, guestDetails?: () => object}} options  onProblem: gets "offline" or
   *   "unavailable"; "" after a success
   */
  constructor({ uploadsUrl, finishUrl }, { session, lastSuccess, onProblem, guestDetails = () => ({}) }) {
    this.uploadsUrl = uploadsUrl;
    this.finishUrl = finishUrl;
    this.session = session;
    this.lastSuccess = lastSuccess;
    this.onProblem = onProblem;
    this.guestDetails = guestDetails;
  }

  /** @param {object[]} files @param {number|null} folderId @param {AbortSignal} signal */
  create(files, folderId, signal) {
    return this.call("POST", this.uploadsUrl, { files, ...inFolder(folderId), ...this.guestDetails() }, signal);
  }

  /** Ask which names exist. @param {object[]} files @param {number|null} folderId @param {AbortSignal} signal */
  findConflicts(files, folderId, signal) {
    return this.call("POST", `${this.uploadsUrl}conflicts/`, { files, ...inFolder(folderId) }, signal);
  }

  /** @param {string} id @param {object[]} parts @param {AbortSignal} signal */
  sign(id, parts, signal) {
    return this.call("POST", `${this.uploadUrl(id)}parts/`, { parts }, signal);
  }

  /** @param {string} id @param {AbortSignal} signal */
  status(id, signal) {
    return this.call("GET", this.uploadUrl(id), undefined, signal);
  }

  /** @param {AbortSignal} signal */
  listUnfinished(signal) {
    return this.call("GET", this.uploadsUrl, undefined, signal);
  }

  /** @param {object[]} files @param {AbortSignal} signal */
  complete(files, signal) {
    return this.call("POST", this.finishUrl, { files }, signal);
  }

  /** @param {string} id @param {AbortSignal} signal */
  cancel(id, signal) {
    return this.call("DELETE", this.uploadUrl(id), undefined, signal);
  }

  /** @param {string} id */
  uploadUrl(id) {
    return `${this.uploadsUrl}${encodeURIComponent(id)}/`;
  }

  /**
   * Send a request until it succeeds.
   * @param {string} method @param {string} url @param {object|undefined} body @param {AbortSignal} signal
   * @returns {Promise<any>} the body of a success, or of a response with a result for each file
   * @throws {UploadError} when retrying does not help
   */
  async call(method, url, body, signal) {
    const retryPolicy = new RetryPolicy(this.lastSuccess);
    for (;;) {
      await this.session.gate.waitUntilOpen(signal);
      const response = await this.request(method, url, body, signal);
      if (response.body?.files || (response.status >= 200 && response.status < 300)) {
        this.lastSuccess.record();
        this.onProblem("");
        return response.body;
      }
      await this.recover(response, retryPolicy, signal);
    }
  }

  /** @param {ApiResponse} response @param {RetryPolicy} retryPolicy @param {AbortSignal} signal */
  async recover(response, retryPolicy, signal) {
    if (response.code === "login_required") return this.session.waitForSignIn();
    if (response.code === "csrf") {
      retryPolicy.limit("csrf", MAX_CSRF_RETRIES);
      if (!(await this.session.refresh())) this.session.waitForSignIn();
      return;
    }
    const transient = TRANSIENT_STATUSES.has(response.status);
    if (response.status >= 500 && !transient) retryPolicy.limit("server", MAX_SERVER_ERRORS);
    else if (!transient) throw responseError(response);
    this.onProblem(navigator.onLine === false ? "offline" : "unavailable");
    await retryPolicy.wait(signal, response.retryAfter);
  }

  /**
   * @param {string} method @param {string} url @param {object|undefined} body @param {AbortSignal} signal
   * @returns {Promise<ApiResponse>}
   */
  async request(method, url, body, signal) {
    try {
      const response = await fetch(url, {
        method,
        headers: {
          Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": this.session.csrfToken,
        },
        body: body && JSON.stringify(body),
        credentials: "same-origin",
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      return await parseResponse(response);
    } catch {
      signal.throwIfAborted();
      return { status: 0, body: null, retryAfter: 0, code: "" };
    }
  }
}

/** @param {Response} response @returns {Promise<ApiResponse>} */
async function parseResponse(response) {
  const json = response.headers.get("Content-Type")?.includes("json");
  const text = await response.text();
  const body = json ? JSON.parse(text) : null;
  // After a redirect to the sign-in page the response is a page with status 200.
  const code = response.ok && !json && text ? "login_required" : (body?.error?.code ?? "");
  const status = response.ok && !json && text ? 403 : response.status;
  return { status, body, retryAfter: parseRetryAfter(response.headers.get("Retry-After")), code };
}

/** @param {ApiResponse} response */
function responseError({ status, body, code }) {
  return uploadError(body?.error ?? { code, message: "" }, status);
}

/**
 * @param {ApiError} error
 * @param {number} [status]
 * @returns {UploadError}
 */
export function uploadError({ code, message }, status = 0) {
  const gone = code === "gone" || code === "expired" || code === "not_found" || status === 410;
  if (gone && code !== "link_ended") {
    return new UploadGone("gone", { message, status });
  }
  return new UploadError(code || "refused", { message, status });
}

/** Blocks all requests while it is closed. */
export class Gate {
  reason = "";
  #closing = new AbortController();
  /** @type {Promise<void>} */
  #opened = Promise.resolve();
  #open = () => {};

  /** @param {string} reason */
  close(reason) {
    if (!this.reason) this.#opened = new Promise((resolve) => (this.#open = resolve));
    this.reason = reason;
    this.#closing.abort();
  }

  open() {
    this.reason = "";
    this.#closing = new AbortController();
    this.#open();
  }

  /** Aborted while the gate is closed: for requests that are not worth waiting for. */
  get closing() {
    return this.#closing.signal;
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
    }, SIGN_IN_POLL_MS);
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

/** @param {number|null} id @returns {{folder_id?: number}} the member of a call that names the folder */
function inFolder(id) {
  return id === null ? {} : { folder_id: id };
}

/** @param {Document} page */
function csrfTokenIn(page) {
  return page.querySelector("input[name=csrfmiddlewaretoken]")?.getAttribute("value") ?? "";
}
