/**
 * Uploads: what was dropped goes to the studio, also while another view is shown. A studio that does not answer is waited
 * for, and what has arrived there is asked before it goes on.
 */

import { Api, paused } from "./api.js";

const BATCH_FILES = 1000;
const PACK_FILES = 500;
const CHUNK_BYTES = 4_000_000;
const AGAIN_MS = 2000;

/** The upload to each collection, by its name. */
const running = new Map();

/** The upload to a collection, or undefined: {done, total, problems, isOver, isCancelled, isSilent, error, cancel(), listen(onNews)}. */
export const uploadTo = (name) => running.get(name);

/** Forgets an upload that is over. */
export const dismiss = (name) => running.delete(name);

/** Begins to send files, [{path, file}], to a collection; after those that are on their way. */
export function begin(name, files) {
  const before = running.get(name);
  const controller = new AbortController();
  const listeners = new Set();
  const visible = files.filter(({ path }) => !path.split("/").some((part) => part.startsWith(".")));
  const upload = {
    done: 0,
    total: visible.reduce((sum, { file }) => sum + (file?.size ?? 0), 0),
    numFiles: visible.length,
    numDone: 0,
    numHidden: files.length - visible.length,
    problems: [],
    isOver: false,
    isCancelled: false,
    isSilent: false,
    error: null,
    cancel: () => { before?.cancel(); upload.isCancelled = true; controller.abort(); },
    listen: (onNews) => { listeners.add(onNews); return () => listeners.delete(onNews); },
    tell: () => { for (const onNews of listeners) onNews(upload); },
  };
  running.set(name, upload);
  addEventListener("beforeunload", warn, { signal: controller.signal });
  upload.whenOver = Promise.resolve(before?.whenOver)
    .then(() => send(name, visible, upload, new Api(controller.signal)))
    .catch((error) => { if (!controller.signal.aborted) upload.error = error; })
    .finally(() => { upload.isOver = true; controller.abort(); upload.tell(); });
  return upload;
}

/** A page that is closed takes the rest of an upload with it. */
const warn = (event) => event.preventDefault();

async function send(name, files, upload, api) {
  const missing = files.filter(({ file }) => !file);
  upload.problems.push(...missing.map(({ path }) => ({ path, problem: null })));
  const readable = files.filter(({ file }) => file);
  let left = upload.total;
  for (let first = 0; first < readable.length; first += BATCH_FILES) {
    const batch = readable.slice(first, first + BATCH_FILES);
    const begun = await begunOf(name, batch, left, upload, api);
    const small = [];
    for (const [number, answer] of begun.entries()) {
      const each = batch[number];
      if (answer.problem) refuse(upload, each, answer.problem);
      else if (answer.is_whole) arrive(upload, each.file.size, 1);
      else if (answer.upload === null) small.push(each);
      else await sendLarge(name, each, answer, upload, api);
    }
    for (const pack of packs(small)) await sendPack(name, pack, upload, api);
    left -= batch.reduce((sum, { file }) => sum + file.size, 0);
  }
}

/** What the studio says of some files. */
async function begunOf(name, batch, numBytes, upload, api) {
  const files = batch.map(({ path, file }) => ({ path, num_bytes: file.size, modified_ms: file.lastModified }));
  const { files: begun } = await insisted(() => api.post("data/uploads", { name, files, num_bytes: numBytes }), upload, api);
  return begun;
}

async function sendLarge(name, { path, file }, begun, upload, api) {
  let { upload: id, offset } = begun;
  arrive(upload, offset, 0);
  while (offset < file.size) {
    const chunk = await file.slice(offset, offset + CHUNK_BYTES).arrayBuffer().catch(() => null);
    if (!chunk) return void refuse(upload, { path, file }, null, file.size - offset);
    const before = offset;
    try {
      ({ offset } = await api.put(`data/uploads/${id}`, chunk, { name, offset }));
    } catch (error) {
      if (error.kind !== "gone" && !["offset", "no_upload"].includes(error.code)) throw error;
      await silent(error, upload, api);
      const [again] = await begunOf(name, [{ path, file }], file.size, upload, api);
      if (again.problem) return void refuse(upload, { path, file }, again.problem, file.size - offset);
      offset = again.is_whole ? file.size : again.offset;
      id = again.upload;
    }
    arrive(upload, offset - before, 0);
  }
  arrive(upload, 0, 1);
}

/** Small files, as many at a time as go into one request. */
function* packs(files) {
  let pack = [];
  let size = 0;
  for (const each of files) {
    const needed = each.file.size + 4 * each.path.length; // its path stands in the head
    if (pack.length === PACK_FILES || (pack.length && size + needed > CHUNK_BYTES)) {
      yield pack;
      [pack, size] = [[], 0];
    }
    pack.push(each);
    size += needed;
  }
  if (pack.length) yield pack;
}

async function sendPack(name, pack, upload, api) {
  // Each file is read before: one that cannot be must not keep the others back.
  const contents = await Promise.all(pack.map(({ file }) => file.arrayBuffer().catch(() => null)));
  const present = pack.map((each, number) => ({ ...each, content: contents[number] })).filter((each) => {
    if (!each.content) refuse(upload, each, null);
    return each.content;
  });
  if (!present.length) return;
  const head = new TextEncoder().encode(JSON.stringify(present.map(({ path, file, content }) => [path, content.byteLength, file.lastModified])));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, head.byteLength, true);
  const body = new Blob([length, head, ...present.map(({ content }) => content)]);
  const { files } = await insisted(() => api.put("data/packs", body, { name }), upload, api);
  for (const [number, answer] of files.entries()) {
    if (answer.problem) refuse(upload, present[number], answer.problem);
    else arrive(upload, present[number].file.size, 1, false);
  }
  upload.tell();
}

/** Asks until the studio answers. */
async function insisted(ask, upload, api) {
  for (;;) {
    try {
      const answer = await ask();
      upload.isSilent = false;
      return answer;
    } catch (error) {
      if (error.kind !== "gone") throw error;
      await silent(error, upload, api);
    }
  }
}

async function silent(error, upload, api) {
  if (api.signal.aborted) throw error;
  if (error.kind !== "gone") return;
  upload.isSilent = true;
  upload.tell();
  await paused(AGAIN_MS, api.signal);
  if (api.signal.aborted) throw error;
}

function arrive(upload, numBytes, numFiles, isTold = true) {
  upload.done += numBytes;
  upload.numDone += numFiles;
  if (isTold) upload.tell();
}

/** Notes a file that does not arrive; a problem of null is that the browser cannot read it. */
function refuse(upload, { path, file }, problem, numBytes = file?.size ?? 0) {
  upload.problems.push({ path, problem });
  arrive(upload, numBytes, 1);
}
