// @ts-check
/** Connects the modules to the page, whose markup has all URLs and texts. */
import { Api, Gate, Session } from "./api.js";
import { UploadContext, VerificationPoller } from "./context.js";
import { announce } from "./dom.js";
import { listenForFiles, refuseDrops } from "./drop-target.js";
import { enhance, showStored } from "./enhance.js";
import { Messages, translatorOf } from "./i18n.js";
import { listenForLightbox } from "./lightbox.js";
import { canHash } from "./parts.js";
import { LastSuccess, UploadError } from "./retry.js";
import { listenForRowActions } from "./row-actions.js";
import { listenForSelection } from "./selection.js";
import { listenForShares } from "./share-target.js";
import { Tray } from "./tray.js";
import { filePath, tokenMatcher } from "./upload.js";
import { itemKey, Uploader } from "./uploader.js";

/** @typedef {import("./drop-target.js").Destination} Destination */
/** @typedef {import("./drop-target.js").FileBatch} FileBatch */
/** @typedef {import("./upload.js").PickedFile} PickedFile */
/** @typedef {import("./upload.js").UnfinishedUpload} UnfinishedUpload */
/** @typedef {import("./uploader.js").NewFile} NewFile */
/**
 * @typedef {{api: Api, uploader: Uploader, tray: Tray, translate: import("./i18n.js").Translate,
 *   isGuest: boolean}} AddOptions
 */
/**
 * @typedef {{item: NewFile, path: string, id: string, replaceable: boolean, free_name: string}} Conflict  a file whose
 *   name exists: the id of the existing file, whether this user may replace it, and a name that is free
 */

/** Time to look up what exists. Files are uploaded without it if the server does not respond. */
const LOOKUP_TIMEOUT_MS = 5000;
/** The server has the same limit. */
const MAX_NAMES_PER_CALL = 500;

const box = document.getElementById("tray");
enhance();
listenForSelection();
listenForRowActions();
listenForLightbox();
if (box && canHash()) startUploader(box);
else {
  document.documentElement.classList.add("no-uploader");
  refuseDrops();
  listenForShares(null);
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
    onChange: (upload) => {
      tray.redraw();
      if (upload?.phase === "done") notify("upload-finished");
    },
    onCanceled: () => notify("upload-canceled"),
  });
  const messages = new Messages(translatorOf(document), { language: document.documentElement.lang, maxBytes });
  const poller = new VerificationPoller(api, uploader, batchSize);
  const tray = new Tray(box, {
    uploader, messages, gate,
    refreshSession: () => session.refresh(),
    onStored: () => {
      showStored();
      if (uploader.uploads.some(({ phase, replaces }) => phase === "done" && replaces)) notify("version-stored");
      poller.start();
    },
  });
  const { translate } = messages;
  /** @type {import("./drop-target.js").OnFiles} */
  const onFiles = (batches, destination) => {
    // Other forms only require the file that is being dropped.
    if (guestForm instanceof HTMLFormElement && !guestForm.reportValidity()) return;
    addFiles(batches, destination, { api, uploader, tray, translate, isGuest: guestForm !== null });
  };
  listenForFiles(onFiles, translate);
  listenForShares(onFiles, translate);
  addEventListener("beforeunload", (event) => uploader.inProgress && event.preventDefault());
}

/**
 * Add files to the uploader in the order they are read, and resume those that have an unfinished upload. Files whose
 * names exist wait until all are read, for one question about all of them.
 * @param {AsyncIterable<FileBatch>|Iterable<FileBatch>} batches
 * @param {Destination} destination
 * @param {AddOptions} options
 */
async function addFiles(batches, destination, options) {
  options.uploader.beginAdding();
  try {
    await addBatches(batches, destination, options);
  } finally {
    options.uploader.endAdding();
  }
}

/**
 * @param {AsyncIterable<FileBatch>|Iterable<FileBatch>} batches @param {Destination} destination
 * @param {AddOptions} options
 */
async function addBatches(batches, { folderId, path, replaces, currentName }, options) {
  const { api, uploader, tray, translate, isGuest } = options;
  const field = document.querySelector("[data-upload-form] input[name=private]");
  const visibility = field instanceof HTMLInputElement && field.checked ? "private" : "team";
  const active = uploader.activeKeys;
  const tokenFor = replaces ? () => "" : tokenMatcher(await unfinishedUploads(api, uploader), path);
  /** @type {Conflict[]} */
  const conflicts = [];
  let count = 0;
  for await (const { picked, failed, skipped } of batches) {
    // A file can be replaced by one file only: the first.
    const accepted = replaces ? picked.splice(0, count ? 0 : 1) : picked.splice(0);
    if (isGuest) for (const item of accepted) item.folder = "";
    if (replaces && accepted[0] && !(await tray.confirmReplacement(currentName, accepted[0].file.name))) {
      return;
    }
    const repeated = new Set(replaces ? [] : accepted.filter((item) => active.has(itemKey({ ...item, folderId }))));
    const items = accepted.filter((item) => !repeated.has(item))
      .map((item) => ({ ...item, folderId, replaces, token: tokenFor(item), order: uploader.nextOrder() }));
    for (const conflict of isGuest || replaces ? [] : await findConflicts(items.filter(({ token }) => !token), api)) {
      // What was kept beside the existing file before has the free name.
      const { item, free_name: name } = conflict;
      const token = tokenFor({ ...item, name });
      if (token) Object.assign(item, { token, name });
      else conflicts.push(conflict);
    }
    const held = new Set(conflicts.map(({ item }) => item));
    uploader.add(items.filter((item) => !held.has(item)), visibility);
    for (const { file } of picked) uploader.addFailed(file.name, new UploadError("several_versions"));
    for (const name of failed) uploader.addFailed(name, new UploadError("unreadable_entry"));
    uploader.addSkipped(skipped);
    uploader.addSkipped([...repeated].map((item) => ({ kind: "uploading", path: pathOf(item) })));
    count += accepted.length + picked.length + failed.length + skipped.length;
    if (count > conflicts.length) tray.open();
  }
  if (conflicts.length) {
    const choice = await tray.askAboutConflicts(conflicts);
    if (choice === "skip") uploader.addSkipped(conflicts.map(({ path }) => ({ kind: "exists", path })));
    else uploader.add(conflicts.map((conflict) => resolveConflict(conflict, choice)), visibility);
    tray.open();
  }
  if (!count) announce(translate("no_files"));
}

/** @param {PickedFile} item */
function pathOf({ file, folder }) {
  return filePath(folder, file.name);
}

/** @param {Conflict} conflict @param {string} answer @returns {NewFile} */
function resolveConflict({ item, id, replaceable, free_name }, answer) {
  if (answer === "new_version" && replaceable) return { ...item, replaces: id };
  return { ...item, name: free_name };
}

/**
 * Return the files whose names exist in the destination. If the server does not respond, none: then they are uploaded
 * beside those that exist.
 * @param {NewFile[]} items @param {Api} api
 * @returns {Promise<Conflict[]>}
 */
async function findConflicts(items, api) {
  /** @type {Conflict[]} */
  const conflicts = [];
  if (!navigator.onLine) return conflicts;
  for (let start = 0; start < items.length; start += MAX_NAMES_PER_CALL) {
    const batch = items.slice(start, start + MAX_NAMES_PER_CALL);
    const names = batch.map(({ file, folder }) => ({ name: file.name, folder }));
    try {
      const signal = AbortSignal.any([AbortSignal.timeout(LOOKUP_TIMEOUT_MS), api.session.gate.closing]);
      const { files } = await api.findConflicts(names, batch[0].folderId ?? null, signal);
      for (const [index, { exists, ...existing }] of files.entries()) {
        const item = batch[index];
        if (exists) conflicts.push({ item, path: pathOf(item), ...existing });
      }
    } catch {
      break;
    }
  }
  return conflicts;
}

/**
 * Return the uploads that can be resumed. If the server does not respond, all files are uploaded from the start.
 * @param {Api} api @param {Uploader} uploader
 * @returns {Promise<UnfinishedUpload[]>}
 */
async function unfinishedUploads(api, uploader) {
  if (!document.querySelector("#site-nav .count, [data-unfinished]") && uploader.uploads.length === 0) return [];
  if (!navigator.onLine) return [];
  try {
    const { uploads } = await api.listUnfinished(AbortSignal.timeout(LOOKUP_TIMEOUT_MS));
    const active = uploader.activeTokens;
    return uploads.filter((/** @type {UnfinishedUpload} */ upload) => !active.has(upload.token));
  } catch {
    return [];
  }
}
