// @ts-check
import { assertReadable } from "./hash.js";
import { Patience } from "./patience.js";
import { judge, put } from "./transfer.js";
import { PartsGone, Trouble } from "./trouble.js";

/** @typedef {import("./upload.js").Upload} Upload */
/** @typedef {import("./tools.js").Tools} Tools */

/** New URLs for one part. One is normal after a long pause; five mean that the clock or the key is wrong. */
const MAX_SIGNATURES = 5;
/** Sending one part again after the store found its digest wrong. */
const MAX_DIGESTS = 3;
/** URLs live ten minutes; one that is nearly over is not worth a try. */
const URL_MS = 9 * 60_000;
/** How long a request with an empty file may take, at least, after one without a body got through. */
const MIN_STALL_MS = 5000;

/**
 * Brings one part to the store, whatever it takes.
 * @param {Upload} upload
 * @param {number} number
 * @param {Tools} tools
 * @param {AbortSignal} signal
 * @throws {Trouble} when it will not get there; PartsGone when the store forgot the upload
 */
export async function deliver(upload, number, tools, signal) {
  const patience = new Patience(tools.pulse);
  for (;;) {
    await tools.gate.passed(signal);
    if (upload.signedAge(number) > URL_MS) await tools.sign(upload, [number], signal);
    const answer = await send(upload, number, tools, signal);
    const verdict = judge(answer);
    if (verdict === "stored") break;
    upload.landed(number, false);
    await react(verdict, { upload, number, tools, signal, patience, answer });
  }
  tools.pulse.beat();
  upload.say("");
  upload.landed(number, true);
}

/** @param {Upload} upload @param {number} number @param {Tools} tools @param {AbortSignal} signal */
async function send(upload, number, tools, signal) {
  const { url, headers } = upload.signedFor(number);
  /** @param {number} sent */
  const onBytes = (sent) => {
    tools.moved(upload.flew(number, sent));
    upload.say("");
  };
  try {
    return await put({ url, headers }, upload.slice(number), { signal, onBytes });
  } catch (error) {
    upload.landed(number, false);
    throw error;
  }
}

/**
 * @param {import("./transfer.js").Verdict} verdict
 * @param {{upload: Upload, number: number, tools: Tools, signal: AbortSignal, patience: Patience,
 *   answer: import("./transfer.js").Answer}} at
 */
async function react(verdict, { upload, number, tools, signal, patience, answer }) {
  const failure = { status: answer.status };
  if (verdict === "gone") throw new PartsGone("refused", failure);
  if (verdict === "refused") throw new Trouble("refused", failure);
  if (verdict === "wait") {
    await assertReadable(upload.slice(number));
    if (upload.size === 0 && answer.status === 0 && (await isSpecial(upload, tools, signal))) throw new Trouble("special");
    upload.say(navigator.onLine === false ? "offline" : "away");
    await patience.wait(signal);
    // A store without CORS headers on its errors hides an expired URL behind "no answer".
    if (patience.tries > 1 && answer.status === 0) upload.forgetSigned(number);
    return;
  }
  patience.allow(verdict === "hash" ? "digest" : "signature", verdict === "hash" ? MAX_DIGESTS : MAX_SIGNATURES);
  if (verdict === "hash") await tools.hash(upload, number, signal, { again: true });
  await tools.sign(upload, [number], signal);
}

/**
 * Whether an "empty" file is a pipe or a socket: a request with it never gets out, though one without a body just did.
 * @param {Upload} upload @param {Tools} tools @param {AbortSignal} signal
 */
async function isSpecial(upload, tools, signal) {
  const request = upload.signedFor(1);
  const onBytes = () => {};
  const began = performance.now();
  const without = await put(request, new Blob([]), { signal, onBytes });
  if (without.status === 0) return false;
  tools.pulse.beat();
  const stallMs = Math.max(MIN_STALL_MS, 5 * (performance.now() - began));
  return (await put(request, upload.slice(1), { signal, onBytes, stallMs })).status === 0;
}
