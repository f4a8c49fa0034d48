// @ts-check
/** Where everything is wired; the page's markup holds all addresses and texts. */
import { say } from "./announce.js";
import { Api } from "./api.js";
import { Engine } from "./engine.js";
import { canHash } from "./hash.js";
import { listen } from "./intake.js";
import { listenToLists } from "./list.js";
import { enhance, reveal } from "./pages.js";
import { Pulse } from "./patience.js";
import { matcher } from "./resume.js";
import { Gate, Session } from "./session.js";
import { Settler } from "./settle.js";
import { Texts } from "./texts.js";
import { Tools } from "./tools.js";
import { Tray } from "./tray.js";
import { Trouble } from "./trouble.js";
import { readWords } from "./words.js";

/** @typedef {import("./entries.js").Found} Found */

const ASK_MS = 5000;

const box = document.getElementById("tray");
const uploader = box !== null && canHash();
enhance();
listenToLists();
onPage(() => reveal({ uploader }));
if (box && uploader) begin(box);

/** Now, and after every page that htmx brings. @param {() => void} act */
function onPage(act) {
  act();
  document.body.addEventListener("htmx:afterSettle", act);
}

/** @param {HTMLElement} box */
function begin(box) {
  const { uploadsUrl = "", finishUrl = "", pageUrl = "", maxBytes, partBytes, batch } = box.dataset;
  const gate = new Gate();
  const pulse = new Pulse();
  const session = new Session({ page: pageUrl, gate, onChange: () => tray.redraw() });
  const api = new Api({ uploads: uploadsUrl, finish: finishUrl }, { session, pulse, tell: (note) => tray.tell(note) });
  const tools = new Tools({ api, gate, pulse, partBytes: Number(partBytes), batch: Number(batch) });
  const engine = new Engine(tools, { maxBytes: Number(maxBytes), onChange: () => tray.redraw() });
  const texts = new Texts(readWords(document), { language: document.documentElement.lang, maxBytes: Number(maxBytes) });
  const tray = new Tray(box, {
    engine, texts, gate,
    look: () => session.refresh(),
    onStored: () => {
      document.body.dispatchEvent(new CustomEvent("files-stored"));
      settler.watch();
    },
  });
  const settler = new Settler(api, engine, Number(batch));
  listen((found, place) => take(found, place, { api, engine, tray, texts }), texts.words);
  addEventListener("beforeunload", (event) => engine.moving && event.preventDefault());
}

/**
 * Takes what was dropped, in the order it is found. Files that were begun before go on.
 * @param {AsyncIterable<Found>|Iterable<Found>} found
 * @param {import("./intake.js").Place} place
 * @param {{api: Api, engine: Engine, tray: Tray, texts: Texts}} tools
 */
async function take(found, place, { api, engine, tray, texts }) {
  const field = document.querySelector("[data-upload-form] input[name=private]");
  const visibility = field instanceof HTMLInputElement && field.checked ? "private" : "team";
  engine.arriving();
  const tokenFor = place.replaces ? () => "" : matcher(await unfinished(api, engine), place.way);
  let count = 0;
  for await (const { picked, failed, skipped } of found) {
    const taken = place.replaces ? picked.splice(0, count ? 0 : 1) : picked.splice(0);
    const { into, replaces } = place;
    engine.add(taken.map((one) => ({ ...one, into, replaces, token: tokenFor(one) })), visibility);
    for (const { file } of picked) engine.addFailed(file.name, new Trouble("one_version"));
    for (const name of failed) engine.addFailed(name, new Trouble("folder"));
    engine.skip(skipped);
    count += taken.length + picked.length + failed.length + skipped.length;
    if (count) tray.open();
  }
  engine.arrived();
  if (!count) say(texts.words("nothing"));
}

/**
 * Uploads that wait to go on; asked once per drop, if there are any. When the server cannot tell, everything starts
 * afresh: that is slower, never wrong.
 * @param {Api} api @param {Engine} engine
 * @returns {Promise<import("./resume.js").Unfinished[]>}
 */
async function unfinished(api, engine) {
  if (!document.querySelector("#site-nav .count") && engine.uploads.length === 0) return [];
  try {
    const { uploads } = await api.unfinished(AbortSignal.timeout(ASK_MS));
    const held = engine.heldTokens;
    return uploads.filter((/** @type {{token: string}} */ upload) => !held.has(upload.token));
  } catch {
    return [];
  }
}
