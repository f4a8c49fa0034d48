// @ts-check
import { range } from "./parts.js";

/** @typedef {"waiting"|"checking"|"sending"|"finishing"|"done"|"failed"|"paused"|"cancelled"} Phase */
/** @typedef {{url: string, headers: Record<string, string>, at: number}} SignedPart  at: performance.now() */

/** What trying once more cannot mend. */
const HOPELESS = new Set(["folder", "too_large", "one_version", "special"]);

/** One file on its way, as this page knows it. Says every change to `onChange`. */
export class Upload {
  /** @type {Phase} */
  phase = "waiting";
  /** Why nothing moves, as the name of a text; empty when all is well. */
  note = "";
  /** @type {import("./trouble.js").Trouble|undefined} */
  error;
  /** The permanent address, once stored. */
  url = "";
  /** What the checksum rests on: store, claimed or read. */
  basis = "";
  restarts = 0;
  control = new AbortController();
  /** @type {Promise<void>|undefined} the call to start, while it is on its way */
  starting;
  /** Lets other tabs have this upload again. @type {() => void} */
  release = () => {};

  // What the server decided and what is known of the parts; `renew` and `forgetParts` set them.
  /** @type {string} */
  token = "";
  id = "";
  state = "";
  partSize = 0;
  partCount = 1;
  /** Begun earlier, on another page or another day. */
  resumed = false;
  /** @type {Map<number, string>} */
  digests = new Map();
  /** @type {Map<number, SignedPart>} */
  signed = new Map();
  /** @type {Set<number>} parts that this page knows to be stored */
  stored = new Set();
  /** @type {Map<number, string>} digests of parts that the store says it has */
  there = new Map();
  /** @type {Map<number, number>} bytes on the way, by part */
  flying = new Map();
  storedBytes = 0;
  flyingBytes = 0;

  /**
   * @param {File} file
   * @param {{folder?: string, into?: number|null, replaces?: string, visibility?: string,
   *   onChange?: (upload: Upload) => void}} [options]  into: the folder that `folder` begins in; replaces: a file's id
   */
  constructor(file, { folder = "", into = null, replaces = "", visibility = "team", onChange = () => {} } = {}) {
    this.file = file;
    this.name = file.name;
    this.size = file.size;
    this.folder = folder;
    this.into = into;
    this.replaces = replaces;
    this.visibility = visibility;
    this.onChange = onChange;
    this.renew();
  }

  /** Forgets the server's side: the next start makes a row of its own. */
  renew() {
    this.token = crypto.randomUUID();
    this.id = "";
    this.state = "";
    this.partSize = this.size;
    this.partCount = 1;
    this.resumed = false;
    this.digests.clear();
    this.forgetParts();
  }

  forgetParts() {
    this.stored.clear();
    this.there.clear();
    this.flying.clear();
    this.signed.clear();
    this.storedBytes = 0;
    this.flyingBytes = 0;
  }

  get sent() {
    return this.phase === "done" ? this.size : this.storedBytes + this.flyingBytes;
  }

  get running() {
    return this.phase === "checking" || this.phase === "sending" || this.phase === "finishing";
  }

  /** Whether trying once more can help. A folder that cannot be read and a file too large stay what they are. */
  get retriable() {
    return this.phase === "failed" && !HOPELESS.has(this.error?.kind ?? "");
  }

  get path() {
    return this.folder ? `${this.folder}/${this.name}` : this.name;
  }

  /** @param {Phase} phase */
  become(phase) {
    if (this.phase === phase) return;
    this.phase = phase;
    this.note = "";
    this.onChange(this);
  }

  /** @param {string} note */
  say(note) {
    if (this.note === note) return;
    this.note = note;
    this.onChange(this);
  }

  /** @param {number} number @returns {Blob} */
  slice(number) {
    // A whole file goes to the network without passing through the browser's blob store.
    return this.partCount === 1 ? this.file : this.file.slice(...range(number, this.partSize, this.size));
  }

  /** @param {number} number */
  bytesOf(number) {
    const [start, end] = range(number, this.partSize, this.size);
    return end - start;
  }

  /** @param {number} number @param {{url: string, headers?: Record<string, string>}} part */
  sign(number, { url, headers = {} }) {
    this.signed.set(number, { url, headers, at: performance.now() });
  }

  /** @param {number} number @returns {SignedPart} */
  signedFor(number) {
    const part = this.signed.get(number);
    if (!part) throw new Error(`part ${number} has no URL`);
    return part;
  }

  /** @param {number} number @returns {number} milliseconds; infinite when there is no URL */
  signedAge(number) {
    const part = this.signed.get(number);
    return part ? performance.now() - part.at : Infinity;
  }

  /** @param {number} number */
  forgetSigned(number) {
    this.signed.delete(number);
  }

  /**
   * @param {number} number @param {number} sent  bytes of this part on the way so far
   * @returns {number} how many of them are new
   */
  flew(number, sent) {
    const fresh = sent - (this.flying.get(number) ?? 0);
    this.flying.set(number, sent);
    this.flyingBytes += fresh;
    this.onChange(this);
    return Math.max(0, fresh);
  }

  /** A part's journey ended. @param {number} number @param {boolean} arrived */
  landed(number, arrived) {
    this.flyingBytes -= this.flying.get(number) ?? 0;
    this.flying.delete(number);
    if (arrived && !this.stored.has(number)) {
      this.stored.add(number);
      this.storedBytes += this.bytesOf(number);
    }
    this.onChange(this);
  }

  /** The digests of all parts in order; empty places where a part was never hashed here. */
  allDigests() {
    return Array.from({ length: this.partCount }, (_, index) => this.digests.get(index + 1) ?? "");
  }
}
