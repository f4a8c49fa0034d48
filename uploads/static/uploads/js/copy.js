// @ts-check

const THANKS_MS = 1600;

/**
 * Puts text on the clipboard and says so on the button for a moment.
 * @param {string} text @param {HTMLElement} pressed @param {string} thanks
 */
export async function copy(text, pressed, thanks) {
  await (navigator.clipboard?.writeText(text) ?? Promise.reject()).catch(() => copyOldWay(text));
  if (pressed.dataset.says) return;
  pressed.dataset.says = pressed.textContent ?? "";
  pressed.textContent = thanks;
  setTimeout(() => {
    pressed.textContent = pressed.dataset.says ?? "";
    delete pressed.dataset.says;
  }, THANKS_MS);
}

/** Without https there is no clipboard API. @param {string} text */
function copyOldWay(text) {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
