// @ts-check
/** The whole, counted: what the head of the tray and the receipt say. */

/** @typedef {import("./upload.js").Upload} Upload */
/**
 * @typedef {object} Summary
 * @property {number} files @property {number} done @property {number} failed @property {number} paused
 * @property {number} active  files that are hashed, sent or finished right now
 * @property {number} bytes  of all files that did not fail
 * @property {number} sent @property {string} note  what holds everything up, if all that is active waits for it
 * @property {boolean} over  nothing left that moves or can be resumed
 * @property {boolean} verified  every stored file's bytes were checked, by the store or by reading
 */

/**
 * @param {readonly Upload[]} uploads
 * @param {boolean} [busy]  more is to come, though nothing moves
 * @returns {Summary}
 */
export function summarize(uploads, busy = false) {
  const counts = { done: 0, failed: 0, paused: 0, waiting: 0, active: 0 };
  let bytes = 0;
  let sent = 0;
  let verified = true;
  for (const upload of uploads) {
    if (upload.running) counts.active += 1;
    else counts[/** @type {"done"|"failed"|"paused"|"waiting"} */ (upload.phase)] += 1;
    if (upload.phase === "failed") continue;
    bytes += upload.size;
    sent += upload.sent;
    if (upload.phase === "done") verified &&= upload.basis === "store" || upload.basis === "read";
  }
  const { done, failed, paused, active } = counts;
  const over = !busy && active + paused + counts.waiting === 0;
  return { files: uploads.length, done, failed, paused, active, bytes, sent, verified, over, note: common(uploads) };
}

/** @param {readonly Upload[]} uploads  the note that every file shares which is on the way; else "" */
function common(uploads) {
  const notes = new Set();
  for (const upload of uploads) if (upload.phase === "sending") notes.add(upload.note);
  return notes.size === 1 ? [...notes][0] : "";
}
