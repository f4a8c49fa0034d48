// @ts-check
/** Files that people drop, paste or choose, anywhere on any page. */
import { setText, setVisible, showToast } from "./dom.js";

/** @typedef {import("./i18n.js").Translate} Translate */
/** @typedef {import("./upload.js").PickedFile} PickedFile  folder: the path inside the drop */
/**
 * @typedef {{kind: "system"|"empty"|"exists"|"uploading", path: string}} SkippedFile  a file of the operating system,
 *   an empty folder, a file whose name exists, or one that is already being uploaded
 */
/** @typedef {{picked: PickedFile[], failed: string[], skipped: SkippedFile[]}} FileBatch */
/**
 * @typedef {{folderId: number|null, path: string, replaces: string, currentName: string}} Destination  the folder on the
 *   page; replaces, currentName: the file to add a version to
 */
/** @typedef {(batches: AsyncIterable<FileBatch>|Iterable<FileBatch>, destination: Destination) => void} OnFiles */

const BATCH_SIZE = 250;
/** Browsers list a folder in an order of the file system; people expect 2 before 10. */
const NATURAL_ORDER = new Intl.Collator(undefined, { numeric: true });
/** The name that browsers give to every pasted image. */
const PASTED_IMAGE = /^image\.\w+$/;
/** Files and folders that operating systems and Office create. */
const SYSTEM_NAMES = new Set(
  (
    ".ds_store,.localized,icon\r,.appledouble,.apdisk,.fseventsd,.spotlight-v100,.temporaryitems,.trashes," +
    ".documentrevisions-v100,__macosx,thumbs.db,thumbs.db:encryptable,ehthumbs.db,ehthumbs_vista.db,desktop.ini," +
    "$recycle.bin,system volume information,.directory,.trash"
  ).split(","),
);
const SYSTEM_PREFIXES = ["._", "~$", ".~lock."];

/** @param {OnFiles} addFiles @param {Translate} translate */
export function listenForFiles(addFiles, translate) {
  /** @type {OnFiles} */
  const onFiles = (batches, destination) => {
    const refusal = destination.replaces ? "" : refusalOf(pageFolder());
    if (refusal) showToast(refusal);
    else addFiles(batches, destination);
  };
  listenForDrops(onFiles, translate);
  // Before htmx, which would follow the link.
  document.addEventListener("click", openFileDialog, { capture: true });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    onFiles([batchOf(files.map((file) => renamePasted(file)))], destinationOf(null));
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !form.matches("[data-upload-form]")) return;
    const field = form.querySelector("input[type=file][multiple]");
    if (!(field instanceof HTMLInputElement) || !field.files?.length) return;
    event.preventDefault();
    addFromField(field, onFiles);
  });
  document.addEventListener("change", (event) => {
    const field = event.target;
    if (!(field instanceof HTMLInputElement)) return;
    if (field.matches("[data-folder-field], [data-starts] [multiple]")) addFromField(field, onFiles);
  });
}

/** Refuse what people drop who cannot upload, and say why: the browser would open the file instead of the page. */
export function refuseDrops() {
  for (const type of ["dragover", "drop"]) {
    document.addEventListener(type, (event) => {
      const { dataTransfer } = /** @type {DragEvent} */ (event);
      if (!dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      dataTransfer.dropEffect = "copy"; // with "none" there is no event for the drop
      const refusal = refusalOf(document.getElementById("live-region"));
      if (type === "drop" && refusal) showToast(refusal);
    });
  }
}

/** @returns {HTMLElement|null} the element of the page that names the folder it shows */
export function pageFolder() {
  return document.querySelector("#main [data-folder-label]");
}

/** @param {HTMLElement|null} element @returns {string} why files cannot be added there; "" if they can */
export function refusalOf(element) {
  return element?.dataset.dropRefused ?? "";
}

/**
 * Open the browser's dialog for files or a folder. Without scripts, the link leads to the form.
 * @param {Event} event
 */
function openFileDialog(event) {
  const target = event.target instanceof Element ? event.target.closest("[data-choose]") : null;
  const field = target && document.getElementById(`choose-${target.getAttribute("data-choose")}`);
  if (!field) return;
  event.preventDefault();
  event.stopPropagation();
  const refusal = refusalOf(pageFolder());
  if (refusal) showToast(refusal);
  else field.click();
}

/** @param {HTMLInputElement} field @param {OnFiles} onFiles */
function addFromField(field, onFiles) {
  const files = [...(field.files ?? [])].sort((a, b) => NATURAL_ORDER.compare(relativePath(a), relativePath(b)));
  onFiles([batchOf(files)], destinationOf(null));
  field.value = "";
}

/** @param {OnFiles} onFiles @param {Translate} translate */
function listenForDrops(onFiles, translate) {
  const overlay = document.getElementById("drop-overlay");
  const showOverlay = (/** @type {boolean} */ visible, /** @type {EventTarget|null} */ target = null) => {
    if (!overlay) return;
    if (visible) setText(/** @type {HTMLElement} */ (overlay.firstElementChild), dropHint(target, translate));
    setVisible(overlay, visible);
  };
  // Every element that the pointer enters or leaves fires an event: inside the page, the depth is above zero.
  let depth = 0;
  const onDrag = (/** @type {DragEvent} */ event, /** @type {number} */ step) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    depth = Math.max(0, depth + step);
    showOverlay(depth > 0, event.target);
  };
  document.addEventListener("dragenter", (event) => onDrag(event, 1));
  document.addEventListener("dragover", (event) => onDrag(event, 0));
  document.addEventListener("dragleave", (event) => onDrag(event, -1));
  document.addEventListener("drop", (event) => {
    depth = 0;
    showOverlay(false);
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    onFiles(readEntries(readTransfer(event.dataTransfer)), destinationOf(event.target));
  });
}

/** @param {EventTarget|null} target  the element below the pointer @returns {Destination} */
export function destinationOf(target) {
  const page = /** @type {HTMLElement|null} */ (document.querySelector("#main [data-folder-id]"));
  const zone = /** @type {HTMLElement|null} */ (target instanceof Element ? target.closest("[data-replaces]") : null);
  const { folderId = "", path = "" } = page?.dataset ?? {};
  const { replaces = "", name = "" } = zone?.dataset ?? {};
  return { folderId: folderId ? Number(folderId) : null, path, replaces, currentName: name };
}

/** @param {EventTarget|null} target @param {Translate} translate @returns {string} what a drop does here */
function dropHint(target, translate) {
  const zone = target instanceof Element ? target.closest("[data-drop-text]") : null;
  if (zone) return zone.getAttribute("data-drop-text") ?? "";
  const page = pageFolder();
  return refusalOf(page) || (page ? translate("drop_into", { place: page.dataset.folderLabel ?? "" }) : translate("drop"));
}

/** Give a pasted image a unique name. @param {File} file @param {Date} [now] */
export function renamePasted(file, now = new Date()) {
  if (!PASTED_IMAGE.test(file.name)) return file;
  const pad = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const date = `${now.getFullYear()}-${pad(now.getMonth() + 1)}-${pad(now.getDate())}`;
  const time = `${pad(now.getHours())}.${pad(now.getMinutes())}.${pad(now.getSeconds())}`;
  const { type, lastModified } = file;
  return new File([file], file.name.replace("image", `pasted ${date} ${time}`), { type, lastModified });
}

/** @param {string} name  of a file or a folder */
export function isSystemName(name) {
  return SYSTEM_NAMES.has(name.toLowerCase()) || SYSTEM_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/**
 * Return the files and folders of a drop, in its order. Call this in the event handler: the items are not available
 * afterwards.
 * @param {DataTransfer} transfer
 * @returns {(File|FileSystemEntry)[]}
 */
function readTransfer(transfer) {
  const dropped = [];
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    const file = entry?.isDirectory ? null : item.getAsFile();
    if (file ?? entry) dropped.push(/** @type {File|FileSystemEntry} */ (file ?? entry));
  }
  return dropped;
}

/**
 * Yield files, and those of folders with their subfolders sorted by name, a few hundred at a time.
 * @param {(File|FileSystemEntry)[]} dropped
 * @returns {AsyncGenerator<FileBatch>}
 */
export async function* readEntries(dropped) {
  let batch = emptyBatch();
  const stack = [...dropped].reverse();
  while (stack.length > 0) {
    const entry = /** @type {File|FileSystemEntry} */ (stack.pop());
    try {
      if (entry instanceof File) addFile(batch, entry);
      else if (isSystemName(entry.name)) batch.skipped.push({ kind: "system", path: pathOf(entry) });
      else if (entry.isDirectory) stack.push(...(await readFolder(entry, batch)).reverse());
      else batch.picked.push({ file: await fileOf(entry), folder: parentPath(entry.fullPath) });
    } catch {
      batch.failed.push(pathOf(/** @type {FileSystemEntry} */ (entry)));
    }
    if (batch.picked.length < BATCH_SIZE) continue;
    yield batch;
    batch = emptyBatch();
  }
  yield batch;
}

/** @returns {FileBatch} */
function emptyBatch() {
  return { picked: [], failed: [], skipped: [] };
}

/**
 * Return the entries of a folder, and add the folder to what is skipped if it has no files.
 * @param {FileSystemEntry} entry @param {FileBatch} batch
 */
async function readFolder(entry, batch) {
  const entries = await children(entry);
  if (entries.every(({ name }) => isSystemName(name))) batch.skipped.push({ kind: "empty", path: pathOf(entry) });
  return entries;
}

/** @param {FileSystemEntry} entry */
function pathOf(entry) {
  return entry.fullPath.slice(1);
}

/** @param {FileSystemEntry} entry @returns {Promise<FileSystemEntry[]>} sorted by name */
async function children(entry) {
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  /** @type {FileSystemEntry[]} */
  const entries = [];
  for (;;) {
    // Browsers return at most 100 entries in one call, and none at the end.
    const page = /** @type {FileSystemEntry[]} */ (
      await new Promise((resolve, reject) => reader.readEntries(resolve, reject))
    );
    if (page.length === 0) return entries.sort((a, b) => NATURAL_ORDER.compare(a.name, b.name));
    entries.push(...page);
  }
}

/** @param {FileSystemEntry} entry @returns {Promise<File>} */
function fileOf(entry) {
  return new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
}

/** @param {string} path  such as "/brand/logos/dark.png" @returns {string} such as "brand/logos" */
function parentPath(path) {
  return path.split("/").filter(Boolean).slice(0, -1).join("/");
}

/** @param {Iterable<File>} files  with a path if they are from a folder field @returns {FileBatch} */
export function batchOf(files) {
  const batch = emptyBatch();
  for (const file of files) addFile(batch, file);
  return batch;
}

const relativePath = (/** @type {File} */ file) => file.webkitRelativePath || file.name;

/** @param {FileBatch} batch @param {File} file */
function addFile(batch, file) {
  const path = relativePath(file);
  if (path.split("/").some(isSystemName)) batch.skipped.push({ kind: "system", path });
  else batch.picked.push({ file, folder: parentPath(file.webkitRelativePath) });
}
