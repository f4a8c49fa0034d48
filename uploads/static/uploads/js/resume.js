// @ts-check
/** Match files to unfinished uploads by what a browser knows of a file. Checksums decide later which parts to send. */

/** @typedef {{name: string, folder: string, size: number, modified: number|null, token: string}} UnfinishedUpload */
/** @typedef {{file: File, folder: string, name?: string}} PickedFile  name: if not that of the file */

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
