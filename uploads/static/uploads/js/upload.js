// @ts-check
/** One file and the state of its upload, what all of them add up to, and which unfinished upload a file continues. */
import { byteRange } from "./parts.js";

/** @typedef {"waiting"|"checking"|"sending"|"finishing"|"done"|"failed"|"paused"|"canceled"} Phase */
/** @typedef {{name: string, folder: string, size: number, modified: number|null, token: string}} UnfinishedUpload */
/** @typedef {{file: File, folder: string, name?: string}} PickedFile  name: if not that of the file */
/** @typedef {{url: string, headers: Record<string, string>, at: number}} SignedPart  at: performance.now() */
/**
 * @typedef {object} Summary
 * @property {string} name  of the file, if there is only one
 * @property {number} files  without those that were canceled @property {number} canceled
 * @property {number} done @property {number} failed @property {number} paused
 * @property {boolean} pausing  whether paused uploads still send what has begun
 * @property {number} active  files that are being hashed, sent or completed
 * @property {number} bytes  of all files that have not failed and were not canceled
 * @property {number} sent
 * @property {string} note  why uploads are blocked, if all files that are being sent are blocked for the same reason
 * @property {boolean} finished  whether no upload is running, waiting or paused
 * @property {boolean} verified  whether the storage or the worker has verified all stored files
 */

/** Errors after which a retry cannot succeed. */
const PERMANENT_ERRORS = new Set(["unreadable_entry", "too_large", "several_versions", "special_file"]);

/** One file and the state of its upload. Calls `onChange` after every change. */
export class Upload {
  /** @type {Phase} */
  phase = "waiting";
  /** Why the upload is blocked, as the key of a text; empty while it is not. */
  note = "";
  /** @type {import("./retry.js").UploadError|undefined} */
  error;
  /** The permanent address of the stored file. */
  url = "";
  /** How the checksum of the stored file was verified, if at all: `checksum_status` of the response. */
  checksumStatus = "";
  restarts = 0;
  /** Stops the upload. */
  controller = new AbortController();
  /** Aborts its PUT requests, which a pause lets end. */
  requests = new AbortController();
  /** Settles when the last run has ended. @type {Promise<void>} */
  ended = Promise.resolve();
  /** @type {Promise<void>|undefined} the call that creates the upload, while it runs */
  creating;
  /** Lets other tabs lock this upload again. @type {() => void} */
  releaseLock = () => {};

  // Decided by the server, and the state of the parts. `reset` and `resetParts` set these.
  /** @type {string} */
  token = "";
  id = "";
  state = "";
  partSize = 0;
  partCount = 1;
  /** Whether the upload was created earlier, by another page. */
  resumed = false;
  /** @type {Map<number, string>} checksums by part */
  digests = new Map();
  /** @type {Map<number, SignedPart>} */
  signedParts = new Map();
  /** @type {Set<number>} parts that are known to be stored */
  stored = new Set();
  /** @type {Map<number, string>} checksums of stored parts, from the storage */
  remoteDigests = new Map();
  /** @type {Map<number, number>} bytes in flight by part */
  inFlight = new Map();
  storedBytes = 0;
  inFlightBytes = 0;

  /**
   * @param {File} file
   * @param {{name?: string, folder?: string, folderId?: number|null, replaces?: string, visibility?: string,
   *   order?: number, onChange?: (upload: Upload) => void}} [options]  folder: a path below the folder with the id
   *   `folderId`; replaces: the id of the file to add a version to; order: its place in the list
   */
  constructor(file, {
    name = file.name, folder = "", folderId = null, replaces = "", visibility = "team", order = 0,
    onChange = () => {},
  } = {}) {
    this.file = file;
    this.name = name;
    this.size = file.size;
    this.folder = folder;
    this.folderId = folderId;
    this.replaces = replaces;
    this.visibility = visibility;
    this.order = order;
    this.onChange = onChange;
    this.reset();
  }

  /** Forget everything the server knows, so that a new upload is created next. */
  reset() {
    this.token = crypto.randomUUID();
    this.id = "";
    this.state = "";
    this.partSize = this.size;
    this.partCount = 1;
    this.resumed = false;
    this.digests.clear();
    this.resetParts();
  }

  resetParts() {
    this.stored.clear();
    this.remoteDigests.clear();
    this.inFlight.clear();
    this.signedParts.clear();
    this.storedBytes = 0;
    this.inFlightBytes = 0;
  }

  /** Expect parts of this size until the server decides, so that the first can be hashed. @param {number} partSize */
  expectParts(partSize) {
    this.partSize = partSize;
    this.partCount = Math.max(1, Math.ceil(this.size / partSize));
  }

  get sent() {
    return this.phase === "done" ? this.size : this.storedBytes + this.inFlightBytes;
  }

  /** Whether requests are still running although the upload is paused. */
  get pausing() {
    return this.phase === "paused" && this.inFlight.size > 0;
  }

  /** Bytes that the running requests have yet to send. */
  get unsentInFlight() {
    let bytes = 0;
    for (const number of this.inFlight.keys()) bytes += this.partLength(number);
    return bytes - this.inFlightBytes;
  }

  get running() {
    return this.phase === "checking" || this.phase === "sending" || this.phase === "finishing";
  }

  /** Whether a retry can succeed. */
  get retriable() {
    return this.phase === "failed" && !PERMANENT_ERRORS.has(this.error?.kind ?? "");
  }

  get path() {
    return filePath(this.folder, this.name);
  }

  /** @param {Phase} phase */
  setPhase(phase) {
    if (this.phase === phase) return;
    this.phase = phase;
    this.note = "";
    this.onChange(this);
  }

  /** @param {string} note */
  setNote(note) {
    if (this.note === note) return;
    this.note = note;
    this.onChange(this);
  }

  /** @param {number} number @returns {Blob} */
  slice(number) {
    // A whole file is sent without passing through the browser's blob storage.
    return this.partCount === 1 ? this.file : this.file.slice(...byteRange(number, this.partSize, this.size));
  }

  /** @param {number} number */
  partLength(number) {
    const [start, end] = byteRange(number, this.partSize, this.size);
    return end - start;
  }

  /** @param {number} number @param {{url: string, headers?: Record<string, string>}} part */
  setSignedPart(number, { url, headers = {} }) {
    this.signedParts.set(number, { url, headers, at: performance.now() });
  }

  /** @param {number} number @returns {SignedPart} */
  signedPart(number) {
    const part = this.signedParts.get(number);
    if (!part) throw new Error(`part ${number} has no URL`);
    return part;
  }

  /** @param {number} number @returns {number} milliseconds; infinite without a URL */
  urlAge(number) {
    const part = this.signedParts.get(number);
    return part ? performance.now() - part.at : Infinity;
  }

  /** @param {number} number */
  deleteSignedPart(number) {
    this.signedParts.delete(number);
  }

  /**
   * @param {number} number @param {number} sent  bytes of this part sent so far
   * @returns {number} how many of them are new
   */
  recordProgress(number, sent) {
    const added = sent - (this.inFlight.get(number) ?? 0);
    this.inFlight.set(number, sent);
    this.inFlightBytes += added;
    this.onChange(this);
    return Math.max(0, added);
  }

  /** Record that the request of a part has ended. @param {number} number @param {boolean} stored */
  endPart(number, stored) {
    this.inFlightBytes -= this.inFlight.get(number) ?? 0;
    this.inFlight.delete(number);
    if (stored && !this.stored.has(number)) {
      this.stored.add(number);
      this.storedBytes += this.partLength(number);
    }
    this.onChange(this);
  }

  /** Return the checksums of all parts in order; "" for a part that has not been hashed. */
  allDigests() {
    return Array.from({ length: this.partCount }, (_, index) => this.digests.get(index + 1) ?? "");
  }
}

/** The uploads of a dropped folder, when all of them are stored: one row of the list. */
export class UploadedFolder {
  phase = /** @type {const} */ ("done");
  running = false;
  retriable = false;
  sent = 0;
  size = 0;
  files = 0;
  url = "";

  /** @param {string} path */
  constructor(path) {
    this.path = path;
  }
}

/** @typedef {Upload|UploadedFolder} Row */

/**
 * Group stored files by the folder that they were dropped with.
 * @param {readonly Upload[]} uploads
 * @param {Map<string, UploadedFolder>} known  the folders of the last call, which keep their identity
 * @returns {Row[]} files without a folder, or alone in it, stay as they are
 */
export function groupByFolder(uploads, known) {
  const nameOf = (/** @type {Upload} */ { folder }) => folder.split("/", 1)[0];
  const keyOf = (/** @type {Upload} */ upload) =>
    upload.phase === "done" && upload.folder ? JSON.stringify([upload.folderId, nameOf(upload)]) : "";
  /** @type {Map<string, Upload[]>} */
  const groups = new Map();
  for (const upload of uploads) {
    const key = keyOf(upload);
    if (!key) continue;
    const group = groups.get(key);
    if (group) group.push(upload);
    else groups.set(key, [upload]);
  }
  /** @type {Set<Row>} */
  const rows = new Set();
  for (const upload of uploads) {
    const key = keyOf(upload);
    const group = groups.get(key) ?? [];
    if (group.length < 2) {
      rows.add(upload);
      continue;
    }
    const folder = known.get(key) ?? new UploadedFolder(nameOf(upload));
    known.set(key, folder);
    if (rows.has(folder)) continue;
    folder.files = group.length;
    folder.size = group.reduce((bytes, { size }) => bytes + size, 0);
    rows.add(folder);
  }
  return [...rows];
}

/** @param {string} folder  "" for none @param {string} name */
export function filePath(folder, name) {
  return folder ? `${folder}/${name}` : name;
}

/** @param {string} name @returns {string} the extension with its dot, or "" */
export function extensionOf(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(dot) : "";
}

/** Whether the storage or the server has verified the checksum of the stored file. @param {Upload} upload */
export function isVerified({ checksumStatus }) {
  return checksumStatus === "verified_by_storage" || checksumStatus === "verified";
}

/**
 * Count the uploads.
 * @param {readonly Upload[]} uploads
 * @param {boolean} [busy]  whether more files are being added
 * @returns {Summary}
 */
export function summarize(uploads, busy = false) {
  const counts = { done: 0, failed: 0, paused: 0, waiting: 0, active: 0, canceled: 0 };
  let bytes = 0;
  let sent = 0;
  let verified = true;
  let pausing = false;
  for (const upload of uploads) {
    if (upload.running) counts.active += 1;
    else counts[/** @type {"done"|"failed"|"paused"|"waiting"|"canceled"} */ (upload.phase)] += 1;
    pausing ||= upload.pausing;
    if (upload.phase === "failed" || upload.phase === "canceled") continue;
    bytes += upload.size;
    sent += upload.sent;
    if (upload.phase === "done") verified &&= isVerified(upload);
  }
  const { done, failed, paused, active, canceled } = counts;
  const files = uploads.length - canceled;
  const finished = !busy && active + paused + counts.waiting === 0;
  const note = commonNote(uploads);
  const name = files === 1 ? (uploads.find(({ phase }) => phase !== "canceled")?.name ?? "") : "";
  return { name, files, done, failed, canceled, paused, pausing, active, bytes, sent, verified, finished, note };
}

/** @param {readonly Upload[]} uploads @returns {string} the note of all files that are being sent or wait; else "" */
function commonNote(uploads) {
  const notes = new Set();
  for (const { phase, running, note } of uploads) if (phase === "sending" || (running && note)) notes.add(note);
  return notes.size === 1 ? [...notes][0] : "";
}

// --- which unfinished upload a file continues: by what a browser knows of it; checksums decide which parts to send ---

/**
 * Return a key that is the same for the same file.
 * Names are normalized: macOS writes NFD, the server stores NFC.
 * @param {{name: string, folder?: string, size: number, modified?: number|null}} file
 */
export function fileKey({ name, folder = "", size, modified }) {
  return JSON.stringify([name.normalize("NFC"), folder.normalize("NFC"), size, modified ?? null]);
}

/**
 * Return a function that finds the token of the unfinished upload of a file.
 * @param {UnfinishedUpload[]} uploads  newest first, with full folder paths
 * @param {string} [basePath]  the path of the folder that the files are added to
 * @returns {(picked: PickedFile) => string} each token once; "" for a new file
 */
export function tokenMatcher(uploads, basePath = "") {
  /** @type {Map<string, string[]>} */
  const tokens = new Map();
  for (const upload of uploads) {
    const key = fileKey(upload);
    tokens.set(key, [...(tokens.get(key) ?? []), upload.token]);
  }
  return ({ file, folder, name = file.name }) => {
    const path = [basePath, folder].filter(Boolean).join("/");
    const key = fileKey({ name, folder: path, size: file.size, modified: file.lastModified });
    return tokens.get(key)?.shift() ?? "";
  };
}

/**
 * Lock an upload for this tab, so that two tabs with the same file do not send to the same upload.
 * @param {string} token
 * @returns {Promise<(() => void)|null>} releases the lock; null when another tab has it
 */
export function lockUpload(token) {
  return new Promise((resolve, reject) => {
    const request = navigator.locks.request(`amalga-upload-${token}`, { ifAvailable: true }, (lock) => {
      if (!lock) return resolve(null);
      return new Promise((/** @type {(value?: unknown) => void} */ release) => resolve(() => release()));
    });
    request.catch(reject);
  });
}
