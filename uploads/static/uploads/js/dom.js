// @ts-check
/** Helpers for elements: references, templates, text, progress, toasts and announcements. */

/**
 * Return the element of a component that its markup names with `data-ref`.
 * @param {ParentNode} root @param {string} name @returns {HTMLElement}
 */
export function ref(root, name) {
  const element = root.querySelector(`[data-ref="${name}"]`);
  if (!(element instanceof HTMLElement)) throw new Error(`the component has no element ${name}`);
  return element;
}

/** @param {ParentNode} root @param {string} name @returns {HTMLButtonElement} */
export function button(root, name) {
  return /** @type {HTMLButtonElement} */ (root.querySelector(`button[data-action="${name}"]`));
}

/** @param {ParentNode} root @param {string} name @returns {HTMLElement} a copy of the only element of the template */
export function cloneTemplate(root, name) {
  const template = /** @type {HTMLTemplateElement} */ (ref(root, name));
  return /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
}

/** Set the text if it differs, because changes cost a layout. @param {HTMLElement} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {HTMLElement} element @param {boolean} visible */
export function setVisible(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** @param {HTMLElement} bar @param {number} done @param {number} total */
export function setProgress(bar, done, total) {
  const value = total > 0 ? Math.floor((done / total) * 1000) : 0;
  if (bar instanceof HTMLProgressElement && bar.value !== value) bar.value = value;
}

/** Show a text for some seconds, and announce it. @param {string} text */
export function showToast(text) {
  document.getElementById("toast")?.remove();
  const toast = document.createElement("p");
  toast.id = "toast";
  toast.className = "message warning";
  toast.textContent = text;
  document.body.append(toast);
  announce(text);
}

/** Announce a text to screen readers, through the ARIA live region of the page. @param {string} text */
export function announce(text) {
  const region = document.getElementById("live-region");
  if (region) region.textContent = text;
}
