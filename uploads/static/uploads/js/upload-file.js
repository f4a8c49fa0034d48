// @ts-check
/** The upload of one file: its steps, and the requests for its parts. */
import { uploadError } from "./api.js";
import { TaskGroup } from "./concurrency.js";
import { assertReadable, missingParts, signBatchSize } from "./parts.js";
import { PartsGone, RetryPolicy, UploadError } from "./retry.js";
import { lockUpload } from "./upload.js";

/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./context.js").UploadContext} UploadContext */
/** @typedef {{url: string, headers: Record<string, string>}} SignedRequest */
/** @typedef {{status: number, text: string}} StorageResponse  status: 0 for a network error; text: of errors only */
/** @typedef {"stored"|"sign"|"hash"|"gone"|"wait"|"refused"} Verdict */

/** How often the server or the storage may report missing parts. */
const MAX_ROUNDS = 4;
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
 * Upload one file: hash it, create the upload, send the missing parts, complete it. Skips every step that has been
 * done before, so this resumes a paused upload as well.
 * @param {Upload} upload
 * @param {UploadContext} context
 * @param {{signal: AbortSignal, onSent: () => void}} options  onSent: called when all parts are stored
 * @throws {UploadError}
 */
export async function uploadFile(upload, context, { signal, onSent }) {
  await prepare(upload, context, signal);
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    if (!(await sendParts(upload, context, signal, onSent))) continue;
    const result = await complete(upload, context, signal);
    if (!result.error) return markDone(upload, result);
    if (result.error.code !== "parts_missing") throw uploadError(result.error);
    await context.refreshParts(upload, signal);
  }
  throw new UploadError("parts_lost");
}

/** @param {Upload} upload @param {UploadContext} context @param {AbortSignal} signal */
async function prepare(upload, context, signal) {
  upload.setPhase("checking");
  await lock(upload);
  if (!upload.id) {
    upload.expectParts(context.maxPartBytes);
    const hashed = context.hash(upload, 1, signal);
    // Only the call for a file of one part has its checksum.
    if (upload.partCount === 1) await hashed;
    await Promise.all([hashed, context.create(upload, signal)]);
  }
  if (upload.resumed && upload.partCount > 1 && upload.storedBytes === 0) await context.refreshParts(upload, signal);
}

/** Lock the upload for this tab. If another tab has it, start a new upload. @param {Upload} upload */
async function lock(upload) {
  let release = await lockUpload(upload.token);
  if (!release) {
    upload.reset();
    release = await lockUpload(upload.token);
  }
  upload.releaseLock = release ?? (() => {});
}

/**
 * @param {Upload} upload @param {UploadContext} context @param {AbortSignal} signal @param {() => void} onSent
 * @returns {Promise<boolean>} false when the storage has lost the multipart upload, and the parts must be sent again
 */
async function sendParts(upload, context, signal, onSent) {
  try {
    if (upload.state === "uploading" || !upload.state) await sendMissingParts(upload, context, signal);
    onSent();
    return true;
  } catch (error) {
    if (!(error instanceof PartsGone)) throw error;
    await context.refreshParts(upload, signal);
    return false;
  }
}

/**
 * Send the missing parts. While some are sent, the next ones are hashed and signed.
 * @param {Upload} upload @param {UploadContext} context @param {AbortSignal} signal
 */
async function sendMissingParts(upload, context, signal) {
  const group = new TaskGroup(signal, upload.requests.signal);
  const batches = signedBatches(upload, context, group.signal);
  try {
    let next = prefetch(batches);
    for (;;) {
      const batch = await next;
      if (batch.done) break;
      next = prefetch(batches);
      for (const number of batch.value) {
        const release = await acquireRequest(upload, context, group.signal);
        group.add(uploadPart(upload, number, context, group).finally(release));
      }
    }
  } catch (error) {
    group.fail(error);
  }
  await group.done();
  signal.throwIfAborted();
}

/** @template T @param {AsyncGenerator<T>} generator */
function prefetch(generator) {
  const next = generator.next();
  next.catch(() => {}); // thrown where it is awaited; after a failed part it is never awaited
  return next;
}

/** @param {Upload} upload @param {UploadContext} context @param {AbortSignal} signal @returns {Promise<() => void>} */
async function acquireRequest(upload, context, signal) {
  const releaseLarge = upload.partCount > 1 ? await context.largeFileRequests.acquire(signal) : () => {};
  try {
    const release = await context.requests.acquire(signal);
    upload.setPhase("sending");
    return () => {
      release();
      releaseLarge();
    };
  } catch (error) {
    releaseLarge();
    throw error;
  }
}

/**
 * Yield the numbers of missing parts in batches, hashed and signed. The first one is a batch of its own, since it was
 * hashed while the upload was created: the next ones are hashed while it is sent.
 * @param {Upload} upload @param {UploadContext} context @param {AbortSignal} signal
 */
async function* signedBatches(upload, context, signal) {
  const numbers = missingParts(upload.partCount, upload.stored);
  let size = 1;
  while (numbers.length > 0) {
    const hashed = numbers.splice(0, size);
    size = signBatchSize(context.throughput.read(), upload.partSize);
    await Promise.all(hashed.map((number) => context.hash(upload, number, signal)));
    const batch = hashed.filter((number) => !markIfStored(upload, number));
    const unsigned = batch.filter((number) => upload.urlAge(number) === Infinity);
    if (unsigned.length > 0) await context.sign(upload, unsigned, signal);
    if (batch.length > 0) yield batch;
  }
}

/** A part counts as stored only if its checksum is the same. @param {Upload} upload @param {number} number */
function markIfStored(upload, number) {
  const stored = upload.remoteDigests.get(number) === upload.digests.get(number);
  if (stored) upload.endPart(number, true);
  return stored;
}

/** @param {Upload} upload @param {UploadContext} context @param {AbortSignal} signal */
async function complete(upload, context, signal) {
  for (const number of missingParts(upload.partCount, upload.digests)) await context.hash(upload, number, signal);
  upload.setPhase("finishing");
  return context.complete(upload, signal);
}

/** @param {Upload} upload @param {{url: string, checksum_status: string}} result */
function markDone(upload, result) {
  upload.url = result.url ?? "";
  upload.checksumStatus = result.checksum_status;
  upload.setPhase("done");
}

// --- one part: its PUT request, what the response means, and the retries ---

/**
 * Send one part until it is stored.
 * @param {Upload} upload
 * @param {number} number
 * @param {UploadContext} context
 * @param {{signal: AbortSignal, requestSignal: AbortSignal}} signals  requestSignal: aborts the PUT request
 * @throws {UploadError} when retrying does not help; PartsGone when the storage has lost the multipart upload
 */
async function uploadPart(upload, number, context, { signal, requestSignal }) {
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
