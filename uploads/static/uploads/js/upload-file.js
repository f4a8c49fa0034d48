// @ts-check
import { uploadError } from "./api.js";
import { TaskGroup } from "./concurrency.js";
import { missingParts, signBatchSize } from "./parts.js";
import { lockUpload } from "./resume.js";
import { PartsGone, UploadError } from "./retry.js";
import { uploadPart } from "./upload-part.js";

/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./context.js").UploadContext} UploadContext */

/** How often the server or the storage may report missing parts. */
const MAX_ROUNDS = 4;

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
  let allStarted = Promise.withResolvers();
  const batches = signedBatches(upload, context, group.signal, () => allStarted.promise);
  try {
    let next = prefetch(batches);
    for (;;) {
      allStarted.resolve();
      const batch = await next;
      if (batch.done) break;
      allStarted = Promise.withResolvers();
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
 * Yield the numbers of missing parts, hashed and signed. Parts are hashed ahead. They are signed together, but those
 * that are hashed are not kept back while there is no other to send.
 * @param {Upload} upload @param {UploadContext} context @param {AbortSignal} signal
 * @param {() => Promise<unknown>} allStarted  settles when all parts of the last batch are being sent
 */
async function* signedBatches(upload, context, signal, allStarted) {
  const numbers = missingParts(upload.partCount, upload.stored);
  /** @type {Map<number, Promise<void>>} */
  const hashing = new Map();
  while (numbers.length + hashing.size > 0) {
    const size = signBatchSize(context.throughput.read(), upload.partSize);
    for (const number of numbers.splice(0, Math.max(0, size - hashing.size))) {
      hashing.set(number, context.hash(upload, number, signal));
    }
    const all = Promise.all(hashing.values());
    await Promise.race([all, allStarted().then(() => Promise.any(hashing.values()))]);
    const hashed = [...hashing.keys()].filter((number) => upload.digests.has(number));
    for (const number of hashed) hashing.delete(number);
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
