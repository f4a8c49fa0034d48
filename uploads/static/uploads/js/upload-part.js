// @ts-check
/** Send one part to the storage: the PUT request, what its response means, and the retries. */
import { assertReadable } from "./parts.js";
import { PartsGone, RetryPolicy, UploadError } from "./retry.js";

/** @typedef {import("./context.js").UploadContext} UploadContext */
/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {{url: string, headers: Record<string, string>}} SignedRequest */
/** @typedef {{status: number, text: string}} StorageResponse  status: 0 for a network error; text: of errors only */
/** @typedef {"stored"|"sign"|"hash"|"gone"|"wait"|"refused"} Verdict */

/** New URLs for one part. One is normal after a long pause; five mean that a clock or the access key is wrong. */
const MAX_SIGN_RETRIES = 5;
/** Retries of one part after the storage found a wrong checksum. */
const MAX_HASH_RETRIES = 3;
/** URLs are valid for ten minutes; replace a URL that is about to expire. */
const MAX_URL_AGE_MS = 9 * 60_000;
/** Time without progress after which the connection counts as dead. */
const STALL_TIMEOUT_MS = 30_000;
/** The least time for a request with an empty file after a request without a body has succeeded. */
const MIN_STALL_TIMEOUT_MS = 5000;
/** Time for a response once everything is sent: on a slow line, the kernel is still sending what it has buffered. */
const RESPONSE_TIMEOUT_MS = 90_000;
/** Forbidden request headers: the browser sets these itself. */
const FORBIDDEN_HEADERS = new Set(["content-length", "host"]);

/**
 * Send one part until it is stored.
 * @param {Upload} upload
 * @param {number} number
 * @param {UploadContext} context
 * @param {{signal: AbortSignal, requestSignal: AbortSignal}} signals  requestSignal: aborts the PUT request
 * @throws {UploadError} when retrying does not help; PartsGone when the storage has lost the multipart upload
 */
export async function uploadPart(upload, number, context, { signal, requestSignal }) {
  const retryPolicy = new RetryPolicy(context.lastSuccess);
  for (;;) {
    await context.gate.waitUntilOpen(signal);
    if (upload.urlAge(number) > MAX_URL_AGE_MS) await context.sign(upload, [number], signal);
    signal.throwIfAborted();
    const response = await sendPart(upload, number, context, requestSignal);
    const verdict = classifyResponse(response);
    if (verdict === "stored") break;
    upload.endPart(number, false);
    await recover(verdict, { upload, number, context, signal, retryPolicy, response });
  }
  context.lastSuccess.record();
  upload.setNote("");
  upload.endPart(number, true);
}

/** @param {Upload} upload @param {number} number @param {UploadContext} context @param {AbortSignal} signal */
async function sendPart(upload, number, context, signal) {
  const { url, headers } = upload.signedPart(number);
  /** @param {number} sent */
  const onProgress = (sent) => {
    context.recordSent(upload, upload.recordProgress(number, sent));
    upload.setNote("");
  };
  try {
    return await xhrPut({ url, headers }, upload.slice(number), { signal, onProgress });
  } catch (error) {
    upload.endPart(number, false);
    throw error;
  }
}

/**
 * Wait, hash or sign as the verdict requires, so that the part can be sent again.
 * @param {Verdict} verdict
 * @param {{upload: Upload, number: number, context: UploadContext, signal: AbortSignal, retryPolicy: RetryPolicy,
 *   response: StorageResponse}} attempt
 */
async function recover(verdict, { upload, number, context, signal, retryPolicy, response }) {
  const { status } = response;
  if (verdict === "gone") throw new PartsGone("refused", { status });
  if (verdict === "refused") throw new UploadError("refused", { status });
  if (verdict === "wait") {
    await assertReadable(upload.slice(number));
    if (upload.size === 0 && status === 0 && (await isSpecialFile(upload, context, signal))) {
      throw new UploadError("special_file");
    }
    upload.setNote(navigator.onLine === false ? "offline" : "unavailable");
    await retryPolicy.wait(signal);
    // Without CORS headers on errors, an expired URL looks like a network error.
    if (retryPolicy.attempts > 1 && status === 0) upload.deleteSignedPart(number);
    return;
  }
  if (verdict === "hash") {
    retryPolicy.limit("checksum", MAX_HASH_RETRIES);
    await context.hash(upload, number, signal, { force: true });
  } else {
    retryPolicy.limit("signature", MAX_SIGN_RETRIES);
  }
  await context.sign(upload, [number], signal);
}

/**
 * Whether an "empty" file is a pipe or a socket: a request with it never ends, but one without a body succeeds.
 * @param {Upload} upload @param {UploadContext} context @param {AbortSignal} signal
 */
async function isSpecialFile(upload, context, signal) {
  const request = upload.signedPart(1);
  const onProgress = () => {};
  const startedAt = performance.now();
  const withoutBody = await xhrPut(request, new Blob([]), { signal, onProgress });
  if (withoutBody.status === 0) return false;
  context.lastSuccess.record();
  const stallTimeout = Math.max(MIN_STALL_TIMEOUT_MS, 5 * (performance.now() - startedAt));
  return (await xhrPut(request, upload.slice(1), { signal, onProgress, stallTimeout })).status === 0;
}

/**
 * Send a PUT request. XMLHttpRequest rather than fetch, which reports no upload progress.
 * @param {SignedRequest} request
 * @param {Blob} body
 * @param {{signal: AbortSignal, onProgress: (sent: number) => void, stallTimeout?: number}} options
 * @returns {Promise<StorageResponse>} rejects only with the signal's reason
 */
function xhrPut({ url, headers }, body, { signal, onProgress, stallTimeout = STALL_TIMEOUT_MS }) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const xhr = new XMLHttpRequest();
    const watchdog = createWatchdog(() => xhr.abort());
    const onAbort = () => xhr.abort();
    xhr.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) {
      if (!FORBIDDEN_HEADERS.has(name.toLowerCase())) xhr.setRequestHeader(name, value);
    }
    xhr.upload.onprogress = ({ loaded }) => {
      watchdog.restart(loaded < body.size ? stallTimeout : RESPONSE_TIMEOUT_MS);
      onProgress(Math.min(loaded, body.size));
    };
    xhr.onloadend = () => {
      watchdog.stop();
      signal.removeEventListener("abort", onAbort);
      if (signal.aborted) reject(signal.reason);
      else resolve({ status: xhr.status, text: xhr.status >= 400 ? xhr.responseText.slice(0, 2000) : "" });
    };
    signal.addEventListener("abort", onAbort, { once: true });
    watchdog.restart(stallTimeout);
    xhr.send(body);
  });
}

/** @param {() => void} onTimeout */
function createWatchdog(onTimeout) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  const stop = () => clearTimeout(timer);
  const restart = (/** @type {number} */ ms) => {
    stop();
    timer = setTimeout(onTimeout, ms);
  };
  return { restart, stop };
}

/**
 * Decide what to do after a response of the storage (codes: S3 API reference, "Error responses").
 * @param {StorageResponse} response
 * @returns {Verdict}
 */
export function classifyResponse({ status, text }) {
  const code = /<Code>(\w+)<\/Code>/.exec(text)?.[1] ?? "";
  if (status >= 200 && status < 300) return "stored";
  if (status === 412) return "stored"; // If-None-Match: an earlier attempt succeeded, but its response was lost
  if (status === 404) return "gone";
  if (["RequestTimeout", "IncompleteBody", "SlowDown"].includes(code)) return "wait";
  // Some storage services respond with 400 to an expired URL.
  if (status === 403 || code === "AccessDenied" || code.startsWith("Expired")) return "sign";
  if (status === 400) return "hash"; // BadDigest, for which other storage services have other names
  if (status === 0 || status === 408 || status === 409 || status === 429 || status >= 500) return "wait";
  return "refused";
}
