// @ts-check
/** The actions of a row: its buttons, and the menu that all rows share. Without scripts, they are links. */
import { announce } from "./dom.js";
import { copyToClipboard, writeToClipboard } from "./enhance.js";
import { startRenaming } from "./row-changes.js";
import { checkboxOf, linkOf, rightsOf, rowOf, rowsWith, runAction, startSelecting } from "./selection.js";

const COPIED_MS = 1000;
const MARGIN = 8;

/** @type {HTMLElement|null} the row whose menu is open */
let current = null;

export function listenForRowMenu() {
  if (!("popover" in HTMLElement.prototype)) return;
  // Before htmx, which would follow the link, and before the list's own keys.
  document.addEventListener("click", onClick, { capture: true });
  document.addEventListener("keydown", onKeydown, { capture: true });
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
function onKeydown(event) {
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
  if (name === "select") return matchMedia("(hover: none)").matches && checkboxOf(affected[0]) !== null;
  return name !== "download" || affected[0].querySelector("[data-icon=download]") !== null;
}

/** @param {HTMLElement} item  of the menu, that was chosen */
function choose(item) {
  const row = current;
  const name = item.dataset.item ?? "";
  if (!row) return;
  if (name === "copy") {
    copyToClipboard(urlOf(row), item, menu()?.dataset.copied ?? "");
    setTimeout(closeMenu, COPIED_MS);
  } else if (item instanceof HTMLAnchorElement) {
    setTimeout(closeMenu); // after the browser or htmx has followed the link
  } else {
    closeMenu();
    if (name === "open") linkOf(row)?.click();
    else if (name === "select") startSelecting(row);
    else if (name === "rename") startRenaming(row);
    else runAction(name, checkboxOf(row)?.checked ? null : row, row);
  }
}

/** @param {HTMLElement} row @param {HTMLElement} button */
async function copyLink(row, button) {
  await writeToClipboard(urlOf(row));
  announce(menu()?.dataset.copied ?? "");
  button.dataset.icon = "check";
  setTimeout(() => (button.dataset.icon = "link"), COPIED_MS);
}

/** @param {HTMLElement} row */
const urlOf = (row) => /** @type {HTMLAnchorElement} */ (linkOf(row)).href;
