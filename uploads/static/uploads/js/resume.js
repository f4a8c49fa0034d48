// @ts-check
/** Recognising a file that was begun before: by what a browser tells of it, then by its digests. */

/** @typedef {{name: string, folder: string, size: number, modified: number|null, token: string}} Unfinished */
/** @typedef {{file: File, folder: string}} Picked */

/**
 * Names come in two Unicode forms (macOS writes NFD); the server keeps NFC.
 * @param {{name: string, folder?: string, size: number, modified?: number|null}} facts
 */
export function keyOf({ name, folder = "", size, modified }) {
  return JSON.stringify([name.normalize("NFC"), folder.normalize("NFC"), size, modified ?? null]);
}

/**
 * @param {Unfinished[]} unfinished  newest first; their folders are whole paths
 * @param {string} [way]  the path of the folder that picked files go into
 * @returns {(picked: Picked) => string} the token to go on with, each given once; "" when there is none
 */
export function matcher(unfinished, way = "") {
  /** @type {Map<string, string[]>} */
  const tokens = new Map();
  for (const upload of unfinished) {
    const key = keyOf(upload);
    tokens.set(key, [...(tokens.get(key) ?? []), upload.token]);
  }
  return ({ file, folder }) => {
    const whole = [way, folder].filter(Boolean).join("/");
    const key = keyOf({ name: file.name, folder: whole, size: file.size, modified: file.lastModified });
    return tokens.get(key)?.shift() ?? "";
  };
}

/**
 * Takes an upload for this tab, so that two tabs with the same file do not send into one row.
 * @param {string} token
 * @returns {Promise<(() => void)|null>} how to let go; null when another tab holds it
 */
export function claim(token) {
  return new Promise((resolve, reject) => {
    const held = navigator.locks.request(`amalga-upload-${token}`, { ifAvailable: true }, (lock) => {
      if (!lock) return resolve(null);
      return new Promise((/** @type {(value?: unknown) => void} */ release) => resolve(() => release()));
    });
    held.catch(reject);
  });
}
