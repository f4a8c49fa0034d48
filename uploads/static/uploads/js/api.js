// @ts-check
import { Patience } from "./patience.js";
import { Gone, Trouble } from "./trouble.js";
import { retryAfter } from "./waits.js";

/** @typedef {{code: string, message: string, missing?: number[]}} ErrorBody */
/** @typedef {{status: number, body: any, wait: number, code: string}} Answer */

const TIMEOUT_MS = 60_000;
const MAX_CSRF = 3;
/** A 500 is our own fault and seldom heals; a 502, 503 or 504 does. */
const MAX_FAULTS = 4;
const HEALS = new Set([0, 408, 429, 502, 503, 504]);

/** The calls of the upload protocol. Every one of them may be repeated, and is. */
export class Api {
  /**
   * @param {{uploads: string, finish: string}} urls
   * @param {{session: import("./session.js").Session, pulse: import("./patience.js").Pulse,
   *   tell: (note: string) => void}} tools
   */
  constructor(urls, { session, pulse, tell }) {
    this.urls = urls;
    this.session = session;
    this.pulse = pulse;
    this.tell = tell;
  }

  /** @param {object[]} files @param {number|null} into  a folder's id @param {AbortSignal} signal */
  start(files, into, signal) {
    return this.call("POST", this.urls.uploads, into === null ? { files } : { files, into }, signal);
  }

  /** @param {string} id @param {object[]} parts @param {AbortSignal} signal */
  sign(id, parts, signal) {
    return this.call("POST", `${this.one(id)}parts/`, { parts }, signal);
  }

  /** @param {string} id @param {AbortSignal} signal */
  status(id, signal) {
    return this.call("GET", this.one(id), undefined, signal);
  }

  /** @param {AbortSignal} signal */
  unfinished(signal) {
    return this.call("GET", this.urls.uploads, undefined, signal);
  }

  /** @param {object[]} files @param {AbortSignal} signal */
  finish(files, signal) {
    return this.call("POST", this.urls.finish, { files }, signal);
  }

  /** @param {string} id @param {AbortSignal} signal */
  cancel(id, signal) {
    return this.call("DELETE", this.one(id), undefined, signal);
  }

  /** @param {string} id */
  one(id) {
    return `${this.urls.uploads}${encodeURIComponent(id)}/`;
  }

  /**
   * @param {string} method @param {string} url @param {object|undefined} body @param {AbortSignal} signal
   * @returns {Promise<any>} the body of a success, or of an answer that tells file by file
   */
  async call(method, url, body, signal) {
    const patience = new Patience(this.pulse);
    for (;;) {
      await this.session.gate.passed(signal);
      const answer = await this.once(method, url, body, signal);
      if (answer.body?.files || (answer.status >= 200 && answer.status < 300)) {
        this.pulse.beat();
        this.tell("");
        return answer.body;
      }
      await this.recover(answer, patience, signal);
    }
  }

  /** @param {Answer} answer @param {Patience} patience @param {AbortSignal} signal */
  async recover(answer, patience, signal) {
    if (answer.code === "login_required") return this.session.lost();
    if (answer.code === "csrf") {
      patience.allow("signedout", MAX_CSRF);
      if (!(await this.session.refresh())) this.session.lost();
      return;
    }
    if (answer.status >= 500 && !HEALS.has(answer.status)) patience.allow("server", MAX_FAULTS);
    else if (!HEALS.has(answer.status)) throw troubleOf(answer);
    this.tell(navigator.onLine === false ? "offline" : "away");
    await patience.wait(signal, answer.wait);
  }

  /**
   * @param {string} method @param {string} url @param {object|undefined} body @param {AbortSignal} signal
   * @returns {Promise<Answer>}
   */
  async once(method, url, body, signal) {
    try {
      const response = await fetch(url, {
        method,
        headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": this.session.token },
        body: body && JSON.stringify(body),
        credentials: "same-origin",
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      return await answerOf(response);
    } catch {
      signal.throwIfAborted();
      return { status: 0, body: null, wait: 0, code: "" };
    }
  }
}

/** @param {Response} response @returns {Promise<Answer>} */
async function answerOf(response) {
  const json = response.headers.get("Content-Type")?.includes("json");
  const text = await response.text();
  const body = json ? JSON.parse(text) : null;
  // A redirect to the sign-in page ends as a page with status 200.
  const code = response.ok && !json && text ? "login_required" : (body?.error?.code ?? "");
  const status = response.ok && !json && text ? 403 : response.status;
  return { status, body, wait: retryAfter(response.headers.get("Retry-After")), code };
}

/** @param {{status: number, body: any, code: string}} answer */
function troubleOf({ status, body, code }) {
  return troubleFrom(body?.error ?? { code, message: "" }, status);
}

/**
 * @param {ErrorBody} error
 * @param {number} [status]
 * @returns {Trouble}
 */
export function troubleFrom({ code, message }, status = 0) {
  if (code === "gone" || code === "expired" || code === "not_found" || status === 410) {
    return new Gone("gone", { message, status });
  }
  return new Trouble(code || "refused", { message, status });
}
