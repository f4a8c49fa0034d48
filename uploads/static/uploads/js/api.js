// @ts-check
import { UploadError, UploadGone } from "./errors.js";
import { parseRetryAfter, RetryPolicy } from "./retry.js";

/** @typedef {{code: string, message: string, missing?: number[]}} ApiError */
/** @typedef {{status: number, body: any, retryAfter: number, code: string}} ApiResponse  status: 0 if there is none */

const TIMEOUT_MS = 60_000;
const MAX_CSRF_RETRIES = 3;
/** Retries after a 500, which is a bug and seldom goes away; a 502, 503 or 504 does. */
const MAX_SERVER_ERRORS = 4;
const TRANSIENT_STATUSES = new Set([0, 408, 429, 502, 503, 504]);

/** The calls of the upload protocol. All of them are safe to repeat, and are retried. */
export class Api {
  /**
   * @param {{uploadsUrl: string, finishUrl: string}} urls
   * @param {{session: import("./session.js").Session, lastSuccess: import("./retry.js").LastSuccess,
   *   onProblem: (problem: string) => void}} options  onProblem: gets "offline" or "away", and "" after a success
   */
  constructor({ uploadsUrl, finishUrl }, { session, lastSuccess, onProblem }) {
    this.uploadsUrl = uploadsUrl;
    this.finishUrl = finishUrl;
    this.session = session;
    this.lastSuccess = lastSuccess;
    this.onProblem = onProblem;
  }

  /** @param {object[]} files @param {number|null} folderId @param {AbortSignal} signal */
  create(files, folderId, signal) {
    return this.call("POST", this.uploadsUrl, folderId === null ? { files } : { files, folder_id: folderId }, signal);
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
      retryPolicy.limit("signedout", MAX_CSRF_RETRIES);
      if (!(await this.session.refresh())) this.session.waitForSignIn();
      return;
    }
    const transient = TRANSIENT_STATUSES.has(response.status);
    if (response.status >= 500 && !transient) retryPolicy.limit("server", MAX_SERVER_ERRORS);
    else if (!transient) throw responseError(response);
    this.onProblem(navigator.onLine === false ? "offline" : "away");
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
  if (code === "gone" || code === "expired" || code === "not_found" || status === 410) {
    return new UploadGone("gone", { message, status });
  }
  return new UploadError(code || "refused", { message, status });
}
