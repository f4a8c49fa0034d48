// @ts-check
/**
 * Passkeys (WebAuthn), on the pages that use them. A form with `data-passkey="create"` adds one, and one with
 * `data-passkey="get"` signs in or confirms with one. The server's options are in `#passkey-options`, or come from the
 * form's `data-options-url`. What the device says is sent in the field `credential`.
 */

/** @param {string} text in base64url @returns {ArrayBuffer} */
function decode(text) {
  const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(bytes, (char) => char.charCodeAt(0)).buffer;
}

/** @param {ArrayBuffer} buffer @returns {string} in base64url */
function encode(buffer) {
  const bytes = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {any} publicKey the server's options, in JSON @returns {any} with bytes where the browser wants bytes */
function withBytes(publicKey) {
  const credentials = (list) => (list ?? []).map((item) => ({ ...item, id: decode(item.id) }));
  return {
    ...publicKey,
    challenge: decode(publicKey.challenge),
    ...(publicKey.user && { user: { ...publicKey.user, id: decode(publicKey.user.id) } }),
    excludeCredentials: credentials(publicKey.excludeCredentials),
    allowCredentials: credentials(publicKey.allowCredentials),
  };
}

/** @param {any} credential @returns {string} in JSON */
function serialize(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) {
      response[name] = encode(credential.response[name]);
    }
  }
  return JSON.stringify({
    id: credential.id,
    rawId: encode(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: credential.getClientExtensionResults(),
  });
}

/** @param {HTMLFormElement} form @returns {Promise<any>} */
async function fetchOptions(form) {
  const embedded = document.getElementById("passkey-options");
  if (!form.dataset.optionsUrl) {
    const data = JSON.parse(embedded?.textContent ?? "{}");
    return data.creation_options ?? data.request_options;
  }
  const response = await fetch(form.dataset.optionsUrl, { method: "POST", body: new URLSearchParams(token(form)) });
  if (!response.ok) {
    throw new Error(`${response.status}`);
  }
  return response.json();
}

/** @param {HTMLFormElement} form @returns {Record<string, string>} */
function token(form) {
  const input = /** @type {HTMLInputElement} */ (form.elements.namedItem("csrfmiddlewaretoken"));
  return { csrfmiddlewaretoken: input.value };
}

/** @param {HTMLFormElement} form */
async function run(form) {
  const options = { publicKey: withBytes((await fetchOptions(form)).publicKey) };
  const { credentials } = navigator;
  const credential =
    form.dataset.passkey === "create" ? await credentials.create(options) : await credentials.get(options);
  const input = /** @type {HTMLInputElement} */ (form.elements.namedItem("credential"));
  input.value = serialize(credential);
  form.submit();
}

/** @param {HTMLFormElement} form */
function enhance(form) {
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("[data-passkey-button]"));
  const error = /** @type {HTMLElement} */ (form.querySelector("[data-passkey-error]"));
  const start = async () => {
    button.disabled = true;
    error.hidden = true;
    try {
      await run(form);
    } catch {
      // refused by the person or the device, or the server did not respond
      error.hidden = false;
      button.disabled = false;
    }
  };
  button.addEventListener("click", start);
  form.addEventListener("submit", (event) => {
    event.preventDefault(); // Enter in the name's field
    start();
  });
  form.hidden = false;
  button.hidden = false;
  form.querySelector("[data-passkey-fallback]")?.toggleAttribute("hidden", true);
}

if (window.PublicKeyCredential) {
  for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form[data-passkey]"))) {
    enhance(form);
  }
}
