// @ts-check

/** Why an upload failed. `kind` names a text of the page; `message` is the server's own sentence, if it sent one. */
export class UploadError extends Error {
  /**
   * @param {string} kind
   * @param {{message?: string, cause?: unknown, status?: number}} [options]
   */
  constructor(kind, { message = "", cause, status = 0 } = {}) {
    super(message, { cause });
    this.kind = kind;
    this.status = status;
  }
}

/** The upload has expired or was canceled elsewhere: start again with a new token. */
export class UploadGone extends UploadError {}

/** The storage no longer knows the multipart upload: ask the server which parts are stored. */
export class PartsGone extends UploadError {}
