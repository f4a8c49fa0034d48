// @ts-check
/**
 * The actions of a row: its buttons, the menu that all rows share, its name that can be edited in place, and dragging it
 * into a folder. Without scripts, the buttons are links.
 */
import { announce } from "./dom.js";
import { copyToClipboard, formatLinks, selectName, writeToClipboard } from "./enhance.js";
import {
  checkboxOf, focusRow, linkOf, returnFocusTo, rightsOf, rowOf, rows, rowsWith, runAction, startSelecting,
} from "./selection.js";

const COPIED_MS = 1000;
const MARGIN = 8;
const CHANGE = "c";
const FILL = "f";

/** @type {HTMLElement|null} the row whose menu is open */
let current = null;
/** @type {HTMLElement[]} the rows that are being dragged */
let dragged = [];
/** @type {HTMLElement|null} the folder that is highlighted as the target of what is being dragged */
let highlighted = null;
/** the URL of the row that gets the focus once the list has changed */
let focusedUrl = "";

export function listenForRowActions() {
  if ("popover" in HTMLElement.prototype) listenForMenu();
  document.addEventListener("keydown", onNameKey, { capture: true });
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
  const { htmx } = /** @type {{htmx: {ajax(verb: string, url: string, context: object): Promise<void>}}} */ (
    /** @type {unknown} */ (globalThis)
  );
  const form = /** @type {HTMLFormElement} */ (document.getElementById("bulk"));
  const token = /** @type {HTMLInputElement} */ (form.elements.namedItem("csrfmiddlewaretoken")).value;
  return htmx.ajax("POST", url, {
    target: "#main",
    select: "#main",
    swap: form.getAttribute("hx-swap"),
    values: { csrfmiddlewaretoken: token, next: location.pathname + location.search, ...values },
  });
}

// --- menu ---

function listenForMenu() {
  // Before htmx, which would follow the link, and before the list's own keys.
  document.addEventListener("click", onClick, { capture: true });
  document.addEventListener("keydown", onListKey, { capture: true });
  document.addEventListener("contextmenu", onContextMenu);
  document.addEventListener("pointerdown", ({ target }) => {
    if (!menu()?.contains(/** @type {Node} */ (target))) menu()?.hidePopover();
  });
  addEventListener("resize", () => menu()?.hidePopover());
}

/** The menu; there is none on pages without a list. */
const menu = () => document.getElementById("row-menu");

/** @param {Event} event */
function onClick(event) {
  const target = /** @type {Element} */ (event.target);
  const item = /** @type {HTMLElement|null} */ (target.closest("#row-menu [data-item]"));
  if (item) return choose(item);
  const row = rowOf(target);
  const button = row && target.closest("[data-icon=more], [data-icon=link]");
  if (!(button instanceof HTMLElement) || !row) return;
  event.preventDefault();
  event.stopPropagation();
  if (button.dataset.icon === "link") copyLink(row, button);
  else openMenu(row, button.getBoundingClientRect());
}

/** @param {MouseEvent} event */
function onContextMenu(event) {
  const row = rowOf(event.target);
  if (menu()?.contains(/** @type {Node} */ (event.target))) event.preventDefault();
  if (event instanceof PointerEvent && event.pointerType === "touch") {
    if (row) event.preventDefault(); // a long press selects
    return;
  }
  if (!row || event.shiftKey || /** @type {Element} */ (event.target).matches("input[type=text]")) return;
  event.preventDefault();
  openMenu(row, { left: event.clientX, right: event.clientX, bottom: event.clientY, top: event.clientY });
}

/** @param {KeyboardEvent} event */
function onListKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (menu()?.contains(target)) return onMenuKey(event);
  const row = rowOf(target);
  const opens = event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey);
  const presses = event.key === " " && target.matches("[data-icon=more]");
  if (!row || !(opens || presses) || target.matches("input[type=text]")) return;
  event.preventDefault();
  event.stopPropagation();
  const { left, right, top, bottom } = (presses ? target : (linkOf(row) ?? row)).getBoundingClientRect();
  openMenu(row, { left, right: presses ? right : left, top, bottom });
}

/** @param {KeyboardEvent} event */
function onMenuKey(event) {
  const items = menuItems();
  const index = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  /** @type {Record<string, number>} */
  const places = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: -1 };
  event.stopPropagation();
  if (event.key in places) {
    event.preventDefault();
    items.at(places[event.key] % items.length)?.focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    closeMenu();
  } else if (event.key === " " && document.activeElement instanceof HTMLElement) {
    event.preventDefault();
    document.activeElement.click();
  } else if (event.key.length === 1) {
    const later = [...items.slice(index + 1), ...items.slice(0, index + 1)];
    later.find((item) => item.textContent?.trim().toLowerCase().startsWith(event.key.toLowerCase()))?.focus();
  }
}

const menuItems = () => {
  /** @type {NodeListOf<HTMLElement>} */
  const items = document.querySelectorAll("#row-menu [role=menuitem]");
  return [...items];
};

/** Close the menu and return the focus to its row. */
function closeMenu() {
  menu()?.hidePopover();
  const button = current?.querySelector("[data-icon=more]");
  if (button instanceof HTMLElement) button.focus({ preventScroll: true });
}

/** @param {HTMLElement} row @param {{left: number, right: number, top: number, bottom: number}} box  where to open */
function openMenu(row, box) {
  const panel = menu();
  if (!panel) return;
  current = row;
  fillMenu(panel, row);
  panel.showPopover();
  const isRtl = getComputedStyle(panel).direction === "rtl";
  const left = isRtl ? box.left : box.right - (box.right > box.left ? panel.offsetWidth : 0);
  const below = box.bottom + panel.offsetHeight + MARGIN <= innerHeight;
  const top = below ? box.bottom : Math.max(MARGIN, box.top - panel.offsetHeight);
  panel.style.left = `${Math.max(MARGIN, Math.min(left, innerWidth - panel.offsetWidth - MARGIN))}px`;
  panel.style.top = `${Math.max(MARGIN, Math.min(top, innerHeight - panel.offsetHeight - MARGIN))}px`;
  menuItems()[0]?.focus();
}

/** Copy the items that fit the row into the menu. @param {HTMLElement} panel @param {HTMLElement} row */
function fillMenu(panel, row) {
  const affected = rowsWith(row);
  const kind = affected.length > 1 ? "selection" : row.dataset.folder ? "folder" : "file";
  const rights = affected.map(rightsOf);
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("row-menu-items"));
  const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  for (const item of /** @type {NodeListOf<HTMLElement>} */ (copy.querySelectorAll("[data-item]"))) {
    const { right, for: kinds = "" } = item.dataset;
    const permitted = !right || rights.some((letters) => letters.includes(right));
    const suits = kinds.split(" ").includes(kind) && isPossible(item.dataset.item ?? "", affected);
    if (!permitted || !suits) item.remove();
    else if (item instanceof HTMLAnchorElement) item.href = `${linkOf(row)?.getAttribute("href")}${item.dataset.item}`;
  }
  panel.replaceChildren(...copy.children);
  document.dispatchEvent(new CustomEvent("links-added", { detail: panel }));
}

/** Whether an action makes sense for the state of these rows. @param {string} name @param {HTMLElement[]} affected */
function isPossible(name, affected) {
  if (name === "private") return affected.some((row) => row.dataset.private === undefined);
  if (name === "team") return affected.some((row) => row.dataset.private !== undefined);
  if (name === "favorite") return affected[0].dataset.favorite === undefined;
  if (name === "no-favorite") return affected[0].dataset.favorite !== undefined;
  if (name === "select") return matchMedia("(hover: none)").matches && checkboxOf(affected[0]) !== null;
  return name !== "download" || affected[0].querySelector("[data-icon=download]") !== null;
}

/** @param {HTMLElement} item  of the menu, that was chosen */
function choose(item) {
  const row = current;
  const name = item.dataset.item ?? "";
  if (!row) return;
  if (name === "copy") {
    copyToClipboard(linksTo(rowsWith(row)), item, menu()?.dataset.copied ?? "");
    setTimeout(closeMenu, COPIED_MS);
  } else if (item instanceof HTMLAnchorElement) {
    setTimeout(closeMenu); // after the browser or htmx has followed the link
  } else {
    closeMenu();
    if (name === "open") linkOf(row)?.click();
    else if (name === "select") startSelecting(row);
    else if (name === "rename") startRenaming(row);
    else if (name.endsWith("favorite")) changeFavorite(row, item);
    else runAction(name, checkboxOf(row)?.checked ? null : row, row);
  }
}

/** @param {HTMLElement} row @param {HTMLElement} item  of the menu */
async function changeFavorite(row, { dataset }) {
  returnFocusTo(row);
  await send(`${linkOf(row)?.getAttribute("href")}favorite`, dataset.item === "favorite" ? {} : { remove: "1" });
  if (!document.querySelector(".message.error")) announce(dataset.done ?? "");
}

/** @param {HTMLElement} row @param {HTMLElement} button */
async function copyLink(row, button) {
  await writeToClipboard(linksTo([row]));
  announce(menu()?.dataset.copied ?? "");
  button.dataset.icon = "check";
  setTimeout(() => (button.dataset.icon = "link"), COPIED_MS);
}

/** @param {HTMLElement[]} rows */
function linksTo(rows) {
  const links = rows.map((row) => /** @type {HTMLAnchorElement} */ (linkOf(row)));
  return formatLinks(links.map((link) => ({ name: link.textContent ?? "", url: link.href })));
}

// --- rename ---

/** Edit the name of a row in its place. @param {HTMLElement} row */
function startRenaming(row) {
  const link = linkOf(row);
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("rename-template"));
  if (!link || !rightsOf(row).includes(CHANGE) || row.querySelector(".rename")) return;
  const editor = /** @type {Element} */ (template.content.cloneNode(true)).firstElementChild;
  const field = /** @type {HTMLInputElement} */ (editor?.querySelector("input"));
  field.defaultValue = link.textContent ?? "";
  link.hidden = true;
  link.after(/** @type {Element} */ (editor));
  row.draggable = false; // so that the pointer can select text
  if (!row.dataset.folder) field.dataset.fileName = "";
  selectName(field);
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
function onNameKey(event) {
  const { key, target } = event;
  if (target instanceof HTMLInputElement && target.matches(".rename input")) {
    event.stopPropagation(); // the list's own keys
    if (key === "Escape") stopRenaming(target, true);
    if (key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    return saveName(target);
  }
  if (key !== "F2") return;
  const row = rowOf(target);
  const menu = document.querySelector("details.menu:has(#name)"); // on the page of a file; opening it focuses the field
  if (row || menu) event.preventDefault();
  if (row) startRenaming(row);
  else if (menu instanceof HTMLDetailsElement) menu.open = true;
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
