// @ts-check
/**
 * The service worker: receives the files that people share from other apps, keeps them on the device, and opens the
 * library, which offers to upload them (share-target.js). It works for signed-out people as well.
 *
 * It caches no page and answers no other request: each page shows what one person may see at this moment, and a copy on
 * the device would outlive a sign-out or a changed permission.
 */

/** share-target.js has the same names and the same time. */
const STORE = "shared-files";
const FILES_PATH = "/share-target/files/";
const EXPIRY_MS = 24 * 60 * 60 * 1000;

addEventListener("install", () => /** @type {any} */ (self).skipWaiting());

addEventListener("fetch", (event) => {
  const { request } = /** @type {any} */ (event);
  // Not in frames, and not for scripts: people see what was shared.
  const isShare = request.method === "POST" && request.destination === "document";
  if (isShare) /** @type {any} */ (event).respondWith(receive(request));
});

/** @param {Request} request */
async function receive(request) {
  const result = await keepFiles(request).catch(() => "failed");
  return Response.redirect(`/?shared=${result}`, 303);
}

/** Keep all files of the form or none. @param {Request} request @returns {Promise<string>} "files" or "none" */
async function keepFiles(request) {
  const store = await caches.open(STORE);
  await removeExpired(store);
  const values = [...(await request.formData()).values()];
  const files = values.filter((value) => value instanceof File && (value.name || value.size));
  const time = Date.now();
  const addresses = [];
  try {
    for (const [index, file] of /** @type {File[]} */ (files).entries()) {
      const address = `${FILES_PATH}${time}/${index}?${new URLSearchParams({
        name: file.name || "file", modified: String(file.lastModified),
      })}`;
      addresses.push(address);
      await store.put(address, new Response(file));
    }
  } catch (error) {
    await Promise.all(addresses.map((address) => store.delete(address)));
    throw error;
  }
  return files.length ? "files" : "none";
}

/** @param {Cache} store */
async function removeExpired(store) {
  for (const { url } of await store.keys()) {
    const { pathname } = new URL(url);
    if (!pathname.startsWith(FILES_PATH)) continue; // whose files they are, which share-target.js keeps
    const time = Number(pathname.slice(FILES_PATH.length).split("/")[0]);
    if (time < Date.now() - EXPIRY_MS) await store.delete(url);
  }
}
