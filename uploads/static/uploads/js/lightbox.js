// @ts-check
/** The preview of a file, enlarged, with those of the files before and after it in the list. */
import { button, ref } from "./dom.js";

const ZOOM_LEVELS = [1, 1.5, 2, 3, 4];
const SWIPE_PX = 60;
const CLICK_PX = 6; // a pointer that moves less has clicked
const PICTURE = "#preview > a, #preview > img, #preview > .document img";
const MEDIA = "#preview > :is(img, video, audio, iframe, .document, .preview-placeholder), #preview > a > img";
const DOWNLOAD = ".file-heading .actions > a[download]";

/** Let a click on the preview enlarge it. */
export function listenForLightbox() {
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const isPlain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    const wanted = target?.closest("[data-action=enlarge]") ?? (isPlain && target?.closest(PICTURE));
    const dialog = document.getElementById("lightbox");
    if (!wanted || !(dialog instanceof HTMLDialogElement)) return;
    event.preventDefault();
    new Lightbox(dialog).open(pageAt(wanted));
  });
}

/** @param {Element} wanted @returns {number} the page of a document that was clicked, or else is read: 0 is the first */
function pageAt(wanted) {
  const region = document.querySelector("#preview > .document");
  const pages = [...(region?.children ?? [])];
  const clicked = pages.findIndex((page) => page.contains(wanted));
  if (!region || clicked >= 0) return clicked;
  const { top, height } = region.getBoundingClientRect();
  return pages.findIndex((page) => page.getBoundingClientRect().bottom > top + height / 2);
}

class Lightbox {
  /** The zoom level: an index into ZOOM_LEVELS. */
  #zoom = 0;
  /** The page of the file that is shown. */
  #page = document;
  #url = location.href;
  /** @type {Map<string, Promise<Document|null>>} pages by URL */
  #pages = new Map();
  #events = new AbortController();

  /** @param {HTMLDialogElement} dialog */
  constructor(dialog) {
    this.dialog = dialog;
    this.stage = ref(dialog, "stage");
    this.name = ref(dialog, "name");
    this.position = ref(dialog, "position");
    this.download = ref(dialog, "download");
  }

  /** @param {number} page  of a document, to begin with */
  open(page) {
    const { signal } = this.#events;
    /** @param {Element} element @param {string} type @param {(event: any) => void} call */
    const listen = (element, type, call) => element.addEventListener(type, call, { signal });
    listen(this.dialog, "keydown", (event) => this.#onKey(event));
    listen(this.dialog, "close", () => this.#onClose());
    listen(button(this.dialog, "zoom-in"), "click", () => this.#setZoom(this.#zoom + 1));
    listen(button(this.dialog, "zoom-out"), "click", () => this.#setZoom(this.#zoom - 1));
    listen(button(this.dialog, "previous"), "click", () => this.#follow("prev"));
    listen(button(this.dialog, "next"), "click", () => this.#follow("next"));
    listen(this.stage, "pointerdown", (event) => this.#onPointer(event));
    document.querySelector("video")?.pause();
    this.dialog.showModal();
    this.#show();
    this.#document?.children[page]?.scrollIntoView();
  }

  /** @returns {HTMLElement|null} the pages of a document, which scroll; null for other files */
  get #document() {
    return this.stage.querySelector(".document");
  }

  /** Show the preview of the current page, and load those beside it. */
  #show() {
    const media = this.#page.querySelector(MEDIA);
    const copies = media ? [document.importNode(media, true)] : [];
    // The stage sets the size, and is the region that scrolls.
    for (const name of ["width", "height", "role", "tabindex", "aria-label", "hx-get"]) copies[0]?.removeAttribute(name);
    this.stage.replaceChildren(...copies);
    this.stage.classList.toggle("scrolls", this.#document !== null);
    this.stage.scrollTo(0, 0);
    if (this.#document && !document.activeElement?.matches("[data-action]")) this.stage.focus(); // its keys scroll
    this.name.textContent = this.#page.querySelector(".file-title")?.textContent ?? "";
    this.position.textContent = this.#page.querySelector(".neighbors .position")?.textContent ?? "";
    const download = this.#page.querySelector(DOWNLOAD)?.getAttribute("href");
    this.download.hidden = !download;
    if (download) this.download.setAttribute("href", download);
    this.#setZoom(0);
    const neighbors = { previous: this.#neighbor("prev"), next: this.#neighbor("next") };
    for (const [name, url] of Object.entries(neighbors)) {
      this.#enable(name, url !== "");
      if (url) void this.#load(url);
    }
  }

  /** Enable or disable a button; a disabled one loses the focus. @param {string} name @param {boolean} enabled */
  #enable(name, enabled) {
    const element = button(this.dialog, name);
    if (!enabled && element === document.activeElement) this.stage.focus();
    element.disabled = !enabled;
  }

  /** @param {"prev"|"next"} rel @returns {string} the URL of the page before or after the current one */
  #neighbor(rel) {
    return this.#page.querySelector(`.neighbors [rel=${rel}]`)?.getAttribute("href") ?? "";
  }

  /** Load the page of a file and its picture. @param {string} url @returns {Promise<Document|null>} null on failure */
  #load(url) {
    const loaded = this.#pages.get(url);
    if (loaded) return loaded;
    const loading = fetchPage(url);
    this.#pages.set(url, loading);
    return loading;
  }

  /** @param {"prev"|"next"} rel */
  async #follow(rel) {
    const url = this.#neighbor(rel);
    if (!url) return;
    const page = await this.#load(url);
    if (!this.dialog.open || url !== this.#neighbor(rel)) return; // closed, or already at another file
    if (!page) return location.assign(url);
    this.#page = page;
    this.#url = url;
    this.#show();
  }

  /**
   * Zoom, while a point of the picture stays where it is: the one in the middle, or the one that was clicked.
   * @param {number} level @param {{x: number, y: number}} [point]  in the window
   */
  #setZoom(level, point = centerOf(this.stage)) {
    const pages = this.#document;
    const image = this.stage.querySelector("img");
    const content = pages ?? image;
    this.#zoom = pages || image?.naturalWidth ? Math.max(0, Math.min(level, ZOOM_LEVELS.length - 1)) : 0;
    const factor = ZOOM_LEVELS[this.#zoom] ?? 1;
    const before = content?.getBoundingClientRect();
    this.stage.classList.toggle("zoomed", this.#zoom > 0);
    if (content && image && before) {
      content.style.width = "";
      const width = pages ? pages.offsetWidth : fittedWidth(image, this.stage);
      if (this.#zoom) content.style.width = `${width * factor}px`;
      const after = content.getBoundingClientRect();
      const x = scaled(point.x - before.left, before.width, after.width) + after.left;
      const y = scaled(point.y - before.top, before.height, after.height) + after.top;
      this.stage.scrollBy(x - point.x, y - point.y);
    }
    this.#enable("zoom-out", this.#zoom > 0);
    this.#enable("zoom-in", image !== null && this.#zoom < ZOOM_LEVELS.length - 1);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    event.stopPropagation(); // the page behind has keys of its own
    if (event.target instanceof HTMLVideoElement) return;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowLeft: () => void this.#follow("prev"),
      ArrowRight: () => void this.#follow("next"),
      "+": () => this.#setZoom(this.#zoom + 1),
      "-": () => this.#setZoom(this.#zoom - 1),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /**
   * Drag a zoomed picture; otherwise swipe to another file. A click on the picture zooms, and one beside it closes.
   * @param {PointerEvent} down
   */
  #onPointer(down) {
    const isImage = down.target instanceof HTMLImageElement;
    if (!down.isPrimary || down.button || down.target instanceof HTMLMediaElement) return;
    if ((this.#zoom || this.#document) && !isImage) return; // a scroll bar
    down.preventDefault();
    const start = { x: this.stage.scrollLeft, y: this.stage.scrollTop };
    const drag = new AbortController();
    const end = (/** @type {PointerEvent} */ up) => {
      drag.abort();
      const [dx, dy] = [up.clientX - down.clientX, up.clientY - down.clientY];
      if (up.type === "pointercancel") return;
      const isClick = Math.hypot(dx, dy) < CLICK_PX;
      const isSwipe = !this.#zoom && Math.abs(dx) > Math.max(SWIPE_PX, Math.abs(dy)) && visualViewport?.scale === 1;
      if (isClick && isImage) this.#setZoom(this.#zoom ? 0 : 2, { x: up.clientX, y: up.clientY });
      else if (isClick && down.target === this.stage) this.dialog.close();
      else if (isSwipe) void this.#follow(dx > 0 ? "prev" : "next");
    };
    const move = (/** @type {PointerEvent} */ to) => {
      if (this.#zoom || this.#document) this.stage.scrollTo(start.x + down.clientX - to.clientX, start.y + down.clientY - to.clientY);
    };
    addEventListener("pointermove", move, { signal: drag.signal });
    addEventListener("pointerup", end, { signal: drag.signal });
    addEventListener("pointercancel", end, { signal: drag.signal });
  }

  /** Go to the page of the file that was shown last. */
  #onClose() {
    this.#events.abort();
    this.stage.replaceChildren();
    if (this.#url !== location.href) location.assign(this.#url);
  }
}

/** @param {number} offset @param {number} before @param {number} after @returns {number} the offset at the new length */
function scaled(offset, before, after) {
  return before ? (offset * after) / before : offset;
}

/** @param {HTMLElement} element */
function centerOf(element) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return { x: left + width / 2, y: top + height / 2 };
}

/** @param {HTMLImageElement} image @param {HTMLElement} stage @returns {number} its width without zoom, in pixels */
function fittedWidth(image, stage) {
  const scale = Math.min(stage.clientWidth / image.naturalWidth, stage.clientHeight / image.naturalHeight, 1);
  return image.naturalWidth * scale;
}

/** @param {string} url @returns {Promise<Document|null>} */
async function fetchPage(url) {
  try {
    const response = await fetch(url);
    if (!response.ok || response.redirected) return null;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const media = page.querySelector(MEDIA);
    const image = media instanceof HTMLImageElement ? media : media?.querySelector("img");
    if (image) new Image().src = image.getAttribute("src") ?? "";
    return page;
  } catch {
    return null;
  }
}
