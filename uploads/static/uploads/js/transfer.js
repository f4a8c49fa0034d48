// @ts-check
/** One PUT to the store, and what its answer means. */

/** @typedef {{url: string, headers: Record<string, string>}} Signed */
/** @typedef {{status: number, text: string, wait: string|null}} Answer  status 0: no answer at all */
/** @typedef {"stored"|"sign"|"hash"|"gone"|"wait"|"refused"} Verdict */

/** No byte has moved for so long: the line is dead although nobody said so. */
const STALL_MS = 30_000;
/** Everything is sent; what the kernel still holds goes out slowly on a thin line, and the store thinks. */
const ANSWER_MS = 90_000;
/** Set by the browser itself; scripts may not. */
const BROWSERS_OWN = new Set(["content-length", "host"]);

/**
 * XHR rather than fetch: it alone tells how many bytes have gone.
 * @param {Signed} signed
 * @param {Blob} body
 * @param {{signal: AbortSignal, onBytes: (sent: number) => void, stallMs?: number}} options
 * @returns {Promise<Answer>} rejects only with the signal's reason
 */
export function put(signed, body, { signal, onBytes, stallMs = STALL_MS }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const xhr = new XMLHttpRequest();
    const watch = watchdog(() => xhr.abort());
    const abort = () => xhr.abort();
    xhr.open("PUT", signed.url);
    for (const [name, value] of Object.entries(signed.headers)) {
      if (!BROWSERS_OWN.has(name.toLowerCase())) xhr.setRequestHeader(name, value);
    }
    xhr.upload.onprogress = (event) => {
      watch.again(event.loaded < body.size ? stallMs : ANSWER_MS);
      onBytes(Math.min(event.loaded, body.size));
    };
    xhr.onloadend = () => {
      watch.stop();
      signal.removeEventListener("abort", abort);
      if (signal.aborted) reject(signal.reason);
      else resolve(answerOf(xhr));
    };
    signal.addEventListener("abort", abort, { once: true });
    watch.again(stallMs);
    xhr.send(body);
  });
}

/** @param {XMLHttpRequest} xhr @returns {Answer} */
function answerOf(xhr) {
  const { status } = xhr;
  return { status, text: status >= 400 ? xhr.responseText.slice(0, 2000) : "", wait: null };
}

/** @param {() => void} bark */
function watchdog(bark) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  const stop = () => clearTimeout(timer);
  const again = (/** @type {number} */ ms) => {
    stop();
    timer = setTimeout(bark, ms);
  };
  return { again, stop };
}

/**
 * What to do after an answer of the store (codes: S3 API reference, "Error responses").
 * @param {{status: number, text: string}} answer
 * @returns {Verdict}
 */
export function judge({ status, text }) {
  const code = /<Code>(\w+)<\/Code>/.exec(text)?.[1] ?? "";
  if (status >= 200 && status < 300) return "stored";
  if (status === 412) return "stored"; // If-None-Match: an earlier try got through, its answer was lost
  if (status === 404) return "gone";
  if (["RequestTimeout", "IncompleteBody", "SlowDown"].includes(code)) return "wait";
  // some stores say 400 of a URL that has expired
  if (status === 403 || code === "AccessDenied" || code.startsWith("Expired")) return "sign";
  if (status === 400) return "hash"; // BadDigest and its kin, which stores name in many ways
  if (status === 0 || status === 408 || status === 409 || status === 429 || status >= 500) return "wait";
  return "refused";
}
