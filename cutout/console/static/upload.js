"use strict";

import { fromDrop, fromFiles } from "./upload-picked.js";
import * as tiles from "./upload-tiles.js";

// A browser keeps six connections to a server. One stays free for the questions and the pictures.
const AT_A_TIME = 5;

const byId = (name) => document.getElementById(`upload-${name}`);
const [drop, batchPart, offerPart, trouble] = ["drop", "batch", "offer", "trouble"].map(byId);
const [sendingPart, stop, again, lost] = ["sending", "stop", "again", "lost"].map(byId);

let batch = batchPart.dataset.batch ?? null;
let files = null; // of the batch, where this page has them: after a reload it has none
let position = -1;
let asking = null; // what is being asked, as a promise
let nextLook = 0;
let checking = false;
let sending = null; // { total, sent, failed, stopped } while files are being sent

class Refused extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, fields, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  let answer;
  try {
    answer = await fetch(`${batchPart.dataset.upload}/${path}?${new URLSearchParams(fields)}`, { ...options, headers });
  } catch {
    document.getElementById("gone").hidden = false;
    throw new Refused("The console does not answer.", 0);
  }
  document.getElementById("gone").hidden = true;
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: "The console has failed." }));
  throw new Refused(error, answer.status);
}

function say(sentence) {
  byId("said").textContent = sentence;
}

function tell(sentence) {
  const line = document.createElement("p");
  line.className = "trouble";
  line.setAttribute("role", "alert");
  line.textContent = sentence;
  trouble.replaceChildren(...(sentence ? [line] : []));
}

function number(value) {
  return value.toLocaleString("en");
}

function count(files) {
  return `${number(files)} file${files === 1 ? "" : "s"}`;
}

function progress(part, done, total, sentence) {
  part.hidden = false;
  part.firstElementChild.max = total;
  part.firstElementChild.value = done;
  part.querySelector("span").textContent = sentence;
}

// Checking

async function offer(picking) {
  if (sending || checking) return tell("Files are being checked or sent. Wait for the end, or stop it.");
  checking = true;
  tell("");
  offerPart.replaceChildren();
  const part = byId("checking");
  try {
    progress(part, 0, 1, "Reading the names…");
    const picked = await picking;
    if (picked.length > drop.dataset.mostFiles) throw new Refused(`At most ${number(+drop.dataset.mostFiles)} files at a time.`);
    const named = picked.map(({ path, file }) => [path, file.size, file.lastModified]);
    const body = JSON.stringify({ prefix: byId("prefix").value.trim(), files: named });
    const headers = { "Content-Type": "application/json" };
    const { id, kept, wanted } = await (await ask("check", {}, { method: "POST", body, headers })).json();
    const keptFiles = kept.map((at) => picked[at].file);
    await sendHeads(id, keptFiles, wanted, part);
    offerPart.innerHTML = await (await ask("offer", { batch: id })).text();
    offerPart.files = keptFiles;
    offerPart.querySelector("h2").focus();
  } catch (error) {
    tell(error instanceof Refused ? error.message : `It cannot be read: ${error.message}`);
  } finally {
    checking = false;
    part.hidden = true;
  }
}

async function sendHeads(id, keptFiles, wanted, part) {
  const [bytes, most] = [+drop.dataset.headBytes, +drop.dataset.headsAtATime];
  for (let done = 0; done < wanted.length; done += most) {
    progress(part, done, wanted.length, `Checked ${number(done)} of ${count(wanted.length)}`);
    const frames = wanted.slice(done, done + most).map((at) => frame(at, keptFiles[at].slice(0, bytes)));
    await ask("heads", { batch: id }, { method: "POST", body: new Blob((await Promise.all(frames)).flat()) });
  }
}

async function frame(at, head) {
  const body = await head.arrayBuffer().catch(() => new ArrayBuffer(0)); // one that cannot be read: told when it is sent
  const about = new DataView(new ArrayBuffer(8));
  about.setUint32(0, at);
  about.setUint32(4, body.byteLength);
  return [about, body];
}

// Sending

async function agree(id) {
  const chosen = offerPart.files;
  try {
    const { unsent } = await (await ask("agree", { batch: id }, { method: "POST" })).json();
    offerPart.replaceChildren();
    await asking;
    show(id, chosen);
    await look();
    await send(unsent);
  } catch (error) {
    tell(error.message);
  }
}

async function send(numbers) {
  if (!numbers.length) return;
  const mine = (sending = { total: numbers.length, sent: 0, failed: 0, stopped: "" });
  const waiting = [...numbers];
  const workers = Array.from({ length: AT_A_TIME }, async () => {
    while (waiting.length && !mine.stopped) await sendOne(mine, waiting.shift());
  });
  say(`Sending ${count(numbers.length)}.`);
  renderSending();
  await Promise.all(workers);
  sending = null;
  await ask("end", { batch }, { method: "POST" }).catch(() => {});
  nextLook = 0;
  await look();
  if (mine.stopped) tell(mine.stopped);
  say(mine.stopped || `Sent ${count(mine.sent)}${mine.failed ? `, ${number(mine.failed)} failed` : ""}.`);
}

async function sendOne(mine, at) {
  tiles.begin(at);
  try {
    await files[at].slice(0, 1).arrayBuffer(); // fetch does not tell a file that is gone from a server that is
  } catch {
    tiles.settle(at, "failed", "It cannot be read. It may have been moved, or deleted.");
    mine.failed += 1;
    return renderSending();
  }
  try {
    const { sent, reason } = await (await ask("file", { batch, number: at }, { method: "POST", body: files[at] })).json();
    tiles.settle(at, sent ? "sent" : "failed", reason);
    mine[sent ? "sent" : "failed"] += 1;
  } catch (error) {
    tiles.settle(at, "failed", error.message);
    mine.failed += 1;
    if (error.status !== 409) mine.stopped ||= error.message; // a conflict is about this file only
  }
  return renderSending();
}

function renderSending() {
  const counts = sending ? { not_sent: 0, failed: 0 } : tiles.count(); // to count after each file would take long
  const left = counts.not_sent + counts.failed;
  stop.hidden = !sending;
  again.hidden = Boolean(sending) || !files || !left;
  again.textContent = counts.not_sent ? `Send the other ${number(left)}` : `Send again: ${number(left)}`;
  if (sending) {
    const failed = sending.failed ? `, ${number(sending.failed)} failed` : "";
    progress(sendingPart, sending.sent + sending.failed, sending.total, `Sent ${number(sending.sent)} of ${count(sending.total)}${failed}`);
  }
  else if (files && left) progress(sendingPart, 0, left, `${count(left)} not sent.`);
  else sendingPart.hidden = true;
  sendingPart.firstElementChild.hidden = !sending;
  const isLost = !files && left > 0 && drop !== null;
  lost.hidden = !isLost;
  if (isLost) lost.textContent = `Not sent: ${count(left)}. The page that sent them was left. Drop the same files or folder again to go on. What was sent already is not sent twice.`;
}

// What becomes of them

function show(id, chosen) {
  batch = id;
  files = chosen;
  position = -1;
  nextLook = 0;
  tiles.clear();
  batchPart.hidden = false;
  history.replaceState(null, "", `?${new URLSearchParams({ batch })}`);
}

function look() {
  if (batch && performance.now() >= nextLook) asking ??= learn().finally(() => { asking = null; });
  return asking;
}

async function learn() {
  try {
    const answer = await ask("changes", { batch, since: position });
    const found = await answer.json();
    nextLook = performance.now() + Number(answer.headers.get("Next-Look-Milliseconds")) * 0.9;
    position = found.position;
    // One that is being sent is still unsent for the server.
    tiles.update(sending ? found.tiles.filter((tile) => tile.state !== "not_sent" || isNew(tile)) : found.tiles, found.advice);
    showTrouble(found);
  } catch (error) {
    nextLook = performance.now() + 3000;
    showTrouble({ trouble: error.message });
  }
  renderSending();
}

const isNew = (tile) => !tiles.has(tile.number);

function showTrouble({ trouble: sentence, pause }) {
  const part = byId("pause");
  const text = [sentence, pause].filter(Boolean).join(" ");
  part.hidden = !text;
  if (part.dataset.text === text) return;
  part.dataset.text = text;
  part.replaceChildren(...text.split("`").map((piece, number) => number % 2 ? code(piece) : piece));
}

// Commands stand between backticks.
function code(text) {
  const element = document.createElement("code");
  element.textContent = text;
  return element;
}

document.body.addEventListener("tick", look);
look();

if (drop) {
  byId("files").addEventListener("change", ({ target }) => { offer(Promise.resolve(fromFiles(target.files))); });
  byId("folder").addEventListener("change", ({ target }) => { offer(Promise.resolve(fromFiles(target.files))); });
  for (const input of [byId("files"), byId("folder")]) input.addEventListener("click", () => { input.value = ""; });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    offer(fromDrop(event.dataTransfer));
  });
  offerPart.addEventListener("click", ({ target }) => {
    if (target.dataset.agree) {
      target.disabled = true;
      agree(target.dataset.agree);
    } else if ("decline" in target.dataset) offerPart.replaceChildren();
  });
  stop.addEventListener("click", () => { if (sending) sending.stopped = "Stopped. What was sent goes on."; });
  again.addEventListener("click", async () => {
    again.hidden = true;
    tell("");
    try {
      await send((await (await ask("again", { batch }, { method: "POST" })).json()).unsent);
    } catch (error) {
      tell(error.message);
    }
  });
  window.addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
  window.addEventListener("pagehide", () => {
    if (sending) navigator.sendBeacon(`${batchPart.dataset.upload}/end?${new URLSearchParams({ batch })}`);
  });
}
