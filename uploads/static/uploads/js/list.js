// @ts-check
/** Selecting in lists and going through them by keys. Everything asks the page as it is now: lists come and go. */

/** @type {HTMLInputElement|null} where a range begins */
let anchor = null;

export function listenToLists() {
  document.addEventListener("click", clicked);
  document.addEventListener("change", changed);
  document.addEventListener("keydown", pressed);
}

/** @returns {HTMLInputElement[]} */
const picks = () => [...document.querySelectorAll("#bulk .pick")].map((one) => /** @type {HTMLInputElement} */ (one));

/** @param {MouseEvent} event */
function clicked(event) {
  const target = event.target instanceof Element ? event.target : null;
  if (target instanceof HTMLInputElement && target.matches(".pick")) pick(target, event.shiftKey);
  const zip = target?.closest("button[data-native]");
  if (zip instanceof HTMLButtonElement) sendNatively(event, zip);
  if (target?.closest("[data-do=clear]")) clear();
}

/** @param {Event} event */
function changed(event) {
  const box = event.target;
  if (!(box instanceof HTMLInputElement)) return;
  if (box.dataset.do === "all") for (const one of picks()) one.checked = box.checked;
  if (box.closest("#bulk")) count();
}

/** @param {HTMLInputElement} box  as it is after the click @param {boolean} range */
function pick(box, range) {
  const all = picks();
  const [from, to] = [anchor ? all.indexOf(anchor) : -1, all.indexOf(box)].sort((a, b) => a - b);
  if (range && from >= 0) for (const one of all.slice(from, to + 1)) one.checked = box.checked;
  anchor = box;
  count();
}

function clear() {
  for (const one of document.querySelectorAll("#bulk input[type=checkbox]")) {
    /** @type {HTMLInputElement} */ (one).checked = false;
  }
  count();
}

function count() {
  const all = picks();
  const chosen = all.filter((one) => one.checked).length;
  const told = /** @type {HTMLElement|null} */ (document.querySelector("#bulk [data-part=count]"));
  if (told) told.textContent = (told.dataset.one ?? "").replace("{count}", String(chosen));
  const whole = document.querySelector("#bulk [data-do=all]");
  if (!(whole instanceof HTMLInputElement)) return;
  whole.checked = chosen > 0 && chosen === all.length;
  whole.indeterminate = chosen > 0 && chosen < all.length;
}

/** A download leaves the page where it is; htmx would take its bytes for a page. @param {Event} event @param {HTMLButtonElement} button */
function sendNatively(event, button) {
  if (!button.form) return;
  event.preventDefault();
  const form = document.createElement("form");
  form.method = "post";
  form.action = button.formAction;
  for (const [name, value] of new FormData(button.form)) {
    const field = document.createElement("input");
    [field.type, field.name, field.value] = ["hidden", name, String(value)];
    form.append(field);
  }
  document.body.append(form);
  form.submit();
  form.remove();
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target = /** @type {HTMLElement} */ (event.target);
  const row = /** @type {HTMLElement|null} */ (target.closest(".file-row"));
  if (event.key === "ArrowDown" || event.key === "ArrowUp") return step(event, target, row);
  if (target.matches("input:not([type=checkbox]), select, textarea")) return event.key === "Escape" ? target.blur() : undefined;
  /** @type {Record<string, () => void>} */
  const verbs = {
    "/": () => find(),
    "?": () => /** @type {HTMLDialogElement|null} */ (document.getElementById("keys"))?.showModal(),
    " ": () => row && toggle(row, event.shiftKey),
    // in a checkbox, Enter would press the first button of the form
    Enter: () => row && linkOf(row)?.click(),
    Delete: () => trash(row),
    Escape: () => picks().some((one) => one.checked) && clear(),
  };
  const verb = verbs[event.key];
  if (!verb) return;
  const own = event.key === " " ? !row || target.matches(".pick, button, summary") : event.key === "Enter" && !target.matches(".pick");
  if (own) return;
  if (event.key !== "Escape") event.preventDefault();
  verb();
}

function find() {
  const field = document.getElementById("q");
  if (field instanceof HTMLInputElement) field.select();
}

/** @param {KeyboardEvent} event @param {HTMLElement} target @param {HTMLElement|null} row */
function step(event, target, row) {
  if (!row && target !== document.body && target.id !== "main" && target.id !== "q") return;
  const rows = [...document.querySelectorAll("#bulk .file-row")];
  const next = row ? rows.indexOf(row) + (event.key === "ArrowDown" ? 1 : -1) : 0;
  const place = rows[next] && (linkOf(rows[next]) ?? rows[next].querySelector(".pick"));
  if (!(place instanceof HTMLElement)) return;
  event.preventDefault();
  place.focus();
  place.scrollIntoView({ block: "nearest" });
}

/** @param {Element} row @returns {HTMLElement|null} */
const linkOf = (row) => row.querySelector("a[href]:not([tabindex])");

/** @param {HTMLElement} row @param {boolean} range */
function toggle(row, range) {
  const box = row.querySelector(".pick");
  if (!(box instanceof HTMLInputElement)) return;
  box.checked = range || !box.checked;
  pick(box, range);
}

/** What is selected, or else the row one is on. @param {HTMLElement|null} row */
function trash(row) {
  const button = document.querySelector("#bulk button[value=trash]");
  if (!(button instanceof HTMLButtonElement)) return;
  if (!picks().some((one) => one.checked) && row) toggle(row, false);
  if (picks().some((one) => one.checked)) button.click();
}
