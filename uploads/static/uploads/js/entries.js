// @ts-check
/** Files and whole folders out of a drop. */

/** @typedef {{file: File, folder: string}} Picked */
/** @typedef {{kind: "system"|"empty", path: string}} Skipped  a file of the operating system's, or a folder without files */
/** @typedef {{picked: Picked[], failed: string[], skipped: Skipped[]}} Found */

const PER_BATCH = 250;
/** What desktops and Office write beside people's files. */
const SYSTEM_NAMES = new Set(
  (
    ".ds_store,.localized,icon\r,.appledouble,.apdisk,.fseventsd,.spotlight-v100,.temporaryitems,.trashes," +
    ".documentrevisions-v100,__macosx,thumbs.db,thumbs.db:encryptable,ehthumbs.db,ehthumbs_vista.db,desktop.ini," +
    "$recycle.bin,system volume information,.directory,.trash"
  ).split(","),
);
const SYSTEM_PREFIXES = ["._", "~$", ".~lock."];

/** @param {string} name  of a file or a folder */
export function isSystemName(name) {
  return SYSTEM_NAMES.has(name.toLowerCase()) || SYSTEM_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/**
 * To be called while the drop event runs: its items are gone afterwards.
 * @param {DataTransfer} transfer
 * @returns {{entries: FileSystemEntry[], files: File[]}}
 */
export function grab(transfer) {
  const entries = [];
  const files = [];
  for (const item of transfer.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    const file = entry?.isDirectory ? null : item.getAsFile();
    if (file) files.push(file);
    else if (entry) entries.push(entry);
  }
  return { entries, files };
}

/**
 * Walks folders, a few hundred files at a time.
 * @param {FileSystemEntry[]} entries
 * @returns {AsyncGenerator<Found>}  system files and empty folders are skipped, and named
 */
export async function* walk(entries) {
  let found = nothing();
  const open = [...entries].reverse();
  while (open.length > 0) {
    const entry = /** @type {FileSystemEntry} */ (open.pop());
    try {
      if (isSystemName(entry.name)) found.skipped.push({ kind: "system", path: pathOf(entry) });
      else if (entry.isDirectory) open.push(...(await opened(entry, found)).reverse());
      else found.picked.push({ file: await fileOf(entry), folder: folderOf(entry.fullPath) });
    } catch {
      found.failed.push(pathOf(entry));
    }
    if (found.picked.length < PER_BATCH) continue;
    yield found;
    found = nothing();
  }
  yield found;
}

/** @returns {Found} */
function nothing() {
  return { picked: [], failed: [], skipped: [] };
}

/** What is in a folder; one with nothing of its own in it is noted. @param {FileSystemEntry} entry @param {Found} found */
async function opened(entry, found) {
  const all = await children(entry);
  if (all.every(({ name }) => isSystemName(name))) found.skipped.push({ kind: "empty", path: pathOf(entry) });
  return all;
}

/** @param {FileSystemEntry} entry */
function pathOf(entry) {
  return entry.fullPath.slice(1);
}

/** @param {FileSystemEntry} entry @returns {Promise<FileSystemEntry[]>} */
async function children(entry) {
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  /** @type {FileSystemEntry[]} */
  const all = [];
  for (;;) {
    // Browsers give at most 100 a call; an empty answer is the end.
    const some = /** @type {FileSystemEntry[]} */ (await new Promise((yes, no) => reader.readEntries(yes, no)));
    if (some.length === 0) return all;
    all.push(...some);
  }
}

/** @param {FileSystemEntry} entry @returns {Promise<File>} */
function fileOf(entry) {
  return new Promise((yes, no) => /** @type {FileSystemFileEntry} */ (entry).file(yes, no));
}

/** @param {string} path  such as "/brand/logos/dark.png" */
export function folderOf(path) {
  return path.split("/").filter(Boolean).slice(0, -1).join("/");
}

/** @param {Iterable<File>} files  from a file field; a folder field tells the paths @returns {Found} */
export function fromField(files) {
  const found = nothing();
  for (const file of files) {
    const path = file.webkitRelativePath || file.name;
    if (path.split("/").some(isSystemName)) found.skipped.push({ kind: "system", path });
    else found.picked.push({ file, folder: folderOf(file.webkitRelativePath) });
  }
  return found;
}
