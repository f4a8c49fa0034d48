// @ts-check

/**
 * The piece of a component that its markup names with `data-part`.
 * @param {ParentNode} root @param {string} name @returns {HTMLElement}
 */
export function part(root, name) {
  const found = root.querySelector(`[data-part="${name}"]`);
  if (!(found instanceof HTMLElement)) throw new Error(`the page has no part ${name}`);
  return found;
}

/** @param {ParentNode} root @param {string} name @returns {HTMLButtonElement} */
export function button(root, name) {
  return /** @type {HTMLButtonElement} */ (root.querySelector(`button[data-do="${name}"]`));
}

/** @param {ParentNode} root @param {string} name @returns {HTMLElement} a copy of the template's one element */
export function stamp(root, name) {
  const template = /** @type {HTMLTemplateElement} */ (part(root, name));
  return /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
}

/** Writes only what differs: the page is looked at sixty times a second. @param {HTMLElement} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/** @param {HTMLElement} bar @param {number} done @param {number} whole */
export function fillBar(bar, done, whole) {
  const value = whole > 0 ? Math.floor((done / whole) * 1000) : 0;
  if (bar instanceof HTMLProgressElement && bar.value !== value) bar.value = value;
}
