// @ts-check

/** Why a file did not get through. `kind` is the name of a text; `message` is one the server wrote. */
export class Trouble extends Error {
  /**
   * @param {string} kind
   * @param {{message?: string, cause?: unknown, status?: number}} [facts]
   */
  constructor(kind, { message = "", cause, status = 0 } = {}) {
    super(message, { cause });
    this.kind = kind;
    this.status = status;
  }
}

/** The server says that this upload is over (expired, cancelled elsewhere): start again with a new token. */
export class Gone extends Trouble {}

/** The store does not know the multipart upload any more: ask the server for the parts again. */
export class PartsGone extends Trouble {}
