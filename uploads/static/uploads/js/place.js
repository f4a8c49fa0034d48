// @ts-check
/** Where files go that come in now: the page says it, and may have changed since the last ones. */

/** @typedef {{into: number|null, way: string, replaces: string}} Place  way: the folder's whole path */

/** @param {EventTarget|null} target  what the files hang over @returns {Place} */
export function placeOf(target) {
  const page = /** @type {HTMLElement|null} */ (document.querySelector("#main [data-into]"));
  const zone = /** @type {HTMLElement|null} */ (target instanceof Element ? target.closest("[data-replaces]") : null);
  const { into = "", way = "" } = page?.dataset ?? {};
  return { into: into ? Number(into) : null, way, replaces: zone?.dataset.replaces ?? "" };
}

/** @param {EventTarget|null} target @param {import("./words.js").Words} words @returns {string} what a drop would do */
export function promise(target, words) {
  const zone = /** @type {HTMLElement|null} */ (target instanceof Element ? target.closest("[data-drop-replace]") : null);
  if (zone) return zone.dataset.dropReplace ?? "";
  const page = /** @type {HTMLElement|null} */ (document.querySelector("#main [data-drop]"));
  if (page?.dataset.closed) return page.dataset.closed;
  return page ? words("drop_into", { place: page.dataset.drop ?? "" }) : words("drop");
}
