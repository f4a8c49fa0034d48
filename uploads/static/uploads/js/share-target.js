// @ts-check
/**
 * Files that people share from other apps. The service worker (share-worker.js) keeps them on the device until people
 * upload or discard them here. They are never uploaded without a click, because any website can send them as a form.
 */
import { announce, button, ref, setText, setVisible } from "./dom.js";
import { batchOf, destinationOf, pageFolder, refusalOf } from "./drop-target.js";
import { listNames } from "./i18n.js";

/** @typedef {import("./drop-target.js").OnFiles} OnFiles */
/** @typedef {import("./i18n.js").Translate} Translate */
/** @typedef {{name: string, time: number, modified: number}} FileFacts */

/** The worker has the same names and the same time. */
const STORE = "shared-files";
const FILES_PATH = "/share-target/files/";
const EXPIRY_MS = 24 * 60 * 60 * 1000;
/** Has the ID of the person who was signed in last: files shared since then are theirs. */
const OWNER_PATH = "/share-target/owner";

/**
 * Register the service worker of people who can upload, and offer them the files that are waiting. Remove the files of
 * other people, and of those who can't upload.
 * @param {OnFiles|null} onFiles  null if this page can't upload @param {Translate} [translate]
 */
export function listenForShares(onFiles, translate = (key) => key) {
  const meta = /** @type {HTMLMetaElement|null} */ (document.querySelector("meta[name=share-target]"));
  // Both exist in secure contexts only. Guests and the admin have no `meta`.
  if (!meta || !globalThis.caches || !navigator.serviceWorker) return;
  document.addEventListener("submit", (event) => {
    if (event.target instanceof Element && event.target.matches("[data-sign-out]")) caches.delete(STORE);
  });
  const panel = document.getElementById("shared-files");
  const { content, dataset: { user = "" } } = meta;
  const start = () => {
    removeParameter();
    // People can forbid pages to store anything: then sharing does not work, and everything else does.
    if (!content) caches.delete(STORE).catch(() => {});
    else if (panel && onFiles) {
      navigator.serviceWorker.register(content).catch(() => {});
      new SharedFiles(panel, { onFiles, translate }).start(user).catch(() => {});
    }
  };
  if (document.readyState === "complete") start();
  else addEventListener("load", start, { once: true });
}

/** Remove the result of a share from the address, so that reloading does not repeat its message. */
function removeParameter() {
  const url = new URL(location.href);
  if (!url.searchParams.has("shared")) return;
  url.searchParams.delete("shared");
  history.replaceState(history.state, "", url);
}

/** The panel that asks what to do with shared files. */
class SharedFiles {
  /** @type {Request[]} */
  #requests = [];

  /** @param {HTMLElement} panel @param {{onFiles: OnFiles, translate: Translate}} options */
  constructor(panel, { onFiles, translate }) {
    this.panel = panel;
    this.onFiles = onFiles;
    this.translate = translate;
    button(panel, "upload").addEventListener("click", () => this.#upload());
    button(panel, "discard").addEventListener("click", () => this.#discard());
    button(panel, "close").addEventListener("click", () => setVisible(panel, false));
    for (const type of ["htmx:afterSettle", "htmx:historyRestore"]) {
      document.body.addEventListener(type, () => this.#drawPlace());
    }
  }

  /** @param {string} user  the ID of the person who is signed in */
  async start(user) {
    const store = await caches.open(STORE);
    const owner = await (await store.match(OWNER_PATH))?.text();
    const all = (await store.keys()).filter(({ url }) => new URL(url).pathname !== OWNER_PATH);
    const isOther = Boolean(owner) && owner !== user;
    const current = isOther ? [] : all.filter((request) => factsOf(request).time >= Date.now() - EXPIRY_MS);
    for (const request of all) if (!current.includes(request)) await store.delete(request);
    if (owner !== user) await store.put(OWNER_PATH, new Response(user));
    this.#requests = current;
    if (current.length || (isOther && all.length)) this.#open(current.length === 0);
  }

  /** @param {boolean} removed  whether the files were removed */
  #open(removed) {
    const count = this.#requests.length;
    const title = removed ? this.translate("shared_removed") : this.translate("shared", { count });
    setText(ref(this.panel, "title"), title);
    setText(ref(this.panel, "names"), listNames(this.#requests.map((request) => factsOf(request).name)));
    setVisible(button(this.panel, "discard"), !removed);
    setVisible(button(this.panel, "close"), removed);
    this.#drawPlace();
    setVisible(this.panel, true);
    announce(title);
  }

  /** Say where the files go: into the folder that is open. */
  #drawPlace() {
    const page = pageFolder();
    const refusal = refusalOf(page);
    const { folderLabel = "", folderId = "" } = page?.dataset ?? {};
    const place = folderId ? folderLabel : this.translate("shared_top");
    const isWaiting = this.#requests.length > 0;
    setText(ref(this.panel, "place"), isWaiting ? refusal || this.translate("shared_place", { place }) : "");
    setVisible(button(this.panel, "upload"), isWaiting && !refusal);
  }

  async #upload() {
    const destination = destinationOf(null);
    setVisible(this.panel, false);
    const store = await caches.open(STORE);
    const files = [];
    for (const request of this.#requests.splice(0)) {
      const file = await readFile(store, request);
      // Of two tabs, the one that removes a file uploads it.
      if (file && (await store.delete(request))) files.push(file);
    }
    this.onFiles([batchOf(files)], destination);
  }

  async #discard() {
    setVisible(this.panel, false);
    const store = await caches.open(STORE);
    for (const request of this.#requests.splice(0)) await store.delete(request);
  }
}

/** @param {Request} request  to which the worker has stored a file @returns {FileFacts} */
function factsOf({ url }) {
  const { pathname, searchParams } = new URL(url);
  const time = Number(pathname.slice(FILES_PATH.length).split("/")[0]);
  return { name: searchParams.get("name") ?? "", time, modified: Number(searchParams.get("modified")) };
}

/** @param {Cache} store @param {Request} request @returns {Promise<File|null>} null if another tab has taken it */
async function readFile(store, request) {
  const blob = await (await store.match(request))?.blob();
  const { name, modified } = factsOf(request);
  return blob ? new File([blob], name, { type: blob.type, lastModified: modified }) : null;
}
