// @ts-check
import { deliver } from "./deliver.js";
import { Group } from "./limits.js";
import { missing, signAhead } from "./parts.js";
import { claim } from "./resume.js";
import { PartsGone, Trouble } from "./trouble.js";
import { troubleFrom } from "./api.js";

/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./tools.js").Tools} Tools */

/** How often the server or the store may say that parts are missing after all. */
const ROUNDS = 4;

/**
 * The whole way of one file: hash, start, send what is missing, finish. Whatever is known already is not done again,
 * so this is also how a paused file goes on.
 * @param {Upload} upload
 * @param {Tools} tools
 * @param {{signal: AbortSignal, drained: () => void}} options  drained: nothing is left to take, only to arrive
 */
export async function carry(upload, tools, { signal, drained }) {
  await begin(upload, tools, signal);
  for (let round = 0; round < ROUNDS; round += 1) {
    if (!(await sent(upload, tools, signal, drained))) continue;
    const answer = await finish(upload, tools, signal);
    if (!answer.error) return publish(upload, answer);
    if (answer.error.code !== "parts_missing") throw troubleFrom(answer.error);
    await tools.look(upload, signal);
  }
  throw new Trouble("parts");
}

/** @param {Upload} upload @param {Tools} tools @param {AbortSignal} signal */
async function begin(upload, tools, signal) {
  upload.become("checking");
  await hold(upload);
  if (!upload.id) {
    if (upload.size <= tools.partBytes) await tools.hash(upload, 1, signal);
    await tools.start(upload, signal);
  }
  if (upload.resumed && upload.partCount > 1 && upload.storedBytes === 0) await tools.look(upload, signal);
}

/** An upload belongs to one tab; if another tab has it, ours becomes one of its own. @param {Upload} upload */
async function hold(upload) {
  let release = await claim(upload.token);
  if (!release) {
    upload.renew();
    release = await claim(upload.token);
  }
  upload.release = release ?? (() => {});
}

/**
 * @param {Upload} upload @param {Tools} tools @param {AbortSignal} signal @param {() => void} drained
 * @returns {Promise<boolean>} false when the store forgot the parts and it must be tried again
 */
async function sent(upload, tools, signal, drained) {
  try {
    if (upload.state === "uploading" || !upload.state) await sendMissing(upload, tools, signal);
    drained();
    return true;
  } catch (error) {
    if (!(error instanceof PartsGone)) throw error;
    await tools.look(upload, signal);
    return false;
  }
}

/**
 * Sends what is not there. The next parts are hashed and signed while these are sent.
 * @param {Upload} upload @param {Tools} tools @param {AbortSignal} signal
 */
async function sendMissing(upload, tools, signal) {
  const group = new Group(signal);
  const batches = signedBatches(upload, tools, group.signal);
  try {
    let coming = ahead(batches);
    for (let batch = await coming; !batch.done; batch = await coming) {
      coming = ahead(batches);
      for (const number of batch.value) {
        const free = await place(upload, tools, group.signal);
        group.add(deliver(upload, number, tools, group.signal).finally(free));
      }
    }
  } catch (error) {
    group.fail(error);
  }
  await group.done();
}

/** @template T @param {AsyncGenerator<T>} generator */
function ahead(generator) {
  const next = generator.next();
  next.catch(() => {}); // whoever awaits it hears of it; nobody may, when a part failed meanwhile
  return next;
}

/** @param {Upload} upload @param {Tools} tools @param {AbortSignal} signal @returns {Promise<() => void>} */
async function place(upload, tools, signal) {
  const freeLarge = upload.partCount > 1 ? await tools.largeSlots.take(signal) : () => {};
  try {
    const free = await tools.slots.take(signal);
    upload.become("sending");
    return () => {
      free();
      freeLarge();
    };
  } catch (error) {
    freeLarge();
    throw error;
  }
}

/**
 * Numbers of parts that are hashed, not there and signed, a few at a time.
 * @param {Upload} upload @param {Tools} tools @param {AbortSignal} signal
 */
async function* signedBatches(upload, tools, signal) {
  const numbers = missing(upload.partCount, upload.stored);
  let first = true;
  while (numbers.length > 0) {
    /** @type {number[]} */
    const batch = [];
    const size = signAhead(tools.speed.read(), upload.partSize, first);
    while (numbers.length > 0 && batch.length < size) {
      const some = numbers.splice(0, size - batch.length);
      await Promise.all(some.map((number) => tools.hash(upload, number, signal)));
      batch.push(...some.filter((number) => !there(upload, number)));
    }
    const unsigned = batch.filter((number) => upload.signedAge(number) === Infinity);
    if (unsigned.length > 0) await tools.sign(upload, unsigned, signal);
    if (batch.length === 0) continue;
    first = false;
    yield batch;
  }
}

/** Compared by digest, not by trust. @param {Upload} upload @param {number} number */
function there(upload, number) {
  const same = upload.there.get(number) === upload.digests.get(number);
  if (same) upload.landed(number, true);
  return same;
}

/** @param {Upload} upload @param {Tools} tools @param {AbortSignal} signal */
async function finish(upload, tools, signal) {
  for (const number of missing(upload.partCount, upload.digests)) await tools.hash(upload, number, signal);
  upload.become("finishing");
  return tools.finish(upload, signal);
}

/** @param {Upload} upload @param {{url: string, checksum_basis: string}} answer */
function publish(upload, answer) {
  upload.url = answer.url;
  upload.basis = answer.checksum_basis;
  upload.become("done");
}
