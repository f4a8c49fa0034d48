/** What else uploads from a browser: plain PUTs, parts with checksums, and Uppy. `make bench-upload` bundles this. */
import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";

/** Connections to one host over HTTP/1.1. */
const REQUESTS = 6;
/** Requests for parts, as many as our page sends. */
const PART_REQUESTS = 4;

/** PUT whole files: the least that an upload can cost. */
export async function putFiles(files) {
  const requests = files.map(() => ({ operation: "put_object", key: newKey() }));
  const { urls } = await post("/sign", requests);
  await forEach(files, REQUESTS, (file, index) => put(urls[index], file));
}

/**
 * PUT files in parts with the SHA-256 of each, and nothing else: no session, progress, retries or resume. What the
 * upload page takes beyond this is its own cost.
 */
export async function putParts(files, partBytes) {
  const small = files.filter((file) => file.size <= partBytes);
  const requests = small.map(() => ({ operation: "put_object", key: newKey() }));
  const { urls } = await post("/sign", requests);
  await forEach(small, REQUESTS, (file, index) => putHashed(urls[index], file));
  for (const file of files) if (file.size > partBytes) await putMultipart(file, partBytes);
}

async function putMultipart(file, partBytes) {
  const key = newKey();
  const parts = [];
  for (let start = 0; start < file.size; start += partBytes) parts.push(file.slice(start, start + partBytes));
  const { uploadId } = await post("/create", { key });
  const requests = parts.map((_part, index) => ({ operation: "upload_part", key, uploadId, partNumber: index + 1 }));
  const { urls } = await post("/sign", requests);
  const etags = [];
  await forEach(parts, PART_REQUESTS, async (part, index) => {
    etags[index] = await putHashed(urls[index], part);
  });
  await post("/complete", { key, uploadId, etags });
}

async function putHashed(url, blob) {
  await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  // Not the bytes that were read: Chromium reports bodies that are in memory to Playwright, which takes seconds.
  return put(url, blob);
}

/** Upload with Uppy, at its defaults or with parts of this size. */
export async function uploadWithUppy(files, partBytes) {
  const uppy = new Uppy();
  const inParts = { shouldUseMultipart: (file) => file.size > partBytes, getChunkSize: () => partBytes };
  uppy.use(AwsS3, { ...(partBytes ? inParts : {}), signRequest });
  uppy.addFiles(files.map((file) => ({ name: file.name, type: file.type, data: file, source: "bench" })));
  const { failed, successful } = await uppy.upload();
  if (failed.length > 0 || successful.length !== files.length) throw new Error(`Uppy: ${failed[0]?.error}`);
  uppy.destroy();
}

/** Presign a request of Uppy, whose S3 client names it by method and parameters. */
async function signRequest({ method, key, uploadId, partNumber }) {
  const parameters = { key: `bench/${key}`, uploadId: uploadId ?? "" };
  // The names of elements in the XML of the local storage are not those of S3, which Uppy reads.
  if (method === "POST") return { url: new URL(`/uppy?${new URLSearchParams(parameters)}`, location.href).href };
  const operation = partNumber ? "upload_part" : "put_object";
  const { urls } = await post("/sign", [{ operation, partNumber, ...parameters }]);
  return { url: urls[0] };
}

async function post(path, body) {
  const response = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function put(url, body) {
  const response = await fetch(url, { method: "PUT", body });
  if (!response.ok) throw new Error(`PUT: ${response.status}`);
  return response.headers.get("ETag");
}

/** Call a function for each item, at most `limit` at a time. */
async function forEach(items, limit, callback) {
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next;
      next += 1;
      await callback(items[index], index);
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
}

const newKey = () => `bench/${crypto.randomUUID()}`;
