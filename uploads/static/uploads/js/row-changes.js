// @ts-check
/** Change files and folders in their list: rename them in their rows, and drag them into folders. */
import { checkboxOf, focusRow, linkOf, rightsOf, rowOf, rows, rowsWith } from "./selection.js";

const CHANGE = "c";
const FILL = "f";

/** @type {HTMLElement[]} the rows that are being dragged */
let dragged = [];
/** @type {HTMLElement|null} the folder that is highlighted as the target of what is being dragged */
let highlighted = null;
/** the URL of the row that gets the focus once the list has changed */
let focusedUrl = "";

export function listenForRowChanges() {
  document.addEventListener("keydown", onKeydown, { capture: true });
  document.addEventListener("focusout", ({ target }) => {
    const field = target instanceof HTMLInputElement && target.matches(".rename input") ? target : null;
    if (field && field.value === field.defaultValue) stopRenaming(field, false);
  });
  document.body.addEventListener("htmx:beforeSwap", showProblem);
  document.body.addEventListener("htmx:afterSettle", restoreFocus);
  document.addEventListener("dragstart", onDragStart);
  document.addEventListener("dragover", onDragOver);
  document.addEventListener("drop", onDrop);
  document.addEventListener("dragend", endDrag);
}

/**
 * Send a form of this page, and show the response in place of the page.
 * @param {string} url @param {Record<string, string|string[]>} values
 */
function send(url, values) {
  const { htmx } = /** @type {{htmx: {ajax(verb: string, url: string, context: object): void}}} */ (
    /** @type {unknown} */ (globalThis)
  );
  const form = /** @type {HTMLFormElement} */ (document.getElementById("bulk"));
  const token = /** @type {HTMLInputElement} */ (form.elements.namedItem("csrfmiddlewaretoken")).value;
  htmx.ajax("POST", url, {
    target: "#main",
    select: "#main",
    swap: form.getAttribute("hx-swap"),
    values: { csrfmiddlewaretoken: token, next: location.pathname + location.search, ...values },
  });
}

// --- rename ---

/** Edit the name of a row in its place. @param {HTMLElement} row */
export function startRenaming(row) {
  const link = linkOf(row);
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("rename-template"));
  if (!link || !rightsOf(row).includes(CHANGE) || row.querySelector(".rename")) return;
  const editor = /** @type {Element} */ (template.content.cloneNode(true)).firstElementChild;
  const field = /** @type {HTMLInputElement} */ (editor?.querySelector("input"));
  field.defaultValue = link.textContent ?? "";
  link.hidden = true;
  link.after(/** @type {Element} */ (editor));
  row.draggable = false; // so that the pointer can select text
  field.focus();
  const dot = row.dataset.folder ? -1 : field.value.lastIndexOf(".");
  field.setSelectionRange(0, dot > 0 ? dot : field.value.length);
}

/** @param {HTMLInputElement} field @param {boolean} focus  return the focus to the row */
function stopRenaming(field, focus) {
  const row = /** @type {HTMLElement|null} */ (field.closest(".file-row"));
  const link = row && row.querySelector("a[hidden]");
  if (!row || !(link instanceof HTMLElement)) return;
  link.hidden = false;
  row.draggable = true;
  if (focus) link.focus();
  field.closest(".rename")?.remove();
}

/** @param {KeyboardEvent} event */
function onKeydown(event) {
  const { key, target } = event;
  if (target instanceof HTMLInputElement && target.matches(".rename input")) {
    event.stopPropagation(); // the list's own keys
    if (key === "Escape") stopRenaming(target, true);
    if (key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    return saveName(target);
  }
  const row = key === "F2" ? rowOf(target) : null;
  if (!row) return;
  event.preventDefault();
  startRenaming(row);
}

/** @param {HTMLInputElement} field */
function saveName(field) {
  if (field.value === field.defaultValue) return stopRenaming(field, true);
  const link = /** @type {HTMLAnchorElement} */ (field.closest(".file-row")?.querySelector("a[hidden]"));
  focusedUrl = link.href;
  send(`${link.getAttribute("href")}rename`, { name: field.value });
}

/** Show why a name was refused below its field. @param {Event} event */
function showProblem(event) {
  const { detail } = /** @type {CustomEvent<{xhr: XMLHttpRequest, shouldSwap: boolean}>} */ (event);
  const field = document.querySelector(".rename input");
  if (detail.xhr.status < 400 || !focusedUrl || !(field instanceof HTMLInputElement)) return;
  const page = new DOMParser().parseFromString(detail.xhr.responseText, "text/html");
  const problem = page.querySelector(".field-error")?.textContent;
  focusedUrl = "";
  if (!problem) return;
  detail.shouldSwap = false;
  field.setAttribute("aria-invalid", "true");
  /** @type {HTMLElement} */ (document.getElementById("rename-error")).textContent = problem;
  field.focus();
}

function restoreFocus() {
  const url = focusedUrl;
  focusedUrl = "";
  const row = url && rows().find((row) => /** @type {HTMLAnchorElement|null} */ (linkOf(row))?.href === url);
  if (row) focusRow(row);
}

// --- drag to move ---

/** @param {DragEvent} event */
function onDragStart(event) {
  const row = rowOf(event.target);
  if (!row || !event.dataTransfer) return;
  if (matchMedia("(hover: none)").matches) return event.preventDefault(); // a long press selects
  dragged = rowsWith(row).filter((other) => checkboxOf(other) && rightsOf(other).includes(CHANGE));
  if (dragged.length === 0) {
    if (event.target === row) event.preventDefault(); // links can be dragged elsewhere
    return;
  }
  const links = dragged.map((other) => /** @type {HTMLAnchorElement} */ (linkOf(other)));
  event.dataTransfer.setData("text/uri-list", links.map(({ href }) => href).join("\r\n"));
  event.dataTransfer.effectAllowed = "copyMove";
  const badge = /** @type {HTMLElement} */ (document.getElementById("drag-badge"));
  const text = (badge.dataset.text ?? "").replace("{count}", String(links.length));
  badge.textContent = links.length > 1 ? text : links[0].textContent;
  event.dataTransfer.setDragImage(badge, 0, 0);
}

/**
 * Return the folder below the pointer that what is being dragged can be moved into.
 * @param {EventTarget|null} target @returns {HTMLElement|null}
 */
function folderAt(target) {
  const folder = target instanceof Element ? target.closest("[data-folder]") : null;
  if (!(folder instanceof HTMLElement) || dragged.includes(folder)) return null;
  return !rowOf(folder) || rightsOf(folder).includes(FILL) ? folder : null;
}

/** @param {DragEvent} event */
function onDragOver(event) {
  if (dragged.length === 0) return;
  const folder = folderAt(event.target);
  highlight(folder);
  if (!folder || !event.dataTransfer) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "move";
}

/** @param {HTMLElement|null} folder */
function highlight(folder) {
  if (folder === highlighted) return;
  highlighted?.classList.remove("drop-here");
  folder?.classList.add("drop-here");
  highlighted = folder;
}

/** @param {DragEvent} event */
function onDrop(event) {
  const folder = dragged.length ? folderAt(event.target) : null;
  const list = document.getElementById("bulk");
  if (!folder || !list) return;
  event.preventDefault();
  /** @type {Record<string, string[]>} */
  const selection = {};
  for (const { name, value } of dragged.map((row) => /** @type {HTMLInputElement} */ (checkboxOf(row)))) {
    selection[name] = [...(selection[name] ?? []), value];
  }
  send(list.getAttribute("action") ?? "", { do: "move", go: "1", to: folder.dataset.folder ?? "", ...selection });
}

function endDrag() {
  dragged = [];
  highlight(null);
}
