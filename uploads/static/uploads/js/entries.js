// @ts-check
/** Files and whole folders out of a drop. */

/** @typedef {{file: File, folder: string}} Picked */
/** @typedef {{picked: Picked[], failed: string[]}} Found */

const PER_BATCH = 250;

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
 * @returns {AsyncGenerator<Found>}
 */
export async function* walk(entries) {
  /** @type {Found} */
  let found = { picked: [], failed: [] };
  const open = [...entries].reverse();
  while (open.length > 0) {
    const entry = /** @type {FileSystemEntry} */ (open.pop());
    try {
      if (entry.isDirectory) open.push(...(await children(entry)).reverse());
      else found.picked.push({ file: await fileOf(entry), folder: folderOf(entry.fullPath) });
    } catch {
      found.failed.push(entry.fullPath.slice(1));
    }
    if (found.picked.length < PER_BATCH) continue;
    yield found;
    found = { picked: [], failed: [] };
  }
  yield found;
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

/** @param {Iterable<File>} files  from a file field; a folder field tells the paths */
export function fromField(files) {
  return Array.from(files, (file) => ({ file, folder: folderOf(file.webkitRelativePath) }));
}
