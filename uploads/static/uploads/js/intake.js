// @ts-check
import { show, write } from "./dom.js";
import { fromField, grab, walk } from "./entries.js";

/** @typedef {import("./entries.js").Found} Found */
/** @typedef {(found: AsyncIterable<Found>|Iterable<Found>, place: Place) => void} Take */
/** @typedef {import("./words.js").Words} Words */

/** Browsers call every pasted picture so; a list full of image.png helps nobody. */
const PASTED = /^image\.\w+$/;

/** Files come in by drop, paste and field, anywhere on the page and on every page. @param {Take} take @param {Words} words */
export function listen(take, words) {
  listenToDrops(take, words);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    take([fromField(files.map((file) => named(file)))], placeOf(null));
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || !form.matches("[data-upload-form]")) return;
    const field = form.querySelector("input[type=file][multiple]");
    if (!(field instanceof HTMLInputElement) || !field.files?.length) return;
    event.preventDefault();
    takeField(field, take);
  });
  document.addEventListener("change", (event) => {
    const field = event.target;
    if (field instanceof HTMLInputElement && field.matches("[data-folder-field]")) takeField(field, take);
  });
}

/** @param {HTMLInputElement} field @param {Take} take */
function takeField(field, take) {
  take([fromField(field.files ?? [])], placeOf(null));
  field.value = "";
}

/** @param {Take} take @param {Words} words */
function listenToDrops(take, words) {
  const veil = document.getElementById("veil");
  const cover = (/** @type {boolean} */ on, /** @type {EventTarget|null} */ target = null) => {
    if (veil && on) write(/** @type {HTMLElement} */ (veil.firstElementChild), promise(target, words));
    if (veil) show(veil, on);
  };
  let depth = 0;
  const over = (/** @type {DragEvent} */ event, /** @type {number} */ step) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    depth = Math.max(0, depth + step);
    cover(depth > 0, event.target);
  };
  document.addEventListener("dragenter", (event) => over(event, 1));
  document.addEventListener("dragover", (event) => over(event, 0));
  document.addEventListener("dragleave", (event) => over(event, -1));
  document.addEventListener("drop", (event) => {
    depth = 0;
    cover(false);
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    take(found(grab(event.dataTransfer)), placeOf(event.target));
  });
}

/** @param {ReturnType<typeof grab>} grabbed @returns {AsyncGenerator<Found>} */
async function* found({ entries, files }) {
  if (files.length) yield fromField(files);
  yield* walk(entries);
}

/** @param {File} file @param {Date} [now] */
export function named(file, now = new Date()) {
  if (!PASTED.test(file.name)) return file;
  const pad = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const day = `${now.getFullYear()}-${pad(now.getMonth() + 1)}-${pad(now.getDate())}`;
  const time = `${pad(now.getHours())}.${pad(now.getMinutes())}.${pad(now.getSeconds())}`;
  const { type, lastModified } = file;
  return new File([file], file.name.replace("image", `pasted ${day} ${time}`), { type, lastModified });
}

/** @typedef {{into: number|null, way: string, replaces: string}} Place  way: the folder's whole path */

/** @param {EventTarget|null} target  what the files hang over @returns {Place} */
export function placeOf(target) {
  const page = /** @type {HTMLElement|null} */ (document.querySelector("#main [data-into]"));
  const zone = /** @type {HTMLElement|null} */ (target instanceof Element ? target.closest("[data-replaces]") : null);
  const { into = "", way = "" } = page?.dataset ?? {};
  return { into: into ? Number(into) : null, way, replaces: zone?.dataset.replaces ?? "" };
}

/** @param {EventTarget|null} target @param {Words} words @returns {string} what a drop would do */
function promise(target, words) {
  const zone = /** @type {HTMLElement|null} */ (target instanceof Element ? target.closest("[data-drop-replace]") : null);
  if (zone) return zone.dataset.dropReplace ?? "";
  const page = /** @type {HTMLElement|null} */ (document.querySelector("#main [data-drop]"));
  if (page?.dataset.closed) return page.dataset.closed;
  return page ? words("drop_into", { place: page.dataset.drop ?? "" }) : words("drop");
}
