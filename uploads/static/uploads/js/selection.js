// @ts-check
/** Select rows of a list, and move between them with the keyboard. Keeps no elements, because htmx replaces lists. */
import { showKeyboardShortcuts } from "./enhance.js";

/** @type {HTMLInputElement|null} the start of a range */
let anchor = null;
/** the place of the row that had the focus before the list changed, -1 for none */
let focusedIndex = -1;
/** that place at the last action, to which undoing it returns */
let lastIndex = -1;
/** whether the next click ends a long press */
let ignoreClick = false;

const LONG_PRESS_MS = 500;
/** Pixels that a finger can move during a long press. */
const MAX_PRESS_MOVE = 10;
/** Pixels from the edge of the window where a rectangle scrolls it, by how many, and how often. */
const [SCROLL_EDGE, SCROLL_STEP, SCROLL_INTERVAL_MS] = [24, 16, 30];

export function listenForSelection() {
  document.addEventListener("click", onClick);
  document.addEventListener("click", selectInsteadOfOpening, { capture: true });
  document.addEventListener("pointerdown", listenForLongPress);
  document.addEventListener("pointerdown", drawRectangle);
  document.addEventListener("change", onChange);
  document.addEventListener("keydown", onKeydown);
  document.body.addEventListener("htmx:beforeRequest", rememberFocus);
  document.body.addEventListener("htmx:afterSettle", restoreFocus);
}

/** @returns {HTMLInputElement[]} */
const checkboxes = () => {
  return [...document.querySelectorAll("#bulk .row-checkbox")].map((box) => /** @type {HTMLInputElement} */ (box));
};

const selected = () => checkboxes().filter((box) => box.checked);

/** @param {MouseEvent} event */
function onClick(event) {
  const target = event.target instanceof Element ? event.target : null;
  if (target instanceof HTMLInputElement && target.matches(".row-checkbox")) select(target, event.shiftKey);
  const submit = target?.closest("button[data-no-htmx]");
  if (submit instanceof HTMLButtonElement) submitWithoutHtmx(event, submit);
  if (target?.closest("[data-action=clear], [data-action=done]")) clear();
  if (target?.closest("[data-action=done]")) list()?.removeAttribute("data-selecting");
  const row = target?.closest("#bulk .file-row");
  if (row && !target?.closest("a, button, input, .rename")) clickRow(row, event);
}

const list = () => document.getElementById("bulk");

/**
 * Select a row alone; with Ctrl or Command, add or remove it; with Shift, select up to it.
 * @param {Element} row @param {MouseEvent} event
 */
function clickRow(row, event) {
  const box = checkboxOf(row);
  if (!box || marksTextOf(row)) return;
  const { ctrlKey, metaKey, shiftKey } = event;
  const adds = ctrlKey || metaKey || shiftKey || /** @type {Element} */ (event.target).closest(".checkbox-cell");
  const isAlone = box.checked && selected().length === 1;
  if (adds) toggle(row, shiftKey);
  else selectOnly(isAlone ? null : box);
  focusRow(row);
}

/** Whether people have just marked text of this row; marked text elsewhere is none of its business. @param {Element} row */
function marksTextOf(row) {
  const marked = getSelection();
  if (!marked?.toString()) return false;
  if (row.contains(marked.anchorNode) && row.contains(marked.focusNode)) return true;
  marked.removeAllRanges();
  return false;
}

// --- selection mode, where there is no pointer that hovers ---

/** Show the checkboxes and the bar until the person is done. @param {Element} row  that is selected first */
export function startSelecting(row) {
  list()?.setAttribute("data-selecting", "");
  if (!checkboxOf(row)?.checked) toggle(row, false);
}

/** Toggle the row that is tapped while people select. @param {Event} event */
function selectInsteadOfOpening(event) {
  const row = event.target instanceof Element ? event.target.closest("#bulk[data-selecting] .file-row") : null;
  if (!row || (event.target instanceof Element && event.target.matches(".row-checkbox"))) return;
  event.preventDefault();
  event.stopPropagation();
  if (!ignoreClick) toggle(row, false);
  ignoreClick = false;
}

/** @param {PointerEvent} event */
function listenForLongPress({ target, pointerType, clientX, clientY }) {
  ignoreClick = false;
  const row = target instanceof Element ? target.closest("#bulk:not([data-selecting]) .file-row") : null;
  if (pointerType !== "touch" || !row || !checkboxOf(row)) return;
  const end = new AbortController();
  const timer = setTimeout(() => {
    end.abort();
    ignoreClick = true;
    startSelecting(row);
  }, LONG_PRESS_MS);
  const cancel = () => {
    clearTimeout(timer);
    end.abort();
  };
  const { signal } = end;
  const cancelIfMoved = (/** @type {PointerEvent} */ event) => {
    if (Math.hypot(event.clientX - clientX, event.clientY - clientY) > MAX_PRESS_MOVE) cancel();
  };
  addEventListener("pointermove", cancelIfMoved, { signal });
  for (const type of ["pointerup", "pointercancel", "scroll"]) {
    addEventListener(type, cancel, { signal, capture: true });
  }
}

/**
 * Select the rows in a rectangle that is drawn with the mouse; it begins beside the rows, which are dragged themselves.
 * With Ctrl or Command, they are added to the selection.
 * @param {PointerEvent} start
 */
function drawRectangle(start) {
  const { target, pointerType, button } = start;
  if (pointerType !== "mouse" || button !== 0 || rows().length === 0) return;
  if (document.querySelector("details.menu[open], #row-menu:popover-open")) return; // a click beside closes a menu
  if (!(target instanceof Element) || !target.matches("html, body, main, #browse, #list, #bulk, .grid")) return;
  if (start.clientX >= document.documentElement.clientWidth) return; // the scroll bar
  const rectangle = document.createElement("div");
  rectangle.className = "selection-rectangle";
  const adds = start.ctrlKey || start.metaKey;
  const kept = new Set(adds ? selected() : []);
  const end = new AbortController();
  const { signal } = end;
  let pointer = start;
  const draw = () => {
    const [left, right] = [start.pageX, pointer.clientX + scrollX].sort((a, b) => a - b);
    const [top, bottom] = [start.pageY, pointer.clientY + scrollY].sort((a, b) => a - b);
    if (!rectangle.isConnected && Math.hypot(right - left, bottom - top) <= MAX_PRESS_MOVE) return;
    document.body.append(rectangle);
    const [width, height] = [right - left, bottom - top];
    Object.assign(rectangle.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    selectInside(rectangle.getBoundingClientRect(), kept);
  };
  const scroller = setInterval(() => {
    if (!rectangle.isConnected) return;
    if (pointer.clientY < SCROLL_EDGE) scrollBy(0, -SCROLL_STEP);
    else if (pointer.clientY > innerHeight - SCROLL_EDGE) scrollBy(0, SCROLL_STEP);
    else return;
    draw();
  }, SCROLL_INTERVAL_MS);
  const stop = () => {
    end.abort();
    clearInterval(scroller);
    rectangle.remove();
  };
  addEventListener("pointermove", (event) => {
    pointer = event;
    draw();
  }, { signal });
  addEventListener("selectstart", (event) => event.preventDefault(), { signal });
  addEventListener("pointerup", () => {
    if (!rectangle.isConnected && !adds) clear();
    stop();
  }, { signal });
  addEventListener("pointercancel", stop, { signal });
  addEventListener("keydown", ({ key }) => key === "Escape" && stop(), { signal });
}

/** @param {DOMRect} area @param {Set<HTMLInputElement>} kept  checkboxes of rows outside that stay selected */
function selectInside(area, kept) {
  for (const row of rows()) {
    const box = checkboxOf(row);
    const { left, right, top, bottom } = row.getBoundingClientRect();
    const isInside = left < area.right && right > area.left && top < area.bottom && bottom > area.top;
    if (box) box.checked = isInside || kept.has(box);
  }
  anchor = selected()[0] ?? null;
  leaveOtherPages();
  updateCount();
}

/** @param {Event} event */
function onChange(event) {
  const box = event.target;
  if (!(box instanceof HTMLInputElement)) return;
  if (box.dataset.action === "select-all") {
    for (const other of checkboxes()) other.checked = box.checked;
    if (!box.checked) leaveOtherPages();
  }
  if (box.name === "all" && box.checked) for (const other of checkboxes()) other.checked = true;
  if (box.closest("#bulk")) updateCount();
}

/** @param {HTMLInputElement} box  with its new state @param {boolean} range */
function select(box, range) {
  const boxes = checkboxes();
  const [from, to] = [anchor ? boxes.indexOf(anchor) : -1, boxes.indexOf(box)].sort((a, b) => a - b);
  if (range && from >= 0) for (const other of boxes.slice(from, to + 1)) other.checked = box.checked;
  anchor = box;
  leaveOtherPages();
  updateCount();
}

/** Select no longer what is on other pages: people choose among the rows that they see. */
function leaveOtherPages() {
  const all = document.querySelector("#bulk input[name=all]");
  if (!(all instanceof HTMLInputElement) || !all.checked) return;
  all.checked = false;
  all.dispatchEvent(new CustomEvent("htmx:abort", { bubbles: true })); // the count of all may be on its way
}

/** Clear the selection, and select one row. @param {HTMLInputElement|null} only  its checkbox; null for no row */
function selectOnly(only) {
  leaveOtherPages();
  for (const box of document.querySelectorAll("#bulk input[type=checkbox]")) {
    /** @type {HTMLInputElement} */ (box).checked = box === only;
  }
  if (only) anchor = only;
  updateCount();
}

const clear = () => selectOnly(null);

function updateCount() {
  const boxes = checkboxes();
  const count = boxes.filter((box) => box.checked).length;
  const label = /** @type {HTMLElement|null} */ (document.querySelector("#bulk [data-ref=count]"));
  const all = /** @type {HTMLInputElement|null} */ (document.querySelector("#bulk input[name=all]"))?.checked;
  if (label) label.textContent = (all ? "" : (label.dataset.text ?? "")).replace("{count}", String(count));
  offerActions(count > 0 && !all);
  const selectAll = document.querySelector("#bulk [data-action=select-all]");
  if (!(selectAll instanceof HTMLInputElement)) return;
  selectAll.checked = count > 0 && count === boxes.length;
  selectAll.indeterminate = count > 0 && count < boxes.length;
}

/**
 * Show the actions that the user may do with at least one selected row.
 * @param {boolean} known  whether the rights of all selected rows are known: otherwise show all actions
 */
function offerActions(known) {
  const rights = document.getElementById("bulk")?.dataset.rights?.split(",");
  if (!rights) return;
  const letters = new Set(rows().flatMap((row, index) => (checkboxOf(row)?.checked ? [...(rights[index] ?? "")] : [])));
  /** @type {NodeListOf<HTMLElement>} */
  const buttons = document.querySelectorAll("#bulk .bulk-bar [data-right]");
  for (const button of buttons) button.hidden = known && !letters.has(button.dataset.right ?? "");
  for (const menu of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#bulk .bulk-bar .menu"))) {
    menu.hidden = menu.querySelector("button:not([hidden])") === null;
  }
}

/**
 * Submit without htmx, which would treat a download as a page.
 * @param {Event} event @param {HTMLButtonElement} submit
 */
function submitWithoutHtmx(event, submit) {
  if (!submit.form) return;
  event.preventDefault();
  const form = document.createElement("form");
  form.method = "post";
  form.action = submit.formAction;
  for (const [name, value] of new FormData(submit.form)) {
    const field = document.createElement("input");
    [field.type, field.name, field.value] = ["hidden", name, String(value)];
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}

/** @param {KeyboardEvent} event */
function onKeydown(event) {
  if (event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() === "a" && !event.shiftKey && !isTextField(target)) selectPage(event);
    return;
  }
  const row = /** @type {HTMLElement|null} */ (target.closest(".file-row"));
  if (event.key === "ArrowDown" || event.key === "ArrowUp") return moveFocus(event, target, row);
  if (isTextField(target)) {
    if (event.key === "Escape") clearOrLeave(event, target);
    return;
  }
  /** @type {Record<string, () => void>} */
  const actions = {
    "/": () => focusSearch(),
    "?": () => showKeyboardShortcuts(),
    " ": () => row && toggle(row, event.shiftKey),
    // In a checkbox, Enter would press the first button of the form.
    Enter: () => row && linkOf(row)?.click(),
    Delete: () => runAction("trash", selected().length ? null : row, row),
    ArrowLeft: () => follow("prev"),
    ArrowRight: () => follow("next"),
    Escape: () => (selected().length > 0 ? clear() : follow("up")),
  };
  const action = actions[event.key];
  if (!action || isNativeKey(event.key, target, row)) return;
  if (event.key !== "Escape") event.preventDefault();
  action();
}

/**
 * Whether the browser handles the key.
 * @param {string} key @param {HTMLElement} target @param {HTMLElement|null} row
 */
function isNativeKey(key, target, row) {
  if (key === "ArrowLeft" || key === "ArrowRight") {
    return target.matches("video, audio") || !document.querySelector(".neighbors");
  }
  if (key === " ") return !row || target.matches(".row-checkbox, button, summary");
  return key === "Enter" && !target.matches(".row-checkbox");
}

/** @param {HTMLElement} target */
function isTextField(target) {
  return target.matches("input:not([type=checkbox]), select, textarea");
}

/** Select all rows, not all text. @param {KeyboardEvent} event */
function selectPage(event) {
  const box = document.querySelector("#bulk [data-action=select-all]");
  if (!(box instanceof HTMLInputElement)) return;
  event.preventDefault();
  if (!box.checked) box.click();
}

/** Open the file before or after this one, or the list. @param {"prev"|"next"|"up"} rel */
function follow(rel) {
  const link = document.querySelector(`.neighbors [rel=${rel}]`);
  if (link instanceof HTMLElement) link.click();
}

/** Empty a field that filters the list, and leave one that is empty. @param {Event} event @param {HTMLElement} field */
function clearOrLeave(event, field) {
  if (!(field instanceof HTMLInputElement) || field.id !== "q" || !field.value) return field.blur();
  event.preventDefault();
  field.value = "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function focusSearch() {
  const field = document.getElementById("q");
  if (field instanceof HTMLInputElement) field.select();
}

/** @param {KeyboardEvent} event @param {HTMLElement} target @param {Element|null} focused  the row with the focus */
function moveFocus(event, target, focused) {
  if (!focused && target !== document.body && target.id !== "main" && target.id !== "q") return;
  const row = focused ?? (event.shiftKey && selected().at(-1)?.closest(".file-row") || null);
  const next = rows()[row ? rows().indexOf(row) + (event.key === "ArrowDown" ? 1 : -1) : 0];
  if (!next || !focusRow(next)) return;
  event.preventDefault();
  if (event.shiftKey && row) extendSelection(row, next);
}

/**
 * Add the next row to the range, or remove this one if that leads back to the first.
 * @param {Element} row @param {Element} next
 */
function extendSelection(row, next) {
  const boxes = checkboxes();
  const from = checkboxOf(row);
  const to = checkboxOf(next);
  if (!from || !to) return;
  const first = anchor && boxes.includes(anchor) ? anchor : from;
  const distance = (/** @type {HTMLInputElement} */ box) => Math.abs(boxes.indexOf(box) - boxes.indexOf(first));
  from.checked = distance(from) < distance(to);
  to.checked = true;
  anchor = first;
  leaveOtherPages();
  updateCount();
}

export const rows = () => [...document.querySelectorAll("#bulk .file-row")];

/** @param {Element} row @returns {boolean} whether it has something to focus */
export function focusRow(row) {
  const element = linkOf(row) ?? checkboxOf(row);
  if (!element) return false;
  element.focus();
  element.scrollIntoView({ block: "nearest" });
  return true;
}

/** @param {Element} row @returns {HTMLElement|null} */
export const linkOf = (row) => row.querySelector("a[href]:not([tabindex])");

/** @param {Element} row @returns {HTMLInputElement|null} */
export const checkboxOf = (row) => row.querySelector(".row-checkbox");

/** @param {EventTarget|null} target @returns {HTMLElement|null} the row with a menu that an element is in */
export function rowOf(target) {
  return target instanceof Element ? target.closest("#bulk[data-rights] .file-row") : null;
}

/**
 * Return the rows that an action on a row is about: the selection if the row is in it, otherwise the row alone.
 * @param {HTMLElement} row @returns {HTMLElement[]}
 */
export function rowsWith(row) {
  if (!checkboxOf(row)?.checked) return [row];
  return selected().map((box) => /** @type {HTMLElement} */ (box.closest(".file-row")));
}

/** @param {HTMLElement} row @returns {string} what the user may do with it, one letter each */
export function rightsOf(row) {
  const list = /** @type {HTMLElement} */ (row.closest("#bulk"));
  return list.dataset.rights?.split(",")[rows().indexOf(row)] ?? "";
}

/** @param {Element} row @param {boolean} range */
function toggle(row, range) {
  const box = checkboxOf(row);
  if (!box) return;
  box.checked = range || !box.checked;
  select(box, range);
}

/**
 * Press the button of a bulk action.
 * @param {string} name @param {Element|null} only  the row to select instead of the selection
 * @param {Element|null} focused  the row to whose place the focus returns
 */
export function runAction(name, only, focused) {
  const button = document.querySelector(`#bulk [name=do][value="${name}"], #bulk [data-do="${name}"]`);
  if (!(button instanceof HTMLButtonElement)) return;
  if (only) selectOnly(checkboxOf(only));
  if (selected().length === 0) return;
  returnFocusTo(focused);
  button.click();
  if (only && button.matches("[data-no-htmx]")) clear(); // a download stays on the page
}

/** Focus the row that is in the place of this one once the list has changed. @param {Element|null} row */
export function returnFocusTo(row) {
  focusedIndex = row ? rows().indexOf(row) : -1;
}

/**
 * Remember the row with the focus, or the first selected one, when an action or its undoing is sent.
 * @param {Event} event
 */
function rememberFocus(event) {
  const { elt } = /** @type {CustomEvent<{elt: Element}>} */ (event).detail;
  if (elt.closest(".messages, #dialog")) focusedIndex = lastIndex;
  if (!elt.matches("#bulk")) return;
  const row = document.activeElement?.closest(".file-row") ?? selected()[0]?.closest(".file-row");
  if (row && focusedIndex < 0) focusedIndex = rows().indexOf(row);
  lastIndex = focusedIndex;
}

/** Focus the row that is where the removed one was. */
function restoreFocus() {
  if (document.querySelector("dialog[open]")) return;
  const row = rows()[Math.min(focusedIndex, rows().length - 1)];
  focusedIndex = -1;
  if (row) focusRow(row);
}
