// @ts-check
/** Progressive enhancement: what pages do beyond links and forms. Everything here works without scripts as well. */
import { announce, ref, showToast } from "./dom.js";
import { extensionOf } from "./upload.js";

const COPIED_LABEL_MS = 1600;
/** When to look for thumbnails of new files, which the worker makes within seconds. */
const THUMBNAIL_DELAYS_MS = [3000, 8000, 20_000];
const ICONS_WITH_THUMBNAILS = ["image", "video", "pdf", "document", "sheet", "slides"]
  .map((icon) => `[data-icon=${icon}]`).join();

/** When files were stored last, and when each request for a page was sent: milliseconds since this page was loaded. */
let storedAt = -1;
/** @type {WeakMap<XMLHttpRequest, number>} */
const sentAt = new WeakMap();
/** @type {ReturnType<typeof setTimeout>[]} */
let thumbnailTimers = [];

/** Let the page show the files that the uploader has stored. */
export function showStored() {
  storedAt = performance.now();
  reloadLists();
  thumbnailTimers.forEach(clearTimeout);
  thumbnailTimers = THUMBNAIL_DELAYS_MS.map((delay) => setTimeout(showThumbnails, delay));
}

/** Replace the icons of those files in the list that have a thumbnail by now. */
async function showThumbnails() {
  const icons = document.querySelectorAll(`#bulk .file-row .file-icon:is(${ICONS_WITH_THUMBNAILS})`);
  if (icons.length === 0) return;
  const response = await fetch(location.pathname + location.search).catch(() => null);
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const icon of icons) {
    const { value } = /** @type {HTMLInputElement} */ (icon.closest(".file-row")?.querySelector(".row-checkbox"));
    const row = page.querySelector(`.row-checkbox[value="${CSS.escape(value)}"]`)?.closest(".file-row");
    const picture = row?.querySelector("img");
    if (picture) icon.replaceWith(document.importNode(picture, true));
  }
}

function reloadLists() {
  document.body.dispatchEvent(new CustomEvent("files-stored"));
}

/** Reload a list that was requested before files were stored and arrives afterwards: they are missing from it. */
function reloadOutdatedLists() {
  const { body } = document;
  const onSend = (/** @type {Event} */ event) => sentAt.set(xhrOf(event), performance.now());
  const isOutdated = (/** @type {XMLHttpRequest|undefined} */ xhr) => (xhr && sentAt.get(xhr) || Infinity) < storedAt;
  body.addEventListener("htmx:beforeSend", onSend);
  body.addEventListener("htmx:afterSettle", (event) => {
    const xhr = xhrOf(event);
    if (!isOutdated(xhr)) return;
    sentAt.delete(xhr); // the same request settles every element that it has swapped
    reloadLists();
  });
  // Pages that people go back to have events of their own, which end without the request.
  let outdated = false;
  body.addEventListener("htmx:historyCacheMiss", onSend);
  body.addEventListener("htmx:historyCacheMissLoad", (event) => (outdated = isOutdated(xhrOf(event))));
  body.addEventListener("htmx:historyRestore", () => outdated && reloadLists());
}

/** @param {Event} event  of htmx @returns {XMLHttpRequest} */
function xhrOf(event) {
  return /** @type {CustomEvent} */ (event).detail.xhr;
}

export function enhance() {
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const copyButton = target?.closest("[data-copy]");
    if (copyButton instanceof HTMLElement) copyField(copyButton);
    if (target?.closest("[data-action=keyboard-shortcuts]")) showKeyboardShortcuts();
    // A link or a download ends the menu it is in; after a download, the page stays.
    const isDone = !target || target.closest("a, [hx-boost=false] [type=submit]");
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (isDone || !menu.contains(target)) menu.removeAttribute("open");
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && closeMenus()) event.preventDefault();
    if (event.key === " ") pressSwitch(event);
  });
  document.addEventListener("toggle", (event) => focusFirstField(/** @type {Element} */ (event.target)), true);
  document.addEventListener("links-added", (event) => activate(/** @type {CustomEvent<Element>} */ (event).detail));
  document.body.addEventListener("htmx:afterSwap", openDialog);
  document.body.addEventListener("htmx:afterSettle", onSettle);
  enhanceDialog(/** @type {HTMLDialogElement|null} */ (document.getElementById("dialog")));
  document.body.addEventListener("htmx:beforeSwap", leaveWhenSignedOut);
  document.body.addEventListener("htmx:configRequest", removeEmptyParameters);
  document.body.addEventListener("htmx:historyCacheMissLoad", restoreHeader);
  document.body.addEventListener("htmx:sendError", reportUnreachable);
  document.body.addEventListener("htmx:afterOnLoad", removeUnreachable);
  rememberScroll();
  reloadOutdatedLists();
}

/** Show the dialog of keyboard shortcuts. */
export function showKeyboardShortcuts() {
  /** @type {HTMLDialogElement|null} */ (document.getElementById("keyboard-shortcuts"))?.showModal();
}

/** Open the dialog that the server has filled. A new page closes it. @param {Event} event */
function openDialog(event) {
  const dialog = document.getElementById("dialog");
  if (!(dialog instanceof HTMLDialogElement)) return;
  const { target } = /** @type {CustomEvent<{target?: Element}>} */ (event).detail;
  if (target?.id === "main") dialog.close();
  if (target !== dialog) return;
  if (!dialog.open) dialog.showModal();
  if (matchMedia("(hover: none)").matches) {
    dialog.tabIndex = -1;
    dialog.focus(); // for a field, the keyboard of a touch screen would cover half of the dialog
  }
  const field = dialog.querySelector("[autofocus], input[type=text]");
  if (field instanceof HTMLElement && !dialog.contains(document.activeElement)) field.focus();
}

/** @param {HTMLDialogElement|null} dialog */
function enhanceDialog(dialog) {
  dialog?.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (target !== dialog && !target.closest("[data-action=close-dialog]")) return;
    event.preventDefault();
    dialog.close();
  });
  dialog?.addEventListener("change", ({ target }) => {
    const field = /** @type {HTMLInputElement} */ (target);
    const name = field.name === "to" ? field.closest("label")?.textContent?.trim() : "";
    const text = /** @type {HTMLElement|null} */ (field.closest("[data-move-to]"))?.dataset.moveTo;
    const submit = dialog.querySelector("[data-ref=move]");
    if (name && text && submit) submit.textContent = text.replace("{name}", name);
  });
  dialog?.addEventListener("keydown", (event) => {
    const field = /** @type {HTMLInputElement} */ (event.target);
    if (!field.matches("[data-new-tag]") || (event.key !== "Enter" && event.key !== ",") || !field.value.trim()) return;
    event.preventDefault();
    ref(dialog, "new-tags").append(checkedTag(field.name, field.value.trim()));
    field.value = "";
  });
}

/** @param {string} name @param {string} value @returns {HTMLElement} a checkbox that adds a tag */
function checkedTag(name, value) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  label.className = "tag new";
  [box.type, box.name, box.value, box.checked] = ["checkbox", name, value, true];
  label.append(box, ` ${value}`);
  return label;
}

/** Announce a new list; focus a new page at its top, as after a full load. @param {Event} event */
function onSettle(event) {
  const main = document.getElementById("main");
  const { elt, boosted } = /** @type {CustomEvent} */ (event).detail;
  // A list that reloads after an upload is not announced: the uploader has announced the files.
  if (elt.id === "browse") announce(document.getElementById("list")?.dataset.announcement ?? "");
  if (elt !== main && !boosted) return;
  if (!document.activeElement || document.activeElement === document.body) main?.focus({ preventScroll: true });
}

/** Load the sign-in page as a page of its own, not into the current one. @param {Event} event */
function leaveWhenSignedOut(event) {
  const { xhr } = /** @type {CustomEvent<{xhr: XMLHttpRequest}>} */ (event).detail;
  if (!xhr.responseText.includes('class="sign-in"')) return;
  event.preventDefault();
  location.assign(xhr.responseURL || location.href);
}

/** Say that what a person did had no effect. Polls are silent: they are repeated. @param {Event} event */
function reportUnreachable(event) {
  const { requestConfig } = /** @type {CustomEvent<{requestConfig?: {triggeringEvent?: Event}}>} */ (event).detail;
  if (!requestConfig?.triggeringEvent?.isTrusted) return;
  showToast(unreachableText());
}

/** Remove the message about the connection once there is a response. */
function removeUnreachable() {
  const toast = document.getElementById("toast");
  if (toast?.textContent === unreachableText()) toast.remove();
}

const unreachableText = () => document.getElementById("live-region")?.dataset.unreachable ?? "";

/** Keep empty filters out of URLs. @param {Event} event */
function removeEmptyParameters(event) {
  const { detail } = /** @type {CustomEvent} */ (event);
  const { elt, parameters, verb } = detail;
  if (verb !== "get") return;
  // The search and the filters may have changed since the page was loaded. An empty `hx-get` would also stand for the
  // current URL, but with its hash: after the skip link, each reload would scroll to the content.
  if (elt.id === "list-refresh") detail.path = location.pathname + location.search;
  // Recent files begin in the order of their use, whatever the order of the list was.
  const { searchParams } = new URL(location.href);
  if (parameters.show === "recent" && searchParams.get("show") !== "recent") delete parameters.sort;
  for (const name of Object.keys(parameters)) if (parameters[name] === "") delete parameters[name];
}

/**
 * Let search and navigation be those of the page that people go back to: htmx restores the content alone.
 * @param {Event} event
 */
function restoreHeader(event) {
  const page = new DOMParser().parseFromString(xhrOf(event).responseText, "text/html");
  for (const id of ["site-search", "site-nav"]) {
    const [current, restored] = [document.getElementById(id), page.getElementById(id)];
    if (!current || !restored) continue;
    const element = document.importNode(restored, true);
    current.replaceWith(element);
    activate(element);
  }
}

/** Let htmx handle the links and forms of a new element. @param {Element} element */
function activate(element) {
  const { htmx } = /** @type {{htmx?: {process(element: Element): void}}} */ (globalThis);
  htmx?.process(element);
}

/** Focus the field of a menu that opens. @param {Element} menu */
function focusFirstField(menu) {
  const field = menu.matches("details.menu[open]") && menu.querySelector("input[type=text]");
  if (!(field instanceof HTMLInputElement)) return;
  if (field.dataset.fileName !== undefined) field.value = field.defaultValue; // typed before the menu was closed
  selectName(field);
}

/** Select what people type over in a field: the name of a file without its extension. @param {HTMLInputElement} field */
export function selectName(field) {
  const extension = field.dataset.fileName === undefined ? "" : extensionOf(field.value);
  field.focus();
  field.setSelectionRange(0, field.value.length - extension.length);
}

/** Return to where a page was scrolled to: the browser has forgotten it, since htmx replaces the content. */
function rememberScroll() {
  /** @type {Map<string, number>} */
  const positions = new Map();
  let restoring = false;
  addEventListener("popstate", () => {
    restoring = true;
    document.getElementById("search")?.dispatchEvent(new CustomEvent("htmx:abort")); // its list is of the page before
  });
  addEventListener("scroll", () => restoring || positions.set(location.href, scrollY), { passive: true });
  document.body.addEventListener("htmx:historyRestore", () => {
    scrollTo(0, positions.get(location.href) ?? 0);
    restoring = false;
  });
}

/** Follow the link of a switch, as Enter does. @param {KeyboardEvent} event */
function pressSwitch(event) {
  if (!(event.target instanceof HTMLElement) || !event.target.matches("a[role=switch]")) return;
  event.preventDefault();
  event.stopImmediatePropagation(); // not for the selected row
  event.target.click();
}

/** @returns {boolean} whether any was open */
function closeMenus() {
  const menus = document.querySelectorAll("details.menu[open]");
  for (const menu of menus) {
    const focused = menu.contains(document.activeElement);
    menu.removeAttribute("open");
    if (focused) menu.querySelector("summary")?.focus();
  }
  return menus.length > 0;
}

/** @param {HTMLElement} button */
function copyField(button) {
  const field = document.getElementById(button.dataset.copy ?? "");
  if (!field) return;
  if (field instanceof HTMLInputElement) field.select();
  const text = field instanceof HTMLInputElement ? field.value : (field.textContent ?? "");
  copyToClipboard({ text }, button, button.dataset.copied ?? "");
}

/**
 * Copy text and show a confirmation on the button for a moment.
 * @param {{text: string, html?: string}} content @param {HTMLElement} button @param {string} confirmation
 */
export async function copyToClipboard(content, button, confirmation) {
  await writeToClipboard(content);
  if (button.dataset.label) return;
  button.dataset.label = button.textContent ?? "";
  button.textContent = confirmation;
  setTimeout(() => {
    button.textContent = button.dataset.label ?? "";
    delete button.dataset.label;
  }, COPIED_LABEL_MS);
}

/** @param {{text: string, html?: string}} content  html: for programs with formatted text */
export async function writeToClipboard({ text, html }) {
  const blob = (/** @type {string} */ content, /** @type {string} */ type) => new Blob([content], { type });
  try {
    if (html === undefined || !("ClipboardItem" in globalThis)) return await navigator.clipboard.writeText(text);
    const types = { "text/plain": blob(text, "text/plain"), "text/html": blob(html, "text/html") };
    await navigator.clipboard.write([new ClipboardItem(types)]);
  } catch {
    copyWithExecCommand(text);
  }
}

/**
 * Return links to copy: their addresses, one in a line, and formatted with their names.
 * @param {readonly {name: string, url: string}[]} links
 */
export function formatLinks(links) {
  const list = document.createElement("div");
  for (const { name, url } of links) {
    const link = document.createElement("a");
    [link.href, link.textContent] = [url, name];
    list.append(link, document.createElement("br"));
  }
  return { text: links.map(({ url }) => url).join("\n"), html: new XMLSerializer().serializeToString(list) };
}

/** Copy without the Clipboard API, which is available in secure contexts only. @param {string} text */
function copyWithExecCommand(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
