// @ts-check
import { say } from "./announce.js";
import { copy } from "./copy.js";
import { show } from "./dom.js";

/** What pages do beyond links and forms; everything here works without it too. */
export function enhance() {
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const copies = target?.closest("[data-copy]");
    if (copies instanceof HTMLElement) copyField(copies);
    if (target?.closest("[data-do=keys]")) /** @type {HTMLDialogElement|null} */ (document.getElementById("keys"))?.showModal();
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!target || !menu.contains(target) || target.closest("a")) menu.removeAttribute("open");
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeMenus();
  });
  document.addEventListener("links-added", (event) => {
    const { htmx } = /** @type {{htmx?: {process(element: Element): void}}} */ (globalThis);
    htmx?.process(/** @type {CustomEvent<Element>} */ (event).detail);
  });
  document.body.addEventListener("htmx:afterSettle", arrived);
  document.body.addEventListener("htmx:beforeSwap", leaveWhenSignedOut);
  document.body.addEventListener("htmx:configRequest", leaveOutWhatIsEmpty);
  document.body.addEventListener("htmx:historyRestore", rememberSearch);
}

/**
 * Shows what only makes sense with scripts, or says why they do not help. The page says which by `data-needs`.
 * @param {{uploader: boolean}} options  whether files go through the uploader
 */
export function reveal({ uploader }) {
  const known = { scripts: true, "no-scripts": false, uploader, https: !uploader };
  for (const element of document.querySelectorAll("[data-needs]")) {
    const need = /** @type {keyof typeof known} */ (element.getAttribute("data-needs"));
    show(/** @type {HTMLElement} */ (element), known[need]);
  }
}

/** After a move to another page the focus starts at its top, as after a full load. @param {Event} event */
function arrived(event) {
  const main = document.getElementById("main");
  const { elt, boosted } = /** @type {CustomEvent} */ (event).detail;
  // a list that fetched itself anew says nothing: the uploader has just told what was stored
  if (elt.id === "browse") say(document.getElementById("list")?.dataset.says ?? "");
  if (elt !== main && !boosted) return;
  if (!document.activeElement || document.activeElement === document.body) main?.focus({ preventScroll: true });
}

/** The sign-in page is a page of its own: no half of the old one stays around it. @param {Event} event */
function leaveWhenSignedOut(event) {
  const { xhr } = /** @type {CustomEvent<{xhr: XMLHttpRequest}>} */ (event).detail;
  if (!xhr.responseText.includes('class="sign-in"')) return;
  event.preventDefault();
  location.assign(xhr.responseURL || location.href);
}

/** An address with what was chosen reads better than one with all that was not. @param {Event} event */
function leaveOutWhatIsEmpty(event) {
  const { parameters, verb } = /** @type {CustomEvent} */ (event).detail;
  if (verb !== "get") return;
  for (const name of Object.keys(parameters)) if (parameters[name] === "") delete parameters[name];
}

/** The search stands in the header, which no step back brings anew. */
function rememberSearch() {
  const field = document.getElementById("q");
  if (field instanceof HTMLInputElement) field.value = new URL(location.href).searchParams.get("q") ?? "";
}

function closeMenus() {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    const inside = menu.contains(document.activeElement);
    menu.removeAttribute("open");
    if (inside) menu.querySelector("summary")?.focus();
  }
}

/** @param {HTMLElement} pressed */
function copyField(pressed) {
  const field = document.getElementById(pressed.dataset.copy ?? "");
  if (!(field instanceof HTMLInputElement)) return;
  field.select();
  copy(field.value, pressed, pressed.dataset.copied ?? "");
}
