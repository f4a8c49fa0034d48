// @ts-check
/** Connects the modules to the page, whose markup has all URLs and texts. */
import { Api, Gate, Session } from "./api.js";
import { UploadContext, VerificationPoller } from "./context.js";
import { announce } from "./dom.js";
import { listenForFiles, refuseDrops } from "./drop-target.js";
import { enhance, showSupported } from "./enhance.js";
import { Messages, translatorOf } from "./i18n.js";
import { canHash } from "./parts.js";
import { tokenMatcher } from "./resume.js";
import { LastSuccess, UploadError } from "./retry.js";
import { listenForRowChanges } from "./row-changes.js";
import { listenForRowMenu } from "./row-menu.js";
import { listenForSelection } from "./selection.js";
import { Tray } from "./tray.js";
import { Uploader } from "./uploader.js";

/** @typedef {import("./drop-target.js").Destination} Destination */
/** @typedef {import("./drop-target.js").FileBatch} FileBatch */
/** @typedef {import("./resume.js").UnfinishedUpload} UnfinishedUpload */

const UNFINISHED_TIMEOUT_MS = 5000;

const box = document.getElementById("tray");
const canUpload = box !== null && canHash();
enhance();
listenForSelection();
listenForRowMenu();
listenForRowChanges();
onPage(() => showSupported({ uploader: canUpload }));
if (box && canUpload) startUploader(box);
else refuseDrops();

/** Call a function now, and after every page that htmx loads. @param {() => void} callback */
function onPage(callback) {
  callback();
  document.body.addEventListener("htmx:afterSettle", callback);
}

/** Return what a guest says of themselves, as a member of the call that creates uploads. */
function guestDetails() {
  /** @type {NodeListOf<HTMLInputElement>} */
  const fields = document.querySelectorAll("[data-guest-field]");
  return fields.length ? { guest: Object.fromEntries([...fields].map(({ name, value }) => [name, value])) } : {};
}

/** @param {DOMStringMap} dataset */
function numbersOf({ maxBytes, partBytes, batchSize }) {
  return { maxBytes: Number(maxBytes), partBytes: Number(partBytes), batchSize: Number(batchSize) };
}

/** @param {HTMLElement} box */
function startUploader(box) {
  // The form of a file request has the addresses and limits for its guests.
  const guestForm = /** @type {HTMLElement|null} */ (document.querySelector("[data-guest]"));
  const dataset = { ...box.dataset, ...guestForm?.dataset };
  const { uploadsUrl = "", finishUrl = "", pageUrl = "" } = dataset;
  const { maxBytes, partBytes, batchSize } = numbersOf(dataset);
  const gate = new Gate();
  const lastSuccess = new LastSuccess();
  const session = new Session({ pageUrl, gate, onChange: () => tray.redraw() });
  const onProblem = (/** @type {string} */ problem) => tray.setProblem(problem);
  const api = new Api({ uploadsUrl, finishUrl }, { session, lastSuccess, onProblem, guestDetails });
  const context = new UploadContext({ api, gate, lastSuccess, partBytes, batchSize });
  const notify = (/** @type {string} */ type) => document.body.dispatchEvent(new CustomEvent(type));
  const uploader = new Uploader(context, {
    maxBytes,
    onChange: () => tray.redraw(),
    onCanceled: () => notify("upload-canceled"),
  });
  const messages = new Messages(translatorOf(document), { language: document.documentElement.lang, maxBytes });
  const poller = new VerificationPoller(api, uploader, batchSize);
  const tray = new Tray(box, {
    uploader, messages, gate,
    refreshSession: () => session.refresh(),
    onStored: () => {
      notify("files-stored");
      if (uploader.uploads.some(({ phase, replaces }) => phase === "done" && replaces)) notify("version-stored");
      poller.start();
    },
  });
  const { translate } = messages;
  listenForFiles((batches, destination) => {
    // Other forms only require the file that is being dropped.
    if (guestForm instanceof HTMLFormElement && !guestForm.reportValidity()) return;
    addFiles(batches, destination, { api, uploader, tray, translate, flat: guestForm !== null });
  }, translate);
  addEventListener("beforeunload", (event) => uploader.inProgress && event.preventDefault());
}

/**
 * Add files to the uploader in the order they are read, and resume those that have an unfinished upload.
 * @param {AsyncIterable<FileBatch>|Iterable<FileBatch>} batches
 * @param {Destination} destination
 * @param {{api: Api, uploader: Uploader, tray: Tray, translate: import("./i18n.js").Translate, flat: boolean}} options
 *   flat: leave out the folders of the files
 */
async function addFiles(batches, { folderId, path, replaces }, { api, uploader, tray, translate, flat }) {
  const field = document.querySelector("[data-upload-form] input[name=private]");
  const visibility = field instanceof HTMLInputElement && field.checked ? "private" : "team";
  uploader.beginAdding();
  const tokenFor = replaces ? () => "" : tokenMatcher(await unfinishedUploads(api, uploader), path);
  let count = 0;
  for await (const { picked, failed, skipped } of batches) {
    // A file can be replaced by one file only: the first.
    const accepted = replaces ? picked.splice(0, count ? 0 : 1) : picked.splice(0);
    if (flat) for (const item of accepted) item.folder = "";
    uploader.add(accepted.map((item) => ({ ...item, folderId, replaces, token: tokenFor(item) })), visibility);
    for (const { file } of picked) uploader.addFailed(file.name, new UploadError("several_versions"));
    for (const name of failed) uploader.addFailed(name, new UploadError("unreadable_entry"));
    uploader.addSkipped(skipped);
    count += accepted.length + picked.length + failed.length + skipped.length;
    if (count) tray.open();
  }
  uploader.endAdding();
  if (!count) announce(translate("no_files"));
}

/**
 * Return the uploads that can be resumed. If the server does not respond, all files are uploaded from the start.
 * @param {Api} api @param {Uploader} uploader
 * @returns {Promise<UnfinishedUpload[]>}
 */
async function unfinishedUploads(api, uploader) {
  if (!document.querySelector("#site-nav .count, [data-unfinished]") && uploader.uploads.length === 0) return [];
  try {
    const { uploads } = await api.listUnfinished(AbortSignal.timeout(UNFINISHED_TIMEOUT_MS));
    const active = uploader.activeTokens;
    return uploads.filter((/** @type {UnfinishedUpload} */ upload) => !active.has(upload.token));
  } catch {
    return [];
  }
}
