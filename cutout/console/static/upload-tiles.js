"use strict";

// The tiles of one batch. Only those of one page are in the document: there may be thousands.

const ON_A_PAGE = 60;
// Each state with its word and its sign, in the order of a file's life.
const STATES = {
  not_sent: ["to be sent", "○"],
  sending: ["sending", "↑"],
  sent: ["waiting", "…"],
  cutout: ["cutout", "✓"],
  letter: ["letter", "✉"],
  superseded: ["superseded", "⇄"],
  deleted: ["deleted", "✕"],
  unfinished: ["unfinished", "?"],
  failed: ["not sent", "⚠"],
  left_out: ["left out", "–"],
};

const list = document.getElementById("upload-tiles");
const states = document.getElementById("upload-states");
const pages = document.getElementById("upload-pages");
const [previous, next] = pages.querySelectorAll("button");
const template = document.getElementById("upload-tile").content.firstElementChild;

let tiles = [];
let advice = {};
let filter = null;
let page = 0;
let planned = null;
const shown = new Map(); // the elements on this page, by the file's number

export function clear() {
  tiles = [];
  advice = {};
  filter = null;
  page = 0;
  shown.clear();
  list.replaceChildren();
}

/** What the server says of some of the files. */
export function update(changed, advised) {
  for (const tile of changed) tiles[tile.number] = tile;
  Object.assign(advice, advised);
  plan();
}

/** Its sending begins. The server does not know that. */
export function begin(number) {
  set(number, "sending", null);
}

/** Its sending has ended. The server may have said already what has become of it. */
export function settle(number, state, reason) {
  if (tiles[number]?.state === "sending") set(number, state, reason);
}

function set(number, state, reason) {
  tiles[number] = { ...tiles[number], state, reason };
  plan();
}

export function has(number) {
  return number in tiles;
}

export function count() {
  const counts = Object.fromEntries(Object.keys(STATES).map((state) => [state, 0]));
  for (const tile of tiles) counts[tile.state] += 1;
  return counts;
}

function plan() {
  planned ??= setTimeout(render, 100);
}

function render() {
  planned = null;
  renderStates(count());
  const chosen = filter ? tiles.filter((tile) => tile.state === filter) : tiles;
  const last = Math.max(0, Math.ceil(chosen.length / ON_A_PAGE) - 1);
  page = Math.min(page, last);
  const wanted = chosen.slice(page * ON_A_PAGE, (page + 1) * ON_A_PAGE);
  const numbers = new Set(wanted.map((tile) => tile.number));
  for (const [number, element] of shown) {
    if (numbers.has(number)) continue;
    element.remove();
    shown.delete(number);
  }
  wanted.forEach((tile, at) => {
    if (!shown.has(tile.number)) shown.set(tile.number, template.cloneNode(true));
    const element = shown.get(tile.number);
    if (list.children[at] !== element) list.insertBefore(element, list.children[at] ?? null);
    fill(element, tile);
  });
  pages.hidden = last === 0;
  pages.querySelector("span").textContent = `Page ${(page + 1).toLocaleString("en")} of ${(last + 1).toLocaleString("en")}`;
  previous.disabled = page === 0;
  next.disabled = page === last;
}

function renderStates(counts) {
  const wanted = [[null, "all", "", tiles.length]];
  for (const [state, [word, sign]] of Object.entries(STATES)) wanted.push([state, word, sign, counts[state]]);
  wanted.forEach(([state, word, sign, number], at) => {
    const button = states.children[at] ?? states.appendChild(makeFilter(state));
    button.hidden = number === 0 && filter !== state;
    button.setAttribute("aria-pressed", String(filter === state));
    const text = `${sign} ${word} ${number.toLocaleString("en")}`.trim();
    if (button.textContent !== text) button.textContent = text;
  });
}

function makeFilter(state) {
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", () => {
    filter = state;
    page = 0;
    render();
  });
  return button;
}

function fill(element, tile) {
  const about = JSON.stringify([tile.path, tile.state, tile.code, tile.reason]);
  if (element.about === about) return;
  element.about = about;
  element.dataset.state = tile.state;
  const [word, sign] = STATES[tile.state];
  const [, name, state, why, , link] = element.children;
  name.textContent = tile.path;
  name.title = tile.key;
  state.children[0].textContent = sign;
  state.children[1].textContent = word;
  why.textContent = [tile.code, tile.reason].filter(Boolean).join(": ");
  fillPicture(element.children[0], tile);
  fillAdvice(element.querySelector("details"), tile.state === "letter" ? advice[tile.code] : null);
  link.hidden = ["not_sent", "sending", "failed", "left_out"].includes(tile.state);
  link.firstElementChild.href = address("explain", tile.key);
  link.firstElementChild.setAttribute("aria-label", `Explain ${tile.path}`);
}

/** Of a page of the console, about this key. */
function address(name, key) {
  const url = new URL(list.dataset[name], location.href);
  url.searchParams.set("key", key);
  return url.href;
}

function fillPicture(place, tile) {
  if (tile.state !== "cutout") {
    const sign = document.createElement("span");
    sign.setAttribute("aria-hidden", "true");
    sign.textContent = STATES[tile.state][1];
    place.replaceChildren(sign);
    return;
  }
  const link = document.createElement("a");
  link.href = address("cutout", tile.output_key);
  const picture = document.createElement("img");
  picture.alt = `Cutout of ${tile.path}`;
  picture.loading = "lazy";
  picture.src = address("picture", tile.output_key);
  link.append(picture);
  place.replaceChildren(link);
}

function fillAdvice(details, advised) {
  details.hidden = !advised;
  if (!advised) return;
  details.children[1].textContent = advised.meaning;
  details.children[2].textContent = advised.remedy;
}

previous.addEventListener("click", () => { page -= 1; render(); });
next.addEventListener("click", () => { page += 1; render(); });
